//! Pictures and clips.

use std::{sync::Arc, time::Duration};

use atelier_core::Fault;
use atelier_proto::{common::v1 as common, gateway::v1 as api, image::v1 as proto};
use tonic::Status;

use super::{model_ref_message, provenance, union, verdict};
use crate::{
    judge::{Call, Judged},
    picture::{Picture, Progress},
    response_filter::{
        Summary,
        clip::{self, Chunk, Frame},
        pictures::{self, Made},
    },
};

/// A picture as the image service sent it.
pub(crate) fn picture(image: proto::Image) -> Picture {
    Picture {
        data: image.data,
        copy: image.moderation_copy,
        format: image.format,
        width: image.width,
        height: image.height,
        seed: image.seed,
        ..Picture::default()
    }
}

/// A picture as callers see it.
pub(crate) fn image(picture: Picture) -> proto::Image {
    let Picture { data, copy: _, format, width, height, seed, time_ms: _, skip_text: _ } = picture;
    proto::Image { data, format, width, height, seed, moderation_copy: Default::default() }
}

fn progress(progress: proto::Progress) -> Progress {
    Progress {
        step: progress.step,
        total_steps: progress.total_steps,
        remaining: progress.remaining.and_then(|remaining| Duration::try_from(remaining).ok()),
        previews: progress.previews.into_iter().map(picture).collect(),
    }
}

fn progress_message(progress: Progress) -> proto::Progress {
    proto::Progress {
        step: progress.step,
        total_steps: progress.total_steps,
        remaining: progress.remaining.and_then(|remaining| remaining.try_into().ok()),
        previews: progress.previews.into_iter().map(image).collect(),
    }
}

/// What is asked of the image service for a caller who wants `output`: with copies for judging where there is a judge.
pub(crate) fn output(output: Option<proto::OutputConfig>, judged: bool) -> Option<proto::OutputConfig> {
    match output {
        None if !judged => None,
        output => Some(proto::OutputConfig { moderation_copy: judged, ..output.unwrap_or_default() }),
    }
}

/// A piece of a stream of pictures.
pub(crate) fn picture_piece(
    message: Result<proto::StreamGenerateImageResponse, Status>,
) -> Result<pictures::Piece<proto::Completion>, Fault> {
    use proto::stream_generate_image_response::Event as From;
    match message.map_err(|status| atelier_rpc::fault_of(&status))?.event {
        Some(From::Progress(of)) => Ok(pictures::Piece::Progress(progress(of))),
        Some(From::Result(result)) => Ok(pictures::Piece::Result {
            pictures: result.images.into_iter().map(picture).collect(),
            end: result.completion.unwrap_or_default(),
        }),
        None => Err(Fault::internal("an image service sent an event without content")),
    }
}

/// A piece of a clip.
pub(crate) fn clip_piece(
    message: Result<proto::GenerateVideoResponse, Status>,
) -> Result<clip::Piece<proto::VideoCompletion>, Fault> {
    use proto::generate_video_response::Event as From;
    match message.map_err(|status| atelier_rpc::fault_of(&status))?.event {
        Some(From::Progress(of)) => Ok(clip::Piece::Progress(progress(of))),
        Some(From::Frame(frame)) => {
            let picture = picture(frame.image.unwrap_or_default());
            Ok(clip::Piece::Frame(Frame { index: frame.index, picture }))
        }
        Some(From::Chunk(chunk)) => Ok(clip::Piece::Chunk(Chunk { offset: chunk.offset, data: chunk.data })),
        Some(From::Completion(end)) => Ok(clip::Piece::End { frames: end.num_frames, end }),
        None => Err(Fault::internal("an image service sent an event without content")),
    }
}

/// What a completion tells beside how the generation ended.
pub(crate) struct Facts {
    pub(crate) call: Arc<Call>,
    pub(crate) input: Judged,
    /// The seed that was asked for, to be told where the upstream can't tell any more.
    pub(crate) seed: u64,
}

