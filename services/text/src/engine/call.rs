//! What a call asks of the engine and what it is told.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use atelier_core::TenantId;
use atelier_inference::{Priority, lobby::Waiting};
use tokio::sync::mpsc;

use super::{
    beams::BeamSearch,
    live::{Progress, ROOM},
    shared::Shared,
};
use crate::{
    TextError,
    detokenize::Detokenizer,
    grammar::Grammar,
    sampling::{Sampling, TokenLogprob},
    stop::{Passed, StopMatcher},
    tools::{CallReader, Piece, ToolCall, call_id},
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
    /// Tokens that may be guessed ahead and checked together, where prompt and answer repeat themselves.
    pub lookahead: usize,
    /// The answer is searched for; how tokens are drawn does not matter then, nor do `grammar`, `logprobs` and `lookahead`.
    pub beams: Option<BeamSearch>,
    /// Shares no run with other calls and takes nothing over from them, so that its logits are the same to the last bit
    /// whatever else runs.
    pub deterministic: bool,
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

    /// Most tokens that it can write, in a context of so many.
    pub(super) fn limit(&self, context_length: usize) -> usize {
        self.max_tokens.min(context_length.saturating_sub(self.prompt.len())).max(1)
    }

    /// Tokens whose KV rows it holds, in all of its slots, once an answer of so many has grown by a step, or by so many more.
    pub(super) fn claim(&self, written: usize, ahead: usize, limit: usize) -> usize {
        let step = 1 + self.lookahead;
        self.slots() * (self.prompt.len() + (written + ahead.max(step)).min(limit))
    }

    /// Slots that it takes.
    pub(super) fn slots(&self) -> usize {
        self.beams.map_or(1, |beams| beams.count)
    }

    /// Tokens at the beginning of the prompt whose rows may come from another call. What is left is not a single token: it
    /// would run as an answer's tokens do, whose sums may differ in the last bits.
    pub(super) fn reusable_tokens(&self) -> usize {
        if self.deterministic { 0 } else { self.silent_tokens().min(self.prompt.len().saturating_sub(2)) }
    }
}

/// Makes text of a call's tokens, up to a stop sequence.
pub trait Writer: Send {
    /// Takes a token; gives text that may leave.
    fn push(&mut self, token: u32) -> Passed;

    /// No token follows; gives the text that was held back.
    fn finish(&mut self) -> Passed;
}

/// The usual writer: tokens to text and calls, up to a stop sequence in the text.
#[derive(Debug)]
pub struct Transcript {
    /// Tokens to text.
    pub detokenizer: Detokenizer,
    /// Looks for calls in it, where tools are offered.
    pub calls: Option<CallWriter>,
    /// Looks for stop sequences in what is left.
    pub stop: StopMatcher,
}

/// Makes calls of text.
#[derive(Clone, Debug)]
pub struct CallWriter {
    /// Finds them.
    pub reader: CallReader,
    /// The special token that opens a call, and what the reader knows it by.
    pub opener: Option<(u32, &'static str)>,
    /// The answer's.
    pub seed: u64,
    /// Calls before the next one in the conversation.
    pub before: usize,
}

impl CallWriter {
    fn call(&mut self, name: String, arguments: serde_json::Map<String, serde_json::Value>) -> ToolCall {
        let id = call_id(self.seed, self.before);
        self.before += 1;
        ToolCall { id, name, arguments }
    }
}

impl Transcript {
    /// Takes what was read, up to a stop sequence.
    fn pass(&mut self, pieces: Vec<Piece>) -> Passed {
        let mut passed = Passed::default();
        for piece in pieces {
            match (piece, &mut self.calls) {
                (Piece::Call(name, arguments), Some(calls)) => {
                    // No stop sequence reaches over a call.
                    passed.text += &self.stop.finish();
                    passed.calls.push(calls.call(name, arguments));
                }
                (Piece::Text(text), _) => passed = passed.then(self.stop.push(&text)),
                (Piece::Call(..), None) => {}
            }
            if passed.stopped.is_some() {
                break;
            }
        }
        passed
    }

