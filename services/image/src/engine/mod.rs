//! The engine of a diffusion model: one owner thread steps all of its calls in turn.
//!
//! Calls wait in a bounded queue that is fair between tenants. A bounded number of them is in the making, and each gets
//! one step before any gets its next, so that a short call need not wait for the end of a long one. Calls whose models
//! would run on inputs of the same shape share a run where measurements say that it pays.
//!
//! A caller that drops its events gives up the call; a step that nobody waits for any more is stopped midway.

mod call;
mod meters;
mod owner;
mod payoff;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use atelier_inference::{
    RunControl,
    lobby::{Lobby, Refused},
};
use image::RgbaImage;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

pub(crate) use self::call::{Call, Event, Events, Facts, Finished, Progress, Timings};
use self::{call::Admitted, meters::Meters, owner::Owner};
use crate::ImageError;

/// Bounds of an engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineConfig {
    /// Most calls waiting for a place; one more is refused. Default: 32.
    pub max_queue: usize,
    /// Calls in the making at once: they take turns, step by step. Default: 4.
    pub max_active: usize,
    /// Memory that calls in the making may take together before a further one has to wait, in bytes: latents and what
    /// goes with them, not the model. Default: 1 GiB.
    pub max_active_bytes: u64,
    /// Most calls whose steps share one run of the model. Default: 4.
    pub max_batch_calls: usize,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { max_queue: 32, max_active: 4, max_active_bytes: 1 << 30, max_batch_calls: 4 }
    }
}

/// A model that makes pictures step by step.
pub(crate) trait Painter: Send + 'static {
    /// What is asked of it.
    type Request: Send + 'static;
    /// Pictures in the making.
    type Job: Send + 'static;

    /// Prepares a job.
    fn begin(&mut self, request: &Self::Request, control: &RunControl) -> Result<Self::Job, ImageError>;
    /// Runs one step of each job; several only where they are compatible.
    fn step(&mut self, jobs: &mut [&mut Self::Job], control: &RunControl) -> Result<(), ImageError>;
    /// Makes pixels of a job whose steps are done.
    fn finish(&mut self, job: Self::Job, control: &RunControl) -> Result<Vec<RgbaImage>, ImageError>;
    /// What its pictures look like so far; empty where the model can't tell.
    fn preview(&self, job: &Self::Job) -> Vec<RgbaImage>;
    /// Steps done, and steps in all.
    fn progress(job: &Self::Job) -> (usize, usize);
    /// Whether steps of the two can share a run.
    fn compatible(one: &Self::Job, other: &Self::Job) -> bool;
    /// Size of a job's inputs to the model, in any unit.
    fn work(job: &Self::Job) -> f64;
    /// Memory that a job takes, in bytes.
    fn bytes(job: &Self::Job) -> u64;
    /// What is to be known of the pictures.
    fn facts(job: &Self::Job) -> Facts;
}

/// Progress events kept for a caller that is slow to read, and the end. Further progress is not told.
const EVENTS: usize = 8;

/// A handle to a model's engine. When the last one is dropped, the engine ends.
pub(crate) struct Engine<R: Send + 'static> {
    lobby: Arc<Lobby<Admitted<R>>>,
    meters: Meters,
    next_id: AtomicU64,
    ended: watch::Receiver<()>,
}

impl<R: Send + 'static> Engine<R> {
    /// Starts the owner thread. `model` labels metrics.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start<P: Painter<Request = R>>(
        model: &str,
        config: &EngineConfig,
        painter: P,
    ) -> Result<Self, ImageError> {
        let lobby = Arc::new(Lobby::new(config.max_queue, config.max_active));
        let meters = Meters::new(model);
        let (alive, ended) = watch::channel(());
        let mut owner = Owner::new(painter, config, meters.clone());
        let shared = Arc::clone(&lobby);
        let work = move || {
            owner.run(&shared);
            drop(alive);
        };
        thread::Builder::new().name("image-engine".into()).spawn(work).map_err(ImageError::Thread)?;
        Ok(Self { lobby, meters, next_id: AtomicU64::new(0), ended })
    }

    /// Queues a call. It runs until its end or until the events are dropped.
    ///
    /// # Errors
    /// The queue is full or the engine is closed.
    pub(crate) fn submit(&self, call: Call<R>) -> Result<Events<R>, ImageError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (events, receiver) = mpsc::channel(EVENTS);
        match self.lobby.submit(Admitted { id, call, events }) {
            Ok(waiting) => self.meters.queue_depth(waiting),
            Err(Refused::Full(retry_after)) => return Err(ImageError::QueueFull { retry_after }),
            Err(Refused::Closed) => return Err(ImageError::Draining),
        }
        Ok(Events { id, receiver, lobby: Arc::clone(&self.lobby) })
    }

    /// Ends all calls and the owner thread, and waits for it.
    pub(crate) async fn close(&self) {
        self.lobby.close();
        // The thread holds the sender and never sends: an error is its end.
        let _ = self.ended.clone().changed().await;
    }
}

impl<R: Send + 'static> Drop for Engine<R> {
    fn drop(&mut self) {
        self.lobby.close();
    }
}

#[cfg(test)]
mod tests;
