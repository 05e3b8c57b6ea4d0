//! What callers and the engine's thread share.

use std::ops::Deref;

use atelier_inference::lobby::{Lobby, Refused};

use super::{call::Admitted, metrics::Meters};
use crate::TextError;

pub(super) struct Shared {
    lobby: Lobby<Admitted>,
    pub(super) meters: Meters,
}

impl Shared {
    pub(super) fn new(max_queue: usize, slots: usize, meters: Meters) -> Self {
        Self { lobby: Lobby::new(max_queue, slots), meters }
    }

    /// Queues a call.
    pub(super) fn submit(&self, call: Admitted) -> Result<(), TextError> {
        match self.lobby.submit(call) {
            Ok(waiting) => {
                self.meters.queue_depth(waiting);
                Ok(())
            }
            Err(Refused::Full(retry_after)) => Err(TextError::QueueFull { retry_after }),
            Err(Refused::Closed) => Err(TextError::Draining),
        }
    }
}

impl Deref for Shared {
    type Target = Lobby<Admitted>;

    fn deref(&self) -> &Lobby<Admitted> {
        &self.lobby
    }
}
