//! Calls that write, from the request to its answers, whole or streamed.

use std::{cmp::Ordering, time::Instant};

use atelier_proto::text::v1 as proto;
use atelier_rpc::{Workers, status};
use futures::{StreamExt, stream};

use super::{Answers, Text, random_seed, spell};
use crate::{
    TextError,
    choices::Choices,
    convert,
    engine::{Event, Finished},
    generation::{Caller, Prompt},
};

/// What is asked for.
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) prompt: Prompt,
    pub(super) generation: Option<proto::GenerationConfig>,
    pub(super) echo: bool,
    pub(super) streamed: bool,
}

impl Ask {
    pub(super) fn chat(request: proto::ChatRequest) -> Result<Self, TextError> {
        let proto::ChatRequest { model, messages, generation, tools, tool_choice } = request;
        let chat = convert::chat(messages, tools, tool_choice, generation.as_ref())?;
        let prompt = Prompt::Conversation(chat);
        Ok(Self { model, prompt, generation, echo: false, streamed: false })
    }

    pub(super) fn generate(request: proto::GenerateRequest) -> Result<Self, TextError> {
        let proto::GenerateRequest { model, prompt, generation, echo } = request;
        convert::prompt(&prompt)?;
        Ok(Self { model, prompt: Prompt::Text(prompt), generation, echo, streamed: false })
    }

    pub(super) fn streamed(self) -> Self {
        Self { streamed: true, ..self }
    }
}

/// Answers under way.
pub(super) struct Running {
    choices: Choices,
    /// Which of the answers have calls.
    called: Vec<bool>,
    workers: Workers,
    deadline: Option<Instant>,
    streamed: bool,
}

/// What all answers together come to.
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) tool_calls: Vec<proto::ToolCall>,
    pub(super) completion: proto::Completion,
    /// Empty where one answer was asked for and tried.
    pub(super) choices: Vec<proto::Choice>,
}

/// What the caller of a stream is told.
pub(super) enum Told {
    Delta(proto::Delta),
    Call(proto::ToolCall),
    Completion(proto::Completion),
}

/// An answer that has ended.
struct Ended {
    number: usize,
    text: String,
    tool_calls: Vec<proto::ToolCall>,
    finished: Finished,
}

impl Ended {
    /// What a token of it was likely on the average, in logarithms.
    fn mean_logprob(&self) -> f64 {
        let logprobs = &self.finished.logprobs;
        logprobs.iter().map(|token| f64::from(token.logprob)).sum::<f64>() / logprobs.len().max(1) as f64
    }

    /// The best first, of equals the one that was tried first.
    fn order(&self, other: &Self) -> Ordering {
        other.mean_logprob().total_cmp(&self.mean_logprob()).then(self.number.cmp(&other.number))
    }
}

impl Text {
    pub(super) async fn begin(
        &self,
        ask: Result<Ask, TextError>,
        caller: Caller,
    ) -> Result<Running, TextError> {
        let Ask { model, prompt, generation, echo, streamed } = ask?;
        let served = self.registry()?.for_generation(&model)?;
        let model = served.generation()?;
        let mut options = convert::options(generation, model.defaults(), model.tokenizer(), random_seed)?;
        convert::choices::delivery(&options, echo, streamed)?;
        options.echo = echo;
        let deadline = caller.deadline;
        let call = model.prepare(prompt, options, caller, &self.workers).await?;
        let called = vec![false; call.options.tries];
        let choices = Choices::begin(served, call)?;
        Ok(Running { choices, called, workers: self.workers.clone(), deadline, streamed })
    }
}

impl Running {
    /// The next event and which answer it is of.
    async fn next(&mut self) -> Option<Result<(usize, Event), TextError>> {
        let event = self.choices.next().await?;
        if let Ok((number, Event::Delta { calls, .. })) = &event {
            self.called[*number] |= !calls.is_empty();
        }
        Some(event)
    }

