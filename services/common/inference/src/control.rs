//! Stopping a run that is in progress.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use ort::session::RunOptions;

use crate::InferenceError;

/// Lets anyone stop the runs it was given to. Clones stop the same runs; a cancelled control stays cancelled.
#[derive(Clone, Default)]
pub struct RunControl(Arc<Inner>);

#[derive(Default)]
struct Inner {
    cancelled: AtomicBool,
    // Made by the first run: a control must be cheap to make, and usable by decoders that know no ONNX Runtime.
    options: OnceLock<RunOptions>,
}

impl RunControl {
    /// A control that has not been cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the run in progress within a few milliseconds, and refuses later ones.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
        // A run stores its options before it looks at the flag, so one of the two sides always sees the other.
        if let Some(options) = self.0.options.get()
            && let Err(error) = options.terminate()
        {
            tracing::warn!(%error, "cannot terminate a run");
        }
    }

    /// `cancel` has been called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }

    /// The options a run passes to ONNX Runtime, unless it has been cancelled already.
    pub(crate) fn options(&self) -> Result<&RunOptions, InferenceError> {
        let options = match self.0.options.get() {
            Some(options) => options,
            None => {
                let fresh = RunOptions::new().map_err(InferenceError::run_failed)?;
                self.0.options.get_or_init(|| fresh)
            }
        };
        if self.is_cancelled() { Err(InferenceError::Cancelled) } else { Ok(options) }
    }

    /// The error of a run under this control that ONNX Runtime ended with `cause`.
    pub(crate) fn run_error(&self, cause: impl ToString) -> InferenceError {
        if self.is_cancelled() { InferenceError::Cancelled } else { InferenceError::run_failed(cause) }
    }
}

impl std::fmt::Debug for RunControl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunControl").field("cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}
