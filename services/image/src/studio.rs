//! What all rooms of the service work with: the models, threads that may block, and pictures in and out.

use std::sync::{Arc, OnceLock};

use atelier_inference::Ticket;
use atelier_media::DecodePool;
use atelier_rpc::Workers;
use bytes::Bytes;
use image::RgbaImage;

use crate::{
    ImageError,
    caller::Caller,
    config::Config,
    convert::generation::PostProcess,
    output::{Encoded, Output, encoded},
    registry::Registry,
};

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Studio {
    registry: Arc<OnceLock<Registry>>,
    workers: Workers,
    decoding: DecodePool,
    /// Frames of one clip in the making at once.
    pub(crate) frames_in_flight: usize,
}

impl Studio {
    pub(crate) fn new(registry: Arc<OnceLock<Registry>>, config: &Config) -> Self {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = if config.blocking_jobs == 0 { processors() } else { config.blocking_jobs };
        Self {
            registry,
            workers: Workers::new(jobs),
            decoding: DecodePool::new(jobs, config.decode_memory_bytes),
            frames_in_flight: config.max_frames_in_flight.max(1),
        }
    }

    /// The models, once they are loaded.
    pub(crate) fn registry(&self) -> Result<&Registry, ImageError> {
        self.registry.get().ok_or(ImageError::Starting)
    }

    /// Runs work that may block.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        caller: &Caller,
        work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        self.workers.run(caller.deadline, work).await
    }

    /// Decodes a picture of the request and makes of it what is needed. `field` names it in an error.
    pub(crate) async fn decode<T: Send + 'static>(
        &self,
        data: Bytes,
        field: &str,
        reduce: impl FnOnce(&RgbaImage) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let decoded = self.decoding.decode_rgba(data, |picture| reduce(picture)).await;
        decoded.map_err(|error| error.at(field))
    }

    /// Encodes pictures, in their order.
    pub(crate) async fn encode(
        &self,
        pictures: Vec<RgbaImage>,
        output: Output,
        caller: &Caller,
    ) -> Result<Vec<Encoded>, ImageError> {
        let each = pictures.into_iter().map(|picture| self.work(caller, move || encoded(picture, &output)));
        futures::future::try_join_all(each).await
    }

    /// Runs the post-processing steps of a request over its pictures.
    pub(crate) async fn post_process(
        &self,
        pictures: Vec<RgbaImage>,
        steps: &[PostProcess],
        ticket: &Ticket,
    ) -> Result<Vec<RgbaImage>, ImageError> {
        let registry = self.registry()?;
        let mut done = Vec::with_capacity(pictures.len());
        for mut picture in pictures {
            for step in steps {
                picture = match step {
                    PostProcess::Upscale { model, factor } => {
                        registry.upscaler(model, *factor)?.enlarge(&picture, ticket).await?
                    }
                    PostProcess::StyleTransfer { model, style } => {
                        registry.style(model)?.repaint(&picture, style, ticket).await?
                    }
                };
            }
            done.push(picture);
        }
        Ok(done)
    }

    /// Whether the post-processing steps can run at all: asked before any work is done.
    pub(crate) fn check_post_processing(&self, steps: &[PostProcess]) -> Result<(), ImageError> {
        let registry = self.registry()?;
        for step in steps {
            match step {
                PostProcess::Upscale { model, factor } => registry.upscaler(model, *factor).map(drop)?,
                PostProcess::StyleTransfer { model, style } => {
                    let model = registry.style(model)?;
                    if !style.is_empty() && model.styles().all(|known| known != style) {
                        let known: Vec<_> = model.styles().collect();
                        let description = format!("must be one of {}", known.join(", "));
                        return Err(ImageError::invalid("post_processing.style_transfer.style", description));
                    }
                }
            }
        }
        Ok(())
    }
}
