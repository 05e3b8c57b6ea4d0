//! Upstreams that answer by script, for measuring the gateway alone.

use std::{pin::Pin, time::Duration};

use atelier_proto::{
    common::v1::{FinishReason, Model, ModelRef, ModelTask, Usage},
    moderation::v1::{self as moderation, moderation_service_server as moderation_server},
    text::v1::{self as text, stream_generate_response::Event, text_service_server as text_server},
};
use atelier_rpc::{Server, ServerConfig};
use futures::{Stream, StreamExt as _};
use tokio::time::interval;
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status, Streaming};

use crate::Running;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn model() -> ModelRef {
    ModelRef { id: "scripted".to_owned(), revision: "000000000000".to_owned() }
}

fn unscripted<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not in the script"))
}

/// A text service whose model writes one word per `pace`, `max_tokens` times.
#[derive(Clone, Copy)]
pub struct ScriptedText {
    /// Time between two words.
    pub pace: Duration,
}

impl ScriptedText {
    /// Serves it.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(self) -> anyhow::Result<Running> {
        serve(text_server::TextServiceServer::new(self)).await
    }
}

/// A moderation service that finds nothing in anything, at once.
#[derive(Clone, Copy)]
pub struct ScriptedModeration;

impl ScriptedModeration {
    /// Serves it.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(self) -> anyhow::Result<Running> {
        serve(moderation_server::ModerationServiceServer::new(self)).await
    }
}

async fn serve<S>(service: S) -> anyhow::Result<Running>
where
    S: tonic::codegen::Service<
            tonic::codegen::http::Request<tonic::body::Body>,
            Response = tonic::codegen::http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
            Future: Send + 'static,
        > + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static,
{
    Running::start(|listeners, stop| async move {
        let server = Server::builder("scripted", &ServerConfig::default()).service(service);
        Ok(server.serve(listeners, async move { stop.cancelled().await }).await?)
    })
    .await
}

#[tonic::async_trait]
impl text_server::TextService for ScriptedText {
    type StreamChatStream = Answers<text::StreamChatResponse>;
    type StreamGenerateStream = Answers<text::StreamGenerateResponse>;
    type StreamEmbedStream = Answers<text::StreamEmbedResponse>;

