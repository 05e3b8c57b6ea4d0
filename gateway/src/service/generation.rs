//! Chat and Generate, streamed and not: one path, in which the prompt is judged, then the answer.

use std::{sync::Arc, time::Instant};

use atelier_core::{Fault, limits::MAX_TEXT_BYTES};
use atelier_proto::{gateway::v1 as api, text::v1 as text};
use atelier_rpc::status;
use futures::StreamExt;
use tonic::Request;

use super::{Admitted, Answers, Gateway, chat::Chat};
use crate::{
    convert::{self, Facts, StreamEvent},
    request_filter,
    response_filter::text::{Event, Pieces, ResponseFilter},
    router::Route,
    upstream::{Task, TextClient, call},
};

pub(super) async fn chat(
    gateway: &Gateway,
    request: Request<api::ChatRequest>,
) -> Result<api::ChatResponse, Fault> {
    let admitted = gateway.admit(&request, "Chat")?;
    let api::ChatRequest { model, messages, generation, tools, tool_choice } = request.into_inner();
    let prompt = Prompt::Chat(Chat { messages, tools, tool_choice });
    let ask = Ask { model, prompt, generation, streamed: false };
    let (content, tool_calls, completion) = begin(gateway, admitted, ask).await?.collect().await?;
    let role = text::Role::Assistant.into();
    let message = text::Message { role, content, tool_calls, tool_call_id: String::new() };
    Ok(api::ChatResponse { message: Some(message), completion: Some(completion) })
}

pub(super) async fn stream_chat(
    gateway: &Gateway,
    request: Request<api::StreamChatRequest>,
) -> Result<Answers<api::StreamChatResponse>, Fault> {
    let admitted = gateway.admit(&request, "StreamChat")?;
    let api::StreamChatRequest { model, messages, generation, tools, tool_choice } = request.into_inner();
    let prompt = Prompt::Chat(Chat { messages, tools, tool_choice });
    let ask = Ask { model, prompt, generation, streamed: true };
    Ok(begin(gateway, admitted, ask).await?.into_stream())
}

pub(super) async fn generate(
    gateway: &Gateway,
    request: Request<api::GenerateRequest>,
) -> Result<api::GenerateResponse, Fault> {
    let admitted = gateway.admit(&request, "Generate")?;
    let api::GenerateRequest { model, prompt, generation } = request.into_inner();
    let ask = Ask { model, prompt: Prompt::Raw(prompt), generation, streamed: false };
    let (text, _, completion) = begin(gateway, admitted, ask).await?.collect().await?;
    Ok(api::GenerateResponse { text, completion: Some(completion) })
}

pub(super) async fn stream_generate(
    gateway: &Gateway,
    request: Request<api::StreamGenerateRequest>,
) -> Result<Answers<api::StreamGenerateResponse>, Fault> {
    let admitted = gateway.admit(&request, "StreamGenerate")?;
    let api::StreamGenerateRequest { model, prompt, generation } = request.into_inner();
    let ask = Ask { model, prompt: Prompt::Raw(prompt), generation, streamed: true };
    Ok(begin(gateway, admitted, ask).await?.into_stream())
}

/// What is asked of a model.
struct Ask {
    model: String,
    prompt: Prompt,
    generation: Option<text::GenerationConfig>,
    streamed: bool,
}

enum Prompt {
    Chat(Chat),
    Raw(String),
}

/// An answer that has begun.
struct Answer {
    filter: ResponseFilter<text::Completion>,
    facts: Facts,
}

async fn begin(gateway: &Gateway, admitted: Admitted, ask: Ask) -> Result<Answer, Fault> {
    let since = Instant::now();
    ask.prompt.check()?;
    let route = gateway.text.route(&ask.model, Task::Generate)?;
    let call = Arc::new(admitted.into_call(Some(route.model.clone())));
    let input = request_filter::check(&gateway.judge, &call, &ask.prompt.turns()).await?;
    let seed = ask.generation.as_ref().and_then(|generation| generation.seed).unwrap_or_default();
    let pieces = ask.prompt.send(&route, &call.context, ask.generation).await?;
    let filter = ResponseFilter::new(gateway.judge.clone(), Arc::clone(&call), pieces, ask.streamed);
    Ok(Answer { filter, facts: Facts { call, input, seed, since } })
}

impl Prompt {
    fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Chat(chat) => chat.check(),
            Self::Raw(prompt) if prompt.is_empty() => Err(Fault::invalid("prompt", "must not be empty")),
            Self::Raw(prompt) if prompt.len() > MAX_TEXT_BYTES => {
                Err(Fault::invalid("prompt", format!("must be at most {MAX_TEXT_BYTES} bytes")))
            }
            Self::Raw(_) => Ok(()),
        }
    }

    fn turns(&self) -> Vec<request_filter::Turn<'_>> {
        match self {
            Self::Chat(chat) => chat.turns(),
            Self::Raw(prompt) => vec![(text::Role::User.into(), prompt.as_str().into())],
        }
    }

    async fn send(
        self,
        route: &Route<TextClient>,
        context: &atelier_rpc::CallContext,
        generation: Option<text::GenerationConfig>,
    ) -> Result<Pieces<text::Completion>, Fault> {
        let model = route.model.id.to_string();
        Ok(match self {
            Self::Chat(Chat { messages, tools, tool_choice }) => {
                let message = text::StreamChatRequest { model, messages, generation, tools, tool_choice };
                let send = |mut client: TextClient, request| async move { client.stream_chat(request).await };
                call(route, context, message, send).await?.map(convert::chat_piece).boxed()
            }
            Self::Raw(prompt) => {
                let message = text::StreamGenerateRequest { model, prompt, generation };
                let send =
                    |mut client: TextClient, request| async move { client.stream_generate(request).await };
                call(route, context, message, send).await?.map(convert::generate_piece).boxed()
            }
        })
    }
}

impl Answer {
    fn into_stream<T: From<StreamEvent> + 'static>(self) -> Answers<T> {
        let Self { filter, facts } = self;
        let message = move |event| match event {
            Ok(event) => Ok(convert::stream_event(event, &facts).into()),
            Err(fault) => Err(status(fault)),
        };
        filter.into_stream().map(message).boxed()
    }

    /// Text, calls and how it ended.
    async fn collect(self) -> Result<(String, Vec<text::ToolCall>, api::Completion), Fault> {
        let Self { mut filter, facts } = self;
        let (mut content, mut calls) = (String::new(), Vec::new());
        while let Some(event) = filter.next().await? {
            match event {
                Event::Delta { text, .. } => content.push_str(&text),
                Event::Call(call) => calls.push(convert::tool_call(call)),
                // The completion carries the gravest.
                Event::Verdict(_) => {}
                Event::End(end) => return Ok((content, calls, convert::completion(*end, &facts))),
            }
        }
        Err(Fault::internal("an answer ended without a completion"))
    }
}
