//! The making of a clip: frames side by side, written to a file in their order.

use std::time::{Duration, Instant};

use atelier_core::ModelRef;
use atelier_media::{ClipConfig, ClipFormat, ClipWriter};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use image::{DynamicImage, RgbaImage};
use tokio::sync::mpsc;

use crate::{
    ImageError,
    caller::Caller,
    convert::{generation::Diffusion, video::Order},
    diffusion::DiffusionModel,
    engine::{Facts, Finished, Timings},
    generation::{request, submit},
    generator::Generator,
    latent::{Interpolation, between},
    output::{Encoded, Output},
    registry::LoadedModel,
    studio::Studio,
    video::Clip,
};

/// Largest piece of the file in one message, in bytes.
const CHUNK: usize = 1 << 20;

/// What happens while a clip is made.
pub(crate) enum Update {
    Progress { step: usize, total_steps: usize, remaining: Duration },
    Frame { index: usize, image: Encoded },
    Chunk { offset: usize, data: Bytes },
    Finished(Box<Made>),
}

/// A finished clip.
pub(crate) struct Made {
    pub(crate) model: ModelRef,
    pub(crate) facts: Facts,
    pub(crate) timings: Timings,
    pub(crate) output_time: Duration,
    pub(crate) total: Duration,
    pub(crate) format: ClipFormat,
    pub(crate) frames: usize,
    pub(crate) frames_per_second: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) file_bytes: usize,
}

/// Makes a clip and tells of it. It stops when nobody listens any more.
///
/// # Errors
/// The model does not exist or refuses the request, a run fails, or the deadline passes.
pub(crate) async fn make(
    studio: &Studio,
    order: Order,
    caller: &Caller,
    updates: &mpsc::Sender<Result<Update, ImageError>>,
) -> Result<(), ImageError> {
    let work = async {
        match studio.registry()?.video(&order.model)? {
            LoadedModel::Diffusion(model) => {
                let maker = Maker { studio, order: &order, caller, updates, model: &model.model };
                let frames = diffusion_frames(model, &order.clip, &order.diffusion, caller);
                maker.run(frames.buffered(studio.frames_in_flight)).await
            }
            LoadedModel::Generator(model) => {
                let maker = Maker { studio, order: &order, caller, updates, model: &model.model };
                let frames = generator_frames(model, &order.clip, caller);
                maker.run(frames.buffered(studio.frames_in_flight)).await
            }
            // The registry gives no others.
            other => {
                let model = other.model().id.to_string();
                Err(ImageError::TaskUnsupported { model, task: "video generation" })
            }
        }
    };
    caller.in_time(work).await
}

/// A picture and how it was made.
type Frame = Result<Finished, ImageError>;

fn diffusion_frames<'a>(
    model: &'a DiffusionModel,
    clip: &'a Clip,
    diffusion: &'a Diffusion,
    caller: &'a Caller,
) -> impl Stream<Item = impl Future<Output = Frame> + 'a> + 'a {
    stream::iter(0..clip.frames).map(move |index| async move {
        let frame = clip.frame(index);
        loop {
            let mut request = request(diffusion.clone(), frame.noise());
            request.prompt = frame.prompt();
            request.negative_prompt = frame.negative_prompt();
            match submit(model, request, 0, caller) {
                Ok(events) => return events.finished().await,
                // A clip that has begun waits for its turn instead of giving up what it has.
                Err(ImageError::QueueFull { retry_after }) if index > 0 => {
                    tokio::time::sleep(retry_after).await
                }
                Err(error) => return Err(error),
            }
        }
    })
}

fn generator_frames<'a>(
    model: &'a Generator,
    clip: &'a Clip,
    caller: &'a Caller,
) -> impl Stream<Item = impl Future<Output = Frame> + 'a> + 'a {
    stream::iter(0..clip.frames).map(move |index| async move {
        let started = Instant::now();
        let frame = clip.frame(index);
        let (from, to) = (model.point(frame.from.seed), model.point(frame.to.seed));
        let point = between(&from, &to, frame.weight, Interpolation::Spherical);
        let pictures = model.draw(vec![point], 1.0, &caller.ticket()).await?;
        let facts = Facts { seed: frame.from.seed, ..Facts::default() };
        let timings = Timings { decode: started.elapsed(), ..Timings::default() };
        Ok(Finished { pictures, facts, timings })
    })
}

