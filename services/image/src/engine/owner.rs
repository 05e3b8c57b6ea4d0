//! The owner thread: whose step is next, and what comes of it.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use atelier_inference::{
    RunControl,
    lobby::{CallId, Lobby, Waiting as _},
};

use super::{
    EngineConfig, Painter,
    call::{Admitted, Finished, Progress, Timings},
    meters::Meters,
    payoff::Payoff,
};
use crate::ImageError;

pub(super) struct Owner<P: Painter> {
    painter: P,
    max_active: usize,
    max_bytes: u64,
    max_batch: usize,
    /// The front one has the next step.
    active: VecDeque<Active<P>>,
    payoff: Payoff,
    average_hold: Duration,
    meters: Meters,
}

/// A call in the making.
struct Active<P: Painter> {
    admitted: Admitted<P::Request>,
    job: P::Job,
    /// When it got its place.
    since: Instant,
    timings: Timings,
}

/// What one turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cycle {
    Worked,
    /// Nothing to do before something happens.
    Idle,
    Closed,
}

type Calls<P> = Lobby<Admitted<<P as Painter>::Request>>;

impl<P: Painter> Owner<P> {
    pub(super) fn new(painter: P, config: &EngineConfig, meters: Meters) -> Self {
        Self {
            painter,
            max_active: config.max_active.max(1),
            max_bytes: config.max_active_bytes,
            max_batch: config.max_batch_calls.max(1),
            active: VecDeque::new(),
            payoff: Payoff::default(),
            average_hold: Duration::from_secs(1),
            meters,
        }
    }

    /// Works until the lobby is closed.
    pub(super) fn run(&mut self, lobby: &Calls<P>) {
        loop {
            match self.cycle(lobby) {
                Cycle::Worked => {}
                // Deadlines of waiting calls need no alarm: the place they wait for is free when all is idle.
                Cycle::Idle => lobby.sleep(None),
                Cycle::Closed => return,
            }
        }
    }

    /// Looks at what has happened since the last turn, lets a call in, and runs one step.
    pub(super) fn cycle(&mut self, lobby: &Calls<P>) -> Cycle {
        let now = Instant::now();
        let mut state = lobby.look();
        if state.closed {
            for call in state.queue.take_out(|_| true) {
                call.end(Err(ImageError::Draining));
            }
            for active in self.active.drain(..) {
                active.admitted.end(Err(ImageError::Draining));
            }
            return Cycle::Closed;
        }
        state.sweep(now);
        self.reap(now);
        // One at a time: preparing takes about as long as a step, and those in the making should not wait for several.
        let next = if self.has_room() { state.queue.pop() } else { None };
        state.average_hold = self.average_hold;
        state.places_in_use = self.active.len();
        self.meters.queue_depth(state.queue.len());
        self.meters.active(self.active.len(), self.bytes());
        let control = next.as_ref().map(|call| state.begin(vec![call.id]));
        drop(state);
        let admitted = next.is_some();
        if let (Some(call), Some(control)) = (next, control) {
            self.admit(call, &control);
            lobby.lock().end();
        }
        if self.active.is_empty() {
            return if admitted { Cycle::Worked } else { Cycle::Idle };
        }
        let batch = self.choose();
        self.step(batch, lobby);
        Cycle::Worked
    }

    fn has_room(&self) -> bool {
        self.active.is_empty() || (self.active.len() < self.max_active && self.bytes() < self.max_bytes)
    }

    fn bytes(&self) -> u64 {
        self.active.iter().map(|active| P::bytes(&active.job)).sum()
    }

    /// Ends calls that nobody waits for any more.
    fn reap(&mut self, now: Instant) {
        for active in std::mem::take(&mut self.active) {
            if active.admitted.is_abandoned(now) {
                active.admitted.expire();
            } else {
                self.active.push_back(active);
            }
        }
    }

    fn admit(&mut self, admitted: Admitted<P::Request>, control: &RunControl) {
        let since = Instant::now();
        self.meters.admitted(since.saturating_duration_since(admitted.call.arrived));
        match guarded(|| self.painter.begin(&admitted.call.request, control)) {
            Ok(job) => {
                let timings = Timings { prepare: since.elapsed(), ..Timings::default() };
                // At the end, like one that has just had its step; alone it is the next.
                self.active.push_back(Active { admitted, job, since, timings });
            }
            Err(error) => admitted.end(Err(error)),
        }
    }

