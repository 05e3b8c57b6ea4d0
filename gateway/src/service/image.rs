//! Pictures: vectors and labels of them are passed on unjudged, since neither is content, as for text.

use atelier_core::{Fault, Reason};
use atelier_proto::{gateway::v1 as api, image::v1 as image};
use tonic::Request;

use super::{Answers, Gateway};
use crate::upstream::{ImageClient, Task, call};

pub(super) async fn embed(
    gateway: &Gateway,
    request: Request<api::EmbedImageRequest>,
) -> Result<api::EmbedImageResponse, Fault> {
    let context = gateway.admit(&request, "EmbedImage")?.context;
    let request = request.into_inner();
    let route = gateway.image.route(&request.model, Task::EmbedImage)?;
    let message = image::EmbedImageRequest { model: route.model.id.to_string(), images: request.images };
    let send = |mut client: ImageClient, request| async move { client.embed_image(request).await };
    let answer = call(&route, &context, message, send).await?;
    Ok(api::EmbedImageResponse { embeddings: answer.embeddings, model: answer.model })
}

pub(super) async fn classify(
    gateway: &Gateway,
    request: Request<api::ClassifyImageRequest>,
) -> Result<api::ClassifyImageResponse, Fault> {
    let context = gateway.admit(&request, "ClassifyImage")?.context;
    let request = request.into_inner();
    let route = gateway.image.route(&request.model, Task::ClassifyImage)?;
    let model = route.model.id.to_string();
    let message = image::ClassifyImageRequest { model, images: request.images, top_k: request.top_k };
    let send = |mut client: ImageClient, request| async move { client.classify_image(request).await };
    let answer = call(&route, &context, message, send).await?;
    Ok(api::ClassifyImageResponse { results: answer.results, model: answer.model })
}

pub(super) async fn generate(
    gateway: &Gateway,
    request: Request<api::GenerateImageRequest>,
) -> Result<api::GenerateImageResponse, Fault> {
    gateway.admit(&request, "GenerateImage")?;
    Err(unmoderated())
}

pub(super) async fn stream_generate(
    gateway: &Gateway,
    request: Request<api::StreamGenerateImageRequest>,
) -> Result<Answers<api::StreamGenerateImageResponse>, Fault> {
    gateway.admit(&request, "StreamGenerateImage")?;
    Err(unmoderated())
}

pub(super) async fn generate_video(
    gateway: &Gateway,
    request: Request<api::GenerateVideoRequest>,
) -> Result<Answers<api::GenerateVideoResponse>, Fault> {
    gateway.admit(&request, "GenerateVideo")?;
    Err(unmoderated())
}

pub(super) async fn explore(
    gateway: &Gateway,
    request: Request<api::ExploreRequest>,
) -> Result<api::ExploreResponse, Fault> {
    gateway.admit(&request, "Explore")?;
    Err(unmoderated())
}

/// Nothing is made while nothing judges it.
fn unmoderated() -> Fault {
    Fault::new(Reason::TaskUnsupported, "the gateway does not judge made pictures yet")
}
