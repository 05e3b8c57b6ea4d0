//! Chat and Generate, streamed and not: one path, in which the prompt is judged, then the answer.

use std::{sync::Arc, time::Instant};

use atelier_core::{Fault, limits::MAX_TEXT_BYTES};
use atelier_proto::{common::v1 as common, gateway::v1 as api, text::v1 as text};
use atelier_rpc::status;
use futures::{StreamExt, future::try_join_all, stream};
use tonic::Request;

use super::{Admitted, Answers, Gateway, chat::Chat};
use crate::{
    convert::{self, Facts, StreamEvent},
    judge::Call,
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
    let Whole { text: content, tool_calls, completion, choices } = ask.whole(gateway, admitted).await?;
    let role = text::Role::Assistant.into();
    let message = text::Message { role, content, tool_calls, tool_call_id: String::new() };
    Ok(api::ChatResponse { message: Some(message), completion: Some(completion), choices })
}

pub(super) async fn stream_chat(
    gateway: &Gateway,
    request: Request<api::StreamChatRequest>,
) -> Result<Answers<api::StreamChatResponse>, Fault> {
    let admitted = gateway.admit(&request, "StreamChat")?;
    let api::StreamChatRequest { model, messages, generation, tools, tool_choice } = request.into_inner();
    let prompt = Prompt::Chat(Chat { messages, tools, tool_choice });
    let ask = Ask { model, prompt, generation, streamed: true };
    Ok(ask.begin(gateway, admitted).await?.into_stream())
}

pub(super) async fn generate(
    gateway: &Gateway,
    request: Request<api::GenerateRequest>,
) -> Result<api::GenerateResponse, Fault> {
    let admitted = gateway.admit(&request, "Generate")?;
    let api::GenerateRequest { model, prompt, generation, echo } = request.into_inner();
    let ask = Ask { model, prompt: Prompt::Raw { prompt, echo }, generation, streamed: false };
    let Whole { text, completion, choices, .. } = ask.whole(gateway, admitted).await?;
    Ok(api::GenerateResponse { text, completion: Some(completion), choices })
}

pub(super) async fn stream_generate(
    gateway: &Gateway,
    request: Request<api::StreamGenerateRequest>,
) -> Result<Answers<api::StreamGenerateResponse>, Fault> {
    let admitted = gateway.admit(&request, "StreamGenerate")?;
    let api::StreamGenerateRequest { model, prompt, generation, echo } = request.into_inner();
    let ask = Ask { model, prompt: Prompt::Raw { prompt, echo }, generation, streamed: true };
    Ok(ask.begin(gateway, admitted).await?.into_stream())
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
    Raw { prompt: String, echo: bool },
}

/// A prompt that has passed, and where it goes.
struct Passed {
    route: Route<TextClient>,
    call: Arc<Call>,
    facts: Facts,
}

/// An answer that has begun.
struct Answer {
    filter: ResponseFilter<text::Completion>,
    facts: Facts,
}

/// An answer that has ended, or several.
struct Whole {
    text: String,
    tool_calls: Vec<text::ToolCall>,
    completion: api::Completion,
    /// Empty where one was asked for.
    choices: Vec<api::Choice>,
}

impl Ask {
    /// More than one answer is given or tried.
    fn is_for_several(&self) -> bool {
        let asked = self.generation.iter().flat_map(|generation| [generation.n, generation.best_of]);
        asked.flatten().any(|number| number > 1)
    }

    async fn pass(&self, gateway: &Gateway, admitted: Admitted) -> Result<Passed, Fault> {
        let since = Instant::now();
        self.prompt.check()?;
        if self.streamed && self.is_for_several() {
            return Err(Fault::invalid("generation.n", "must be 1 in a stream, with best_of"));
        }
        let route = gateway.text.route(&self.model, Task::Generate)?;
        let call = Arc::new(admitted.into_call(Some(route.model.clone())));
        let input = request_filter::check(&gateway.judge, &call, &self.prompt.turns()).await?;
        let seed = self.generation.as_ref().and_then(|generation| generation.seed).unwrap_or_default();
        Ok(Passed { route, call: Arc::clone(&call), facts: Facts { call, input, seed, since } })
    }

    async fn begin(self, gateway: &Gateway, admitted: Admitted) -> Result<Answer, Fault> {
        let Passed { route, call, facts } = self.pass(gateway, admitted).await?;
        let pieces = self.prompt.send(&route, &call.context, self.generation).await?;
        let filter = ResponseFilter::new(gateway.judge.clone(), call, pieces, self.streamed);
        Ok(Answer { filter, facts })
    }

