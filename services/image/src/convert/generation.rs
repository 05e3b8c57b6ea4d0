//! Requests for pictures.

use atelier_core::limits::MAX_PROMPT_BYTES;
use atelier_proto::image::v1 as proto;
use bytes::Bytes;

use super::{
    check::{counted, short, size, within},
    known, output, picture,
};
use crate::{ImageError, output::Output};

/// Longest name of a scheduler or style, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Most control pictures.
const MAX_CONTROLS: usize = 8;
/// Most post-processing steps.
const MAX_POST_PROCESSING: usize = 4;

/// A checked request for pictures.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) model: String,
    pub(crate) prompt: String,
    pub(crate) negative_prompt: String,
    pub(crate) init: Option<Init>,
    pub(crate) controls: Vec<Control>,
    pub(crate) diffusion: Diffusion,
    pub(crate) post_processing: Vec<PostProcess>,
    pub(crate) output: Output,
    /// A preview every so many steps; 0: none.
    pub(crate) preview_every: usize,
}

/// A picture to start from, still encoded.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) data: Bytes,
    pub(crate) strength: Option<f32>,
    /// Empty: none.
    pub(crate) mask: Bytes,
}

/// A picture for a ControlNet, still encoded.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) data: Bytes,
    pub(crate) scale: f32,
    pub(crate) guidance_start: f32,
    pub(crate) guidance_end: f32,
}

/// How a diffusion model works; what is absent is the model's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diffusion {
    pub(crate) steps: Option<usize>,
    pub(crate) guidance_scale: Option<f32>,
    pub(crate) guidance_rescale: f32,
    pub(crate) scheduler: Option<String>,
    pub(crate) seed: Option<u64>,
    pub(crate) width: Option<u32>,
    pub(crate) height: Option<u32>,
    pub(crate) clip_skip: usize,
    pub(crate) eta: f32,
    pub(crate) num_images: usize,
    pub(crate) style: Option<String>,
}

/// What is done with a finished picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PostProcess {
    Upscale { model: String, factor: u32 },
    StyleTransfer { model: String, style: String },
}

/// Checks a request.
///
/// # Errors
/// The field that is out of its range.
pub(crate) fn order(request: proto::StreamGenerateImageRequest) -> Result<Order, ImageError> {
    prompt(&request.prompt, "prompt")?;
    prompt(&request.negative_prompt, "negative_prompt")?;
    counted(&request.control_images, 0..=MAX_CONTROLS, "control_images")?;
    counted(&request.post_processing, 0..=MAX_POST_PROCESSING, "post_processing")?;
    let controls = request.control_images.into_iter().enumerate().map(|(n, image)| control(n, image));
    let steps = request.post_processing.into_iter().enumerate().map(|(n, step)| post_process(n, step));
    let every = request.preview.map(|preview| preview.every_steps);
    Ok(Order {
        init: request.init_image.map(init).transpose()?,
        controls: controls.collect::<Result<_, _>>()?,
        diffusion: diffusion(request.diffusion)?,
        post_processing: steps.collect::<Result<_, _>>()?,
        output: output(request.output, "output")?,
        preview_every: size(within(every, 0..=1000, "preview.every_steps")?.unwrap_or(0)),
        model: request.model,
        prompt: request.prompt,
        negative_prompt: request.negative_prompt,
    })
}

/// The same request without progress.
pub(crate) fn without_progress(request: proto::GenerateImageRequest) -> proto::StreamGenerateImageRequest {
    let proto::GenerateImageRequest {
        model,
        prompt,
        negative_prompt,
        init_image,
        control_images,
        diffusion,
        post_processing,
        output,
    } = request;
    let preview = None;
    proto::StreamGenerateImageRequest {
        model,
        prompt,
        negative_prompt,
        init_image,
        control_images,
        diffusion,
        post_processing,
        output,
        preview,
    }
}

/// A prompt of plausible length.
pub(crate) fn prompt(text: &str, field: &str) -> Result<(), ImageError> {
    short(text, MAX_PROMPT_BYTES, field)
}

/// How a diffusion model works.
pub(crate) fn diffusion(config: Option<proto::DiffusionConfig>) -> Result<Diffusion, ImageError> {
    let config = config.unwrap_or_default();
    short(&config.scheduler, MAX_NAME_BYTES, "diffusion.scheduler")?;
    short(&config.style, MAX_NAME_BYTES, "diffusion.style")?;
    let named = |name: String| (!name.is_empty()).then_some(name);
    Ok(Diffusion {
        steps: within(config.num_inference_steps, 1..=1000, "diffusion.num_inference_steps")?.map(size),
        guidance_scale: within(config.guidance_scale, 0.0..=50.0, "diffusion.guidance_scale")?,
        guidance_rescale: within(config.guidance_rescale, 0.0..=1.0, "diffusion.guidance_rescale")?
            .unwrap_or(0.0),
        scheduler: named(config.scheduler),
        seed: config.seed,
        width: within(config.width, 1..=16_384, "diffusion.width")?,
        height: within(config.height, 1..=16_384, "diffusion.height")?,
        clip_skip: size(within(config.clip_skip, 0..=11, "diffusion.clip_skip")?.unwrap_or(0)),
        eta: within(config.eta, 0.0..=1.0, "diffusion.eta")?.unwrap_or(0.0),
        num_images: size(within(config.num_images, 1..=16, "diffusion.num_images")?.unwrap_or(1)),
        style: named(config.style),
    })
}

