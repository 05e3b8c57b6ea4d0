//! The generation engine: one owner thread per model steps all of its calls together.
//!
//! Calls wait in a bounded queue that is fair between tenants, get a slot of the decoder's KV cache, take in their prompt
//! in pieces and then write a token with every step, or several where the text repeats itself (`lookahead`). How large the
//! pieces are beside calls that decode is for `pace` to say.
//!
//! A call's tokens depend on nothing but itself: rows of a step don't see each other and each call has its own random
//! stream. How many tokens share a run does change what kernels run, so between one token and several a sum may differ
//! in its last bits, and of a quantised model in more. A deterministic call therefore has its runs to itself, in pieces that
//! are always the same. Rows of a prompt that begins like an earlier one are taken from where they lie (`prefix`).
//!
//! A call that waits takes the slot of a less urgent one of its tenant, or of one of low priority, where no slot is free.
//! The one that loses its slot goes back to the front of the queue with what it has written, and later computes its rows
//! again, from prompt and answer.
//!
//! Where the cache may hold less than its slots have room for, calls also wait for rows, and give way as answers grow
//! (`scheduler::room`).
//!
//! A call that scores a text takes it in like a prompt and is told, step by step, how likely each token was.
//!
//! Back-pressure: a caller that does not read its events makes its own call sit out steps and no other. A caller that
//! drops its events gives up the call; a step that nobody waits for any more is stopped midway.

mod beams;
mod call;
mod live;
mod lookahead;
mod metrics;
mod pace;
mod prefix;
mod scheduler;
mod shared;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use atelier_inference::{Decoder, FairQueue};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

pub use self::beams::BeamSearch;
pub use self::call::{
    CallWriter, Event, Events, FinishReason, Finished, GenerationCall, Timings, Transcript, Writer,
};
pub use self::prefix::PrefixCacheConfig;
use self::{
    call::Admitted, live::ROOM, metrics::Meters, pace::Pace, prefix::PrefixCache, scheduler::Scheduler,
    shared::Shared,
};
use crate::TextError;

/// Bounds of an engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Most calls waiting for a slot; one more is refused.
    pub max_queue: usize,
    /// Most prompt tokens that one call takes in during a step, at least 3.
    pub prefill_chunk: usize,
    /// Most prompt tokens that a step takes in; raised to `prefill_chunk` if smaller. Of texts that are scored, a step's memory
    /// holds as many rows of logits: 25 MB for 128 tokens of a vocabulary of 49,152, which the next step uses again.
    pub max_prefill_tokens_per_step: usize,
    /// How long a step with calls that decode may take in prompts, in times of what decoding takes: with 1, half of the time is
    /// theirs while a long prompt is taken in, and tokens come half as fast. At least 0; three tokens are taken in all the same,
    /// and prompts of up to two chunks by whole chunks.
    pub prefill_share: f64,
    /// Events kept for a caller that is slow to read; when they are full its call sits out. At least 2.
    pub event_buffer: usize,
    /// Prompts that are kept for calls that begin alike.
    pub prefix_cache: PrefixCacheConfig,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_queue: 64,
            prefill_chunk: 128,
            max_prefill_tokens_per_step: 128,
            prefill_share: 1.5,
            event_buffer: 32,
            prefix_cache: PrefixCacheConfig::default(),
        }
    }
}

/// Prompts share their rows in multiples of so many tokens.
const SHARED_UNIT: usize = 16;

