//! Pictures. What a model makes is judged; vectors and labels of pictures are passed on unjudged, since neither is
//! content, as for text.

mod bounds;
mod explore;
mod generate;
mod video;

use atelier_core::{Fault, ModelRef};
use atelier_policy::{Medium, Policy, Stage};
use atelier_proto::{gateway::v1 as api, image::v1 as image};
use tonic::Request;

pub(super) use explore::explore;
pub(super) use generate::{generate, stream_generate};
pub(super) use video::generate_video;

use super::{Answers, Gateway};
use crate::{
    router::Route,
    upstream::{ImageClient, Task, call},
};

pub(super) async fn embed(
    gateway: &Gateway,
    request: Request<api::EmbedImageRequest>,
) -> Result<api::EmbedImageResponse, Fault> {
    let context = gateway.admit(&request, "EmbedImage")?.context;
    let api::EmbedImageRequest { model, images } = request.into_inner();
    let asked = Asked::of(gateway, &model, Task::EmbedImage)?;
    let message = image::EmbedImageRequest { model: asked.name(), images };
    let send = |mut client: ImageClient, request| async move { client.embed_image(request).await };
    let answer = call(&asked.route, &context, message, send).await?;
    Ok(api::EmbedImageResponse { embeddings: answer.embeddings, model: answer.model })
}

pub(super) async fn classify(
    gateway: &Gateway,
    request: Request<api::ClassifyImageRequest>,
) -> Result<api::ClassifyImageResponse, Fault> {
    let context = gateway.admit(&request, "ClassifyImage")?.context;
    let api::ClassifyImageRequest { model, images, top_k } = request.into_inner();
    let asked = Asked::of(gateway, &model, Task::ClassifyImage)?;
    let message = image::ClassifyImageRequest { model: asked.name(), images, top_k };
    let send = |mut client: ImageClient, request| async move { client.classify_image(request).await };
    let answer = call(&asked.route, &context, message, send).await?;
    Ok(api::ClassifyImageResponse { results: answer.results, model: answer.model })
}

/// Which model is asked, and where.
struct Asked {
    route: Route<ImageClient>,
    /// `None`: the service's own default, which may differ by what is asked.
    model: Option<ModelRef>,
}

impl Asked {
    fn of(gateway: &Gateway, name: &str, task: Task) -> Result<Self, Fault> {
        let route = gateway.image.route(name, task)?;
        let ours = !name.is_empty() || gateway.image.is_default(&route.model.id);
        Ok(Self { model: ours.then(|| route.model.clone()), route })
    }

    /// As the image service is told it.
    fn name(&self) -> String {
        self.model.as_ref().map(|model| model.id.to_string()).unwrap_or_default()
    }
}

/// Whether what is made will be judged, so that copies for judging are worth asking for.
fn is_judged(policy: &Policy) -> bool {
    policy.judges(Stage::Output, Medium::Image)
}
