//! Continuous batching: which tokens go into the next step, and what comes of it. No threads, no locks.

mod room;

use std::{
    iter,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use atelier_inference::{Decoder, InferenceError, Logits, Next, Row, RunControl};

use super::{
    call::{Admitted, CallId, GenerationCall},
    live::{Live, Outcome, Seat},
    metrics::Meters,
    pace::Pace,
    prefix::{PrefixCache, RowCopy},
};
use crate::{TextError, sampling::Scratch};

pub(super) struct Scheduler {
    decoder: Box<dyn Decoder>,
    pace: Pace,
    /// The call in each of the decoder's slots that calls have.
    slots: Vec<Option<Live>>,
    /// Of each slot without a call of its own, the slot of the call whose branch it is.
    branch_of: Vec<Option<usize>>,
    cache: PrefixCache,
    /// Copies that `arrange` makes, in order.
    copies: Vec<RowCopy>,
    plan: Vec<Planned>,
    scratch: Scratch,
    /// Most tokens whose rows are there at a time; none: as many as the slots have room for.
    kv_tokens: Option<usize>,
    /// Most tokens whose rows may be there, of each of the decoder's slots.
    held: Vec<usize>,
    /// Counts admissions and prefill turns, to order them.
    clock: u64,
    /// How long a call keeps its slot, as a moving average.
    average_hold: Duration,
    model: Arc<str>,
}

/// A row of the next step: what the call in this slot has laid ready.
#[derive(Clone, Copy, Debug)]
struct Planned {
    slot: usize,
    part: Part,
}

/// What of a step runs together. The parts of a step run one after another; whoever is in one hears before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Calls that decode.
    Decode,
    /// A call that is not to depend on what else runs.
    Alone,
    /// Pieces of prompts.
    Prefill,
}

impl Scheduler {
    pub(super) fn new(decoder: Box<dyn Decoder>, pace: Pace, cache: PrefixCache, model: Arc<str>) -> Self {
        let room = decoder.slots() * decoder.context_length();
        Self {
            kv_tokens: Some(decoder.cache_tokens()).filter(|&tokens| tokens < room),
            held: vec![0; decoder.slots()],
            decoder,
            pace,
            slots: (0..cache.calls()).map(|_| None).collect(),
            branch_of: vec![None; cache.calls()],
            cache,
            copies: Vec::new(),
            plan: Vec::new(),
            scratch: Scratch::default(),
            clock: 0,
            average_hold: Duration::from_secs(1),
            model,
        }
    }

    fn is_free(&self, slot: usize) -> bool {
        self.slots[slot].is_none() && self.branch_of[slot].is_none()
    }

    fn free_slot(&self) -> Option<usize> {
        self.free_slots().next()
    }