    /// Waits for the end.
    pub(super) async fn whole(mut self) -> Result<Whole, TextError> {
        let (answers, tries) = (self.choices.call().options.answers, self.choices.call().options.tries);
        let mut told = vec![(String::new(), Vec::new()); tries];
        let mut ended = Vec::with_capacity(tries);
        while let Some(event) = self.next().await {
            match event? {
                (number, Event::Delta { text, calls, .. }) => {
                    told[number].0 += &text;
                    told[number].1.extend(calls.into_iter().map(convert::tool_call));
                }
                (number, Event::Finished(finished)) => {
                    let (text, tool_calls) = std::mem::take(&mut told[number]);
                    ended.push(Ended { number, text, tool_calls, finished });
                }
            }
        }
        let written = ended.iter().map(|answer| answer.finished.completion_tokens).sum();
        if tries > answers {
            ended.sort_by(Ended::order);
            ended.truncate(answers);
        } else {
            ended.sort_by_key(|answer| answer.number);
        }
        let mut choices = Vec::with_capacity(answers);
        for Ended { number, text, tool_calls, finished } in ended {
            let completion = self.completion(number, finished).await?;
            choices.push(proto::Choice { text, tool_calls, completion: Some(completion) });
        }
        let lost = || TextError::TaskLost("the engine");
        let proto::Choice { text, tool_calls, completion } = match tries {
            1 => choices.pop(),
            _ => choices.first().cloned(),
        }
        .ok_or_else(lost)?;
        let mut completion = completion.ok_or_else(lost)?;
        completion.usage = completion.usage.map(|usage| convert::choices::whole_usage(usage, written));
        Ok(Whole { text, tool_calls, completion, choices })
    }

    async fn completion(
        &mut self,
        number: usize,
        mut finished: Finished,
    ) -> Result<proto::Completion, TextError> {
        let call = self.choices.call();
        let mut logprobs = std::mem::take(&mut finished.logprobs);
        if call.options.logprobs.is_none() {
            logprobs.clear();
        }
        if let Some(echo) = &call.echo {
            logprobs.splice(0..0, echo.logprobs.iter().cloned());
            // The rows were put there by the scoring.
            finished.cached_tokens = echo.cached_tokens.unwrap_or(finished.cached_tokens);
        }
        let (served, deadline) = (self.choices.served(), self.deadline);
        let tokens = spell(logprobs, served.tokenizer(), deadline, &self.workers).await?;
        let mut completion =
            convert::completion(finished, self.called[number], call.truncated_tokens, tokens, served.model());
        completion.choice = convert::count(number);
        if self.streamed && number > 0 {
            completion.usage = completion.usage.map(convert::choices::usage_of_answer);
        }
        Ok(completion)
    }

    /// The events as messages, each made of what is told and the answer that it is of; up to the end or an error.
    pub(super) fn stream<T: Send + 'static>(self, message: fn(u32, Told) -> T) -> Answers<T> {
        let told = stream::unfold(Some(self), |running| async move {
            let mut running = running?;
            let told = match running.next().await? {
                Ok((number, Event::Delta { text, calls, completion_tokens })) => {
                    let delta = (!text.is_empty()).then(|| convert::delta(number, text, completion_tokens));
                    let calls = calls.into_iter().map(|call| Told::Call(convert::tool_call(call)));
                    let told = delta.map(Told::Delta).into_iter().chain(calls);
                    return Some((told.map(|told| Ok((number, told))).collect(), Some(running)));
                }
                Ok((number, Event::Finished(finished))) => {
                    let completion = running.completion(number, finished).await;
                    completion.map(|completion| (number, Told::Completion(completion)))
                }
                Err(error) => Err(error),
            };
            let rest = told.is_ok().then_some(running);
            Some((vec![told], rest))
        });
        let told = told.flat_map(|told: Vec<Result<(usize, Told), TextError>>| stream::iter(told));
        let message = move |(number, told)| message(convert::count(number), told);
        Box::pin(told.map(move |told| told.map(message).map_err(status)))
    }
}
