//! A call that holds a slot, and what is left of it when it gives up the slot to a more urgent one.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use atelier_inference::{Logits, Priority};

use super::{
    call::{Admitted, Event, FinishReason, Finished, GenerationCall, Timings},
    metrics::Meters,
};
use crate::{
    TextError,
    grammar::Grammar,
    sampling::{Sampler, Scratch, TokenLogprob},
    stop::Passed,
};

/// Room that a step may need in a call's channel: the last delta and the end.
pub(super) const ROOM: usize = 2;

pub(super) struct Live {
    pub(super) admitted: Admitted,
    progress: Box<Progress>,
    /// Tokens in the slot's KV rows.
    position: usize,
    /// Most tokens to write.
    limit: usize,
    /// When the call last had a prefill turn, or came; the smallest goes first.
    pub(super) turn: u64,
    pub(super) seat: Seat,
    held_since: Instant,
}

/// What a call's right to its slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    /// The priority that the call had risen to when it got the slot.
    pub(super) priority: Priority,
    /// Calls that went before it in the queue.
    pub(super) waited: u64,
    /// When that was, in admissions.
    pub(super) since: u64,
}

/// How far a call is: all that is kept of it without a slot. With the rows of its prompt and answer computed anew, it
/// goes on as if nothing had happened.
pub(super) struct Progress {
    sampler: Sampler,
    /// Tokens written.
    answer: Vec<u32>,
    /// How likely they were, if that is asked for, or the tokens that are scored.
    logprobs: Vec<TokenLogprob>,
    /// Tokens of the prompt whose rows were there when the call came.
    cached: usize,
    slot_since: Instant,
    first_token: Option<Instant>,
    last_token: Instant,
}

/// What a token led to.
pub(super) enum Outcome {
    Continues,
    Ends(FinishReason),
    Fails(TextError),
}

impl Live {
    /// A call in a slot that holds the rows of the first `cached` tokens of its prompt; it begins, or goes on from where
    /// it was.
    pub(super) fn new(
        mut admitted: Admitted,
        cached: usize,
        context_length: usize,
        seat: Seat,
        now: Instant,
    ) -> Self {
        let progress = admitted.progress.take();
        let call = &admitted.call;
        let mut progress = progress.unwrap_or_else(|| {
            Box::new(Progress {
                sampler: Sampler::new(call.sampling.clone(), &call.prompt),
                answer: Vec::new(),
                logprobs: Vec::new(),
                cached,
                slot_since: now,
                first_token: None,
                last_token: now,
            })
        });
        if !call.scored.is_empty() {
            // All that is asked of the model comes anew with the rows.
            progress.logprobs.clear();
        }
        let limit = call.max_tokens.min(context_length.saturating_sub(call.prompt.len())).max(1);
        Self { progress, position: cached, limit, turn: seat.since, seat, held_since: now, admitted }
    }

    /// Gives up the slot; the call can wait for another one.
    pub(super) fn park(self) -> Admitted {
        Admitted { progress: Some(self.progress), ..self.admitted }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn is_prefilling(&self) -> bool {
        self.position < self.admitted.call.prompt.len()
    }

    /// The caller has read enough for a step's events to fit.
    pub(super) fn has_room(&self) -> bool {
        self.admitted.events.capacity() >= ROOM
    }

    /// What the slot takes in next: a chunk of the prompt, or a token of the answer. Chunks begin at multiples of their
    /// size whatever else runs, so that a prompt is always computed in the same pieces. An answer is taken in as it was
    /// written, token by token, also after the call has lost its slot: rows of wider runs may differ in their last bits.
    /// Such rows share their run with those of other calls that decode.
    pub(super) fn next_tokens(&self, chunk: usize) -> &[u32] {
        let prompt = &self.admitted.call.prompt;
        match self.position.checked_sub(prompt.len()) {
            None => &prompt[self.position..prompt.len().min(self.position + chunk)],
            Some(at) => &self.progress.answer[at..=at],
        }
    }

    /// After how many of the next so many tokens, the last ones, the model is asked what follows: after those of a prompt that
    /// tokens to be scored follow, or after the last one of prompt and answer.
    pub(super) fn logits_among(&self, tokens: usize) -> usize {
        let call = &self.admitted.call;
        let end = self.position + tokens;
        if call.scored.is_empty() {
            usize::from(end == call.prompt.len() + self.progress.answer.len())
        } else {
            end.saturating_sub(call.silent_tokens()).min(tokens)
        }
    }

    /// The slot has taken in this many tokens.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.position += tokens;
    }

    /// Takes what the model said: writes a token or scores those that stand there.
    pub(super) fn hear(
        &mut self,
        logits: &mut Logits,
        rows: Range<usize>,
        scratch: &mut Scratch,
        meters: &Meters,
    ) -> Outcome {
        if self.admitted.call.scored.is_empty() {
            self.write(logits.row_mut(rows.start), scratch, meters)
        } else {
            self.score(rows.map(|row| logits.row(row)))
        }
    }

