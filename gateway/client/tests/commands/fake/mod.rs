//! A gateway that answers from a script: what a text says decides what happens to it.

mod answers;
mod images;
mod models;
mod port;
mod scores;
mod tools;

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use atelier_client::proto::{
    common::v1::{FinishReason, ModelRef},
    gateway::v1::{
        self as wire, Action, Stage, check_request, gateway_service_server, stream_chat_response,
        stream_generate_response, stream_moderate_text_response,
    },
    moderation::v1::{Category, Detector, ItemError, Modality},
    text::v1::{Embedding, Message, Role, Token},
};
use futures::{Stream, StreamExt, stream};
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status, Streaming, metadata::MetadataMap, transport::Server};
use tonic_types::{ErrorDetails, StatusExt};

use answers::{choices, completion, deltas, of_choice, verdict};
use port::Either;
use tools::calls;

/// The only key the gateway lets in, once a test has asked it to look.
pub(crate) const KEY: &str = "sesame";

/// What happened, for tests to look at.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) ask_for_key: bool,
    /// Answers after which the first moderation stream breaks.
    pub(crate) break_after: Option<u32>,
    pub(crate) calls: AtomicU32,
    pub(crate) streams: AtomicU32,
    pub(crate) most_in_flight: AtomicU32,
    pub(crate) tenants: Mutex<Vec<String>>,
    pub(crate) messages: Mutex<Vec<Vec<Message>>>,
    pub(crate) tries: Mutex<HashMap<String, u32>>,
    pub(crate) paintings: Mutex<Vec<wire::StreamGenerateImageRequest>>,
    pub(crate) clips: Mutex<Vec<wire::GenerateVideoRequest>>,
    pub(crate) explorations: Mutex<Vec<wire::ExploreRequest>>,
}

/// The gateway on a port of its own; it stops when dropped.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) seen: Arc<Seen>,
    _runtime: Runtime,
}

impl Gateway {
    pub(crate) fn start() -> Self {
        Self::start_with(Seen::default())
    }

    pub(crate) fn start_with(seen: Seen) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(seen);
        let service = gateway_service_server::GatewayServiceServer::new(Service(seen.clone()));
        let (health, health_service) = tonic_health::server::health_reporter();
        runtime.spawn(async move {
            health
                .set_service_status("atelier.gateway.v1.GatewayService", tonic_health::ServingStatus::Serving)
                .await;
            health.set_service_status("warming", tonic_health::ServingStatus::NotServing).await;
            let either = Either { gateway: service, health: health_service };
            Server::builder().serve_with_incoming(either, TcpListenerStream::new(listener)).await
        });
        Self { address, seen, _runtime: runtime }
    }
}

struct Service(Arc<Seen>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

pub(crate) fn fault(code: Code, reason: &str, message: &str, mut details: ErrorDetails) -> Status {
    details.set_error_info(
        reason,
        "atelier",
        details.error_info().map(|info| info.metadata.clone()).unwrap_or_default(),
    );
    details.set_request_info("0192-fake", "");
    Status::with_error_details(code, message, details)
}

fn blocked() -> Status {
    let mut details = ErrorDetails::new();
    details.set_error_info(
        "",
        "",
        [("policy".into(), "default".into()), ("categories".into(), "hate".into())],
    );
    fault(Code::PermissionDenied, "CONTENT_BLOCKED", "the input does not pass the policy", details)
}

fn queue_full() -> Status {
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(20)));
    fault(Code::ResourceExhausted, "QUEUE_FULL", "the queue is full", details)
}

fn model() -> Option<ModelRef> {
    Some(ModelRef { id: "fake".into(), revision: "0123456789ab".into() })
}

/// The words of the answer to a prompt, and how it ends.
fn answer(prompt: &str, top_p: Option<f32>) -> Result<(Vec<String>, FinishReason), Status> {
    if top_p.is_some_and(|p| p > 1.0) {
        let details =
            ErrorDetails::with_bad_request_violation("generation.top_p", "must be above 0 and up to 1");
        let message = "generation.top_p: must be above 0 and up to 1";
        return Err(fault(Code::InvalidArgument, "INVALID_ARGUMENT", message, details));
    }
    match prompt {
        "evil" => Err(blocked()),
        "turns evil" => Ok((vec!["So ".into(), "far".into()], FinishReason::ContentFilter)),
        prompt => Ok((prompt.split_inclusive(' ').map(str::to_uppercase).collect(), FinishReason::Stop)),
    }
}

