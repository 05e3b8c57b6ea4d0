//! Answers.

use std::time::Duration;

use atelier_core::ModelRef;
use atelier_media::{ClipFormat, StillFormat};
use atelier_proto::{common::v1 as common, image::v1 as proto};

use crate::{
    classifier::Label,
    clip::{self, Made},
    engine::{Facts, Timings},
    explore::{Explored, Found},
    generation::{self, Finished},
    output::Encoded,
    registry::LoadedModel,
};

/// Name and revision.
pub(crate) fn model_ref(model: &ModelRef) -> common::ModelRef {
    common::ModelRef { id: model.id.to_string(), revision: model.revision.to_string() }
}

/// An encoded picture.
pub(crate) fn image(encoded: Encoded, seed: u64) -> proto::Image {
    let format = match encoded.format {
        StillFormat::Png => proto::ImageFormat::Png,
        StillFormat::WebP => proto::ImageFormat::Webp,
        StillFormat::Jpeg => proto::ImageFormat::Jpeg,
        StillFormat::Avif => proto::ImageFormat::Avif,
    };
    proto::Image {
        data: encoded.data,
        format: format.into(),
        width: encoded.width,
        height: encoded.height,
        seed,
        moderation_copy: encoded.moderation_copy,
    }
}

/// Picture n of a call has the first one's seed + n.
fn numbered(images: Vec<Encoded>, seed: u64) -> Vec<proto::Image> {
    let each = images.into_iter().enumerate();
    each.map(|(n, encoded)| image(encoded, seed.wrapping_add(n as u64))).collect()
}

/// Finished pictures and their account.
pub(crate) fn finished(finished: Finished) -> (Vec<proto::Image>, proto::Completion) {
    let Finished { images, model, facts, timings, output_time, total } = finished;
    let images = numbered(images, facts.seed);
    (images, completion(&model, facts, &timings, output_time, total))
}

/// What happened while pictures were made.
pub(crate) fn update(update: generation::Update) -> proto::StreamGenerateImageResponse {
    use proto::stream_generate_image_response::Event;
    let event = match update {
        generation::Update::Progress { step, total_steps, remaining, previews } => {
            Event::Progress(progress(step, total_steps, remaining, numbered(previews, 0)))
        }
        generation::Update::Finished(end) => {
            let (images, completion) = finished(*end);
            Event::Result(proto::GeneratedImages { images, completion: Some(completion) })
        }
    };
    proto::StreamGenerateImageResponse { event: Some(event) }
}

/// What happened while a clip was made.
pub(crate) fn clip_update(update: clip::Update) -> proto::GenerateVideoResponse {
    use proto::generate_video_response::Event;
    let event = match update {
        clip::Update::Progress { step, total_steps, remaining } => {
            Event::Progress(progress(step, total_steps, remaining, Vec::new()))
        }
        clip::Update::Frame { index, image: frame } => {
            Event::Frame(proto::VideoFrame { index: count(index), image: Some(image(frame, 0)) })
        }
        clip::Update::Chunk { offset, data } => {
            Event::Chunk(proto::VideoChunk { offset: offset as u64, data })
        }
        clip::Update::Finished(made) => Event::Completion(made_clip(*made)),
    };
    proto::GenerateVideoResponse { event: Some(event) }
}

fn made_clip(made: Made) -> proto::VideoCompletion {
    let format = match made.format {
        ClipFormat::WebP => proto::VideoFormat::Webp,
        ClipFormat::Gif => proto::VideoFormat::Gif,
        ClipFormat::Mp4 => proto::VideoFormat::Mp4,
        ClipFormat::WebM => proto::VideoFormat::Webm,
    };
    proto::VideoCompletion {
        completion: Some(completion(&made.model, made.facts, &made.timings, made.output_time, made.total)),
        format: format.into(),
        num_frames: count(made.frames),
        frames_per_second: made.frames_per_second,
        width: made.width,
        height: made.height,
        file_bytes: made.file_bytes as u64,
    }
}

/// What a latent space holds.
pub(crate) fn explored(explored: Explored) -> proto::ExploreResponse {
    let Explored { found, sheet, model, seed, output_time, total } = explored;
    let timings = Timings { decode: total.saturating_sub(output_time), ..Timings::default() };
    let facts = Facts { seed, ..Facts::default() };
    let each = |found: Found| proto::ExploredImage {
        image: Some(image(found.image, found.seed.unwrap_or_default())),
        latent: (!found.point.is_empty()).then_some(proto::Latent { values: found.point }),
        row: count(found.row),
        column: count(found.column),
        psnr: found.psnr,
    };
    proto::ExploreResponse {
        images: found.into_iter().map(each).collect(),
        sheet: sheet.map(|sheet| image(sheet, 0)),
        completion: Some(completion(&model, facts, &timings, output_time, total)),
    }
}