    /// Takes out the calls of the next run.
    fn choose(&mut self) -> Vec<Active<P>> {
        let Some(first) = self.active.pop_front() else { return Vec::new() };
        let fits = |other: &Active<P>| P::compatible(&first.job, &other.job);
        let can_share = self.max_batch > 1 && self.active.iter().any(fits);
        let mut batch = vec![first];
        if can_share && self.payoff.share() {
            for active in std::mem::take(&mut self.active) {
                if batch.len() < self.max_batch && P::compatible(&batch[0].job, &active.job) {
                    batch.push(active);
                } else {
                    self.active.push_back(active);
                }
            }
        }
        batch
    }

    fn step(&mut self, mut batch: Vec<Active<P>>, lobby: &Calls<P>) {
        let Some(control) = begin(lobby, batch.iter().map(|active| active.admitted.id).collect()) else {
            self.active.extend(batch);
            return;
        };
        let started = Instant::now();
        let mut jobs: Vec<&mut P::Job> = batch.iter_mut().map(|active| &mut active.job).collect();
        // A job without steps (all of the picture is kept) has nothing to run.
        let done = jobs.iter().all(|job| is_done::<P>(job));
        let outcome = if done { Ok(()) } else { guarded(|| self.painter.step(&mut jobs, &control)) };
        let time = started.elapsed();
        lobby.lock().end();
        if let Err(error) = outcome {
            let words: Arc<str> = error.to_string().into();
            let mut first = Some(error);
            for active in batch {
                let error = first.take().unwrap_or_else(|| ImageError::SharedRun(Arc::clone(&words)));
                active.admitted.end(Err(error));
            }
            return;
        }
        if !done {
            self.meters.stepped(batch.len(), time);
            let work = batch.iter().map(|active| P::work(&active.job)).sum();
            self.payoff.measured(batch.len(), work, time);
        }
        for mut active in batch {
            active.timings.denoise += time;
            self.tell(&active);
            if is_done::<P>(&active.job) {
                self.finish(active, lobby);
            } else {
                self.active.push_back(active);
            }
        }
    }

    fn tell(&self, active: &Active<P>) {
        let (step, total_steps) = P::progress(&active.job);
        let every = active.admitted.call.preview_every;
        // The last one would only announce the picture itself.
        let due = every > 0 && step.is_multiple_of(every) && step < total_steps;
        let each = active.since.elapsed() / u32::try_from(step.max(1)).unwrap_or(u32::MAX);
        let remaining =
            each.saturating_mul(u32::try_from(total_steps - step.min(total_steps)).unwrap_or(u32::MAX));
        let previews = if due { self.painter.preview(&active.job) } else { Vec::new() };
        active.admitted.tell(Progress { step, total_steps, remaining, previews });
    }

    fn finish(&mut self, active: Active<P>, lobby: &Calls<P>) {
        let Active { admitted, job, since, mut timings } = active;
        let Some(control) = begin(lobby, vec![admitted.id]) else {
            admitted.end(Err(ImageError::Draining));
            return;
        };
        let started = Instant::now();
        let facts = P::facts(&job);
        let outcome = guarded(|| self.painter.finish(job, &control));
        lobby.lock().end();
        timings.decode = started.elapsed();
        let total = admitted.call.arrived.elapsed();
        timings.queue = total.saturating_sub(timings.prepare + timings.denoise + timings.decode);
        self.average_hold = (self.average_hold * 7 + since.elapsed()) / 8;
        if let Ok(pictures) = &outcome {
            self.meters.finished(pictures.len());
        }
        admitted.end(outcome.map(|pictures| Finished { pictures, facts, timings }));
    }
}

fn is_done<P: Painter>(job: &P::Job) -> bool {
    let (step, total) = P::progress(job);
    step >= total
}

/// Announces a run of these calls; `None` when the lobby has been closed.
fn begin<T: atelier_inference::lobby::Waiting>(lobby: &Lobby<T>, calls: Vec<CallId>) -> Option<RunControl> {
    let mut state = lobby.lock();
    (!state.closed).then(|| state.begin(calls))
}

/// A panic around a run ends the calls in it and no others.
fn guarded<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(ImageError::Panicked))
}
