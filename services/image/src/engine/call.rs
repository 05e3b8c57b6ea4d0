//! What a call asks of the engine and what it is told.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use atelier_core::TenantId;
use atelier_inference::lobby::{CallId, Lobby, Waiting};
use image::RgbaImage;
use tokio::sync::mpsc;

use crate::ImageError;

/// Pictures to make.
pub(crate) struct Call<R> {
    /// What is asked of the model.
    pub request: R,
    /// A preview every so many steps; 0: none.
    pub preview_every: usize,
    /// Who is served in turn.
    pub tenant: TenantId,
    /// When the caller gives up.
    pub deadline: Option<Instant>,
    /// When the call came in.
    pub arrived: Instant,
}

/// What a call is told while it runs: progress, then `Finished` once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// Steps were run.
    Progress(Progress),
    /// The end.
    Finished(Box<Finished>),
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Progress {
    /// Steps done.
    pub step: usize,
    /// Steps in all.
    pub total_steps: usize,
    /// Time that is left, estimated from the steps done.
    pub remaining: Duration,
    /// One for each picture, where asked for and due.
    pub previews: Vec<RgbaImage>,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finished {
    /// The pictures.
    pub pictures: Vec<RgbaImage>,
    /// Facts about them.
    pub facts: Facts,
    /// Where the time went.
    pub timings: Timings,
}

/// Facts about finished pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The first picture's.
    pub seed: u64,
    /// Steps that were run.
    pub steps: usize,
    /// The scheduler that was used.
    pub scheduler: String,
    /// The prompt was longer than the model reads.
    pub prompt_truncated: bool,
}

/// Where the time of a call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timings {
    /// Waiting for a place, and between steps for those of others.
    pub queue: Duration,
    /// Preparation: the text encoders, and the caller's picture to latents.
    pub prepare: Duration,
    /// Steps.
    pub denoise: Duration,
    /// From latents to pixels.
    pub decode: Duration,
}

/// A call that waits or runs, with the way back to its caller.
pub(super) struct Admitted<R> {
    pub(super) id: CallId,
    pub(super) call: Call<R>,
    pub(super) events: mpsc::Sender<Result<Event, ImageError>>,
}

impl<R> Admitted<R> {
    /// Tells of progress, unless the caller is slow to read: the last place is kept for the end.
    pub(super) fn tell(&self, progress: Progress) {
        if self.events.capacity() > 1 {
            let _ = self.events.try_send(Ok(Event::Progress(progress)));
        }
    }

    /// Ends the call.
    pub(super) fn end(self, outcome: Result<Finished, ImageError>) {
        // There always is room for the end; a closed channel has nobody to tell.
        let _ = self.events.try_send(outcome.map(|finished| Event::Finished(Box::new(finished))));
    }
}

impl<R> Waiting for Admitted<R> {
    fn tenant(&self) -> &TenantId {
        &self.call.tenant
    }

    fn is_abandoned(&self, now: Instant) -> bool {
        self.events.is_closed() || self.call.deadline.is_some_and(|deadline| deadline <= now)
    }

    fn expire(self) {
        self.end(Err(ImageError::DeadlineExceeded));
    }
}

/// A call's events. Dropping it gives up the call.
pub(crate) struct Events<R> {
    pub(super) id: CallId,
    pub(super) receiver: mpsc::Receiver<Result<Event, ImageError>>,
    pub(super) lobby: Arc<Lobby<Admitted<R>>>,
}

impl<R> Events<R> {
    /// The next event.
    ///
    /// # Errors
    /// The call failed, or the engine ended without telling.
    pub(crate) async fn next(&mut self) -> Result<Event, ImageError> {
        self.receiver.recv().await.unwrap_or(Err(ImageError::TaskLost("the engine")))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// As [`Events::next`].
    pub(crate) async fn finished(mut self) -> Result<Finished, ImageError> {
        loop {
            if let Event::Finished(finished) = self.next().await? {
                return Ok(*finished);
            }
        }
    }
}

impl<R> Drop for Events<R> {
    fn drop(&mut self) {
        self.receiver.close();
        self.lobby.left(self.id);
    }
}