    async fn stream_generate(
        &self,
        request: Request<text::StreamGenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        let tokens =
            request.into_inner().generation.and_then(|generation| generation.max_tokens).unwrap_or(16);
        let words =
            IntervalStream::new(interval(self.pace)).take(tokens as usize).enumerate().map(|(n, _)| {
                let delta =
                    text::Delta { text: "harbour ".to_owned(), completion_tokens: n as u32 + 1, choice: 0 };
                Event::Delta(delta)
            });
        let end = Event::Completion(text::Completion {
            model: Some(model()),
            finish_reason: FinishReason::Length.into(),
            usage: Some(Usage {
                prompt_tokens: 1,
                completion_tokens: tokens,
                total_tokens: tokens + 1,
                ..Usage::default()
            }),
            ..Default::default()
        });
        let events = words.chain(futures::stream::iter([end]));
        let answers = events.map(|event| Ok(text::StreamGenerateResponse { event: Some(event) }));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_models(
        &self,
        _: Request<text::ListModelsRequest>,
    ) -> Result<Response<text::ListModelsResponse>, Status> {
        let ModelRef { id, revision } = model();
        let tasks = vec![ModelTask::TextGeneration.into()];
        let models = vec![Model { id, revision, tasks, context_length: 1 << 16, ..Default::default() }];
        Ok(Response::new(text::ListModelsResponse { models, ..Default::default() }))
    }

    async fn rerank(
        &self,
        _: Request<text::RerankRequest>,
    ) -> Result<Response<text::RerankResponse>, Status> {
        unscripted()
    }
    async fn score(&self, _: Request<text::ScoreRequest>) -> Result<Response<text::ScoreResponse>, Status> {
        unscripted()
    }
    async fn chat(&self, _: Request<text::ChatRequest>) -> Result<Response<text::ChatResponse>, Status> {
        unscripted()
    }
    async fn stream_chat(
        &self,
        _: Request<text::StreamChatRequest>,
    ) -> Result<Response<Self::StreamChatStream>, Status> {
        unscripted()
    }
    async fn generate(
        &self,
        _: Request<text::GenerateRequest>,
    ) -> Result<Response<text::GenerateResponse>, Status> {
        unscripted()
    }
    async fn tokenize(
        &self,
        _: Request<text::TokenizeRequest>,
    ) -> Result<Response<text::TokenizeResponse>, Status> {
        unscripted()
    }
    async fn detokenize(
        &self,
        _: Request<text::DetokenizeRequest>,
    ) -> Result<Response<text::DetokenizeResponse>, Status> {
        unscripted()
    }
    async fn embed(&self, _: Request<text::EmbedRequest>) -> Result<Response<text::EmbedResponse>, Status> {
        unscripted()
    }
    async fn stream_embed(
        &self,
        _: Request<Streaming<text::StreamEmbedRequest>>,
    ) -> Result<Response<Self::StreamEmbedStream>, Status> {
        unscripted()
    }
    async fn get_model(
        &self,
        _: Request<text::GetModelRequest>,
    ) -> Result<Response<text::GetModelResponse>, Status> {
        unscripted()
    }
    async fn load_model(
        &self,
        _: Request<text::LoadModelRequest>,
    ) -> Result<Response<text::LoadModelResponse>, Status> {
        unscripted()
    }
    async fn unload_model(
        &self,
        _: Request<text::UnloadModelRequest>,
    ) -> Result<Response<text::UnloadModelResponse>, Status> {
        unscripted()
    }
}

#[tonic::async_trait]
impl moderation_server::ModerationService for ScriptedModeration {
    type FollowTextStream = Answers<moderation::FollowTextResponse>;
    type StreamModerateTextStream = Answers<moderation::StreamModerateTextResponse>;
    type StreamModerateImageStream = Answers<moderation::StreamModerateImageResponse>;

    async fn moderate_text(
        &self,
        request: Request<moderation::ModerateTextRequest>,
    ) -> Result<Response<moderation::ModerateTextResponse>, Status> {
        let moderation::ModerateTextRequest { items, categories, .. } = request.into_inner();
        let score = |category: &String| moderation::CategoryScore {
            category: category.clone(),
            score: 0.0,
            detector: model().id,
            ..moderation::CategoryScore::default()
        };
        let scores = moderation::Scores {
            categories: categories.iter().map(score).collect(),
            windows: 1,
            ..moderation::Scores::default()
        };
        let results = items.into_iter().map(|item| moderation::ItemScores {
            id: item.id,
            scores: Some(scores.clone()),
            ..moderation::ItemScores::default()
        });
        let answer = moderation::ModerateTextResponse { results: results.collect(), models: vec![model()] };
        Ok(Response::new(answer))
    }

    async fn list_categories(
        &self,
        _: Request<moderation::ListCategoriesRequest>,
    ) -> Result<Response<moderation::ListCategoriesResponse>, Status> {
        Ok(Response::new(moderation::ListCategoriesResponse { categories: Vec::new() }))
    }

    async fn stream_moderate_text(
        &self,
        _: Request<Streaming<moderation::StreamModerateTextRequest>>,
    ) -> Result<Response<Self::StreamModerateTextStream>, Status> {
        unscripted()
    }
    async fn follow_text(
        &self,
        _: Request<Streaming<moderation::FollowTextRequest>>,
    ) -> Result<Response<Self::FollowTextStream>, Status> {
        unscripted()
    }
    async fn moderate_image(
        &self,
        _: Request<moderation::ModerateImageRequest>,
    ) -> Result<Response<moderation::ModerateImageResponse>, Status> {
        unscripted()
    }
    async fn stream_moderate_image(
        &self,
        _: Request<Streaming<moderation::StreamModerateImageRequest>>,
    ) -> Result<Response<Self::StreamModerateImageStream>, Status> {
        unscripted()
    }
}
