//! Clips.

use std::sync::Arc;

use atelier_core::Fault;
use atelier_proto::{gateway::v1 as api, image::v1 as image};
use atelier_rpc::status;
use futures::StreamExt;
use tonic::Request;

use super::{Answers, Asked, Gateway, bounds, is_judged};
use crate::{
    convert::image::{self as convert, Facts},
    request_filter,
    response_filter::{
        Account,
        clip::{ClipFilter, Show},
    },
    upstream::{ImageClient, Task, call},
};

/// What the API says of clips that are asked for without a rate.
const DEFAULT_FRAMES_PER_SECOND: u32 = 12;

pub(in crate::service) async fn generate_video(
    gateway: &Gateway,
    request: Request<api::GenerateVideoRequest>,
) -> Result<Answers<api::GenerateVideoResponse>, Fault> {
    let admitted = gateway.admit(&request, "GenerateVideo")?;
    let request = request.into_inner();
    let prompts = bounds::keyframes(&request.keyframes)?;
    let asked = Asked::of(gateway, &request.model, Task::GenerateVideo)?;
    let context = Arc::new(admitted.into_call(asked.model.clone()));
    let input = request_filter::check_all(&gateway.judge, &context, &prompts, Vec::new()).await?;
    let first = request.keyframes.first().and_then(|keyframe| keyframe.seed);
    let seed = first.or_else(|| request.diffusion.as_ref()?.seed).unwrap_or_default();
    let frames_per_second = request.video.and_then(|video| video.frames_per_second);
    let show = Show {
        frames: request.frames.is_some(),
        frames_per_second: frames_per_second.unwrap_or(DEFAULT_FRAMES_PER_SECOND),
    };
    let message = image::GenerateVideoRequest {
        model: asked.name(),
        keyframes: request.keyframes,
        diffusion: request.diffusion,
        video: request.video,
        // Where there is a judge, frames are asked for though the caller may want none: PNG, the default format.
        frames: convert::output(request.frames, is_judged(&context.policy)),
        drift: request.drift,
    };
    let send = |mut client: ImageClient, request| async move { client.generate_video(request).await };
    let pieces = call(&asked.route, &context.context, message, send).await?;
    let account = Account::new(gateway.judge.clone(), Arc::clone(&context), None);
    let pieces = pieces.map(convert::clip_piece).boxed();
    let filter = ClipFilter::new(account, pieces, gateway.files.clone(), show);
    let facts = Facts { call: context, input, seed };
    let events = filter.into_stream().map(move |event| match event {
        Ok(event) => Ok(convert::clip_event(event, &facts)),
        Err(fault) => Err(status(fault)),
    });
    Ok(events.boxed())
}
