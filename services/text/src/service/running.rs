//! Calls that write, from the request to its answers, whole or streamed.

use std::{cmp::Ordering, time::Instant};

use atelier_proto::text::v1 as proto;
use atelier_rpc::{Workers, status};
use futures::stream;

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
        let prompt = Prompt::Conversation(convert::conversation(request.messages)?);
        let proto::ChatRequest { model, generation, .. } = request;
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
    workers: Workers,
    deadline: Option<Instant>,
    streamed: bool,
}

/// What all answers together come to.
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) completion: proto::Completion,
    /// Empty where one answer was asked for and tried.
    pub(super) choices: Vec<proto::Choice>,
}

/// An answer that has ended.
struct Ended {
    number: usize,
    text: String,
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
        let choices = Choices::begin(served, call)?;
        Ok(Running { choices, workers: self.workers.clone(), deadline, streamed })
    }
}

impl Running {
    /// Waits for the end.
    pub(super) async fn whole(mut self) -> Result<Whole, TextError> {
        let (answers, tries) = (self.choices.call().options.answers, self.choices.call().options.tries);
        let mut texts = vec![String::new(); tries];
        let mut ended = Vec::with_capacity(tries);
        while let Some(event) = self.choices.next().await {
            match event? {
                (number, Event::Delta { text, .. }) => texts[number] += &text,
                (number, Event::Finished(finished)) => {
                    ended.push(Ended { number, text: std::mem::take(&mut texts[number]), finished });
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
        for Ended { number, text, finished } in ended {
            let completion = self.completion(number, finished).await?;
            choices.push(proto::Choice { text, completion: Some(completion) });
        }
        let lost = || TextError::TaskLost("the engine");
        let proto::Choice { text, completion } = match tries {
            1 => choices.pop(),
            _ => choices.first().cloned(),
        }
        .ok_or_else(lost)?;
        let mut completion = completion.ok_or_else(lost)?;
        completion.usage = completion.usage.map(|usage| convert::choices::whole_usage(usage, written));
        Ok(Whole { text, completion, choices })
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
        let mut completion = convert::completion(finished, call.truncated_tokens, tokens, served.model());
        completion.choice = convert::count(number);
        if self.streamed && number > 0 {
            completion.usage = completion.usage.map(convert::choices::usage_of_answer);
        }
        Ok(completion)
    }

    /// The events as messages, up to the end or an error.
    pub(super) fn stream<T: Send + 'static>(
        self,
        delta: fn(proto::Delta) -> T,
        completion: fn(proto::Completion) -> T,
    ) -> Answers<T> {
        Box::pin(stream::unfold(Some(self), move |running| async move {
            let mut running = running?;
            let message = match running.choices.next().await? {
                Ok((number, Event::Delta { text, completion_tokens })) => {
                    Ok(delta(convert::delta(number, text, completion_tokens)))
                }
                Ok((number, Event::Finished(finished))) => {
                    running.completion(number, finished).await.map(completion).map_err(status)
                }
                Err(error) => Err(status(error)),
            };
            let rest = message.is_ok().then_some(running);
            Some((message, rest))
        }))
    }
}
