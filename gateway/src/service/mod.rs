//! The gRPC edge: who calls, under which rules; each area of the API has its file.

mod chat;
mod check;
mod generation;
mod image;
mod models;
mod moderation;
mod text;

use std::sync::Arc;

use atelier_core::{Fault, ModelRef, Reason};
use atelier_policy::Policy;
use atelier_proto::gateway::v1::{gateway_service_server::GatewayService, *};
use atelier_rpc::{CallContext, status};
use futures::stream::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    auth::Authenticator,
    judge::{Call, Judge},
    policy_store::PolicyStore,
    response_filter::clip::FileMemory,
    router::Router,
    upstream::{ImageClient, ModerationPool, TextClient},
};

/// The gateway's service.
pub(crate) struct Gateway {
    pub(crate) authenticator: Authenticator,
    pub(crate) policies: Arc<PolicyStore>,
    pub(crate) text: Arc<Router<TextClient>>,
    pub(crate) image: Arc<Router<ImageClient>>,
    pub(crate) judge: Judge,
    pub(crate) moderation: Arc<ModerationPool>,
    /// Where the files of clips are held.
    pub(crate) files: FileMemory,
}

/// A caller who was let in, and the rules of the call from its beginning to its end.
struct Admitted {
    context: CallContext,
    rpc: &'static str,
    policy: Arc<Policy>,
    policy_version: String,
}

impl Gateway {
    fn admit<T>(&self, request: &Request<T>, rpc: &'static str) -> Result<Admitted, Fault> {
        let mut context = CallContext::of(request);
        let authorization = request.metadata().get("authorization").map(|value| value.as_encoded_bytes());
        context.tenant = self.authenticator.tenant(authorization, context.tenant)?;
        let rules = self.policies.current();
        let policy = rules.policy_of(&context.tenant).map_err(|unknown| {
            Fault::new(Reason::PermissionDenied, "the tenant is not known to the policy").with_cause(unknown)
        })?;
        let policy = Arc::clone(policy);
        Ok(Admitted { context, rpc, policy, policy_version: rules.version().to_owned() })
    }
}

impl Admitted {
    fn into_call(self, model: Option<ModelRef>) -> Call {
        let Self { context, rpc, policy, policy_version } = self;
        Call { context, rpc, policy, policy_version, model }
    }
}

type Answers<T> = BoxStream<'static, Result<T, Status>>;

/// Unary calls and streams alike: a function of an area file, its faults as statuses.
macro_rules! answer {
    ($call:expr) => {
        match $call.await {
            Ok(answer) => Ok(Response::new(answer)),
            Err(fault) => Err(status(fault)),
        }
    };
}

#[tonic::async_trait]
impl GatewayService for Gateway {
    type StreamChatStream = Answers<StreamChatResponse>;
    type StreamGenerateStream = Answers<StreamGenerateResponse>;
    type StreamGenerateImageStream = Answers<StreamGenerateImageResponse>;
    type GenerateVideoStream = Answers<GenerateVideoResponse>;
    type StreamEmbedStream = Answers<StreamEmbedResponse>;
    type StreamModerateTextStream = Answers<StreamModerateTextResponse>;
    type FollowTextStream = Answers<FollowTextResponse>;
    type StreamModerateImageStream = Answers<StreamModerateImageResponse>;

    async fn chat(&self, request: Request<ChatRequest>) -> Result<Response<ChatResponse>, Status> {
        answer!(generation::chat(self, request))
    }

    async fn stream_chat(
        &self,
        request: Request<StreamChatRequest>,
    ) -> Result<Response<Self::StreamChatStream>, Status> {
        answer!(generation::stream_chat(self, request))
    }

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<GenerateResponse>, Status> {
        answer!(generation::generate(self, request))
    }

    async fn stream_generate(
        &self,
        request: Request<StreamGenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        answer!(generation::stream_generate(self, request))
    }

    async fn tokenize(
        &self,
        request: Request<TokenizeRequest>,
    ) -> Result<Response<TokenizeResponse>, Status> {
        answer!(text::tokenize(self, request))
    }

    async fn detokenize(
        &self,
        request: Request<DetokenizeRequest>,
    ) -> Result<Response<DetokenizeResponse>, Status> {
        answer!(text::detokenize(self, request))
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        answer!(text::embed(self, request))
    }

    async fn stream_embed(
        &self,
        request: Request<Streaming<StreamEmbedRequest>>,
    ) -> Result<Response<Self::StreamEmbedStream>, Status> {
        answer!(text::stream_embed(self, request))
    }

    async fn rerank(&self, request: Request<RerankRequest>) -> Result<Response<RerankResponse>, Status> {
        answer!(text::rerank(self, request))
    }

    async fn generate_image(
        &self,
        request: Request<GenerateImageRequest>,
    ) -> Result<Response<GenerateImageResponse>, Status> {
        answer!(image::generate(self, request))
    }

    async fn stream_generate_image(
        &self,
        request: Request<StreamGenerateImageRequest>,
    ) -> Result<Response<Self::StreamGenerateImageStream>, Status> {
        answer!(image::stream_generate(self, request))
    }

    async fn generate_video(
        &self,
        request: Request<GenerateVideoRequest>,
    ) -> Result<Response<Self::GenerateVideoStream>, Status> {
        answer!(image::generate_video(self, request))
    }

    async fn explore(&self, request: Request<ExploreRequest>) -> Result<Response<ExploreResponse>, Status> {
        answer!(image::explore(self, request))
    }

    async fn embed_image(
        &self,
        request: Request<EmbedImageRequest>,
    ) -> Result<Response<EmbedImageResponse>, Status> {
        answer!(image::embed(self, request))
    }

    async fn classify_image(
        &self,
        request: Request<ClassifyImageRequest>,
    ) -> Result<Response<ClassifyImageResponse>, Status> {
        answer!(image::classify(self, request))
    }

    async fn moderate_text(
        &self,
        request: Request<ModerateTextRequest>,
    ) -> Result<Response<ModerateTextResponse>, Status> {
        answer!(moderation::moderate_text(self, request))
    }

    async fn stream_moderate_text(
        &self,
        request: Request<Streaming<StreamModerateTextRequest>>,
    ) -> Result<Response<Self::StreamModerateTextStream>, Status> {
        answer!(moderation::stream_moderate_text(self, request))
    }

    async fn follow_text(
        &self,
        request: Request<Streaming<FollowTextRequest>>,
    ) -> Result<Response<Self::FollowTextStream>, Status> {
        answer!(moderation::follow_text(self, request))
    }

    async fn moderate_image(
        &self,
        request: Request<ModerateImageRequest>,
    ) -> Result<Response<ModerateImageResponse>, Status> {
        answer!(moderation::moderate_image(self, request))
    }

    async fn stream_moderate_image(
        &self,
        request: Request<Streaming<StreamModerateImageRequest>>,
    ) -> Result<Response<Self::StreamModerateImageStream>, Status> {
        answer!(moderation::stream_moderate_image(self, request))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        answer!(check::check(self, request))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        answer!(models::list_models(self, request))
    }

    async fn get_model(
        &self,
        request: Request<GetModelRequest>,
    ) -> Result<Response<GetModelResponse>, Status> {
        answer!(models::get_model(self, request))
    }

    async fn list_categories(
        &self,
        request: Request<ListCategoriesRequest>,
    ) -> Result<Response<ListCategoriesResponse>, Status> {
        answer!(moderation::list_categories(self, request))
    }
}