    fn score<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>) -> Outcome {
        let GenerationCall { scored, logprobs, .. } = &self.admitted.call;
        let progress = &mut *self.progress;
        for logits in rows {
            let token = scored.get(progress.logprobs.len());
            match token.and_then(|&token| TokenLogprob::of(logits, token, logprobs.unwrap_or(0))) {
                Some(logprob) => progress.logprobs.push(logprob),
                None => return Outcome::Fails(TextError::BrokenLogits),
            }
        }
        progress.last_token = Instant::now();
        if progress.logprobs.len() == scored.len() {
            Outcome::Ends(FinishReason::Length)
        } else {
            Outcome::Continues
        }
    }

    fn choose(&mut self, logits: &mut [f32], scratch: &mut Scratch) -> Result<u32, TextError> {
        let GenerationCall { grammar, logprobs, .. } = &mut self.admitted.call;
        // Grammar and sampler write over what the model said.
        let said = logprobs.map(|top| (logits.to_vec(), top));
        grammar.as_mut().map_or(Ok(()), |grammar| grammar.mask(logits))?;
        let token = self.progress.sampler.sample(logits, scratch).ok_or(TextError::BrokenLogits)?;
        grammar.as_mut().map_or(Ok(()), |grammar| grammar.take(token))?;
        if let Some((logits, top)) = said {
            let logprob = TokenLogprob::of(&logits, token, top).ok_or(TextError::BrokenLogits)?;
            self.progress.logprobs.push(logprob);
        }
        Ok(token)
    }

    /// Chooses a token and tells the caller.
    fn write(&mut self, logits: &mut [f32], scratch: &mut Scratch, meters: &Meters) -> Outcome {
        let token = match self.choose(logits, scratch) {
            Ok(token) => token,
            Err(error) => return Outcome::Fails(error),
        };
        let progress = &mut *self.progress;
        let now = Instant::now();
        if progress.first_token.is_none() {
            progress.first_token = Some(now);
            meters.first_token(now.saturating_duration_since(self.admitted.call.arrived));
        } else {
            meters.further_token(now.saturating_duration_since(progress.last_token));
        }
        progress.last_token = now;
        progress.answer.push(token);
        let call = &mut self.admitted.call;
        if call.stop_tokens.contains(&token) {
            let passed = call.writer.finish();
            return Outcome::Ends(self.tell(passed).unwrap_or(FinishReason::StopToken));
        }
        let mut passed = call.writer.push(token);
        let at_limit = self.progress.answer.len() >= self.limit;
        let is_complete = call.grammar.as_ref().is_some_and(Grammar::is_complete);
        if (at_limit || is_complete) && passed.stopped.is_none() {
            let rest = call.writer.finish();
            passed = Passed { text: passed.text + &rest.text, stopped: rest.stopped };
        }
        match self.tell(passed) {
            Some(reason) => Outcome::Ends(reason),
            None if is_complete => Outcome::Ends(FinishReason::StopToken),
            None if at_limit => Outcome::Ends(FinishReason::Length),
            None => Outcome::Continues,
        }
    }

    fn written(&self) -> usize {
        self.progress.answer.len()
    }

    /// Sends text; gives the reason if it ended at a stop sequence.
    fn tell(&self, passed: Passed) -> Option<FinishReason> {
        if !passed.text.is_empty() {
            let delta = Event::Delta { text: passed.text, completion_tokens: self.written() };
            // There was room before the step and only this row fills it; a closed channel has nobody to tell.
            let _ = self.admitted.events.try_send(Ok(delta));
        }
        passed.stopped.map(FinishReason::StopSequence)
    }

    /// How long the call has held its slot.
    pub(super) fn held(&self) -> Duration {
        self.held_since.elapsed()
    }

    /// Tells the caller the end.
    pub(super) fn finish(self, reason: FinishReason) {
        let call = &self.admitted.call;
        let completion_tokens = self.written();
        let Progress { cached, slot_since, first_token, last_token, logprobs, .. } = *self.progress;
        let first_token = first_token.unwrap_or(last_token);
        let finished = Finished {
            reason,
            seed: call.sampling.seed,
            prompt_tokens: call.prompt.len(),
            cached_tokens: cached,
            completion_tokens,
            logprobs,
            timings: Timings {
                queue: slot_since.saturating_duration_since(call.arrived),
                prefill: first_token.saturating_duration_since(slot_since),
                decode: last_token.saturating_duration_since(first_token),
                total: call.arrived.elapsed(),
            },
        };
        // As for deltas.
        let _ = self.admitted.events.try_send(Ok(Event::Finished(finished)));
    }

    pub(super) fn fail(self, error: TextError) {
        self.admitted.fail(error);
    }
}
