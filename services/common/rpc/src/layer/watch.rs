//! What may end a call before it is done.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use atelier_core::{Fault, Reason};
use tokio_util::sync::CancellationToken;

use crate::server::drain::Drain;

/// Why a call was ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Deadline,
    Drain,
}

impl Cut {
    pub(super) fn fault(self, drain: &Drain) -> Fault {
        match self {
            Self::Deadline => {
                Fault::new(Reason::DeadlineExceeded, "the deadline passed before the call was done")
            }
            Self::Drain => {
                drain.count_cut();
                Fault::new(Reason::Draining, "the server is shutting down")
            }
        }
    }
}

/// Completes when the call must end. It is made once per call and looked at before every message, so that a stream
/// that never pauses ends as well.
pub(super) struct Watch(Pin<Box<dyn Future<Output = Cut> + Send>>);

impl Watch {
    pub(super) fn new(deadline: Option<Instant>, drain: CancellationToken) -> Self {
        Self(Box::pin(async move {
            let passed = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = passed => Cut::Deadline,
                () = drain.cancelled() => Cut::Drain,
            }
        }))
    }
}

impl Future for Watch {
    type Output = Cut;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cut> {
        self.0.as_mut().poll(cx)
    }
}
