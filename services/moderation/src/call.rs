//! One call's share of the models.

use std::time::Instant;

use atelier_core::TenantId;
use atelier_inference::{BatchModel, Batcher, InferenceError, Ticket};
use tokio::sync::Semaphore;

/// What the parts of one call (a batch, or a stream) have in common.
///
/// A call holds a bounded number of places in the models' queues however much content it brings, so that a long
/// text or a batch of a thousand neither fills the queue by itself nor keeps others out.
#[derive(Debug)]
pub struct Call {
    ticket: Ticket,
    places: Semaphore,
    width: usize,
}

impl Call {
    /// A call that may hold `width` places.
    #[must_use]
    pub fn new(ticket: Ticket, width: usize) -> Self {
        let width = width.max(1);
        Self { ticket, places: Semaphore::new(width), width }
    }

    /// Whose call it is.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.ticket.tenant
    }

    /// When it ends, done or not.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.ticket.deadline
    }

    /// Most places the call holds: starting more runs than this at once gains nothing.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Runs one input when the call has a place free.
    ///
    /// # Errors
    /// As [`Batcher::submit`].
    pub async fn submit<M: BatchModel>(
        &self,
        batcher: &Batcher<M>,
        input: M::Input,
    ) -> Result<M::Output, InferenceError> {
        // Only closing a semaphore makes this fail, and nobody does.
        let _place = self.places.acquire().await.map_err(|_| InferenceError::Closed)?;
        batcher.submit(input, self.ticket.clone()).await
    }
}