    async fn whole(self, gateway: &Gateway, admitted: Admitted) -> Result<Whole, Fault> {
        if self.is_for_several() {
            return self.several(gateway, admitted).await;
        }
        let Answer { filter, facts } = self.begin(gateway, admitted).await?;
        let (text, tool_calls, completion) = collect(filter, &facts).await?;
        Ok(Whole { text, tool_calls, completion, choices: Vec::new() })
    }

    /// The answers come whole, for which are the best is known at the end; each has a filter of its own.
    async fn several(self, gateway: &Gateway, admitted: Admitted) -> Result<Whole, Fault> {
        let Passed { route, call, facts } = self.pass(gateway, admitted).await?;
        let (usage, choices) = self.prompt.send_for_all(&route, &call.context, self.generation).await?;
        let judged = choices.into_iter().map(|choice| {
            let told = choice.completion.as_ref().map(|told| (told.seed, told.choice)).unwrap_or_default();
            let pieces = stream::iter(convert::whole_pieces(choice).into_iter().map(Ok)).boxed();
            let filter = ResponseFilter::new(gateway.judge.clone(), Arc::clone(&call), pieces, false);
            let facts = &facts;
            async move {
                let (text, tool_calls, mut completion) = collect(filter, facts).await?;
                // Known of what was withheld too.
                (completion.seed, completion.choice) = told;
                Ok::<_, Fault>(api::Choice { text, tool_calls, completion: Some(completion) })
            }
        });
        let choices = try_join_all(judged).await?;
        let nothing = || Fault::internal("a text service gave no answer");
        let api::Choice { text, tool_calls, completion } = choices.first().cloned().ok_or_else(nothing)?;
        let completion = api::Completion { usage, ..completion.ok_or_else(nothing)? };
        Ok(Whole { text, tool_calls, completion, choices })
    }
}

impl Prompt {
    fn check(&self) -> Result<(), Fault> {
        match self {
            Self::Chat(chat) => chat.check(),
            Self::Raw { prompt, .. } if prompt.is_empty() => {
                Err(Fault::invalid("prompt", "must not be empty"))
            }
            Self::Raw { prompt, .. } if prompt.len() > MAX_TEXT_BYTES => {
                Err(Fault::invalid("prompt", format!("must be at most {MAX_TEXT_BYTES} bytes")))
            }
            Self::Raw { .. } => Ok(()),
        }
    }

    fn turns(&self) -> Vec<request_filter::Turn<'_>> {
        match self {
            Self::Chat(chat) => chat.turns(),
            Self::Raw { prompt, .. } => vec![(text::Role::User.into(), prompt.as_str().into())],
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
            Self::Raw { prompt, echo } => {
                let message = text::StreamGenerateRequest { model, prompt, generation, echo };
                let send =
                    |mut client: TextClient, request| async move { client.stream_generate(request).await };
                call(route, context, message, send).await?.map(convert::generate_piece).boxed()
            }
        })
    }

    /// As `send`, for all answers at once: what they took together, and each of them.
    async fn send_for_all(
        self,
        route: &Route<TextClient>,
        context: &atelier_rpc::CallContext,
        generation: Option<text::GenerationConfig>,
    ) -> Result<(Option<common::Usage>, Vec<text::Choice>), Fault> {
        let model = route.model.id.to_string();
        let (whole, choices) = match self {
            Self::Chat(Chat { messages, tools, tool_choice }) => {
                let message = text::ChatRequest { model, messages, generation, tools, tool_choice };
                let send = |mut client: TextClient, request| async move { client.chat(request).await };
                let answer = call(route, context, message, send).await?;
                (answer.completion, answer.choices)
            }
            Self::Raw { prompt, echo } => {
                let message = text::GenerateRequest { model, prompt, generation, echo };
                let send = |mut client: TextClient, request| async move { client.generate(request).await };
                let answer = call(route, context, message, send).await?;
                (answer.completion, answer.choices)
            }
        };
        Ok((whole.and_then(|whole| whole.usage), choices))
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
}

/// What may leave of an answer, its calls, and how it ended.
async fn collect(
    mut filter: ResponseFilter<text::Completion>,
    facts: &Facts,
) -> Result<(String, Vec<text::ToolCall>, api::Completion), Fault> {
    let (mut content, mut calls) = (String::new(), Vec::new());
    while let Some(event) = filter.next().await? {
        match event {
            Event::Delta { text, .. } => content.push_str(&text),
            Event::Call(call) => calls.push(convert::tool_call(call)),
            // The completion carries the gravest.
            Event::Verdict(_) => {}
            Event::End(end) => return Ok((content, calls, convert::completion(*end, facts))),
        }
    }
    Err(Fault::internal("an answer ended without a completion"))
}
