//! Work that would hold up an async worker: tokenizing a megabyte or encoding a picture.

use std::{sync::Arc, time::Instant};

use tokio::{sync::Semaphore, task, time};

/// Why work was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkError {
    /// The deadline passed before its turn came.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// It ended without an answer: it panicked, or the process is shutting down.
    #[error("blocking work ended without an answer")]
    Lost,
}

/// Runs such work on blocking threads, a bounded number at a time; callers wait their turn in order.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Semaphore>);

impl Workers {
    /// `0`: one piece of work for each processor.
    #[must_use]
    pub fn new(at_once: usize) -> Self {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(if at_once == 0 { processors() } else { at_once })))
    }

    /// Runs a piece of work.
    ///
    /// # Errors
    /// The deadline passes before its turn, or it fails.
    pub async fn run<T: Send + 'static, E: From<WorkError> + Send + 'static>(
        &self,
        deadline: Option<Instant>,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let turn = Arc::clone(&self.0).acquire_owned();
        let permit = match deadline {
            Some(deadline) => {
                time::timeout_at(deadline.into(), turn).await.map_err(|_| WorkError::DeadlineExceeded)?
            }
            None => turn.await,
        };
        let permit = permit.map_err(|_| WorkError::Lost)?;
        let work = task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        work.await.map_err(|_| WorkError::Lost)?
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn no_more_run_at_once_than_allowed() {
        let workers = Workers::new(2);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let jobs = (0..12).map(|n| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            workers.run(None, move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::park_timeout(Duration::from_millis(2));
                running.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, WorkError>(n)
            })
        });
        let results = futures::future::join_all(jobs).await;
        assert_eq!(results.into_iter().map(|n| n.expect("it succeeds")).sum::<i32>(), 66);
        assert!(most.load(Ordering::SeqCst) <= 2);
    }

    #[tokio::test]
    async fn a_deadline_bounds_the_wait() {
        let workers = Workers::new(1);
        let busy = workers.run(None, || {
            std::thread::park_timeout(Duration::from_millis(300));
            Ok::<_, WorkError>(())
        });
        let late = workers.run(Some(Instant::now() + Duration::from_millis(20)), || Ok::<_, WorkError>(()));
        let (busy, late) = futures::future::join(busy, late).await;
        assert!(busy.is_ok());
        assert!(matches!(late, Err(WorkError::DeadlineExceeded)));
    }
}
