//! What a call asks of the engine and what it is told.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use atelier_core::TenantId;
use atelier_inference::{Priority, lobby::Waiting};
use tokio::sync::mpsc;

use super::{
    live::{Progress, ROOM},
    shared::Shared,
};
use crate::{
    TextError,
    detokenize::Detokenizer,
    grammar::Grammar,
    sampling::{Sampling, TokenLogprob},
    stop::{Passed, StopMatcher},
};

/// A generation, ready to run.
pub struct GenerationCall {
    /// Tokens to continue: at least one, fewer than the context length.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Most tokens to write, 1 or more.
    pub max_tokens: usize,
    /// The answer ends with the first of these; their text is not part of it.
    pub stop_tokens: Vec<u32>,
    /// What the answer keeps to.
    pub grammar: Option<Grammar>,
    /// How many of the likeliest tokens are told beside each token written, and how likely all of them were; `None`: nothing
    /// of it is. Tokens to be scored are told in any case.
    pub logprobs: Option<usize>,
    /// Not empty: the call writes nothing and tells how likely each of these is, the last one after all of the prompt, the one
    /// before it after all but the prompt's last token, and so on. At most as many as the prompt has.
    pub scored: Vec<u32>,
    /// Makes text of the tokens.
    pub writer: Box<dyn Writer>,
    /// Who is served in turn.
    pub tenant: TenantId,
    /// How urgent the call is.
    pub priority: Priority,
    /// When the caller gives up.
    pub deadline: Option<Instant>,
    /// When the call came in.
    pub arrived: Instant,
}

impl GenerationCall {
    /// Tokens at the beginning of the prompt after which nothing is asked of the model.
    pub(super) fn silent_tokens(&self) -> usize {
        self.prompt.len().saturating_sub(self.scored.len().max(1))
    }
}

/// Makes text of a call's tokens, up to a stop sequence.
pub trait Writer: Send {
    /// Takes a token; gives text that may leave.
    fn push(&mut self, token: u32) -> Passed;

    /// No token follows; gives the text that was held back.
    fn finish(&mut self) -> Passed;
}

/// The usual writer: tokens to text to text before a stop sequence.
#[derive(Debug)]
pub struct Transcript {
    /// Tokens to text.
    pub detokenizer: Detokenizer,
    /// Looks for stop sequences in it.
    pub stop: StopMatcher,
}

impl Writer for Transcript {
    fn push(&mut self, token: u32) -> Passed {
        self.stop.push(&self.detokenizer.push(token))
    }

    fn finish(&mut self) -> Passed {
        let mut passed = self.stop.push(&self.detokenizer.finish());
        if passed.stopped.is_none() {
            passed.text += &self.stop.finish();
        }
        passed
    }
}

/// What a call is told while it runs: deltas, then `Finished` once.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More text, not empty.
    Delta {
        /// The text.
        text: String,
        /// Tokens written so far.
        completion_tokens: usize,
    },
    /// The end.
    Finished(Finished),
}

/// How a generation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Why.
    pub reason: FinishReason,
    /// The seed that was used.
    pub seed: u64,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them whose KV rows were there already.
    pub cached_tokens: usize,
    /// Tokens written, the one that ended the answer included.
    pub completion_tokens: usize,
    /// How likely the tokens written were, or those that were to be scored.
    pub logprobs: Vec<TokenLogprob>,
    /// Where the time went.
    pub timings: Timings,
}

/// Why a generation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token came, or the sentence of a grammar is complete.
    StopToken,
    /// A stop sequence came.
    StopSequence(Arc<str>),
    /// `max_tokens` or the context length was reached, or all that was to be scored is.
    Length,
}

/// Where the time of a call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Waiting for a slot, preparation included.
    pub queue: Duration,
    /// From the slot to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// From arrival to the end.
    pub total: Duration,
}

pub(super) use atelier_inference::lobby::CallId;

/// A call that waits or runs, with the way back to its caller.
pub(super) struct Admitted {
    pub(super) id: CallId,
    pub(super) call: GenerationCall,
    pub(super) events: mpsc::Sender<Result<Event, TextError>>,
    /// How far it was when it gave up its slot, if it had one.
    pub(super) progress: Option<Box<Progress>>,
}

impl Admitted {
    /// Nobody listens any more.
    pub(super) fn has_left(&self) -> bool {
        self.events.is_closed()
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.call.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Ends the call with an error.
    pub(super) fn fail(self, error: TextError) {
        // A channel has room for an end at all times; one that is closed has nobody to tell.
        let _ = self.events.try_send(Err(error));
    }
}

impl Waiting for Admitted {
    fn tenant(&self) -> &TenantId {
        &self.call.tenant
    }

    fn priority(&self) -> Priority {
        self.call.priority
    }

    fn is_abandoned(&self, now: Instant) -> bool {
        self.has_left() || self.is_late(now)
    }

    fn expire(self) {
        self.fail(TextError::DeadlineExceeded);
    }
}

/// A call's events. Dropping it gives up the call: its slot is free before the next step.
pub struct Events {
    pub(super) id: CallId,
    pub(super) receiver: mpsc::Receiver<Result<Event, TextError>>,
    pub(super) shared: Arc<Shared>,
}

impl Events {
    /// The next event; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<Event, TextError>> {
        let event = self.receiver.recv().await;
        // The engine may be waiting for room in this very channel. With more room it is not.
        if self.receiver.capacity() <= ROOM {
            self.shared.nudge();
        }
        event
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.receiver.close();
        self.shared.left(self.id);
    }
}