struct Maker<'a> {
    studio: &'a Studio,
    order: &'a Order,
    caller: &'a Caller,
    updates: &'a mpsc::Sender<Result<Update, ImageError>>,
    model: &'a ModelRef,
}

impl Maker<'_> {
    async fn run(&self, frames: impl Stream<Item = Frame>) -> Result<(), ImageError> {
        let clip = &self.order.clip;
        let started = Instant::now();
        let (mut writer, mut size) = (None, (0, 0));
        let (mut facts, mut timings, mut output_time) =
            (Facts::default(), Timings::default(), Duration::ZERO);
        let mut done = 0;
        let mut frames = std::pin::pin!(frames);
        while let Some(Finished { pictures, facts: made, timings: times }) = frames.try_next().await? {
            let picture = pictures.into_iter().next().ok_or(ImageError::TaskLost("a frame"))?;
            if done == 0 {
                facts.seed = made.seed;
                facts.scheduler = made.scheduler;
                size = picture.dimensions();
            }
            facts.steps += made.steps;
            facts.prompt_truncated |= made.prompt_truncated;
            add(&mut timings, &times);
            let writing = Instant::now();
            let (next, frame) = self.write(writer.take(), picture).await?;
            output_time += writing.elapsed();
            writer = Some(next);
            if let Some(image) = frame {
                self.tell(Update::Frame { index: done, image }).await?;
            }
            done += 1;
            let each = started.elapsed() / u32::try_from(done).unwrap_or(u32::MAX);
            let remaining = each.saturating_mul(u32::try_from(clip.frames - done).unwrap_or(0));
            self.tell(Update::Progress { step: done, total_steps: clip.frames, remaining }).await?;
        }
        let writing = Instant::now();
        let writer = writer.ok_or(ImageError::TaskLost("a clip"))?;
        let file = Bytes::from(self.studio.work(self.caller, move || Ok(writer.finish()?)).await?);
        output_time += writing.elapsed();
        for offset in (0..file.len()).step_by(CHUNK) {
            let data = file.slice(offset..file.len().min(offset + CHUNK));
            self.tell(Update::Chunk { offset, data }).await?;
        }
        let made = Made {
            model: self.model.clone(),
            facts,
            timings,
            output_time,
            total: self.caller.arrived.elapsed(),
            format: clip.format,
            frames: done,
            frames_per_second: clip.frames_per_second,
            width: size.0,
            height: size.1,
            file_bytes: file.len(),
        };
        self.tell(Update::Finished(Box::new(made))).await
    }

    /// Adds a frame to the file, and encodes it by itself where the caller wants that.
    async fn write(
        &self,
        writer: Option<ClipWriter>,
        picture: RgbaImage,
    ) -> Result<(ClipWriter, Option<Encoded>), ImageError> {
        let (clip, output): (_, Option<Output>) = (&self.order.clip, self.order.frames);
        let config = ClipConfig {
            format: clip.format,
            width: picture.width(),
            height: picture.height(),
            frames_per_second: clip.frames_per_second,
            quality: clip.quality,
        };
        let work = move || {
            let mut writer = match writer {
                Some(writer) => writer,
                None => ClipWriter::new(config)?,
            };
            let mut opaque = picture;
            crate::pixels::opaque(&mut opaque);
            writer.push(&DynamicImage::ImageRgba8(opaque.clone()).into_rgb8())?;
            let frame = output.map(|output| crate::output::encoded(opaque, &output)).transpose()?;
            Ok((writer, frame))
        };
        self.studio.work(self.caller, work).await
    }

    async fn tell(&self, update: Update) -> Result<(), ImageError> {
        let gone = |_| ImageError::Inference(atelier_inference::InferenceError::Cancelled);
        self.updates.send(Ok(update)).await.map_err(gone)
    }
}

fn add(total: &mut Timings, one: &Timings) {
    total.queue += one.queue;
    total.prepare += one.prepare;
    total.denoise += one.denoise;
    total.decode += one.decode;
}
