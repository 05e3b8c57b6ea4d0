//! How likely a model finds a text after its context: a call of the engine that writes nothing.

use std::sync::Arc;

use atelier_inference::Priority;
use atelier_rpc::Workers;

use crate::{
    TextError,
    engine::{Event, Finished, GenerationCall, Writer},
    generation::{Caller, GenerationModel},
    sampling::{Sampling, TokenLogprob},
    stop::Passed,
    tokens::{TextTokenizer, Truncated},
    truncation::Truncation,
};

/// A text and what stands before it.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// May be empty.
    pub(crate) context: String,
    /// What is scored.
    pub(crate) text: String,
}

/// How items are scored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// What is done with a context that is too long.
    pub(crate) truncation: Truncation,
    /// How urgent the items are.
    pub(crate) priority: Priority,
}

/// What is asked about a prompt.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// As `GenerationCall::scored`.
    pub(crate) scored: Vec<u32>,
    /// Likeliest tokens told beside each.
    pub(crate) top: usize,
    /// How urgent it is.
    pub(crate) priority: Priority,
}

/// What the model thinks of an item.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scored {
    /// Of the text's tokens; without the first one where nothing stands before it.
    pub(crate) logprobs: Vec<TokenLogprob>,
    /// Tokens of context and text.
    pub(crate) tokens: usize,
    /// Tokens whose KV rows were there already.
    pub(crate) cached_tokens: usize,
    /// Tokens of the context that were left out.
    pub(crate) truncated_tokens: usize,
}

impl Scored {
    /// The log-probability of all of it.
    pub(crate) fn logprob(&self) -> f64 {
        self.logprobs.iter().map(|token| f64::from(token.logprob)).sum()
    }

    /// `None` where no token is scored.
    pub(crate) fn perplexity(&self) -> Option<f64> {
        let tokens = self.logprobs.len();
        (tokens > 0).then(|| (-self.logprob() / tokens as f64).exp())
    }
}

impl GenerationModel {
    /// Scores an item; `index` names it in an error.
    ///
    /// # Errors
    /// It does not fit the context length and may not be cut, the queue is full or the deadline passes.
    pub(crate) async fn score(
        &self,
        index: usize,
        item: Item,
        options: Options,
        caller: Caller,
        workers: &Workers,
    ) -> Result<Scored, TextError> {
        let (tokenizer, limit) = (Arc::clone(self.tokenizer()), self.context_length());
        let encode = move || encode(&tokenizer, index, &item, options.truncation, limit);
        let (context, text) = workers.run(caller.deadline, encode).await?;
        let truncated_tokens = context.full_length.saturating_sub(context.ids.len());
        let mut prompt = context.ids;
        // Nothing is known of a token that nothing stands before.
        let first = prompt.len().max(1);
        prompt.extend(text);
        let scored = prompt.get(first..).unwrap_or_default().to_vec();
        let mut answer = Scored { tokens: prompt.len(), truncated_tokens, ..Scored::default() };
        if scored.is_empty() {
            return Ok(answer);
        }
        // Nothing is asked after the last token.
        prompt.pop();
        let asked = Asked { scored, top: 0, priority: options.priority };
        let finished = self.score_tokens(prompt, asked, caller).await?;
        answer.cached_tokens = finished.cached_tokens;
        answer.logprobs = finished.logprobs;
        Ok(answer)
    }

    /// Scores tokens where they stand in a prompt.
    ///
    /// # Errors
    /// The queue is full or the deadline passes.
    pub(crate) async fn score_tokens(
        &self,
        prompt: Vec<u32>,
        asked: Asked,
        caller: Caller,
    ) -> Result<Finished, TextError> {
        let mut events = self.engine().submit(GenerationCall {
            prompt,
            sampling: Sampling::default(),
            max_tokens: 1,
            stop_tokens: Vec::new(),
            grammar: None,
            logprobs: Some(asked.top),
            scored: asked.scored,
            lookahead: 0,
            beams: None,
            deterministic: false,
            writer: Box::new(Mute),
            tenant: caller.tenant,
            priority: asked.priority,
            deadline: caller.deadline,
            arrived: caller.arrived,
        })?;
        loop {
            match events.next().await.unwrap_or(Err(TextError::TaskLost("the engine")))? {
                Event::Delta { .. } => {}
                Event::Finished(finished) => return Ok(finished),
            }
        }
    }
}

/// The tokens of context and text, together at most `limit`.
fn encode(
    tokenizer: &TextTokenizer,
    index: usize,
    item: &Item,
    truncation: Truncation,
    limit: usize,
) -> Result<(Truncated, Vec<u32>), TextError> {
    let too_long = |field: &str, tokens| TextError::ContextLengthExceeded {
        field: format!("items[{index}].{field}"),
        tokens,
        limit,
    };
    let text = tokenizer.encode(&item.text, false)?;
    let room = limit.checked_sub(text.len()).ok_or_else(|| too_long("text", text.len()))?;
    let context = match truncation {
        Truncation::Refuse => {
            let ids = tokenizer.encode(&item.context, true)?;
            Truncated { full_length: ids.len(), ids }
        }
        Truncation::Cut(cut) => tokenizer.encode_truncated(&item.context, room, cut)?,
    };
    match context.ids.len() > room {
        true => Err(too_long("context", context.ids.len() + text.len())),
        false => Ok((context, text)),
    }
}

/// Writes nothing.
struct Mute;

impl Writer for Mute {
    fn push(&mut self, _: u32) -> Passed {
        Passed::default()
    }

    fn finish(&mut self) -> Passed {
        Passed::default()
    }
}
