//! Chat and Generate, streamed and not: one path, in which the prompt is judged, then the answer.

use std::{sync::Arc, time::Instant};

use atelier_core::{
    Fault,
    limits::{MAX_MESSAGES, MAX_TEXT_BYTES},
};
use atelier_proto::{gateway::v1 as api, text::v1 as text};
use atelier_rpc::status;
use futures::StreamExt;
use tonic::Request;

use super::{Admitted, Answers, Gateway};
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
    let api::ChatRequest { model, messages, generation } = request.into_inner();
    let ask = Ask { model, prompt: Prompt::Chat(messages), generation, streamed: false };
    let (content, completion) = begin(gateway, admitted, ask).await?.collect().await?;
    let message = text::Message { role: text::Role::Assistant.into(), content };
    Ok(api::ChatResponse { message: Some(message), completion: Some(completion) })
}

pub(super) async fn stream_chat(
    gateway: &Gateway,
    request: Request<api::StreamChatRequest>,
) -> Result<Answers<api::StreamChatResponse>, Fault> {
    let admitted = gateway.admit(&request, "StreamChat")?;
    let api::StreamChatRequest { model, messages, generation } = request.into_inner();
    let ask = Ask { model, prompt: Prompt::Chat(messages), generation, streamed: true };
    Ok(begin(gateway, admitted, ask).await?.into_stream())
}

pub(super) async fn generate(
    gateway: &Gateway,
    request: Request<api::GenerateRequest>,
) -> Result<api::GenerateResponse, Fault> {
    let admitted = gateway.admit(&request, "Generate")?;
    let api::GenerateRequest { model, prompt, generation } = request.into_inner();
    let ask = Ask { model, prompt: Prompt::Raw(prompt), generation, streamed: false };
    let (text, completion) = begin(gateway, admitted, ask).await?.collect().await?;
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
    Chat(Vec<text::Message>),
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
        let too_long = |text: &str| text.len() > MAX_TEXT_BYTES;
        match self {
            Self::Chat(messages) => {
                if !(1..=MAX_MESSAGES).contains(&messages.len()) {
                    return Err(Fault::invalid("messages", format!("must be 1 to {MAX_MESSAGES}")));
                }
                match messages.iter().position(|message| too_long(&message.content)) {
                    Some(n) => Err(longer_than_allowed(format!("messages[{n}].content"))),
                    None => Ok(()),
                }
            }
            Self::Raw(prompt) if prompt.is_empty() => Err(Fault::invalid("prompt", "must not be empty")),
            Self::Raw(prompt) if too_long(prompt) => Err(longer_than_allowed("prompt")),
            Self::Raw(_) => Ok(()),
        }
    }

    fn turns(&self) -> Vec<request_filter::Turn<'_>> {
        match self {
            Self::Chat(messages) => messages.iter().map(|m| (m.role, m.content.as_str())).collect(),
            Self::Raw(prompt) => vec![(text::Role::User.into(), prompt.as_str())],
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
            Self::Chat(messages) => {
                let message = text::StreamChatRequest { model, messages, generation };
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

    async fn collect(self) -> Result<(String, api::Completion), Fault> {
        let Self { mut filter, facts } = self;
        let mut content = String::new();
        while let Some(event) = filter.next().await? {
            match event {
                Event::Delta { text, .. } => content.push_str(&text),
                // The completion carries the gravest.
                Event::Verdict(_) => {}
                Event::End(end) => return Ok((content, convert::completion(*end, &facts))),
            }
        }
        Err(Fault::internal("an answer ended without a completion"))
    }
}

fn longer_than_allowed(field: impl Into<String>) -> Fault {
    Fault::invalid(field, format!("must be at most {MAX_TEXT_BYTES} bytes"))
}
