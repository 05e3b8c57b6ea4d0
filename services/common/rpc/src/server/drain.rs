//! The end of a server, in three steps: stop to accept, cut what takes too long, close what is left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Time that cut calls have to tell their callers.
const FLUSH: Duration = Duration::from_secs(1);

/// The state of a server's end, shared by its connections and calls.
#[derive(Clone, Default)]
pub(crate) struct Drain {
    stop: CancellationToken,
    cut: CancellationToken,
    close: CancellationToken,
    cut_calls: Arc<AtomicUsize>,
    connections: TaskTracker,
}

impl Drain {
    /// Step one: no new connections, and no new calls on the old ones.
    pub(super) fn stop_accepting(&self) {
        self.stop.cancel();
    }

    /// Waits for calls in flight; after `timeout` they are cut. Returns how many were.
    pub(super) async fn finish(&self, timeout: Duration) -> usize {
        let _closed = self.close.clone().drop_guard();
        self.connections.close();
        if tokio::time::timeout(timeout, self.connections.wait()).await.is_err() {
            self.cut.cancel();
            // A peer that does not read is not worth waiting for.
            let _ = tokio::time::timeout(FLUSH, self.connections.wait()).await;
        }
        self.cut_calls.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub(crate) fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    pub(crate) fn close(&self) -> &CancellationToken {
        &self.close
    }

    pub(super) fn connections(&self) -> &TaskTracker {
        &self.connections
    }

    /// A call was ended by the drain.
    pub(crate) fn count_cut(&self) {
        self.cut_calls.fetch_add(1, Ordering::Relaxed);
    }
}