fn init(image: proto::InitImage) -> Result<Init, ImageError> {
    let strength = within(image.strength, 0.0..=1.0, "init_image.strength")?;
    if strength == Some(0.0) {
        return Err(ImageError::invalid("init_image.strength", "must be above 0"));
    }
    let mask = if image.mask.is_empty() { image.mask } else { picture(image.mask, "init_image.mask")? };
    Ok(Init { data: picture(image.data, "init_image.data")?, strength, mask })
}

fn control(n: usize, image: proto::ControlImage) -> Result<Control, ImageError> {
    let field = |name: &str| format!("control_images[{n}].{name}");
    let share = |value, name, default| {
        Ok::<_, ImageError>(within(value, 0.0..=1.0, &field(name))?.unwrap_or(default))
    };
    let guidance_start = share(image.guidance_start, "guidance_start", 0.0)?;
    let guidance_end = share(image.guidance_end, "guidance_end", 1.0)?;
    if guidance_end < guidance_start {
        return Err(ImageError::invalid(field("guidance_end"), "must not be below guidance_start"));
    }
    Ok(Control {
        scale: within(image.scale, 0.0..=2.0, &field("scale"))?.unwrap_or(1.0),
        data: picture(image.data, &field("data"))?,
        guidance_start,
        guidance_end,
    })
}

fn post_process(n: usize, step: proto::PostProcess) -> Result<PostProcess, ImageError> {
    use proto::post_process::Step;
    let field = |name: &str| format!("post_processing[{n}]{name}");
    match step.step {
        Some(Step::Upscale(proto::Upscale { model, factor })) => match factor {
            2 | 4 => Ok(PostProcess::Upscale { model, factor }),
            _ => Err(ImageError::invalid(field(".upscale.factor"), "must be 2 or 4")),
        },
        Some(Step::StyleTransfer(proto::StyleTransfer { model, style })) => {
            short(&style, MAX_NAME_BYTES, &field(".style_transfer.style"))?;
            Ok(PostProcess::StyleTransfer { model, style })
        }
        None => Err(ImageError::invalid(field(""), "must have a step")),
    }
}

/// The file format of a clip; see [`super::video`].
pub(super) fn video_format(value: i32) -> Result<proto::VideoFormat, ImageError> {
    known(value, "video.format")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(request: proto::StreamGenerateImageRequest) -> String {
        match order(request) {
            Err(ImageError::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    fn request() -> proto::StreamGenerateImageRequest {
        proto::StreamGenerateImageRequest { prompt: "a red apple".into(), ..Default::default() }
    }

    #[test]
    fn what_is_absent_is_the_models_own() {
        let order = order(request()).unwrap();
        assert_eq!((order.diffusion.num_images, order.diffusion.steps, order.preview_every), (1, None, 0));
        assert_eq!(order.output, Output { moderation_copy: false, ..order.output });
        assert!(order.init.is_none() && order.diffusion.scheduler.is_none());
    }

    #[test]
    fn fields_at_fault_are_named() {
        let diffusion = |change: fn(&mut proto::DiffusionConfig)| {
            let mut config = proto::DiffusionConfig::default();
            change(&mut config);
            field(proto::StreamGenerateImageRequest { diffusion: Some(config), ..request() })
        };
        assert_eq!(diffusion(|d| d.num_inference_steps = Some(0)), "diffusion.num_inference_steps");
        assert_eq!(diffusion(|d| d.guidance_scale = Some(f32::NAN)), "diffusion.guidance_scale");
        assert_eq!(diffusion(|d| d.eta = Some(-0.1)), "diffusion.eta");
        assert_eq!(diffusion(|d| d.num_images = Some(17)), "diffusion.num_images");
        assert_eq!(diffusion(|d| d.width = Some(0)), "diffusion.width");
        assert_eq!(diffusion(|d| d.clip_skip = Some(12)), "diffusion.clip_skip");

        let init = |strength, data: &'static [u8]| {
            let image = proto::InitImage { data: data.into(), strength, ..Default::default() };
            field(proto::StreamGenerateImageRequest { init_image: Some(image), ..request() })
        };
        assert_eq!(init(Some(0.0), b"x"), "init_image.strength");
        assert_eq!(init(None, b""), "init_image.data");

        let output = |format: proto::ImageFormat, background: proto::Background, quality| {
            let output = proto::OutputConfig {
                format: format.into(),
                background: background.into(),
                quality,
                moderation_copy: false,
            };
            field(proto::StreamGenerateImageRequest { output: Some(output), ..request() })
        };
        let (png, jpeg) = (proto::ImageFormat::Png, proto::ImageFormat::Jpeg);
        assert_eq!(output(jpeg, proto::Background::Transparent, None), "output.background");
        assert_eq!(output(png, proto::Background::Opaque, Some(101)), "output.quality");

        let step = proto::post_process::Step::Upscale(proto::Upscale { model: String::new(), factor: 3 });
        let post_processing = vec![proto::PostProcess { step: Some(step) }];
        assert_eq!(
            field(proto::StreamGenerateImageRequest { post_processing, ..request() }),
            "post_processing[0].upscale.factor"
        );
        let post_processing = vec![proto::PostProcess { step: None }];
        assert_eq!(
            field(proto::StreamGenerateImageRequest { post_processing, ..request() }),
            "post_processing[0]"
        );
        let prompt = "x".repeat(MAX_PROMPT_BYTES + 1);
        assert_eq!(field(proto::StreamGenerateImageRequest { prompt, ..request() }), "prompt");
    }
}