impl Service {
    fn admit(&self, metadata: &MetadataMap) -> Result<(), Status> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let tenant = metadata.get("atelier-tenant").and_then(|tenant| tenant.to_str().ok());
        self.0.tenants.lock().unwrap().push(tenant.unwrap_or_default().to_owned());
        let key = metadata.get("authorization").and_then(|key| key.to_str().ok());
        if self.0.ask_for_key && key != Some(&format!("Bearer {KEY}")) {
            return Err(fault(
                Code::Unauthenticated,
                "UNAUTHENTICATED",
                "no valid API key",
                ErrorDetails::new(),
            ));
        }
        Ok(())
    }

    /// Fails the first `n` tries of a text that ends in "later:n".
    fn later(&self, text: &str) -> bool {
        let Some(wanted) = text.rsplit_once("later:").and_then(|(_, n)| n.parse::<u32>().ok()) else {
            return false;
        };
        let mut tries = self.0.tries.lock().unwrap();
        let tried = tries.entry(text.to_owned()).or_default();
        *tried += 1;
        *tried <= wanted
    }

    async fn chat_events(
        &self,
        metadata: &MetadataMap,
        messages: Vec<Message>,
        top_p: Option<f32>,
    ) -> Result<(Vec<String>, FinishReason), Status> {
        self.admit(metadata)?;
        let prompt = messages.last().map(|message| message.content.clone()).unwrap_or_default();
        self.0.messages.lock().unwrap().push(messages);
        if prompt == "hang" {
            std::future::pending::<()>().await;
        }
        if self.later(&prompt) {
            return Err(queue_full());
        }
        answer(&prompt, top_p)
    }
}

#[tonic::async_trait]
impl gateway_service_server::GatewayService for Service {
    type StreamChatStream = Answers<wire::StreamChatResponse>;
    type StreamGenerateStream = Answers<wire::StreamGenerateResponse>;
    type StreamGenerateImageStream = Answers<wire::StreamGenerateImageResponse>;
    type GenerateVideoStream = Answers<wire::GenerateVideoResponse>;
    type StreamEmbedStream = Answers<wire::StreamEmbedResponse>;
    type StreamModerateTextStream = Answers<wire::StreamModerateTextResponse>;
    type FollowTextStream = Answers<wire::FollowTextResponse>;
    type StreamModerateImageStream = Answers<wire::StreamModerateImageResponse>;

