//! The state a batcher's callers and its owner threads share, and what an owner thread does.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    BatchModel,
    former::{Former, Item, Limits, Next},
};
use crate::{InferenceError, RunControl, metrics};

/// Where one answer goes.
type Reply<M> = oneshot::Sender<Result<<M as BatchModel>::Output, InferenceError>>;

/// What an item carries through the queue.
pub(super) struct Job<M: BatchModel> {
    pub(super) input: M::Input,
    pub(super) reply: Reply<M>,
}

/// Queue and running batches of a batcher.
pub(super) struct Shared<M: BatchModel> {
    name: &'static str,
    state: Mutex<State<M>>,
    /// Told of each new item and of the end.
    arrival: Condvar,
}

struct State<M: BatchModel> {
    former: Former<Job<M>>,
    running: Vec<Running>,
    pace: Pace,
    closed: bool,
}

/// A batch that an owner is running.
struct Running {
    control: RunControl,
    /// Callers that still wait for it.
    callers: Vec<u64>,
    batch: u64,
}

/// A formed batch on its way through a run.
struct Batch<M: BatchModel> {
    id: u64,
    items: Vec<Item<Job<M>>>,
    tokens: usize,
    control: RunControl,
}

impl<M: BatchModel> Shared<M> {
    pub(super) fn new(name: &'static str, limits: Limits) -> Self {
        let state =
            State { former: Former::new(limits), running: Vec::new(), pace: Pace::default(), closed: false };
        Self { name, state: Mutex::new(state), arrival: Condvar::new() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn queue_depth(&self) -> usize {
        self.lock().former.len()
    }

    /// Nothing that can panic runs under the lock, so a poisoned state is still a whole one.
    fn lock(&self) -> MutexGuard<'_, State<M>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, item: Item<Job<M>>) -> Result<(), InferenceError> {
        let mut state = self.lock();
        if state.closed {
            return Err(InferenceError::Closed);
        }
        let expired = state.former.expired(item.arrived);
        let refused = state.former.push(item).is_err();
        let depth = state.former.len();
        let retry_after = state.pace.time_for(depth);
        drop(state);
        self.answer_expired(expired);
        metrics::queue_depth(self.name, depth);
        if refused {
            metrics::rejected(self.name, "queue_full");
            return Err(InferenceError::QueueFull { retry_after });
        }
        self.arrival.notify_one();
        Ok(())
    }

    /// A caller has gone: its item leaves the queue, or the run it is part of ends if it was the last one.
    pub(super) fn leave(&self, id: u64, reason: &'static str) {
        let mut state = self.lock();
        let removed = state.former.remove(id);
        let depth = state.former.len();
        let mut abandoned = None;
        for running in &mut state.running {
            if let Some(place) = running.callers.iter().position(|&caller| caller == id) {
                running.callers.swap_remove(place);
                abandoned = running.callers.is_empty().then(|| running.control.clone());
            }
        }
        drop(state);
        if removed.is_some() {
            metrics::queue_depth(self.name, depth);
            metrics::rejected(self.name, reason);
        }
        if let Some(control) = abandoned {
            control.cancel();
        }
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = state.former.drain();
        drop(state);
        self.arrival.notify_all();
        for item in waiting {
            metrics::rejected(self.name, "closed");
            // A caller that has left needs no answer.
            let _ = item.payload.reply.send(Err(InferenceError::Closed));
        }
        metrics::queue_depth(self.name, 0);
    }

    /// The life of an owner thread.
    pub(super) fn own(self: Arc<Self>, mut model: M) {
        while let Some(batch) = self.next_batch() {
            self.run(&mut model, batch);
        }
    }

    /// Waits for work; `None` at the end.
    fn next_batch(&self) -> Option<Batch<M>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            let now = Instant::now();
            let expired = state.former.expired(now);
            if !expired.is_empty() {
                drop(state);
                self.answer_expired(expired);
                state = self.lock();
                continue;
            }
            state = match state.former.next(now) {
                Next::Run { batch, tokens } => return Some(self.begin(state, batch, tokens, now)),
                Next::Wait(time) => {
                    self.arrival.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
                }
                Next::Idle => self.arrival.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn begin(
        &self,
        mut state: MutexGuard<'_, State<M>>,
        items: Vec<Item<Job<M>>>,
        tokens: usize,
        now: Instant,
    ) -> Batch<M> {
        let control = RunControl::new();
        let callers: Vec<u64> = items.iter().map(|item| item.id).collect();
        // Ids of items are unique, so the first one names the batch.
        let id = callers.first().copied().unwrap_or_default();
        state.running.push(Running { control: control.clone(), callers, batch: id });
        let depth = state.former.len();
        drop(state);
        if depth > 0 {
            // One arrival may have woken this owner for several items; another idle owner can take the rest.
            self.arrival.notify_one();
        }
        metrics::queue_depth(self.name, depth);
        metrics::batch(self.name, items.len(), tokens);
        for item in &items {
            metrics::queue_wait(self.name, now.saturating_duration_since(item.arrived));
        }
        Batch { id, items, tokens, control }
    }

    fn run(&self, model: &mut M, batch: Batch<M>) {
        let Batch { id, items, tokens, control } = batch;
        let (inputs, replies): (Vec<_>, Vec<_>) =
            items.into_iter().map(|item| (item.payload.input, item.payload.reply)).unzip();
        let began = Instant::now();
        // The model is the owner's alone; if a panic leaves it in a bad state its next run fails, nothing else.
        let result = catch_unwind(AssertUnwindSafe(|| model.run(&inputs, &control)))
            .unwrap_or_else(|payload| Err(InferenceError::Panicked(panic_message(&*payload).into())));
        let took = began.elapsed();
        let result = result.and_then(|outputs| {
            let (expected, got) = (replies.len(), outputs.len());
            let defect = || InferenceError::run_failed(format!("{got} outputs for {expected} inputs"));
            (expected == got).then_some(outputs).ok_or_else(defect)
        });

        let mut state = self.lock();
        state.running.retain(|running| running.batch != id);
        if result.is_ok() {
            state.pace.observe(took, replies.len());
        }
        drop(state);

        let outcome = match &result {
            Ok(_) => "ok",
            Err(InferenceError::Cancelled) => "cancelled",
            Err(error) => {
                tracing::error!(model = self.name, items = replies.len(), tokens, %error, "run failed");
                "error"
            }
        };
        metrics::run(self.name, outcome, took);
        // A caller that has left needs no answer: failed sends are no errors.
        match result {
            Ok(outputs) => {
                for (reply, output) in replies.into_iter().zip(outputs) {
                    let _ = reply.send(Ok(output));
                }
            }
            Err(error) => {
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    fn answer_expired(&self, expired: Vec<Item<Job<M>>>) {
        for item in expired {
            metrics::rejected(self.name, "deadline_exceeded");
            let _ = item.payload.reply.send(Err(InferenceError::DeadlineExceeded));
        }
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// How fast items are answered, for the hint to callers that find the queue full.
#[derive(Default)]
struct Pace {
    seconds_per_item: Option<f64>,
}

impl Pace {
    fn observe(&mut self, took: Duration, items: usize) {
        /// Weight of the newest run: the hint follows a change of load within some ten runs.
        const WEIGHT: f64 = 0.1;
        let now = took.as_secs_f64() / items.max(1) as f64;
        let before = self.seconds_per_item.unwrap_or(now);
        self.seconds_per_item = Some(before + WEIGHT * (now - before));
    }

    /// When a queue of this depth is likely to have drained.
    fn time_for(&self, depth: usize) -> Duration {
        /// Below this a retry costs more than it gains, above it a caller had better ask again anyway.
        const RANGE: (f64, f64) = (0.02, 30.0);
        /// Before the first run nothing is known.
        const UNKNOWN: f64 = 0.1;
        let seconds = self.seconds_per_item.map_or(UNKNOWN, |pace| pace * depth as f64);
        Duration::from_secs_f64(seconds.clamp(RANGE.0, RANGE.1))
    }
}
