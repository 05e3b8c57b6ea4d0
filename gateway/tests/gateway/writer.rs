//! A scripted text service, which writes given words at a given pace.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use atelier_core::Fault;
use atelier_proto::{
    common::v1 as common,
    text::v1::{self as text, text_service_server::TextService},
};
use atelier_rpc::{CallContext, status};
use futures::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

/// What a fake text service does.
#[derive(Default)]
pub(crate) struct Script {
    /// The answers, with bars between them.
    pub(crate) text: Mutex<String>,
    /// Of each answer to a chat: the calls behind its text, and text behind them.
    pub(crate) calls: Mutex<Vec<(Vec<text::ToolCall>, String)>>,
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

enum Event {
    Delta(text::Delta),
    Completion(text::Completion),
}

impl FakeText {
    /// Lets it write this text, a word and its blank being a token. Bars part the answers of a call for several.
    pub(crate) fn write(&self, text: &str, pace: Duration) {
        *self.0.text.lock().unwrap() = text.to_owned();
        *self.0.pace.lock().unwrap() = pace;
    }

    /// Each begins with the echo; their seeds count up from 7.
    fn choices(
        &self,
        echo: &str,
        calls: &[(Vec<text::ToolCall>, String)],
    ) -> (text::Completion, Vec<text::Choice>) {
        let written = self.0.text.lock().unwrap().clone();
        let choice = |(choice, answer): (u32, &str)| {
            let (tool_calls, behind) = calls.get(choice as usize).cloned().unwrap_or_default();
            let mut completion = completion(choice, usage(3, 10));
            if !tool_calls.is_empty() {
                completion.finish_reason = common::FinishReason::ToolCalls.into();
            }
            text::Choice { text: format!("{echo}{answer}{behind}"), completion: Some(completion), tool_calls }
        };
        let choices: Vec<_> = (0..).zip(written.split('|')).map(choice).collect();
        (completion(0, usage(3, 10 * choices.len() as u32)), choices)
    }

    /// The words of the answers in turn, the end of each behind its last one.
    fn events(&self) -> Vec<Event> {
        let text = self.0.text.lock().unwrap();
        let answers: Vec<Vec<&str>> =
            text.split('|').map(|text| text.split_inclusive(' ').collect()).collect();
        let mut events = Vec::new();
        for turn in 0..=answers.iter().map(Vec::len).max().unwrap_or_default() {
            let tokens = turn as u32;
            for (choice, words) in (0..).zip(&answers) {
                if let Some(&word) = words.get(turn) {
                    let delta = text::Delta { text: word.to_owned(), completion_tokens: tokens + 1, choice };
                    events.push(Event::Delta(delta));
                } else if turn == words.len() {
                    let prompt = if choice == 0 { 3 } else { 0 };
                    events.push(Event::Completion(completion(choice, usage(prompt, tokens))));
                }
            }
        }
        events
    }

    fn begin<T>(&self, request: &Request<T>) -> Result<BoxStream<'static, Event>, Status> {
        let context = CallContext::of(request);
        let seen = (context.tenant.to_string(), context.request_id.to_string(), context.deadline.is_some());
        *self.0.seen.lock().unwrap() = Some(seen);
        if let Some(fault) = *self.0.fault.lock().unwrap() {
            return Err(status(fault()));
        }
        let pace = *self.0.pace.lock().unwrap();
        let open = Open::new(Arc::clone(&self.0));
        let events = futures::stream::iter(self.events()).then(move |event| {
            let script = Arc::clone(&open.0);
            async move {
                if let Event::Delta(_) = event {
                    tokio::time::sleep(pace).await;
                    script.written.fetch_add(1, Ordering::SeqCst);
                }
                event
            }
        });
        Ok(events.boxed())
    }
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

fn usage(prompt_tokens: u32, completion_tokens: u32) -> common::Usage {
    let total_tokens = prompt_tokens + completion_tokens;
    let cached_tokens = prompt_tokens.saturating_sub(1);
    common::Usage { prompt_tokens, completion_tokens, total_tokens, cached_tokens, truncated_tokens: 0 }
}

fn completion(choice: u32, usage: common::Usage) -> text::Completion {
    text::Completion {
        model: Some(generator()),
        finish_reason: common::FinishReason::Stop.into(),
        seed: 7 + u64::from(choice),
        choice,
        usage: Some(usage),
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
        let calls = self.0.calls.lock().unwrap().clone();
        let events = self.begin(&request)?.flat_map(move |event| {
            let (choice, events) = match event {
                Event::Delta(delta) => (delta.choice, vec![To::Delta(delta)]),
                Event::Completion(mut completion) => {
                    let choice = completion.choice;
                    let (calls, behind) = calls.get(choice as usize).cloned().unwrap_or_default();
                    if !calls.is_empty() {
                        completion.finish_reason = common::FinishReason::ToolCalls.into();
                    }
                    let mut end: Vec<To> = calls.into_iter().map(To::ToolCall).collect();
                    if !behind.is_empty() {
                        end.push(To::Delta(text::Delta { text: behind, completion_tokens: 99, choice }));
                    }
                    end.push(To::Completion(completion));
                    (choice, end)
                }
            };
            let message = move |event| Ok(text::StreamChatResponse { event: Some(event), choice });
            futures::stream::iter(events.into_iter().map(message))
        });
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

    /// Only for several answers.
    async fn chat(&self, _: Request<text::ChatRequest>) -> Result<Response<text::ChatResponse>, Status> {
        let calls = self.0.calls.lock().unwrap().clone();
        let (completion, choices) = self.choices("", &calls);
        Ok(Response::new(text::ChatResponse { message: None, completion: Some(completion), choices }))
    }

    async fn generate(
        &self,
        request: Request<text::GenerateRequest>,
    ) -> Result<Response<text::GenerateResponse>, Status> {
        let text::GenerateRequest { prompt, echo, .. } = request.into_inner();
        let (completion, choices) = self.choices(if echo { &prompt } else { "" }, &[]);
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