    fn read(&mut self, text: &str) -> Passed {
        match &mut self.calls {
            Some(calls) => {
                let pieces = calls.reader.push(text);
                let opened = calls.reader.is_opened();
                Passed { opened, ..self.pass(pieces) }
            }
            None => self.stop.push(text),
        }
    }
}

impl Writer for Transcript {
    fn push(&mut self, token: u32) -> Passed {
        let opener =
            self.calls.as_ref().and_then(|calls| calls.opener).filter(|&(opener, _)| opener == token);
        let text = match opener {
            // It has no text of its own.
            Some((_, opener)) => self.detokenizer.finish() + opener,
            None => self.detokenizer.push(token),
        };
        self.read(&text)
    }

    fn finish(&mut self) -> Passed {
        let rest = self.detokenizer.finish();
        let mut passed = self.read(&rest);
        if passed.stopped.is_none() {
            let held = self.calls.as_mut().map_or_else(Vec::new, |calls| calls.reader.finish());
            passed = passed.then(self.pass(held));
        }
        if passed.stopped.is_none() {
            passed.text += &self.stop.finish();
        }
        passed
    }
}

/// What a call is told while it runs: deltas, then `Finished` once.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More text, or calls, or both.
    Delta {
        /// The text.
        text: String,
        /// Calls that are complete.
        calls: Vec<ToolCall>,
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

    /// [`GenerationCall::claim`] of one that begins, or goes on.
    pub(super) fn claim(&self, ahead: usize, context_length: usize) -> usize {
        let written = self.progress.as_ref().map_or(0, |progress| progress.written());
        self.call.claim(written, ahead, self.call.limit(context_length))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{tokens::byte_tokenizer, tools::Syntax};

    /// The text and the names of the calls that a text's tokens make, and the stop sequence.
    fn write(special: &[&str], stop: &str, text: &str) -> (String, Vec<String>, Option<Arc<str>>) {
        let tokenizer = Arc::new(byte_tokenizer(special));
        let syntax = Syntax::Listed;
        let calls = CallWriter {
            reader: CallReader::new(syntax, vec!["now".into()]),
            opener: tokenizer.special_id(syntax.opener()).map(|id| (id, syntax.opener())),
            seed: 1,
            before: 2,
        };
        let tokens = tokenizer.encode(text, false).expect("it encodes");
        let mut transcript = Transcript {
            detokenizer: Detokenizer::new(tokenizer, &[]),
            calls: Some(calls),
            stop: StopMatcher::new(vec![stop.into()]),
        };
        let mut passed = Passed::default();
        for token in tokens {
            passed = passed.then(transcript.push(token));
            if passed.stopped.is_some() {
                break;
            }
        }
        if passed.stopped.is_none() {
            passed = passed.then(transcript.finish());
        }
        let ids: Vec<_> = passed.calls.iter().map(|call| call.id.clone()).collect();
        assert_eq!(ids, (2..2 + ids.len()).map(|before| call_id(1, before)).collect::<Vec<_>>());
        (passed.text, passed.calls.into_iter().map(|call| call.name).collect(), passed.stopped)
    }

    const CALL: &str =
        "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": {}}]";

    #[test]
    fn a_call_may_be_opened_by_a_special_token() {
        for special in [&["[TOOL_CALLS]"][..], &[]] {
            let answer = format!("Well.{CALL}");
            assert_eq!(write(special, "#", &answer), ("Well.".into(), vec!["now".into(); 2], None));
            assert_eq!(write(special, "#", "[TOOL_CALLS]["), ("[TOOL_CALLS][".into(), vec![], None));
        }
    }

    #[test]
    fn stop_sequences_are_looked_for_in_text_alone() {
        let twice = vec!["now".into(); 2];
        assert_eq!(write(&[], "name", &format!("a na{CALL}me")), ("a name".into(), twice.clone(), None));
        let stopped = write(&[], "stop", &format!("{CALL}then stop {CALL}"));
        assert_eq!(stopped, ("then ".into(), twice, Some("stop".into())));
    }
}