    /// Free slots, the lowest first.
    fn free_slots(&self) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).filter(|&slot| self.is_free(slot))
    }

    /// Takes a call out of its slots.
    fn vacate(&mut self, slot: usize) -> Option<Live> {
        let live = self.slots[slot].take()?;
        live.branches.iter().for_each(|&branch| self.branch_of[branch] = None);
        Some(live)
    }

    pub(super) fn slots_in_use(&self) -> usize {
        self.slots.len() - self.free_slots().count()
    }

    pub(super) fn average_hold(&self) -> Duration {
        self.average_hold
    }

    fn live(&self) -> impl Iterator<Item = &Live> {
        self.slots.iter().flatten()
    }

    /// Gives a call the lowest free slots, and what is there of its prompt. Without a free slot the call fails, which
    /// `make_room_for` prevents. `arrange` must follow before the next step.
    pub(super) fn admit(&mut self, next: Next<Admitted>, meters: &Meters) {
        let Next { item: call, priority, waited } = next;
        let now = Instant::now();
        let free: Vec<usize> = self.free_slots().take(call.call.slots()).collect();
        let Some((&free, branches)) =
            free.split_first().filter(|(_, others)| others.len() + 1 == call.call.slots())
        else {
            call.fail(TextError::TaskLost("the scheduler"));
            return;
        };
        let GenerationCall { tenant, prompt, .. } = &call.call;
        let (copies, cached) = self.cache.begin(free, tenant, prompt, call.call.reusable_tokens());
        self.copies.extend(copies);
        if call.progress.is_none() {
            let queued = now.saturating_duration_since(call.call.arrived);
            meters.admitted(queued, call.call.prompt.len(), cached);
        }
        self.clock += 1;
        let seat = Seat { priority, waited, since: self.clock };
        let mut live = Live::new(call, cached, self.decoder.context_length(), seat, now);
        for &branch in branches {
            self.branch_of[branch] = Some(free);
            self.copies.extend(self.cache.rescue(branch));
        }
        live.branches = branches.to_vec();
        live.is_short = self.pace.is_short(live.prompt_left());
        self.slots[free] = Some(live);
    }

    /// Frees the slots of calls whose callers have gone or whose deadline has passed.
    pub(super) fn reap(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let ends = |live: &Live| live.admitted.has_left() || live.admitted.is_late(now);
            if self.slots[slot].as_ref().is_some_and(ends)
                && let Some(live) = self.vacate(slot)
            {
                self.cache.leave(slot);
                live.fail(TextError::DeadlineExceeded);
            }
        }
    }

    /// The first deadline of a call that holds a slot.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.live().filter_map(|live| live.admitted.call.deadline).min()
    }

    /// Brings rows to where calls expect them, and moves calls from the highest slots into holes, so that the calls fill
    /// the first slots: the decoder runs a step over a prefix of its slots, and a hole in it would cost as much as a call.
    pub(super) fn arrange(&mut self) {
        while let Some(hole) = self.free_slot()
            && let Some(last) = (hole..self.slots.len()).rfind(|&slot| !self.is_free(slot))
        {
            self.shift(last, hole);
        }
        for RowCopy { from, to, tokens } in self.copies.drain(..) {
            self.decoder.copy(from, to, tokens);
            self.held[to] = self.held[to].max(tokens);
        }
        self.give_back();
    }

    /// Moves a call, or a branch of one, to a free slot.
    fn shift(&mut self, from: usize, to: usize) {
        let owner = self.branch_of[from].unwrap_or(from);
        let position = if owner == from { Live::position } else { Live::branch_position };
        let tokens = self.slots[owner].as_ref().map_or(0, position);
        self.copies.extend(self.cache.shift(from, to, tokens));
        if let Some(live) = &mut self.slots[owner] {
            if owner == from {
                live.branches.iter().for_each(|&branch| self.branch_of[branch] = Some(to));
            } else {
                live.branches.iter_mut().filter(|branch| **branch == from).for_each(|branch| *branch = to);
            }
        }
        self.slots.swap(from, to);
        self.branch_of.swap(from, to);
    }

    /// Chooses the rows of the next step: every call that decodes and whose caller keeps up, and as much prompt as the
    /// pace allows, to prefilling calls in turn. Gives the calls in it.
    pub(super) fn plan(&mut self) -> Vec<CallId> {
        self.plan.clear();
        let mut prefilling = Vec::new();
        let mut decoding = Vec::new();
        for (slot, live) in self.slots.iter().enumerate() {
            match live {
                Some(live) if !live.has_room() => {}
                Some(live) if live.is_prefilling() => prefilling.push((live.turn, slot)),
                Some(_) => decoding.push(slot),
                None => {}
            }
        }
        // A row with guesses has a run of its own: beside others it would cost more than it saves.
        let guessing_pays = decoding.len() == 1;
        let any_piece = self.decoder.takes_any_piece();
        for &slot in &decoding {
            let Some(live) = &mut self.slots[slot] else { continue };
            let alone = live.admitted.call.deterministic;
            live.lay_out_answer(any_piece && (guessing_pays || alone));
            self.plan.push(Planned { slot, part: if alone { Part::Alone } else { Part::Decode } });
        }
        prefilling.sort_unstable();
        let mut room = self.pace.per_step();
        let mut affordable = if decoding.is_empty() { room } else { self.pace.affordable() };
        let mut is_first = true;
        for (_, slot) in prefilling {
            let Some(live) = &mut self.slots[slot] else { continue };
            let left = live.prompt_left();
            let part = if live.admitted.call.deterministic { Part::Alone } else { Part::Prefill };
            let piece = match (any_piece, part) {
                (true, Part::Prefill) if live.is_short => self.pace.piece(left, room),
                (true, Part::Prefill) => self.pace.piece(left, room.min(affordable)),
                _ => self.pace.whole_chunk(left, room, is_first),
            };
            let Some(tokens) = piece else { continue };
            is_first = false;
            room = room.saturating_sub(tokens);
            affordable = affordable.saturating_sub(tokens);
            live.lay_out_prompt(tokens);
            self.clock += 1;
            live.turn = self.clock;
            self.plan.push(Planned { slot, part });
        }
        self.plan.sort_by_key(|planned| planned.part);
        self.planned().map(|live| live.admitted.id).collect()
    }

    /// A caller has gone since the step was planned.
    pub(super) fn plan_is_stale(&self) -> bool {
        self.planned().any(|live| live.admitted.has_left())
    }

    fn planned(&self) -> impl Iterator<Item = &Live> {
        self.plan.iter().filter_map(|planned| self.slots[planned.slot].as_ref())
    }

    /// Runs the planned step, part by part. The failure of one ends the calls in it and no others.
    pub(super) fn step(&mut self, control: &RunControl, meters: &Meters) {
        let started = Instant::now();
        let plan = std::mem::take(&mut self.plan);
        let mut decode = None;
        for part in plan.chunk_by(|one, other| one.part == other.part && one.part != Part::Alone) {
            let started = Instant::now();
            let rows = part.iter().filter_map(|planned| self.slots[planned.slot].as_ref());
            let prompt: usize = rows.filter(|live| live.is_prefilling()).map(Live::width).sum();
            self.run_part(part, control, meters);
            let time = started.elapsed();
            match prompt {
                0 => *decode.get_or_insert_default() += time,
                tokens => self.pace.prefilled(tokens, time),
            }
        }
        if let Some(time) = decode {
            self.pace.decoded(time);
        }
        meters.step(started.elapsed());
    }

    fn run_part(&mut self, part: &[Planned], control: &RunControl, meters: &Meters) {
        match self.run(part, control) {
            Ok(mut logits) => {
                let mut row = 0;
                for planned in part {
                    let asked = self.slots[planned.slot].as_ref().map_or(0, Live::logits);
                    self.settle(planned.slot, &mut logits, row..row + asked, meters);
                    row += asked;
                }
                self.decoder.recycle(logits);
            }
            // Everyone has left or the engine closes: the calls are taken away before the next step.
            Err(InferenceError::Cancelled) if control.is_cancelled() => {}
            Err(error) => {
                tracing::error!(model = &*self.model, rows = part.len(), %error, "a step failed");
                for planned in part {
                    if let Some(live) = self.vacate(planned.slot) {
                        self.cache.forget(planned.slot);
                        live.fail(error.clone().into());
                    }
                }
            }
        }
    }

    fn run(&mut self, part: &[Planned], control: &RunControl) -> Result<Logits, InferenceError> {
        let rows = part.iter().filter_map(|planned| Some((planned.slot, self.slots[planned.slot].as_ref()?)));
        let rows: Vec<Row<'_>> = rows.flat_map(|(slot, live)| live.rows(slot)).collect();
        let decoder = &mut self.decoder;
        let logits = catch_unwind(AssertUnwindSafe(|| decoder.step(&rows, control)))
            .unwrap_or_else(|_| Err(InferenceError::Panicked("a decoder step".into())))?;
        let expected: usize = rows.iter().map(|row| row.logits).sum();
        if logits.len() == expected {
            Ok(logits)
        } else {
            Err(InferenceError::InvalidRun(format!("{} rows of logits for {expected}", logits.len())))
        }
    }

    /// What a step brought to a call.
    fn settle(&mut self, at: usize, logits: &mut Logits, rows: Range<usize>, meters: &Meters) {
        let Some(live) = &mut self.slots[at] else { return };
        live.advance();
        self.cache.grow(at, live.position());
        if rows.is_empty() {
            return;
        }
        let outcome = live.hear(logits, rows, &mut self.scratch, meters);
        if matches!(outcome, Outcome::Continues) {
            let slots: Vec<usize> = iter::once(at).chain(live.branches.iter().copied()).collect();
            let tokens = live.position();
            let copies = live.copies.drain(..);
            self.copies.extend(copies.map(|(from, to)| RowCopy { from: slots[from], to: slots[to], tokens }));
            return;
        }
        self.average_hold = (self.average_hold * 7 + live.held()) / 8;
        let Some(live) = self.vacate(at) else { return };
        match outcome {
            Outcome::Ends(reason) => {
                self.cache.leave(at);
                live.finish(reason);
            }
            Outcome::Fails(error) => {
                self.cache.forget(at);
                live.fail(error);
            }
            Outcome::Continues => {}
        }
    }

    /// Ends all calls.
    pub(super) fn end_all(&mut self, error: impl Fn() -> TextError) {
        for slot in 0..self.slots.len() {
            if let Some(live) = self.vacate(slot) {
                live.fail(error());
            }
        }
    }
}