/// The labels of a picture.
pub(crate) fn labels(labels: Vec<Label>) -> proto::ImageLabels {
    let label =
        |Label { index, name, probability }| proto::ImageLabel { name, index: count(index), probability };
    proto::ImageLabels { labels: labels.into_iter().map(label).collect() }
}

fn progress(step: usize, total: usize, remaining: Duration, previews: Vec<proto::Image>) -> proto::Progress {
    proto::Progress {
        step: count(step),
        total_steps: count(total),
        remaining: Some(duration(remaining)),
        previews,
    }
}

fn completion(
    model: &ModelRef,
    facts: Facts,
    timings: &Timings,
    output: Duration,
    total: Duration,
) -> proto::Completion {
    proto::Completion {
        model: Some(model_ref(model)),
        finish_reason: common::FinishReason::Stop.into(),
        seed: facts.seed,
        steps: count(facts.steps),
        scheduler: facts.scheduler,
        prompt_truncated: facts.prompt_truncated,
        timings: Some(proto::Timings {
            queue: Some(duration(timings.queue)),
            encode_prompt: Some(duration(timings.prepare)),
            denoise: Some(duration(timings.denoise)),
            decode: Some(duration(timings.decode)),
            output: Some(duration(output)),
            total: Some(duration(total)),
        }),
    }
}

/// A model as callers see it.
pub(crate) fn model(loaded: &LoadedModel) -> common::Model {
    use common::ModelTask;
    let mut image = common::ImageModel::default();
    let (mut dimensions, mut space) = (0, String::new());
    let (tasks, license): (&[ModelTask], _) = match loaded {
        LoadedModel::Diffusion(model) => {
            let can = &model.capabilities;
            image = common::ImageModel {
                default_width: can.default_width,
                default_height: can.default_height,
                size_multiple: can.size_multiple,
                max_size: can.max_size,
                schedulers: can.schedulers.clone(),
                styles: can.styles.clone(),
                image_to_image: can.image_to_image,
                inpainting: can.inpainting,
                control_nets: count(can.control_nets),
                transparency: can.transparency,
                ..image
            };
            (&[ModelTask::ImageGeneration, ModelTask::VideoGeneration], &model.license)
        }
        LoadedModel::Generator(model) => {
            image = common::ImageModel {
                default_width: model.size,
                default_height: model.size,
                max_size: model.size,
                latent_dimensions: count(model.dimensions),
                style_layers: count(model.style_layers()),
                attributes: model.attributes.keys().cloned().collect(),
                image_to_image: model.encodes(),
                ..image
            };
            (&[ModelTask::ImageExploration, ModelTask::VideoGeneration], &model.license)
        }
        LoadedModel::Classifier(model) => {
            dimensions = count(model.dimensions);
            space = model.model.id.to_string();
            (&[ModelTask::ImageClassification, ModelTask::ImageEmbedding], &model.license)
        }
        LoadedModel::Projection(model) => {
            dimensions = count(model.dimensions);
            space = model.space.to_string();
            (&[ModelTask::ImageEmbedding], &model.license)
        }
        LoadedModel::Upscaler(model) => {
            image.upscale_factor = model.factor;
            (&[ModelTask::ImageUpscaling], &model.license)
        }
        LoadedModel::Style(model) => {
            image.styles = model.styles().map(str::to_owned).collect();
            (&[ModelTask::StyleTransfer], &model.license)
        }
    };
    let common::ModelRef { id, revision } = model_ref(loaded.model());
    common::Model {
        id,
        revision,
        tasks: tasks.iter().map(|&task| task.into()).collect(),
        context_length: 0,
        vocabulary_size: 0,
        embedding_dimensions: dimensions,
        embedding_space: space,
        license: license.clone(),
        image: Some(image),
    }
}

fn duration(time: Duration) -> prost_types::Duration {
    // Longer than 292 years does not happen.
    time.try_into().unwrap_or_default()
}

/// A count for the wire.
pub(crate) fn count(n: usize) -> u32 {
    n.try_into().unwrap_or(u32::MAX)
}