    async fn chat(
        &self,
        request: Request<wire::ChatRequest>,
    ) -> Result<Response<wire::ChatResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let n = request.generation.as_ref().and_then(|config| config.n).unwrap_or(1);
        let top_p = request.generation.and_then(|config| config.top_p);
        let (words, finish) = self.chat_events(&metadata, request.messages, top_p).await?;
        let written = words.len() as u32;
        let tool_calls = calls(request.tools, request.tool_choice);
        let role = Role::Assistant.into();
        let message = Message { role, content: words.concat(), tool_calls, ..Message::default() };
        let completion = completion(finish, written);
        let choices = choices(n, &words.concat(), &completion);
        Ok(Response::new(wire::ChatResponse {
            message: Some(message),
            completion: Some(completion),
            choices,
        }))
    }

    async fn stream_chat(
        &self,
        request: Request<wire::StreamChatRequest>,
    ) -> Result<Response<Self::StreamChatStream>, Status> {
        use stream_chat_response::Event;
        let (metadata, _, request) = request.into_parts();
        let stops_short = request.messages.last().is_some_and(|message| message.content == "stops short");
        let n = request.generation.as_ref().and_then(|config| config.n).unwrap_or(1);
        let top_p = request.generation.and_then(|config| config.top_p);
        let (words, finish) = self.chat_events(&metadata, request.messages, top_p).await?;
        let written = words.len() as u32;
        let mut events: Vec<_> = deltas(words).map(Event::Delta).collect();
        events.extend(calls(request.tools, request.tool_choice).into_iter().map(Event::ToolCall));
        if finish == FinishReason::ContentFilter {
            events.push(Event::Verdict(verdict(Action::Block, Stage::Output)));
        }
        if !stops_short {
            events.push(Event::Completion(completion(finish, written)));
        }
        let events =
            events.into_iter().flat_map(move |event| (0..n).map(move |n| Ok(of_choice(n, event.clone()))));
        Ok(Response::new(stream::iter(events).boxed()))
    }

    async fn generate(
        &self,
        request: Request<wire::GenerateRequest>,
    ) -> Result<Response<wire::GenerateResponse>, Status> {
        self.admit(request.metadata())?;
        let (words, finish) = answer(&request.get_ref().prompt, None)?;
        let completion = Some(completion(finish, words.len() as u32));
        let choices = Vec::new();
        Ok(Response::new(wire::GenerateResponse { text: words.concat(), completion, choices }))
    }

    async fn stream_generate(
        &self,
        request: Request<wire::StreamGenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        use stream_generate_response::Event;
        self.admit(request.metadata())?;
        let (words, finish) = answer(&request.get_ref().prompt, None)?;
        let completion = Event::Completion(completion(finish, words.len() as u32));
        let events = deltas(words).map(Event::Delta).chain([completion]);
        let events = events.map(|event| Ok(wire::StreamGenerateResponse { event: Some(event), choice: 0 }));
        Ok(Response::new(stream::iter(events.collect::<Vec<_>>()).boxed()))
    }

    async fn generate_image(
        &self,
        request: Request<wire::GenerateImageRequest>,
    ) -> Result<Response<wire::GenerateImageResponse>, Status> {
        self.admit(request.metadata())?;
        images::paint(self, request.into_inner()).map(Response::new)
    }

    async fn stream_generate_image(
        &self,
        request: Request<wire::StreamGenerateImageRequest>,
    ) -> Result<Response<Self::StreamGenerateImageStream>, Status> {
        let events = images::paint_slowly(self, request.into_inner())?;
        Ok(Response::new(stream::iter(events.into_iter().map(Ok)).boxed()))
    }

    async fn generate_video(
        &self,
        request: Request<wire::GenerateVideoRequest>,
    ) -> Result<Response<Self::GenerateVideoStream>, Status> {
        let events = images::film(self, request.into_inner());
        Ok(Response::new(stream::iter(events.into_iter().map(Ok)).boxed()))
    }

    async fn explore(
        &self,
        request: Request<wire::ExploreRequest>,
    ) -> Result<Response<wire::ExploreResponse>, Status> {
        Ok(Response::new(images::explore(self, request.into_inner())))
    }

    async fn embed_image(
        &self,
        request: Request<wire::EmbedImageRequest>,
    ) -> Result<Response<wire::EmbedImageResponse>, Status> {
        Ok(Response::new(images::embed(request.into_inner())))
    }

    async fn classify_image(
        &self,
        request: Request<wire::ClassifyImageRequest>,
    ) -> Result<Response<wire::ClassifyImageResponse>, Status> {
        Ok(Response::new(images::classify(request.into_inner())))
    }

    async fn tokenize(
        &self,
        request: Request<wire::TokenizeRequest>,
    ) -> Result<Response<wire::TokenizeResponse>, Status> {
        let text = request.into_inner().text;
        let mut start = 0;
        let tokens = text.split_inclusive(' ').zip(0..).map(|(word, id)| {
            let end = start + word.len() as u32;
            Token { id, text: word.to_owned(), start_byte: std::mem::replace(&mut start, end), end_byte: end }
        });
        Ok(Response::new(wire::TokenizeResponse { tokens: tokens.collect(), model: model() }))
    }

    async fn detokenize(
        &self,
        _: Request<wire::DetokenizeRequest>,
    ) -> Result<Response<wire::DetokenizeResponse>, Status> {
        Ok(Response::new(wire::DetokenizeResponse::default()))
    }

    async fn embed(
        &self,
        request: Request<wire::EmbedRequest>,
    ) -> Result<Response<wire::EmbedResponse>, Status> {
        self.admit(request.metadata())?;
        let texts = request.into_inner().texts;
        if texts.iter().any(|text| self.later(text)) {
            return Err(queue_full());
        }
        let embeddings =
            texts.iter().map(|text| Embedding { values: vec![text.len() as f32, 0.5], truncated: false });
        Ok(Response::new(wire::EmbedResponse {
            embeddings: embeddings.collect(),
            model: model(),
            usage: None,
        }))
    }

    async fn rerank(
        &self,
        request: Request<wire::RerankRequest>,
    ) -> Result<Response<wire::RerankResponse>, Status> {
        Ok(Response::new(models::rank(request.into_inner())))
    }

    async fn stream_embed(
        &self,
        _: Request<Streaming<wire::StreamEmbedRequest>>,
    ) -> Result<Response<Self::StreamEmbedStream>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn moderate_text(
        &self,
        request: Request<wire::ModerateTextRequest>,
    ) -> Result<Response<wire::ModerateTextResponse>, Status> {
        Ok(Response::new(scores::of_texts(request.into_inner())))
    }

    /// Answers each text after a while that depends on it, so that answers overtake each other.
    async fn stream_moderate_text(
        &self,
        request: Request<Streaming<wire::StreamModerateTextRequest>>,
    ) -> Result<Response<Self::StreamModerateTextStream>, Status> {
        use stream_moderate_text_response::Outcome;
        self.admit(request.metadata())?;
        let first = self.0.streams.fetch_add(1, Ordering::Relaxed) == 0;
        let break_after = self.0.break_after.filter(|_| first).unwrap_or(u32::MAX);
        let seen = self.0.clone();
        let in_flight = Arc::new(AtomicU32::new(0));
        let service = Self(seen.clone());
        let outcomes = request.into_inner().map(move |message| {
            let now = in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            seen.most_in_flight.fetch_max(now, Ordering::Relaxed);
            let in_flight = in_flight.clone();
            let item = message.map(|message| message.item.unwrap_or_default());
            let later = item.as_ref().is_ok_and(|item| service.later(&item.text));
            async move {
                let item = item?;
                tokio::time::sleep(Duration::from_micros(item.text.len() as u64 * 37 % 900)).await;
                in_flight.fetch_sub(1, Ordering::Relaxed);
                let error = |reason: &str, retryable| ItemError {
                    reason: reason.into(),
                    message: "as the text wished".into(),
                    retryable,
                    ..ItemError::default()
                };
                let outcome = match item.text.as_str() {
                    "unjudgeable" => Outcome::Error(error("INTERNAL", false)),
                    _ if later => Outcome::Error(error("QUEUE_FULL", true)),
                    text => Outcome::Scores(scores::of(text)),
                };
                let models = model().into_iter().collect();
                Ok(wire::StreamModerateTextResponse { id: item.id, outcome: Some(outcome), models })
            }
        });
        let answers = outcomes.buffer_unordered(4096).zip(stream::iter(0u32..)).map(move |(answer, n)| {
            if n < break_after { answer } else { Err(Status::unavailable("going away")) }
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn follow_text(
        &self,
        _: Request<Streaming<wire::FollowTextRequest>>,
    ) -> Result<Response<Self::FollowTextStream>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn moderate_image(
        &self,
        request: Request<wire::ModerateImageRequest>,
    ) -> Result<Response<wire::ModerateImageResponse>, Status> {
        Ok(Response::new(scores::of_images(request.into_inner())))
    }

    async fn stream_moderate_image(
        &self,
        _: Request<Streaming<wire::StreamModerateImageRequest>>,
    ) -> Result<Response<Self::StreamModerateImageStream>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn check(
        &self,
        request: Request<wire::CheckRequest>,
    ) -> Result<Response<wire::CheckResponse>, Status> {
        let request = request.into_inner();
        let stage = request.stage();
        let text = match request.content {
            Some(check_request::Content::Text(text)) => text,
            Some(check_request::Content::Image(_)) | None => String::new(),
        };
        let action = if text.contains("evil") { Action::Block } else { Action::Allow };
        let (verdict, scores) = (Some(verdict(action, stage)), Some(scores::of(&text)));
        Ok(Response::new(wire::CheckResponse { verdict, scores, provenance: None }))
    }

    async fn list_models(
        &self,
        request: Request<wire::ListModelsRequest>,
    ) -> Result<Response<wire::ListModelsResponse>, Status> {
        self.admit(request.metadata())?;
        Ok(Response::new(models::list()))
    }

    async fn get_model(
        &self,
        _: Request<wire::GetModelRequest>,
    ) -> Result<Response<wire::GetModelResponse>, Status> {
        Err(fault(Code::NotFound, "MODEL_NOT_FOUND", "no model of that name", ErrorDetails::new()))
    }

    async fn list_categories(
        &self,
        _: Request<wire::ListCategoriesRequest>,
    ) -> Result<Response<wire::ListCategoriesResponse>, Status> {
        let detector = Detector { model: model(), modality: Modality::Text.into() };
        let category = |id: &str, detectors| Category {
            id: id.into(),
            description: "A sentence.".into(),
            detectors,
            ..Category::default()
        };
        let categories = vec![category("hate", vec![detector]), category("illicit", vec![])];
        Ok(Response::new(wire::ListCategoriesResponse { categories }))
    }
}
