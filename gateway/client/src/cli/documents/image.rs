//! Pictures and clips.

use atelier_client::proto::{
    common::v1::ImageModel as WireImageModel,
    gateway::v1::{ImageCompletion as WireImageCompletion, VideoCompletion},
    image::v1::{Completion as WireGeneration, Timings as WireTimings},
};
use serde::Serialize;

use super::{ModelRef, Provenance, Verdict, finish_reason, milliseconds};

#[derive(Debug, Serialize)]
pub(crate) struct ImageModel {
    default_width: u32,
    default_height: u32,
    size_multiple: u32,
    max_size: u32,
    schedulers: Vec<String>,
    styles: Vec<String>,
    image_to_image: bool,
    inpainting: bool,
    control_nets: u32,
    transparency: bool,
    latent_dimensions: u32,
    style_layers: u32,
    attributes: Vec<String>,
    upscale_factor: u32,
}

#[derive(Debug, Serialize)]
struct ImageTimings {
    queue_ms: f64,
    encode_prompt_ms: f64,
    denoise_ms: f64,
    decode_ms: f64,
    output_ms: f64,
    total_ms: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct ImageCompletion {
    pub(crate) model: Option<ModelRef>,
    pub(crate) finish_reason: &'static str,
    pub(crate) seed: String,
    pub(crate) steps: u32,
    pub(crate) scheduler: String,
    pub(crate) prompt_truncated: bool,
    timings: Option<ImageTimings>,
    pub(crate) input_verdict: Option<Verdict>,
    pub(crate) output_verdict: Option<Verdict>,
    pub(crate) provenance: Option<Provenance>,
}

impl ImageCompletion {
    fn of(generation: WireGeneration) -> Self {
        let finish_reason = finish_reason(generation.finish_reason());
        Self {
            model: generation.model.map(Into::into),
            finish_reason,
            seed: generation.seed.to_string(),
            steps: generation.steps,
            scheduler: generation.scheduler,
            prompt_truncated: generation.prompt_truncated,
            timings: generation.timings.map(Into::into),
            input_verdict: None,
            output_verdict: None,
            provenance: None,
        }
    }

    /// Where the time went, in words.
    pub(crate) fn time(&self) -> Option<String> {
        self.timings.as_ref().map(|timings| {
            format!(
                "queue {:.1} ms, prompt {:.1} ms, denoise {:.1} ms, decode {:.1} ms, output {:.1} ms, total {:.1} ms",
                timings.queue_ms,
                timings.encode_prompt_ms,
                timings.denoise_ms,
                timings.decode_ms,
                timings.output_ms,
                timings.total_ms
            )
        })
    }
}

impl From<WireImageCompletion> for ImageCompletion {
    fn from(completion: WireImageCompletion) -> Self {
        let WireImageCompletion { generation, input_verdict, output_verdict, provenance } = completion;
        Self {
            input_verdict: input_verdict.map(Into::into),
            output_verdict: output_verdict.map(Into::into),
            provenance: provenance.map(Into::into),
            ..Self::of(generation.unwrap_or_default())
        }
    }
}

impl From<VideoCompletion> for ImageCompletion {
    fn from(completion: VideoCompletion) -> Self {
        let VideoCompletion { video, input_verdict, output_verdict, provenance } = completion;
        Self {
            input_verdict: input_verdict.map(Into::into),
            output_verdict: output_verdict.map(Into::into),
            provenance: provenance.map(Into::into),
            ..Self::of(video.and_then(|video| video.completion).unwrap_or_default())
        }
    }
}

impl From<WireTimings> for ImageTimings {
    fn from(timings: WireTimings) -> Self {
        let WireTimings { queue, encode_prompt, denoise, decode, output, total } = timings;
        Self {
            queue_ms: milliseconds(queue),
            encode_prompt_ms: milliseconds(encode_prompt),
            denoise_ms: milliseconds(denoise),
            decode_ms: milliseconds(decode),
            output_ms: milliseconds(output),
            total_ms: milliseconds(total),
        }
    }
}

impl From<WireImageModel> for ImageModel {
    fn from(model: WireImageModel) -> Self {
        let WireImageModel {
            default_width,
            default_height,
            size_multiple,
            max_size,
            schedulers,
            styles,
            image_to_image,
            inpainting,
            control_nets,
            transparency,
            latent_dimensions,
            style_layers,
            attributes,
            upscale_factor,
        } = model;
        Self {
            default_width,
            default_height,
            size_multiple,
            max_size,
            schedulers,
            styles,
            image_to_image,
            inpainting,
            control_nets,
            transparency,
            latent_dimensions,
            style_layers,
            attributes,
            upscale_factor,
        }
    }
}
