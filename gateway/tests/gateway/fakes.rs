//! Scripted upstreams: a text service that writes given tokens at a given pace, and a moderation service that scores by
//! keyword and can be switched off.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use atelier_core::{CategoryId, Fault, Reason};
use atelier_proto::{
    common::v1 as common,
    moderation::v1::{self as moderation, moderation_service_server::ModerationService},
    text::v1::{self as text, text_service_server::TextService},
};
use atelier_rpc::{CallContext, status};
use futures::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

/// What a fake text service does.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) tokens: Mutex<Vec<String>>,
    /// Calls behind the tokens of a chat, and text behind them.
    pub(crate) calls: Mutex<(Vec<text::ToolCall>, String)>,
    /// The last chat.
    pub(crate) chat: Mutex<Option<text::StreamChatRequest>>,
    pub(crate) pace: Mutex<Duration>,
    pub(crate) fault: Mutex<Option<fn() -> Fault>>,
    /// Streams that are open.
    pub(crate) open: AtomicUsize,
    /// Tokens that were handed out, over all calls.
    pub(crate) written: AtomicUsize,
    /// Tenant, request id and whether there was a deadline, of the last call.
    pub(crate) seen: Mutex<Option<(String, String, bool)>>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeText(pub(crate) Arc<Script>);

impl FakeText {
    /// Lets it write this text, a word and its blank being a token.
    pub(crate) fn write(&self, text: &str, pace: Duration) {
        *self.0.tokens.lock().unwrap() = text.split_inclusive(' ').map(str::to_owned).collect();
        *self.0.pace.lock().unwrap() = pace;
    }

    /// Each begins with the echo; their seeds count up from 7.
    fn choices(&self, echo: &str) -> (text::Completion, Vec<text::Choice>) {
        let written = self.0.tokens.lock().unwrap().concat();
        let choices: Vec<_> = (0..)
            .zip(written.split('|'))
            .map(|(choice, answer)| {
                let seed = 7 + u64::from(choice);
                let completion = text::Completion { choice, seed, ..completion(10) };
                text::Choice {
                    text: format!("{echo}{answer}"),
                    completion: Some(completion),
                    ..text::Choice::default()
                }
            })
            .collect();
        (completion(10 * choices.len() as u32), choices)
    }

    fn begin<T>(&self, request: &Request<T>) -> Result<BoxStream<'static, Event>, Status> {
        let context = CallContext::of(request);
        let seen = (context.tenant.to_string(), context.request_id.to_string(), context.deadline.is_some());
        *self.0.seen.lock().unwrap() = Some(seen);
        if let Some(fault) = *self.0.fault.lock().unwrap() {
            return Err(status(fault()));
        }
        let (tokens, pace) = (self.0.tokens.lock().unwrap().clone(), *self.0.pace.lock().unwrap());
        let open = Open::new(Arc::clone(&self.0));
        let total = tokens.len();
        let deltas = futures::stream::iter(tokens.into_iter().enumerate()).then(move |(n, text)| {
            let script = Arc::clone(&open.0);
            async move {
                tokio::time::sleep(pace).await;
                script.written.fetch_add(1, Ordering::SeqCst);
                Event::Delta(text::Delta { text, completion_tokens: n as u32 + 1, choice: 0 })
            }
        });
        let end = futures::stream::once(async move { Event::Completion(completion(total as u32)) });
        Ok(deltas.chain(end).boxed())
    }
}

enum Event {
    Delta(text::Delta),
    Completion(text::Completion),
}

struct Open(Arc<Script>);

