//! What can go wrong with a model, and what a caller is told of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use atelier_core::{Fault, Reason};

/// An error of this crate. It can be cloned: a failed batch is answered to each of its callers.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InferenceError {
    /// ONNX Runtime's shared library could not be loaded.
    #[error("cannot load ONNX Runtime from {}: {cause} (run `cargo xtask models pull`, or set ORT_DYLIB_PATH)", library.display())]
    RuntimeUnavailable {
        /// Where it was looked for.
        library: PathBuf,
        /// What the loader said.
        cause: Arc<str>,
    },
    /// The model's folder is not there.
    #[error("no model {id:?} in {} (run `cargo xtask models pull`)", root.display())]
    ModelNotFound {
        /// Name of the model.
        id: String,
        /// The store's folder.
        root: PathBuf,
    },
    /// A file of the model is missing, incomplete, altered or not readable.
    #[error("model {model:?}, file {file:?}: {problem}")]
    ModelCorrupt {
        /// Name of the model.
        model: String,
        /// Name of the file within the model's folder.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The graph does not have the inputs and outputs its task needs, or ONNX Runtime refuses it.
    #[error("model {model:?} cannot be used: {problem}")]
    ModelUnsupported {
        /// Name of the model.
        model: String,
        /// What is missing or wrong.
        problem: String,
    },
    /// A configured execution provider can't be had here.
    #[error("execution provider {provider} is not available: {cause}")]
    ProviderUnavailable {
        /// Its name.
        provider: &'static str,
        /// What ONNX Runtime said.
        cause: Arc<str>,
    },
    /// The program asked for a run that makes no sense (a tensor of the wrong shape, a slot used twice).
    #[error("invalid run: {0}")]
    InvalidRun(String),
    /// The queue is full.
    #[error("the queue is full")]
    QueueFull {
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// The call's deadline passed before its answer was there.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The run was stopped because nobody waits for it any more.
    #[error("the run was cancelled")]
    Cancelled,
    /// The batcher has been closed.
    #[error("the model is shutting down")]
    Closed,
    /// ONNX Runtime failed in the middle of a run.
    #[error("the run failed: {0}")]
    RunFailed(Arc<str>),
    /// The code around a run panicked; the owner thread lives on.
    #[error("the run panicked: {0}")]
    Panicked(Arc<str>),
}

impl InferenceError {
    pub(crate) fn run_failed(cause: impl ToString) -> Self {
        Self::RunFailed(cause.to_string().into())
    }

    pub(crate) fn unsupported(model: impl ToString, problem: impl Into<String>) -> Self {
        Self::ModelUnsupported { model: model.to_string(), problem: problem.into() }
    }
}

impl From<InferenceError> for Fault {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::ModelNotFound { ref id, .. } => {
                Self::new(Reason::ModelNotFound, format!("no model named {id:?}")).with_cause(error)
            }
            InferenceError::ModelCorrupt { ref model, ref file, .. } => {
                let message = format!("file {file:?} of model {model:?} is missing or altered");
                Self::new(Reason::ModelCorrupt, message).with_cause(error)
            }
            InferenceError::QueueFull { retry_after } => {
                Self::new(Reason::QueueFull, "the model's queue is full").with_retry_after(retry_after)
            }
            InferenceError::DeadlineExceeded => Self::new(Reason::DeadlineExceeded, "the deadline passed"),
            InferenceError::Cancelled => Self::new(Reason::Cancelled, "the call was cancelled"),
            InferenceError::Closed => Self::new(Reason::Draining, "the service is shutting down"),
            InferenceError::RuntimeUnavailable { .. }
            | InferenceError::ModelUnsupported { .. }
            | InferenceError::ProviderUnavailable { .. }
            | InferenceError::InvalidRun(_)
            | InferenceError::RunFailed(_)
            | InferenceError::Panicked(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let fault = Fault::from(InferenceError::QueueFull { retry_after: Duration::from_millis(250) });
        assert_eq!(fault.reason(), Reason::QueueFull);
        assert_eq!(fault.retry_after(), Some(Duration::from_millis(250)));
    }

    #[test]
    fn defects_do_not_reach_the_caller() {
        let fault = Fault::from(InferenceError::run_failed("node 7 in /srv/models/x"));
        assert_eq!(fault.reason(), Reason::Internal);
        assert_eq!(fault.message(), "internal error");
    }
}
