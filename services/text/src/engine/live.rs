//! A call that holds a slot.

use std::time::{Duration, Instant};

use super::{
    call::{Admitted, Event, FinishReason, Finished, Timings},
    metrics::Meters,
};
use crate::{
    TextError,
    sampling::{Sampler, Scratch},
    stop::Passed,
};

/// Room that a step may need in a call's channel: the last delta and the end.
pub(super) const ROOM: usize = 2;

pub(super) struct Live {
    pub(super) admitted: Admitted,
    sampler: Sampler,
    /// Tokens in the slot's KV rows.
    position: usize,
    /// Tokens of the prompt that were in them when the call came.
    cached: usize,
    /// The token written last, which the next decode step takes in.
    last: [u32; 1],
    written: usize,
    /// Most tokens to write.
    limit: usize,
    /// When the call last had a prefill turn, or came; the smallest goes first.
    pub(super) turn: u64,
    slot_since: Instant,
    first_token: Option<Instant>,
    last_token: Instant,
}

/// What a token led to.
pub(super) enum Outcome {
    Continues,
    Ends(FinishReason),
    /// The logits were no numbers.
    Broken,
}

impl Live {
    /// A call in a slot that holds the rows of the first `cached` tokens of its prompt.
    pub(super) fn new(
        admitted: Admitted,
        cached: usize,
        context_length: usize,
        turn: u64,
        now: Instant,
    ) -> Self {
        let call = &admitted.call;
        let sampler = Sampler::new(call.sampling.clone(), &call.prompt);
        let limit = call.max_tokens.min(context_length.saturating_sub(call.prompt.len())).max(1);
        Self {
            sampler,
            position: cached,
            cached,
            last: [0],
            written: 0,
            limit,
            turn,
            slot_since: now,
            first_token: None,
            last_token: now,
            admitted,
        }
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

    /// What the slot takes in next: a chunk of the prompt, or the token written last. Chunks begin at multiples of their
    /// size whatever else runs, so that a prompt is always computed in the same pieces.
    pub(super) fn next_tokens(&self, chunk: usize) -> &[u32] {
        let prompt = &self.admitted.call.prompt;
        if self.is_prefilling() {
            &prompt[self.position..prompt.len().min(self.position + chunk)]
        } else {
            &self.last
        }
    }

    /// The slot has taken in this many tokens.
    pub(super) fn advance(&mut self, tokens: usize) {
        self.position += tokens;
    }

    /// Chooses a token and tells the caller.
    pub(super) fn write(&mut self, logits: &mut [f32], scratch: &mut Scratch, meters: &Meters) -> Outcome {
        let Some(token) = self.sampler.sample(logits, scratch) else { return Outcome::Broken };
        let now = Instant::now();
        if self.first_token.is_none() {
            self.first_token = Some(now);
            meters.first_token(now.saturating_duration_since(self.admitted.call.arrived));
        } else {
            meters.further_token(now.saturating_duration_since(self.last_token));
        }
        self.last_token = now;
        self.last = [token];
        self.written += 1;
        let call = &mut self.admitted.call;
        if call.stop_tokens.contains(&token) {
            let passed = call.writer.finish();
            return Outcome::Ends(self.tell(passed).unwrap_or(FinishReason::StopToken));
        }
        let mut passed = call.writer.push(token);
        let at_limit = self.written >= self.limit;
        if at_limit && passed.stopped.is_none() {
            let rest = call.writer.finish();
            passed = Passed { text: passed.text + &rest.text, stopped: rest.stopped };
        }
        match self.tell(passed) {
            Some(reason) => Outcome::Ends(reason),
            None if at_limit => Outcome::Ends(FinishReason::Length),
            None => Outcome::Continues,
        }
    }

    /// Sends text; gives the reason if it ended at a stop sequence.
    fn tell(&self, passed: Passed) -> Option<FinishReason> {
        if !passed.text.is_empty() {
            let delta = Event::Delta { text: passed.text, completion_tokens: self.written };
            // There was room before the step and only this row fills it; a closed channel has nobody to tell.
            let _ = self.admitted.events.try_send(Ok(delta));
        }
        passed.stopped.map(FinishReason::StopSequence)
    }

    /// How long the call has held its slot.
    pub(super) fn held(&self) -> Duration {
        self.slot_since.elapsed()
    }

    /// Tells the caller the end.
    pub(super) fn finish(self, reason: FinishReason) {
        let call = &self.admitted.call;
        let first_token = self.first_token.unwrap_or(self.last_token);
        let finished = Finished {
            reason,
            seed: call.sampling.seed,
            prompt_tokens: call.prompt.len(),
            cached_tokens: self.cached,
            completion_tokens: self.written,
            timings: Timings {
                queue: self.slot_since.saturating_duration_since(call.arrived),
                prefill: first_token.saturating_duration_since(self.slot_since),
                decode: self.last_token.saturating_duration_since(first_token),
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