/// An event of a stream of pictures as callers see it.
pub(crate) fn picture_event(
    event: pictures::Event<proto::Completion>,
    facts: &Facts,
) -> api::StreamGenerateImageResponse {
    use api::stream_generate_image_response::Event as To;
    let event = match event {
        pictures::Event::Progress(progress) => To::Progress(progress_message(progress)),
        pictures::Event::Verdict(of) => To::Verdict(verdict(&of)),
        pictures::Event::Result(made) => {
            let (images, completion) = made_pictures(*made, facts);
            To::Result(api::GeneratedImages { images, completion: Some(completion) })
        }
    };
    api::StreamGenerateImageResponse { event: Some(event) }
}

/// Finished pictures as callers see them.
pub(crate) fn made_pictures(
    made: Made<proto::Completion>,
    facts: &Facts,
) -> (Vec<api::JudgedImage>, api::ImageCompletion) {
    let judged =
        |(picture, of)| api::JudgedImage { image: Some(image(picture)), verdict: Some(verdict(&of)) };
    let completion = completion(made.end, made.summary, made.withheld, facts);
    (made.pictures.into_iter().map(judged).collect(), completion)
}

/// How a generation ended, as callers see it.
pub(crate) fn completion(
    upstream: proto::Completion,
    summary: Summary,
    withheld: bool,
    facts: &Facts,
) -> api::ImageCompletion {
    let generation = finished(upstream, withheld);
    let generators = generation.model.iter().cloned().collect();
    let detectors = union(&facts.input.detectors, &summary.detectors);
    api::ImageCompletion {
        generation: Some(generation),
        input_verdict: Some(verdict(&facts.input.verdict)),
        output_verdict: Some(verdict(&summary.verdict)),
        provenance: Some(provenance(&facts.call, generators, &detectors, summary.content_sha256)),
    }
}

/// An event of a clip as callers see it.
pub(crate) fn clip_event(
    event: clip::Event<proto::VideoCompletion>,
    facts: &Facts,
) -> api::GenerateVideoResponse {
    use api::generate_video_response::Event as To;
    let event = match event {
        clip::Event::Progress(progress) => To::Progress(progress_message(progress)),
        clip::Event::Frame(Frame { index, picture }) => {
            To::Frame(proto::VideoFrame { index, image: Some(image(picture)) })
        }
        clip::Event::Verdict(of) => To::Verdict(verdict(&of)),
        clip::Event::Chunk(Chunk { offset, data }) => To::Chunk(proto::VideoChunk { offset, data }),
        clip::Event::End(end) => To::Completion(video_completion(*end, facts)),
    };
    api::GenerateVideoResponse { event: Some(event) }
}

fn video_completion(end: clip::End<proto::VideoCompletion>, facts: &Facts) -> api::VideoCompletion {
    let withheld = end.upstream.is_none();
    let mut video = end.upstream.unwrap_or_else(|| proto::VideoCompletion {
        completion: Some(proto::Completion {
            model: facts.call.model.as_ref().map(model_ref_message),
            seed: facts.seed,
            ..proto::Completion::default()
        }),
        num_frames: end.passed,
        ..proto::VideoCompletion::default()
    });
    let generation = finished(video.completion.unwrap_or_default(), withheld);
    let generators = generation.model.iter().cloned().collect();
    video.completion = Some(generation);
    let detectors = union(&facts.input.detectors, &end.summary.detectors);
    api::VideoCompletion {
        video: Some(video),
        input_verdict: Some(verdict(&facts.input.verdict)),
        output_verdict: Some(verdict(&end.summary.verdict)),
        provenance: Some(provenance(&facts.call, generators, &detectors, end.summary.content_sha256)),
    }
}

fn finished(mut generation: proto::Completion, withheld: bool) -> proto::Completion {
    if withheld {
        generation.finish_reason = common::FinishReason::ContentFilter.into();
    }
    generation
}
