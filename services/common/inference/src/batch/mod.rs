//! Batching with a bounded queue: single items come in, batches run on owner threads, single answers go out.
//!
//! Batches form while a run is in progress: an item that finds an owner idle runs at once, and under load the batch
//! grows by itself. How they form is [`former`], which knows neither threads nor clocks.

mod former;
mod owner;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use atelier_core::TenantId;
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time};

use self::{
    former::{Item, Limits},
    owner::{Job, Shared},
};
use crate::{InferenceError, RunControl, metrics};

/// A model that answers several inputs in one run.
pub trait BatchModel: Send + 'static {
    /// One item, ready to run (tokenised, decoded, resized).
    type Input: Send + 'static;
    /// Its answer.
    type Output: Send + 'static;

    /// Length of one item, in tokens (or any unit of work). A batch costs its items times the longest of them.
    fn cost(input: &Self::Input) -> usize;

    /// Answers a batch: one output for each input, in their order.
    ///
    /// # Errors
    /// Every caller in the batch gets the error.
    fn run(
        &mut self,
        batch: &[Self::Input],
        control: &RunControl,
    ) -> Result<Vec<Self::Output>, InferenceError>;
}

/// Bounds of a batcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatcherConfig {
    /// Most items in one batch, which is one run: the answers of a batch come together when it ends.
    pub max_batch_items: usize,
    /// Most tokens in one batch, padding included; a longer single item runs alone.
    pub max_batch_tokens: usize,
    /// How long an idle owner waits for a batch to grow. 0, the default, runs at once: on a processor a full batch is
    /// hardly faster per item than a small one, and under load batches form while the owner is busy.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// Most items waiting; one more is refused with [`InferenceError::QueueFull`].
    pub max_queue: usize,
    /// While an item has waited this long, the oldest is in every other batch, whatever its tenant has used and however
    /// long it is.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
}

impl Default for BatcherConfig {
    fn default() -> Self {
        Self {
            max_batch_items: 32,
            max_batch_tokens: 4096,
            max_wait: Duration::ZERO,
            max_queue: 1024,
            max_age: Duration::from_secs(1),
        }
    }
}

/// Who calls and how long they wait.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// When the caller gives up; an item that is still queued then is never run.
    pub deadline: Option<Instant>,
    /// Whose share of the model the item uses.
    pub tenant: TenantId,
}

/// A handle to a model's queue; clones share it. When the last one is dropped, the owner threads stop.
pub struct Batcher<M: BatchModel> {
    handle: Arc<Handle<M>>,
}

struct Handle<M: BatchModel> {
    shared: Arc<Shared<M>>,
    next_id: AtomicU64,
}

impl<M: BatchModel> Batcher<M> {
    /// Starts one owner thread for each model instance. `name` labels metrics and threads.
    ///
    /// # Errors
    /// The operating system gives no thread; those already started stop again.
    pub fn start(name: &'static str, config: &BatcherConfig, models: Vec<M>) -> Result<Self, InferenceError> {
        let limits = Limits {
            items: config.max_batch_items.max(1),
            tokens: config.max_batch_tokens,
            wait: config.max_wait,
            age: config.max_age,
            queue: config.max_queue,
        };
        let shared = Arc::new(Shared::new(name, limits));
        let batcher =
            Self { handle: Arc::new(Handle { shared: Arc::clone(&shared), next_id: AtomicU64::new(0) }) };
        for (n, model) in models.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let thread = thread::Builder::new().name(format!("{name}-{n}"));
            thread.spawn(move || shared.own(model)).map_err(|error| {
                InferenceError::run_failed(format!("cannot start an owner thread: {error}"))
            })?;
        }
        Ok(batcher)
    }

    /// Queues one item and waits for its answer. Dropping the future takes the item out of the queue; when every
    /// caller of a running batch has left, the run is terminated.
    ///
    /// # Errors
    /// [`InferenceError::QueueFull`] at once when the queue is full, [`InferenceError::DeadlineExceeded`] when the
    /// deadline passes first, [`InferenceError::Closed`] after [`Batcher::close`], and the error of the run.
    pub async fn submit(&self, input: M::Input, ticket: Ticket) -> Result<M::Output, InferenceError> {
        let arrived = Instant::now();
        if ticket.deadline.is_some_and(|deadline| deadline <= arrived) {
            metrics::rejected(self.handle.shared.name(), "deadline_exceeded");
            return Err(InferenceError::DeadlineExceeded);
        }
        let id = self.handle.next_id.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.handle.shared.push(Item {
            id,
            tenant: ticket.tenant,
            cost: M::cost(&input),
            arrived,
            deadline: ticket.deadline,
            payload: Job { input, reply },
        })?;
        let mut place = Place { shared: &self.handle.shared, id, left_as: Some("left") };
        let answer = match ticket.deadline {
            Some(deadline) => match time::timeout_at(deadline.into(), answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    place.left_as = Some("deadline_exceeded");
                    return Err(InferenceError::DeadlineExceeded);
                }
            },
            None => answer.await,
        };
        place.left_as = None;
        answer.unwrap_or(Err(InferenceError::Closed))
    }

    /// Items waiting for a run.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.handle.shared.queue_depth()
    }

    /// Refuses new items, answers the waiting ones with [`InferenceError::Closed`] and lets runs in progress finish.
    pub fn close(&self) {
        self.handle.shared.close();
    }
}

impl<M: BatchModel> Clone for Batcher<M> {
    fn clone(&self) -> Self {
        Self { handle: Arc::clone(&self.handle) }
    }
}

impl<M: BatchModel> std::fmt::Debug for Batcher<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher").field("name", &self.handle.shared.name()).finish_non_exhaustive()
    }
}

impl<M: BatchModel> Drop for Handle<M> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A caller's place in the queue or in a running batch, given up when its future is dropped.
struct Place<'a, M: BatchModel> {
    shared: &'a Shared<M>,
    id: u64,
    /// How the metrics call it when the place is given up; `None` once the answer is there.
    left_as: Option<&'static str>,
}

impl<M: BatchModel> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if let Some(reason) = self.left_as {
            self.shared.leave(self.id, reason);
        }
    }
}

#[cfg(test)]
mod tests;
