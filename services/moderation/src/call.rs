//! One call's share of the models.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use atelier_core::TenantId;
use atelier_inference::{BatchModel, Batcher, InferenceError, Ticket};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::rules::{InForce, RuleStore};

/// Bytes of texts that a call has measured at once, or one text that is longer: what is made of a text takes some ten times its
/// size.
const TEXT_BYTES: u32 = 4 << 20;

/// What the parts of one call (a batch, or a stream) have in common.
///
/// A call holds a bounded number of places in the models' queues however much content it brings, so that a long
/// text or a batch of a thousand neither fills the queue by itself nor keeps others out.
#[derive(Debug)]
pub struct Call {
    ticket: Ticket,
    places: Semaphore,
    text_bytes: Semaphore,
    width: usize,
    rules: OnceLock<Arc<InForce>>,
}

impl Call {
    /// A call that may hold `width` places.
    #[must_use]
    pub fn new(ticket: Ticket, width: usize) -> Self {
        let width = width.max(1);
        Self {
            ticket,
            places: Semaphore::new(width),
            text_bytes: Semaphore::new(TEXT_BYTES as usize),
            width,
            rules: OnceLock::new(),
        }
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

    /// The rules that were in force when the call first needed them: all of it is measured under the same ones.
    pub(crate) fn rules(&self, store: &RuleStore) -> &Arc<InForce> {
        self.rules.get_or_init(|| store.current())
    }

    /// Room for a text while it is measured.
    pub(crate) async fn room(&self, text: &str) -> Option<SemaphorePermit<'_>> {
        let bytes = u32::try_from(text.len()).unwrap_or(TEXT_BYTES).min(TEXT_BYTES);
        // Only closing a semaphore makes this fail, and nobody does.
        self.text_bytes.acquire_many(bytes).await.ok()
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
