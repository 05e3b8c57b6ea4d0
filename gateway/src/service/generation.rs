//! Chat and Generate, streamed and not: one path, in which the prompt is judged, then the answer.

use std::{sync::Arc, time::Instant};

use atelier_core::{
    Fault,
    limits::{MAX_CHOICES, MAX_TEXT_BYTES},
};
use atelier_proto::{common::v1 as common, gateway::v1 as api, text::v1 as text};
use atelier_rpc::{CallContext, status};
use futures::{StreamExt, stream};
use tonic::Request;

use super::{Admitted, Answers, Gateway, chat::Chat};
use crate::{
    convert::{self, Facts, Known, StreamEvent},
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

/// The answers of a text service.
struct Upstream {
    pieces: Pieces<text::Completion>,
    /// In the order in which they are given.
    answers: Vec<Known>,
    /// Of the whole call, where that is known by now.
    usage: Option<common::Usage>,
}

/// Answers that have begun.
struct Begun {
    filter: ResponseFilter<text::Completion>,
    facts: Facts,
    usage: Option<common::Usage>,
}

/// Answers that have ended.
struct Whole {
    text: String,
    tool_calls: Vec<text::ToolCall>,
    completion: api::Completion,
    /// Empty where one was asked for.
    choices: Vec<api::Choice>,
}

impl Ask {
    /// How many answers are given, at least.
    fn answers(&self) -> Result<u32, Fault> {
        let answers = self.generation.as_ref().and_then(|generation| generation.n).unwrap_or(1);
        if !(1..=MAX_CHOICES).contains(&(answers as usize)) {
            return Err(Fault::invalid("generation.n", format!("must be 1 to {MAX_CHOICES}")));
        }
        Ok(answers)
    }

    /// More than one answer is given or tried.
    fn is_for_several(&self) -> bool {
        let asked = self.generation.iter().flat_map(|generation| [generation.n, generation.best_of]);
        asked.flatten().any(|number| number > 1)
    }

    async fn begin(self, gateway: &Gateway, admitted: Admitted) -> Result<Begun, Fault> {
        let since = Instant::now();
        self.prompt.check()?;
        self.answers()?;
        let route = gateway.text.route(&self.model, Task::Generate)?;
        let call = Arc::new(admitted.into_call(Some(route.model.clone())));
        let input = request_filter::check(&gateway.judge, &call, &self.prompt.turns()).await?;
        let streamed = self.streamed;
        let Upstream { pieces, answers, usage } = self.send(&route, &call.context).await?;
        let choices = answers.iter().map(|known| known.choice);
        let filter = ResponseFilter::new(&gateway.judge, &call, choices, pieces, streamed);
        Ok(Begun { filter, facts: Facts { call, input, answers, since }, usage })
    }

    async fn send(self, route: &Route<TextClient>, context: &CallContext) -> Result<Upstream, Fault> {
        if self.is_for_several() && !self.streamed {
            // Which are the best and what all of them took is known at the end.
            let (usage, choices) = self.prompt.send_for_whole(route, context, self.generation).await?;
            let known = |choice: &text::Choice| {
                let told = choice.completion.as_ref();
                told.map_or_else(Known::default, |told| Known { choice: told.choice, seed: told.seed })
            };
            let answers = choices.iter().map(known).collect();
            let pieces = choices.into_iter().enumerate().flat_map(|(place, choice)| {
                convert::whole_pieces(choice).into_iter().map(move |piece| Ok((place, piece)))
            });
            return Ok(Upstream { pieces: stream::iter(pieces).boxed(), answers, usage });
        }
        let seed = self.generation.as_ref().and_then(|generation| generation.seed);
        let known =
            |choice: u32| Known { choice, seed: seed.map_or(0, |seed| seed.wrapping_add(choice.into())) };
        let answers = (0..self.answers()?).map(known).collect();
        let pieces = self.prompt.send(route, context, self.generation).await?;
        Ok(Upstream { pieces, answers, usage: None })
    }

    async fn whole(self, gateway: &Gateway, admitted: Admitted) -> Result<Whole, Fault> {
        let several = self.is_for_several();
        let Begun { filter, facts, usage } = self.begin(gateway, admitted).await?;
        let mut choices = collect(filter, &facts).await?;
        let first = if several { choices.first().cloned() } else { choices.pop() };
        let nothing = || Fault::internal("a text service gave no answer");
        let api::Choice { text, tool_calls, completion } = first.ok_or_else(nothing)?;
        let mut completion = completion.ok_or_else(nothing)?;
        completion.usage = usage.or(completion.usage);
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
        context: &CallContext,
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

    /// As `send`, for whole answers: what they took together, and each of them.
    async fn send_for_whole(
        self,
        route: &Route<TextClient>,
        context: &CallContext,
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

impl Begun {
    fn into_stream<T: From<StreamEvent> + 'static>(self) -> Answers<T> {
        let Self { filter, facts, .. } = self;
        let message = move |event| match event {
            Ok((place, event)) => Ok(convert::stream_event(place, event, &facts).into()),
            Err(fault) => Err(status(fault)),
        };
        filter.into_stream().map(message).boxed()
    }
}

/// What may leave of the answers, their calls, and how they ended.
async fn collect(
    mut filter: ResponseFilter<text::Completion>,
    facts: &Facts,
) -> Result<Vec<api::Choice>, Fault> {
    let mut choices = vec![api::Choice::default(); facts.answers.len()];
    while let Some((place, event)) = filter.next().await? {
        let choice = &mut choices[place];
        match event {
            Event::Delta { text, .. } => choice.text.push_str(&text),
            Event::Call(call) => choice.tool_calls.push(convert::tool_call(call)),
            // The completion carries the gravest.
            Event::Verdict(_) => {}
            Event::End(end) => choice.completion = Some(convert::completion(place, *end, facts)),
        }
    }
    Ok(choices)
}
