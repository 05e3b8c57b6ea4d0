//! Where calls wait for an engine, and where callers and the engine's thread meet: a bounded queue that is fair between
//! tenants, and the step in progress, which ends when nobody waits for it any more.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use atelier_core::TenantId;

use crate::{FairQueue, Priority, RunControl};

/// Bounds of the time after which a refused caller is told to try again.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);

/// Names a call within its engine.
pub type CallId = u64;

/// A call that can wait in a lobby.
pub trait Waiting {
    /// Whose turn it takes.
    fn tenant(&self) -> &TenantId;
    /// How urgent it is.
    fn priority(&self) -> Priority {
        Priority::Normal
    }
    /// Nobody waits for it any more: the caller has gone, or its deadline has passed.
    fn is_abandoned(&self, now: Instant) -> bool;
    /// Tells whoever may still listen that the deadline has passed.
    fn expire(self);
}

/// Why a call was not let in.
#[derive(Debug)]
pub enum Refused {
    /// The queue is full; a place is likely to be free after this time.
    Full(Duration),
    /// The engine is shutting down.
    Closed,
}

/// What an engine's callers and its thread share.
#[derive(Debug)]
pub struct Lobby<T> {
    state: Mutex<LobbyState<T>>,
    wake: Condvar,
    /// Calls that the engine serves at once.
    places: usize,
}

/// What lies behind the lock.
#[derive(Debug)]
pub struct LobbyState<T> {
    /// Calls that wait.
    pub queue: FairQueue<T>,
    /// No more calls are let in.
    pub closed: bool,
    /// Something happened since the engine last looked.
    nudged: bool,
    running: Option<Running>,
    /// How long a call keeps its place, as a moving average; the engine's to keep.
    pub average_hold: Duration,
    /// Calls that have a place; the engine's to keep.
    pub places_in_use: usize,
}

/// The step in progress.
#[derive(Debug)]
struct Running {
    control: RunControl,
    /// Calls in it whose callers still listen.
    calls: Vec<CallId>,
}

impl<T: Waiting> Lobby<T> {
    /// A lobby for at most `max_queue` waiting calls, before an engine that serves `places` at once.
    #[must_use]
    pub fn new(max_queue: usize, places: usize) -> Self {
        let state = LobbyState {
            queue: FairQueue::new(max_queue),
            closed: false,
            nudged: false,
            running: None,
            average_hold: Duration::from_secs(1),
            places_in_use: 0,
        };
        Self { state: Mutex::new(state), wake: Condvar::new(), places }
    }

    /// Queues a call; the calls that wait now.
    ///
    /// # Errors
    /// The queue is full or the lobby closed.
    pub fn submit(&self, call: T) -> Result<usize, Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.queue.is_full() {
            // Calls that nobody waits for don't keep others out.
            state.sweep(Instant::now());
        }
        let (tenant, priority) = (call.tenant().clone(), call.priority());
        if state.queue.push(tenant, priority, call).is_err() {
            let turns = (state.queue.len() / self.places.max(1) + 1) as u32;
            let retry_after = state.average_hold.saturating_mul(turns);
            return Err(Refused::Full(retry_after.clamp(*RETRY.start(), *RETRY.end())));
        }
        let waiting = state.queue.len();
        self.notify(state);
        Ok(waiting)
    }

    /// Tells the engine to look again.
    pub fn nudge(&self) {
        self.notify(self.lock());
    }

    /// A caller has gone. A step that nobody waits for any more is stopped.
    pub fn left(&self, id: CallId) {
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
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(running) = &state.running {
            running.control.cancel();
        }
        self.notify(state);
    }

    /// The lock.
    pub fn lock(&self) -> MutexGuard<'_, LobbyState<T>> {
        // No code panics with the lock held; if it did, the state would still be whole: each change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notify(&self, mut state: MutexGuard<'_, LobbyState<T>>) {
        state.nudged = true;
        drop(state);
        self.wake.notify_one();
    }

    /// The lock, for the engine to look at everything: only what happens from here on is news.
    pub fn look(&self) -> MutexGuard<'_, LobbyState<T>> {
        let mut state = self.lock();
        state.nudged = false;
        state
    }

    /// Sleeps until something has happened since the engine looked, or until a moment.
    pub fn sleep(&self, until: Option<Instant>) {
        let state = self.lock();
        let asleep = |state: &mut LobbyState<T>| !state.nudged;
        match until {
            Some(until) => {
                let timeout = until.saturating_duration_since(Instant::now());
                drop(self.wake.wait_timeout_while(state, timeout, asleep));
            }
            None => drop(self.wake.wait_while(state, asleep)),
        }
    }
}

impl<T: Waiting> LobbyState<T> {
    /// Takes calls out of the queue that nobody waits for any more.
    pub fn sweep(&mut self, now: Instant) {
        for call in self.queue.take_out(|call| call.is_abandoned(now)) {
            call.expire();
        }
    }

    /// A step of these calls begins.
    pub fn begin(&mut self, calls: Vec<CallId>) -> RunControl {
        let control = RunControl::new();
        self.running = Some(Running { control: control.clone(), calls });
        control
    }

    /// The step has ended.
    pub fn end(&mut self) {
        self.running = None;
    }
}
