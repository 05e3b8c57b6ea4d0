//! A call that holds a slot, and what is left of it when it gives up the slot to a more urgent one.

use std::{
    iter,
    ops::Range,
    time::{Duration, Instant},
};

use atelier_inference::{Logits, Priority, Row};

use super::{
    beams::{Beams, Searched},
    call::{Admitted, Event, FinishReason, Finished, GenerationCall, Timings},
    lookahead,
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
/// Guesses that a call makes the first time.
const FIRST_GUESSES: usize = 4;

pub(super) struct Live {
    pub(super) admitted: Admitted,
    progress: Box<Progress>,
    /// Tokens in the slot's KV rows.
    position: usize,
    /// The slots of a search's other beams. All of its slots hold as many tokens.
    pub(super) branches: Vec<usize>,
    /// Rows that a search wants copied before its next step, from one of its places to another: its own slot is the first,
    /// its branches follow.
    pub(super) copies: Vec<(usize, usize)>,
    /// Tokens that it takes in during the next step: a piece of the prompt, or a token of the answer and guesses at those
    /// that follow; of a search the next token of each beam.
    input: Vec<u32>,
    /// Guesses to make next time, if any are.
    guesses: usize,
    /// Most tokens to write.
    limit: usize,
    /// When the call last had a prefill turn, or came; the smallest goes first.
    pub(super) turn: u64,
    pub(super) seat: Seat,
    /// What is to be run of the prompt is soon over: it need not be cut small beside calls that decode.
    pub(super) is_short: bool,
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
    /// The search for an answer.
    beams: Option<Beams>,
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

impl Progress {
    /// Tokens of the answer.
    pub(super) fn written(&self) -> usize {
        self.answer.len()
    }
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
            let sampler = Sampler::new(call.sampling.clone(), &call.prompt);
            Box::new(Progress {
                beams: call.beams.map(|search| Beams::new(search, sampler.clone())),
                sampler,
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
        let limit = call.limit(context_length);
        Self {
            progress,
            position: cached,
            branches: Vec::new(),
            copies: Vec::new(),
            input: Vec::new(),
            guesses: FIRST_GUESSES,
            limit,
            turn: seat.since,
            seat,
            is_short: false,
            held_since: now,
            admitted,
        }
    }

    /// Gives up the slot; the call can wait for another one. A search, of which nothing is told yet, begins again.
    pub(super) fn park(self) -> Admitted {
        let progress = self.progress.beams.is_none().then_some(self.progress);
        Admitted { progress, ..self.admitted }
    }

    /// [`GenerationCall::claim`] by now.
    pub(super) fn claim(&self, ahead: usize) -> usize {
        let call = &self.admitted.call;
        // The tokens of a search are told at its end.
        let written = self.written().max(self.position.saturating_sub(call.prompt.len()));
        call.claim(written, ahead, self.limit)
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Tokens that each of its branches holds: none before the search has begun.
    pub(super) fn branch_position(&self) -> usize {
        let has_begun = self.progress.beams.as_ref().is_some_and(|beams| beams.places() > 1);
        if has_begun { self.position } else { 0 }
    }

    pub(super) fn is_prefilling(&self) -> bool {
        self.prompt_left() > 0
    }

    /// Each of its slots takes in a token of a beam.
    fn is_searching(&self) -> bool {
        self.progress.beams.is_some() && !self.is_prefilling()
    }

    /// The caller has read enough for a step's events to fit.
    pub(super) fn has_room(&self) -> bool {
        self.admitted.events.capacity() >= ROOM
    }

    /// Tokens of the prompt that the slot has not taken in.
    pub(super) fn prompt_left(&self) -> usize {
        self.admitted.call.prompt.len().saturating_sub(self.position)
    }

    /// Lays out so many tokens of the prompt for the next step.
    pub(super) fn lay_out_prompt(&mut self, tokens: usize) {
        let left = &self.admitted.call.prompt[self.position..];
        self.input.clear();
        self.input.extend_from_slice(&left[..tokens.min(left.len())]);
    }

    /// Lays out the next token of the answer, and guesses at what follows if that `pays`. An answer is taken in as it was
    /// written, token by token, also after the call has lost its slot.
    pub(super) fn lay_out_answer(&mut self, pays: bool) {
        self.input.clear();
        let Progress { answer, beams, .. } = &*self.progress;
        if let Some(beams) = beams {
            self.input.extend(beams.input());
            return;
        }
        let call = &self.admitted.call;
        let at = self.position - call.prompt.len();
        self.input.push(answer[at]);
        if pays && call.lookahead > 0 && at + 1 == answer.len() {
            // Every token may be told, beside the end; the last one of the answer need not be taken in.
            let room = self.admitted.events.capacity().saturating_sub(ROOM);
            let left = self.limit.saturating_sub(answer.len() + 1);
            let most = call.lookahead.min(self.guesses).min(room).min(left);
            self.input.extend(lookahead::guess(&call.prompt, answer, most));
        }
    }

    /// How many tokens its slots take in during the step.
    pub(super) fn width(&self) -> usize {
        self.input.len()
    }

    /// Its rows of the step; it has this slot and its branches.
    pub(super) fn rows(&self, slot: usize) -> impl Iterator<Item = Row<'_>> {
        let (size, logits) =
            if self.is_searching() { (1, 1) } else { (self.input.len().max(1), self.logits()) };
        let slots = iter::once(slot).chain(self.branches.iter().copied());
        let row = move |(tokens, slot)| Row { slot, tokens, position: self.position, logits };
        self.input.chunks(size).zip(slots).map(row)
    }

    /// After how many of those tokens, the last ones, the model is asked what follows: after those of a prompt that tokens to
    /// be scored follow, or from the last one of prompt and answer on.
    pub(super) fn logits(&self) -> usize {
        let call = &self.admitted.call;
        let end = self.position + self.input.len();
        if self.is_searching() {
            self.input.len()
        } else if call.scored.is_empty() {
            (end + 1).saturating_sub(call.prompt.len() + self.progress.answer.len())
        } else {
            end.saturating_sub(call.silent_tokens()).min(self.input.len())
        }
    }

    /// The slot has taken in its input.
    pub(super) fn advance(&mut self) {
        self.position += if self.is_searching() { 1 } else { self.input.len() };
    }

    /// Takes what the model said: writes tokens or scores those that stand there.
    pub(super) fn hear(
        &mut self,
        logits: &mut Logits,
        rows: Range<usize>,
        scratch: &mut Scratch,
        meters: &Meters,
    ) -> Outcome {
        if !self.admitted.call.scored.is_empty() {
            return self.score(rows.map(|row| logits.row(row)));
        }
        if self.progress.beams.is_some() {
            return self.search(logits, rows, meters);
        }
        let guesses = rows.len() - 1;
        let first = self.input.len() - guesses;
        let (mut right, mut outcome) = (0, Outcome::Continues);
        for row in rows {
            outcome = self.write(logits.row_mut(row), scratch, meters);
            let is_guessed = self.progress.answer.last() == self.input.get(first + right);
            if !is_guessed || !matches!(outcome, Outcome::Continues) {
                break;
            }
            right += 1;
        }
        self.checked(right, guesses, meters);
        outcome
    }

    /// So many guesses were right. The rows of the others don't count. As many again are made next time, or twice as many
    /// where all were right: how far a text repeats itself shows in how far it did.
    fn checked(&mut self, right: usize, guesses: usize, meters: &Meters) {
        if guesses > 0 {
            meters.guessed(guesses, right);
            self.guesses = if right == guesses { 2 * guesses } else { right.max(1) };
            self.position -= guesses - right;
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
        self.clock(meters);
        let (passed, end) = self.take(token);
        self.tell(passed);
        end.map_or(Outcome::Continues, Outcome::Ends)
    }

    /// Takes a search a step on. What it finds is told at once.
    fn search(&mut self, logits: &mut Logits, rows: Range<usize>, meters: &Meters) -> Outcome {
        let Some(beams) = &mut self.progress.beams else { return Outcome::Continues };
        match beams.step(logits.rows_mut(rows), &self.admitted.call.stop_tokens, self.limit) {
            Err(error) => Outcome::Fails(error),
            Ok(Searched::GoesOn(copies)) => {
                self.copies = copies;
                Outcome::Continues
            }
            Ok(Searched::Found(tokens)) => {
                self.clock(meters);
                let mut found = Passed::default();
                let end = tokens.into_iter().find_map(|token| {
                    let (passed, end) = self.take(token);
                    found = std::mem::take(&mut found).then(passed);
                    end
                });
                self.tell(found);
                end.map_or(Outcome::Continues, Outcome::Ends)
            }
        }
    }

    /// A token is written now.
    fn clock(&mut self, meters: &Meters) {
        let progress = &mut *self.progress;
        let now = Instant::now();
        if progress.first_token.is_none() {
            progress.first_token = Some(now);
            meters.first_token(now.saturating_duration_since(self.admitted.call.arrived));
        } else {
            meters.further_token(now.saturating_duration_since(progress.last_token));
        }
        progress.last_token = now;
    }

    /// Adds a token to the answer. Gives what may leave, and why the answer ends if it does.
    fn take(&mut self, token: u32) -> (Passed, Option<FinishReason>) {
        let answer = &mut self.progress.answer;
        answer.push(token);
        let at_limit = answer.len() >= self.limit;
        let call = &mut self.admitted.call;
        let is_stop = call.stop_tokens.contains(&token);
        let mut passed = if is_stop { Passed::default() } else { call.writer.push(token) };
        if let (true, Some(grammar)) = (passed.opened, &mut call.grammar) {
            grammar.wake();
        }
        let is_complete = is_stop || call.grammar.as_ref().is_some_and(Grammar::is_complete);
        if (at_limit || is_complete) && passed.stopped.is_none() {
            passed = passed.then(call.writer.finish());
        }
        let end = match passed.stopped.clone() {
            Some(sequence) => Some(FinishReason::StopSequence(sequence)),
            None if is_complete => Some(FinishReason::StopToken),
            None => at_limit.then_some(FinishReason::Length),
        };
        (passed, end)
    }

    fn written(&self) -> usize {
        self.progress.written()
    }

    /// Sends text and calls.
    fn tell(&self, passed: Passed) {
        let Passed { text, calls, .. } = passed;
        if !(text.is_empty() && calls.is_empty()) {
            let delta = Event::Delta { text, calls, completion_tokens: self.written() };
            // There was room before the step and only this row fills it; a closed channel has nobody to tell.
            let _ = self.admitted.events.try_send(Ok(delta));
        }
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
