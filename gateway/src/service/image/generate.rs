//! Pictures from words and pictures, streamed and not: one path, in which the request is judged, then what was made.

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
        pictures::{Event, PictureFilter},
    },
    service::Admitted,
    upstream::{ImageClient, Task, call},
};

pub(in crate::service) async fn generate(
    gateway: &Gateway,
    request: Request<api::GenerateImageRequest>,
) -> Result<api::GenerateImageResponse, Fault> {
    let admitted = gateway.admit(&request, "GenerateImage")?;
    let asked = request.into_inner();
    let request = image::StreamGenerateImageRequest {
        model: asked.model,
        prompt: asked.prompt,
        negative_prompt: asked.negative_prompt,
        init_image: asked.init_image,
        control_images: asked.control_images,
        diffusion: asked.diffusion,
        post_processing: asked.post_processing,
        output: asked.output,
        preview: None,
    };
    let Answer { mut filter, facts } = begin(gateway, admitted, request).await?;
    while let Some(event) = filter.next().await? {
        match event {
            // Each picture carries its own verdict.
            Event::Progress(_) | Event::Verdict(_) => {}
            Event::Result(made) => {
                let (images, completion) = convert::made_pictures(*made, &facts);
                return Ok(api::GenerateImageResponse { images, completion: Some(completion) });
            }
        }
    }
    Err(Fault::internal("a generation ended without a result"))
}

pub(in crate::service) async fn stream_generate(
    gateway: &Gateway,
    request: Request<api::StreamGenerateImageRequest>,
) -> Result<Answers<api::StreamGenerateImageResponse>, Fault> {
    let admitted = gateway.admit(&request, "StreamGenerateImage")?;
    let asked = request.into_inner();
    let request = image::StreamGenerateImageRequest {
        model: asked.model,
        prompt: asked.prompt,
        negative_prompt: asked.negative_prompt,
        init_image: asked.init_image,
        control_images: asked.control_images,
        diffusion: asked.diffusion,
        post_processing: asked.post_processing,
        output: asked.output,
        preview: asked.preview,
    };
    let Answer { filter, facts } = begin(gateway, admitted, request).await?;
    let events = filter.into_stream().map(move |event| match event {
        Ok(event) => Ok(convert::picture_event(event, &facts)),
        Err(fault) => Err(status(fault)),
    });
    Ok(events.boxed())
}

/// Pictures that are being made.
struct Answer {
    filter: PictureFilter<image::Completion>,
    facts: Facts,
}

async fn begin(
    gateway: &Gateway,
    admitted: Admitted,
    mut request: image::StreamGenerateImageRequest,
) -> Result<Answer, Fault> {
    bounds::prompt("prompt", &request.prompt)?;
    bounds::prompt("negative_prompt", &request.negative_prompt)?;
    let shown = bounds::shown(request.init_image.as_ref(), &request.control_images)?;
    let asked = Asked::of(gateway, &request.model, Task::GenerateImage)?;
    let context = Arc::new(admitted.into_call(asked.model.clone()));
    let prompts = [request.prompt.as_str(), request.negative_prompt.as_str()];
    let input = request_filter::check_all(&gateway.judge, &context, &prompts, shown).await?;
    let seed = request.diffusion.as_ref().and_then(|diffusion| diffusion.seed).unwrap_or_default();
    request.model = asked.name();
    request.output = convert::output(request.output, is_judged(&context.policy));
    let send = |mut client: ImageClient, request| async move { client.stream_generate_image(request).await };
    let pieces = call(&asked.route, &context.context, request, send).await?;
    let pieces = pieces.map(convert::picture_piece).boxed();
    let account = Account::new(gateway.judge.clone(), Arc::clone(&context), None);
    let filter = PictureFilter::new(account, pieces);
    Ok(Answer { filter, facts: Facts { call: context, input, seed } })
}
