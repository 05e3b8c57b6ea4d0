//! What callers and the engine's thread share: the queue, and what the running step is worth.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use atelier_inference::RunControl;

use super::{
    call::{Admitted, CallId},
    metrics::Meters,
    queue::FairQueue,
};
use crate::TextError;

/// Bounds of the time after which a refused caller is told to try again.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);

pub(super) struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    slots: usize,
    pub(super) meters: Meters,
}

pub(super) struct State {
    pub(super) queue: FairQueue<Admitted>,
    pub(super) closed: bool,
    /// Something happened since the engine last looked.
    nudged: bool,
    running: Option<Running>,
    /// How long a call keeps its slot, as a moving average.
    pub(super) average_hold: Duration,
    pub(super) slots_in_use: usize,
}

/// The step in progress.
struct Running {
    control: RunControl,
    /// Calls in it whose callers still listen.
    calls: Vec<CallId>,
}

impl Shared {
    pub(super) fn new(max_queue: usize, slots: usize, meters: Meters) -> Self {
        let state = State {
            queue: FairQueue::new(max_queue),
            closed: false,
            nudged: false,
            running: None,
            average_hold: Duration::from_secs(1),
            slots_in_use: 0,
        };
        Self { state: Mutex::new(state), wake: Condvar::new(), slots, meters }
    }

    /// Queues a call.
    pub(super) fn submit(&self, call: Admitted) -> Result<(), TextError> {
        let mut state = self.lock();
        if state.closed {
            return Err(TextError::Draining);
        }
        if state.queue.is_full() {
            // Calls that nobody waits for don't keep others out.
            state.sweep(Instant::now());
        }
        let tenant = call.call.tenant.clone();
        if state.queue.push(tenant, call).is_err() {
            let turns = (state.queue.len() / self.slots.max(1) + 1) as u32;
            let retry_after = state.average_hold.saturating_mul(turns).clamp(*RETRY.start(), *RETRY.end());
            return Err(TextError::QueueFull { retry_after });
        }
        self.meters.queue_depth(state.queue.len());
        self.notify(state);
        Ok(())
    }

    /// Tells the engine to look again.
    pub(super) fn nudge(&self) {
        self.notify(self.lock());
    }

    /// A caller has gone. A step that nobody waits for any more is stopped.
    pub(super) fn left(&self, id: CallId) {
        let mut state = self.lock();
        if let Some(running) = &mut state.running {
            let before = running.calls.len();
            running.calls.retain(|&call| call != id);
            if running.calls.is_empty() && before > 0 {
                running.control.cancel();
            }
        }
        self.notify(state);
    }

    /// Refuses new calls and stops the step in progress; the engine ends all others.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(running) = &state.running {
            running.control.cancel();
        }
        self.notify(state);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics with the lock held; if it did, the state would still be whole: each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, mut state: MutexGuard<'_, State>) {
        state.nudged = true;
        drop(state);
        self.wake.notify_one();
    }

    /// The lock, for the engine to look at everything: only what happens from here on is news.
    pub(super) fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.nudged = false;
        state
    }

    /// Sleeps until something has happened since the engine looked, or until a moment.
    pub(super) fn sleep(&self, until: Option<Instant>) {
        let state = self.lock();
        let asleep = |state: &mut State| !state.nudged;
        match until {
            Some(until) => {
                let timeout = until.saturating_duration_since(Instant::now());
                drop(self.wake.wait_timeout_while(state, timeout, asleep));
            }
            None => drop(self.wake.wait_while(state, asleep)),
        }
    }
}

impl State {
    /// Takes calls out of the queue that nobody waits for any more.
    pub(super) fn sweep(&mut self, now: Instant) {
        for call in self.queue.take_out(|call| call.has_left() || call.is_late(now)) {
            call.fail(TextError::DeadlineExceeded);
        }
    }

    /// A step of these calls begins.
    pub(super) fn begin(&mut self, calls: Vec<CallId>) -> RunControl {
        let control = RunControl::new();
        self.running = Some(Running { control: control.clone(), calls });
        control
    }

    /// The step has ended.
    pub(super) fn end(&mut self) {
        self.running = None;
    }
}
