//! A request for pictures, from its order to its answer.

use std::time::{Duration, Instant};

use atelier_core::ModelRef;
use atelier_pipeline::{Conditioning, Control, Init, Noise, Request};
use image::{DynamicImage, imageops};

use crate::{
    ImageError,
    caller::Caller,
    convert::generation::{Diffusion, Order},
    diffusion::DiffusionModel,
    engine::{self, Call, Event, Events, Facts, Timings},
    output::{Encoded, Output},
    studio::Studio,
};

/// Pictures in the making.
pub(crate) struct Generation {
    studio: Studio,
    caller: Caller,
    events: Events<Request>,
    rest: Rest,
}

/// What is left to do when the engine is done.
struct Rest {
    model: ModelRef,
    post_processing: Vec<crate::convert::generation::PostProcess>,
    output: Output,
}

/// What the caller is told.
pub(crate) enum Update {
    Progress { step: usize, total_steps: usize, remaining: Duration, previews: Vec<Encoded> },
    Finished(Box<Finished>),
}

/// Finished pictures.
pub(crate) struct Finished {
    pub(crate) images: Vec<Encoded>,
    pub(crate) model: ModelRef,
    pub(crate) facts: Facts,
    pub(crate) timings: Timings,
    /// Post-processing and encoding.
    pub(crate) output_time: Duration,
    /// From arrival to the end.
    pub(crate) total: Duration,
}

impl Generation {
    /// Starts making pictures. Dropping it stops.
    ///
    /// # Errors
    /// The model does not exist, refuses the request, or its queue is full.
    pub(crate) async fn start(
        studio: &Studio,
        order: Order,
        caller: Caller,
        random_seed: impl FnOnce() -> u64,
    ) -> Result<Self, ImageError> {
        let model = studio.registry()?.diffusion(&order.model)?;
        studio.check_post_processing(&order.post_processing)?;
        if order.output.transparent && !model.capabilities.transparency {
            return Err(ImageError::invalid("output.background", "must be opaque: the model makes no alpha"));
        }
        let rest =
            Rest { model: model.model.clone(), post_processing: order.post_processing, output: order.output };
        let seed = order.diffusion.seed.unwrap_or_else(random_seed);
        let mut request = request(order.diffusion, Noise::Seed(seed));
        request.prompt = Conditioning::Prompt(order.prompt);
        request.negative_prompt = Conditioning::Prompt(order.negative_prompt);
        if let Some(init) = order.init {
            let picture = studio.decode(init.data, "init_image.data", |picture| Ok(picture.clone())).await?;
            let mask = if init.mask.is_empty() {
                None
            } else {
                // A mask may be grey or coloured, and what is transparent is not white.
                let grey = |mask: &image::RgbaImage| Ok(flattened(mask));
                Some(studio.decode(init.mask, "init_image.mask", grey).await?)
            };
            request.init = Some(Init { picture, strength: init.strength, mask });
        }
        for (n, control) in order.controls.into_iter().enumerate() {
            let field = format!("control_images[{n}].data");
            let rgb = |picture: &image::RgbaImage| Ok(DynamicImage::ImageRgba8(picture.clone()).into_rgb8());
            request.controls.push(Control {
                picture: studio.decode(control.data, &field, rgb).await?,
                scale: control.scale,
                guidance_start: control.guidance_start,
                guidance_end: control.guidance_end,
            });
        }
        let events = submit(model, request, order.preview_every, &caller)?;
        Ok(Self { studio: studio.clone(), caller, events, rest })
    }

    /// What happens next; after `Finished` nothing does.
    ///
    /// # Errors
    /// The run failed, or the deadline passed.
    pub(crate) async fn next(&mut self) -> Result<Update, ImageError> {
        let (caller, studio) = (&self.caller, &self.studio);
        let next = async {
            match self.events.next().await? {
                Event::Progress(engine::Progress { step, total_steps, remaining, previews }) => {
                    let copies = Output { moderation_copy: self.rest.output.moderation_copy, ..Output::PNG };
                    let previews = studio.encode(previews, copies, caller).await?;
                    Ok(Update::Progress { step, total_steps, remaining, previews })
                }
                Event::Finished(finished) => {
                    let started = Instant::now();
                    let engine::Finished { pictures, facts, timings } = *finished;
                    let steps = &self.rest.post_processing;
                    let pictures = studio.post_process(pictures, steps, &caller.ticket()).await?;
                    let images = studio.encode(pictures, self.rest.output, caller).await?;
                    Ok(Update::Finished(Box::new(Finished {
                        images,
                        model: self.rest.model.clone(),
                        facts,
                        timings,
                        output_time: started.elapsed(),
                        total: caller.arrived.elapsed(),
                    })))
                }
            }
        };
        caller.in_time(next).await
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// As [`Generation::next`].
    pub(crate) async fn finished(mut self) -> Result<Finished, ImageError> {
        loop {
            if let Update::Finished(finished) = self.next().await? {
                return Ok(*finished);
            }
        }
    }
}

/// The part of a request that pictures and frames have in common.
pub(crate) fn request(diffusion: Diffusion, noise: Noise) -> Request {
    let Diffusion {
        steps,
        guidance_scale,
        guidance_rescale,
        scheduler,
        seed: _,
        width,
        height,
        clip_skip,
        eta,
        num_images,
        style,
    } = diffusion;
    Request {
        steps,
        guidance_scale,
        guidance_rescale,
        scheduler,
        noise,
        width,
        height,
        clip_skip,
        eta,
        num_images,
        style,
        ..Request::default()
    }
}

/// Hands a request to the model's engine.
pub(crate) fn submit(
    model: &DiffusionModel,
    request: Request,
    preview_every: usize,
    caller: &Caller,
) -> Result<Events<Request>, ImageError> {
    let (tenant, deadline) = (caller.tenant.clone(), caller.deadline);
    model.engine.submit(Call { request, preview_every, tenant, deadline, arrived: caller.arrived })
}

/// A mask in grey, on black where it is transparent.
fn flattened(mask: &image::RgbaImage) -> image::GrayImage {
    let mut grey = imageops::grayscale(mask);
    for (grey, colour) in grey.pixels_mut().zip(mask.pixels()) {
        let light = u16::from(grey.0[0]) * u16::from(colour.0[3]) / 255;
        grey.0[0] = u8::try_from(light).unwrap_or(u8::MAX);
    }
    grey
}
