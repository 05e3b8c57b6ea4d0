//! Who calls, since when, and until when.

use std::{future::Future, time::Instant};

use atelier_core::TenantId;
use atelier_inference::Ticket;
use atelier_rpc::CallContext;
use tokio::time;
use tonic::Request;

use crate::ImageError;

/// What all work for a call needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
    pub(crate) arrived: Instant,
    /// When the caller gives up.
    pub(crate) deadline: Option<Instant>,
}

impl Caller {
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        let context = CallContext::of(request);
        Self { tenant: context.tenant, arrived: Instant::now(), deadline: context.deadline }
    }

    /// For a batcher's queue.
    pub(crate) fn ticket(&self) -> Ticket {
        Ticket { deadline: self.deadline, tenant: self.tenant.clone() }
    }

    /// Ends work at the deadline, and with it what it waits for.
    ///
    /// # Errors
    /// [`ImageError::DeadlineExceeded`], or the work's own.
    pub(crate) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, ImageError>>,
    ) -> Result<T, ImageError> {
        match self.deadline {
            Some(deadline) => {
                time::timeout_at(deadline.into(), work).await.unwrap_or(Err(ImageError::DeadlineExceeded))
            }
            None => work.await,
        }
    }
}