impl Open {
    fn new(script: Arc<Script>) -> Self {
        script.open.fetch_add(1, Ordering::SeqCst);
        Self(script)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

fn generator() -> common::ModelRef {
    common::ModelRef { id: "writer".to_owned(), revision: "0123456789ab".to_owned() }
}

fn completion(tokens: u32) -> text::Completion {
    text::Completion {
        model: Some(generator()),
        finish_reason: common::FinishReason::Stop.into(),
        seed: 7,
        usage: Some(common::Usage {
            prompt_tokens: 3,
            completion_tokens: tokens,
            total_tokens: tokens + 3,
            cached_tokens: 2,
            truncated_tokens: 0,
        }),
        tokens: vec![text::TokenLogprob {
            token_id: 5,
            text: b"sea".to_vec(),
            logprob: -0.5,
            top: Vec::new(),
        }],
        ..Default::default()
    }
}

#[tonic::async_trait]
impl TextService for FakeText {
    type StreamChatStream = BoxStream<'static, Result<text::StreamChatResponse, Status>>;
    type StreamGenerateStream = BoxStream<'static, Result<text::StreamGenerateResponse, Status>>;
    type StreamEmbedStream = BoxStream<'static, Result<text::StreamEmbedResponse, Status>>;

    async fn stream_chat(
        &self,
        request: Request<text::StreamChatRequest>,
    ) -> Result<Response<Self::StreamChatStream>, Status> {
        use text::stream_chat_response::Event as To;
        let (calls, behind) = self.0.calls.lock().unwrap().clone();
        let events = self.begin(&request)?.flat_map(move |event| {
            futures::stream::iter(match event {
                Event::Delta(delta) => vec![To::Delta(delta)],
                Event::Completion(mut completion) => {
                    let mut end: Vec<To> = calls.clone().into_iter().map(To::ToolCall).collect();
                    if !behind.is_empty() {
                        end.push(To::Delta(text::Delta {
                            text: behind.clone(),
                            completion_tokens: 99,
                            choice: 0,
                        }));
                    }
                    if !calls.is_empty() {
                        completion.finish_reason = common::FinishReason::ToolCalls.into();
                    }
                    end.push(To::Completion(completion));
                    end
                }
            })
        });
        let events = events.map(|event| Ok(text::StreamChatResponse { event: Some(event) }));
        *self.0.chat.lock().unwrap() = Some(request.into_inner());
        Ok(Response::new(events.boxed()))
    }

    async fn stream_generate(
        &self,
        request: Request<text::StreamGenerateRequest>,
    ) -> Result<Response<Self::StreamGenerateStream>, Status> {
        use text::stream_generate_response::Event as To;
        let events = self.begin(&request)?.map(|event| {
            let event = match event {
                Event::Delta(delta) => To::Delta(delta),
                Event::Completion(completion) => To::Completion(completion),
            };
            Ok(text::StreamGenerateResponse { event: Some(event) })
        });
        Ok(Response::new(events.boxed()))
    }

    /// Only for several answers: those in its text that a bar parts.
    async fn chat(&self, _: Request<text::ChatRequest>) -> Result<Response<text::ChatResponse>, Status> {
        let (completion, choices) = self.choices("");
        Ok(Response::new(text::ChatResponse { message: None, completion: Some(completion), choices }))
    }

    async fn generate(
        &self,
        request: Request<text::GenerateRequest>,
    ) -> Result<Response<text::GenerateResponse>, Status> {
        let text::GenerateRequest { prompt, echo, .. } = request.into_inner();
        let (completion, choices) = self.choices(if echo { &prompt } else { "" });
        Ok(Response::new(text::GenerateResponse {
            text: String::new(),
            completion: Some(completion),
            choices,
        }))
    }

    async fn tokenize(
        &self,
        request: Request<text::TokenizeRequest>,
    ) -> Result<Response<text::TokenizeResponse>, Status> {
        let text = request.into_inner().text;
        let end_byte = text.len() as u32;
        let token = text::Token { id: 1, text, start_byte: 0, end_byte };
        Ok(Response::new(text::TokenizeResponse { tokens: vec![token], model: Some(generator()) }))
    }

    async fn detokenize(
        &self,
        request: Request<text::DetokenizeRequest>,
    ) -> Result<Response<text::DetokenizeResponse>, Status> {
        let text = format!("{:?}", request.into_inner().token_ids);
        Ok(Response::new(text::DetokenizeResponse { text, model: Some(generator()) }))
    }

    async fn score(&self, _: Request<text::ScoreRequest>) -> Result<Response<text::ScoreResponse>, Status> {
        Err(Status::unimplemented("the gateway does not score"))
    }

    async fn rerank(
        &self,
        request: Request<text::RerankRequest>,
    ) -> Result<Response<text::RerankResponse>, Status> {
        let request = request.into_inner();
        let index = request.documents.len() as u32 - 1;
        let results = vec![text::RankedDocument { index, score: 0.5, truncated: false }];
        let model = Some(common::ModelRef { id: request.model, revision: String::new() });
        Ok(Response::new(text::RerankResponse { results, model, usage: None }))
    }

    async fn embed(
        &self,
        request: Request<text::EmbedRequest>,
    ) -> Result<Response<text::EmbedResponse>, Status> {
        let request = request.into_inner();
        let embedding = || text::Embedding { values: vec![1.0], truncated: false };
        let embeddings = request.texts.iter().map(|_| embedding()).collect();
        let model = Some(common::ModelRef { id: request.model, revision: String::new() });
        Ok(Response::new(text::EmbedResponse { embeddings, model, usage: None }))
    }

    async fn stream_embed(
        &self,
        request: Request<Streaming<text::StreamEmbedRequest>>,
    ) -> Result<Response<Self::StreamEmbedStream>, Status> {
        let answers = request.into_inner().map(|item| {
            let item = item?;
            let model = Some(common::ModelRef { id: item.model, revision: String::new() });
            Ok(text::StreamEmbedResponse { id: item.id, embedding: None, model, usage: None })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn list_models(
        &self,
        _: Request<text::ListModelsRequest>,
    ) -> Result<Response<text::ListModelsResponse>, Status> {
        let model = |id: &str, task: common::ModelTask| common::Model {
            id: id.to_owned(),
            revision: "0123456789ab".to_owned(),
            tasks: vec![task.into()],
            context_length: 2048,
            ..Default::default()
        };
        let models = vec![
            common::Model {
                tasks: vec![common::ModelTask::TextEmbedding.into(), common::ModelTask::TextReranking.into()],
                ..model("encoder", common::ModelTask::TextEmbedding)
            },
            model("writer", common::ModelTask::TextGeneration),
        ];
        Ok(Response::new(text::ListModelsResponse { models, ..Default::default() }))
    }

    async fn get_model(
        &self,
        _: Request<text::GetModelRequest>,
    ) -> Result<Response<text::GetModelResponse>, Status> {
        Err(Status::unimplemented("the gateway lists"))
    }

    async fn load_model(
        &self,
        _: Request<text::LoadModelRequest>,
    ) -> Result<Response<text::LoadModelResponse>, Status> {
        Err(Status::unimplemented("the gateway loads nothing"))
    }

    async fn unload_model(
        &self,
        _: Request<text::UnloadModelRequest>,
    ) -> Result<Response<text::UnloadModelResponse>, Status> {
        Err(Status::unimplemented("the gateway loads nothing"))
    }
}

/// What a fake moderation service does.
#[derive(Default)]
pub(crate) struct Rules {
    /// No answers while this is set.
    pub(crate) down: AtomicBool,
    pub(crate) delay: Mutex<Duration>,
    /// All texts that were measured, in their order.
    pub(crate) texts: Mutex<Vec<String>>,
    /// All pictures that were, as far as they could be read.
    pub(crate) pictures: Mutex<Vec<String>>,
    /// Of each of them: when it is shown in a clip, and whether the text in it is to be left unread.
    pub(crate) shown: Mutex<Vec<(Option<u64>, bool)>>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeModeration(pub(crate) Arc<Rules>);

/// Category and score that a word stands for.
const WORDS: [(&str, CategoryId, f32); 3] = [
    ("BLOCKME", CategoryId::Hate, 0.95),
    ("FLAGME", CategoryId::Hate, 0.6),
    ("SPLIT\nME", CategoryId::Violence, 0.99),
];

impl FakeModeration {
    pub(crate) fn switch_off(&self, off: bool) {
        self.0.down.store(off, Ordering::SeqCst);
    }

    pub(crate) fn take(&self, delay: Duration) {
        *self.0.delay.lock().unwrap() = delay;
    }

    async fn answer(&self) -> Result<(), Status> {
        let delay = *self.0.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        if self.0.down.load(Ordering::SeqCst) {
            return Err(status(Fault::new(Reason::UpstreamUnavailable, "switched off")));
        }
        Ok(())
    }

    fn scores(text: &str, asked: &[String]) -> moderation::Scores {
        let named = |category: CategoryId| asked.iter().any(|a| a == category.as_str() || a == "*");
        let wanted = |category: CategoryId| asked.is_empty() || named(category);
        let supported = [CategoryId::Hate, CategoryId::Violence];
        let score = |category: CategoryId| {
            let found = WORDS.iter().filter(|(word, of, _)| *of == category && text.contains(word));
            moderation::CategoryScore {
                category: category.as_str().to_owned(),
                score: found.map(|(_, _, score)| *score).fold(0.01, f32::max),
                detector: "keywords".to_owned(),
                severity: 0,
            }
        };
        let unsupported = CategoryId::ALL.iter().copied().filter(|c| wanted(*c) && !supported.contains(c));
        moderation::Scores {
            categories: supported.into_iter().filter(|c| wanted(*c)).map(score).collect(),
            unsupported_categories: unsupported.map(|category| category.as_str().to_owned()).collect(),
            windows: 1,
            language: "en".to_owned(),
            ..moderation::Scores::default()
        }
    }

    fn models() -> Vec<common::ModelRef> {
        vec![common::ModelRef { id: "keywords".to_owned(), revision: "ba9876543210".to_owned() }]
    }
}

#[tonic::async_trait]
impl ModerationService for FakeModeration {
    type FollowTextStream = BoxStream<'static, Result<moderation::FollowTextResponse, Status>>;
    type StreamModerateTextStream =
        BoxStream<'static, Result<moderation::StreamModerateTextResponse, Status>>;
    type StreamModerateImageStream =
        BoxStream<'static, Result<moderation::StreamModerateImageResponse, Status>>;

    async fn moderate_text(
        &self,
        request: Request<moderation::ModerateTextRequest>,
    ) -> Result<Response<moderation::ModerateTextResponse>, Status> {
        self.answer().await?;
        let request = request.into_inner();
        self.0.texts.lock().unwrap().extend(request.items.iter().map(|item| item.text.clone()));
        let scores = |item: moderation::TextItem| moderation::ItemScores {
            scores: Some(Self::scores(&item.text, &request.categories)),
            id: item.id,
            redacted_text: request.redact.then(|| item.text.replace("@example.org", "[EMAIL]")),
            ..moderation::ItemScores::default()
        };
        let results = request.items.into_iter().map(scores).collect();
        Ok(Response::new(moderation::ModerateTextResponse { results, models: Self::models() }))
    }

    async fn stream_moderate_text(
        &self,
        request: Request<Streaming<moderation::StreamModerateTextRequest>>,
    ) -> Result<Response<Self::StreamModerateTextStream>, Status> {
        use moderation::stream_moderate_text_response::Outcome;
        let answers = request.into_inner().map(|message| {
            let message = message?;
            let item = message.item.unwrap_or_default();
            let outcome = Some(Outcome::Scores(Self::scores(&item.text, &message.categories)));
            Ok(moderation::StreamModerateTextResponse { id: item.id, outcome, models: Self::models() })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn follow_text(
        &self,
        request: Request<Streaming<moderation::FollowTextRequest>>,
    ) -> Result<Response<Self::FollowTextStream>, Status> {
        let mut end_byte = 0;
        let answers = request.into_inner().map(move |message| {
            let message = message?;
            let start_byte = end_byte;
            end_byte += message.text.len() as u64;
            let scores = Some(Self::scores(&message.text, &message.categories));
            Ok(moderation::FollowTextResponse { start_byte, end_byte, scores, models: Self::models() })
        });
        Ok(Response::new(answers.boxed()))
    }

    /// A picture is its text here; one that is no UTF-8 can't be read.
    async fn moderate_image(
        &self,
        request: Request<moderation::ModerateImageRequest>,
    ) -> Result<Response<moderation::ModerateImageResponse>, Status> {
        self.answer().await?;
        let request = request.into_inner();
        let mut results = Vec::new();
        for item in request.items {
            let Some(moderation::image_item::Source::Data(data)) = item.source else { continue };
            let Ok(text) = std::str::from_utf8(&data) else {
                return Err(status(Fault::invalid("items[0].data", "is no picture")));
            };
            self.0.pictures.lock().unwrap().push(text.to_owned());
            self.0.shown.lock().unwrap().push((item.time_ms, item.skip_text));
            let tag = |n| moderation::Tag { label: format!("word {n}"), score: 0.5 };
            let tags = (0..request.tags).map(tag).collect();
            results.push(moderation::ItemScores {
                id: item.id,
                scores: Some(moderation::Scores { tags, ..Self::scores(text, &request.categories) }),
                read_text: request.read_text.then(|| text.to_owned()),
                ..moderation::ItemScores::default()
            });
        }
        Ok(Response::new(moderation::ModerateImageResponse { results, models: Self::models() }))
    }

    async fn stream_moderate_image(
        &self,
        request: Request<Streaming<moderation::StreamModerateImageRequest>>,
    ) -> Result<Response<Self::StreamModerateImageStream>, Status> {
        let answers = request.into_inner().map(|message| {
            let message = message?;
            let id = message.item.unwrap_or_default().id;
            let read_text = message.read_text.then(|| "a sign".to_owned());
            Ok(moderation::StreamModerateImageResponse {
                id,
                outcome: None,
                models: Self::models(),
                read_text,
            })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn list_categories(
        &self,
        _: Request<moderation::ListCategoriesRequest>,
    ) -> Result<Response<moderation::ListCategoriesResponse>, Status> {
        self.answer().await?;
        let category = moderation::Category { id: "hate".to_owned(), ..Default::default() };
        Ok(Response::new(moderation::ListCategoriesResponse { categories: vec![category] }))
    }
}