/// A handle to a model's engine; clones share it. When the last one is dropped, the engine ends.
#[derive(Clone)]
pub struct Engine(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    next_id: AtomicU64,
    event_buffer: usize,
    context_length: usize,
    cache_tokens: usize,
    slots: usize,
    ended: watch::Receiver<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Engine {
    /// Starts the owner thread. `model` labels metrics and log lines. The last slots of the decoder are those that
    /// `config.prefix_cache` asks for; calls run in the others.
    ///
    /// # Errors
    /// No slot is left for calls, or the operating system gives no thread.
    pub fn start(model: &str, config: &EngineConfig, decoder: Box<dyn Decoder>) -> Result<Self, TextError> {
        let pace = Pace::new(config.prefill_chunk, config.max_prefill_tokens_per_step, config.prefill_share);
        let context_length = decoder.context_length();
        let cache_tokens = decoder.cache_tokens();
        let calls = decoder.slots().saturating_sub(config.prefix_cache.slots);
        if calls == 0 {
            return Err(TextError::Configuration(format!("{model:?} needs at least one slot for calls")));
        }
        // Where pieces are not to be chosen freely, the rows of another piece are not those that a call would compute.
        let unit = if decoder.takes_any_piece() { SHARED_UNIT } else { pace.chunk() };
        let cache = PrefixCache::new(&config.prefix_cache, calls, unit);
        let shared = Arc::new(Shared::new(config.max_queue, calls, Meters::new(model)));
        let scheduler = Scheduler::new(decoder, pace, cache, model.into());
        let (alive, ended) = watch::channel(());
        let owned = Arc::clone(&shared);
        thread::Builder::new()
            .name("text-engine".into())
            .spawn(move || {
                own(scheduler, &owned);
                drop(alive);
            })
            .map_err(TextError::Thread)?;
        let event_buffer = config.event_buffer.max(ROOM);
        Ok(Self(Arc::new(Handle {
            shared,
            next_id: AtomicU64::new(0),
            event_buffer,
            context_length,
            cache_tokens,
            slots: calls,
            ended,
        })))
    }

    /// Most tokens of prompt and answer together.
    #[must_use]
    pub fn context_length(&self) -> usize {
        self.0.context_length
    }

    /// Slots of calls: how many can run side by side, and how many beams a search can have.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.0.slots
    }

    /// Queues a call. It runs until its end or until the events are dropped.
    ///
    /// # Errors
    /// The queue is full, the engine is closed, or the call needs more slots than there are.
    pub fn submit(&self, call: GenerationCall) -> Result<Events, TextError> {
        if call.slots() > self.0.slots {
            let most = format!("must be at most {}, the slots of the model", self.0.slots);
            return Err(TextError::invalid("generation.num_beams", most));
        }
        let tokens = call.prompt.len() + call.limit(self.0.context_length);
        if call.slots() > 1 && call.slots() * tokens > self.0.cache_tokens {
            let most = format!(
                "must be at most {} for {tokens} tokens of prompt and answer: the cache holds {}",
                self.0.cache_tokens / tokens,
                self.0.cache_tokens
            );
            return Err(TextError::invalid("generation.num_beams", most));
        }
        let id = self.0.next_id.fetch_add(1, Ordering::Relaxed);
        let (events, receiver) = mpsc::channel(self.0.event_buffer);
        self.0.shared.submit(Admitted { id, call, events, progress: None })?;
        Ok(Events { id, receiver, shared: Arc::clone(&self.0.shared) })
    }

    /// Calls waiting for a slot.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.0.shared.lock().queue.len()
    }

    /// Calls that hold a slot.
    #[must_use]
    pub fn slots_in_use(&self) -> usize {
        self.0.shared.lock().places_in_use
    }

    /// Ends all calls and the owner thread, and waits for it.
    pub async fn close(&self) {
        self.0.shared.close();
        self.ended().await;
    }

    /// Completes when the owner thread has ended and the decoder's memory is free. It does not keep the engine alive.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut ended = self.0.ended.clone();
        // The thread holds the sender and never sends: an error is its end.
        async move { drop(ended.changed().await) }
    }
}

/// The owner thread.
fn own(mut scheduler: Scheduler, shared: &Shared) {
    loop {
        match cycle(&mut scheduler, shared) {
            Cycle::Stepped => {}
            Cycle::Idle { until } => shared.sleep(until),
            Cycle::Closed => return,
        }
    }
}

/// What one turn of the engine came to.
enum Cycle {
    Stepped,
    /// Nothing can run before something happens; a deadline passes at `until`.
    Idle {
        until: Option<Instant>,
    },
    Closed,
}

/// Looks at what has happened since the last turn, then runs a step if there is one to run.
fn cycle(scheduler: &mut Scheduler, shared: &Shared) -> Cycle {
    let now = Instant::now();
    let mut state = shared.look();
    if state.closed {
        state.queue.take_out(|_| true).into_iter().for_each(|call| call.fail(TextError::Draining));
        scheduler.end_all(|| TextError::Draining);
        return Cycle::Closed;
    }
    state.sweep(now);
    scheduler.reap(now);
    let go_back = |queue: &mut FairQueue<Admitted>, (parked, waited): (Admitted, u64)| {
        shared.meters.preempted();
        // One more has gone before it: who loses its slot again and again rises until it keeps it.
        let (tenant, priority) = (parked.call.tenant.clone(), parked.call.priority);
        queue.push_front(tenant, priority, waited + 1, parked);
    };
    while let Some(parked) = scheduler.relieve() {
        go_back(&mut state.queue, parked);
    }
    while let Some(next) = state.queue.pop_where(|call, priority| scheduler.has_room_for(call, priority)) {
        for parked in scheduler.make_room_for(&next) {
            go_back(&mut state.queue, parked);
        }
        scheduler.admit(next, &shared.meters);
    }
    state.average_hold = scheduler.average_hold();
    state.places_in_use = scheduler.slots_in_use();
    shared.meters.queue_depth(state.queue.len());
    shared.meters.slots_in_use(state.places_in_use);
    let queued = state.queue.iter().filter_map(|waiting| waiting.call.deadline).min();
    drop(state);

    // Copying KV rows takes milliseconds: not under the lock that callers take.
    scheduler.arrange();
    shared.meters.cache_tokens(scheduler.cache_tokens());
    let calls = scheduler.plan();
    if calls.is_empty() {
        return Cycle::Idle { until: queued.into_iter().chain(scheduler.next_deadline()).min() };
    }
    let mut state = shared.lock();
    if state.closed || scheduler.plan_is_stale() {
        return Cycle::Stepped;
    }
    let control = state.begin(calls);
    drop(state);
    scheduler.step(&control, &shared.meters);
    shared.lock().end();
    Cycle::Stepped
}

#[cfg(test)]
mod tests;
