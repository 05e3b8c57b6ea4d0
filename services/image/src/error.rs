//! What can go wrong in this service, and what a caller is told of it.

use std::{sync::Arc, time::Duration};

use atelier_core::{Fault, Reason};
use atelier_inference::InferenceError;
use atelier_media::{MediaError, PictureError};
use atelier_pipeline::PipelineError;
use atelier_rpc::WorkError;
use tokio::task::JoinError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// No model of that name is loaded.
    #[error("no model named {0:?}")]
    ModelNotFound(String),
    /// The model can't do what was asked.
    #[error("model {model:?} does not serve {task}")]
    TaskUnsupported {
        /// Name of the model.
        model: String,
        /// What was asked, e.g. "image generation".
        task: &'static str,
    },
    /// A field of the request is out of its range.
    #[error("{field}: {description}")]
    Invalid {
        /// Path in the request.
        field: String,
        /// What it should be.
        description: String,
    },
    /// A picture of the request can't be read.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A picture or clip can't be written.
    #[error("writing a picture")]
    Media(#[from] MediaError),
    /// A diffusion pipeline refused the request or failed.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// A run failed that this call shared with another one, which has the details.
    #[error("a shared run failed: {0}")]
    SharedRun(Arc<str>),
    /// The code around a run panicked; the owner thread lives on.
    #[error("a run panicked")]
    Panicked,
    /// The queue for a place is full.
    #[error("the queue is full")]
    QueueFull {
        /// When a place is likely to be free.
        retry_after: Duration,
    },
    /// The call's deadline passed before its end.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Draining,
    /// The models are not loaded yet.
    #[error("the models are still being loaded")]
    Starting,
    /// The configuration asks for something that can't be.
    #[error("configuration: {0}")]
    Configuration(String),
    /// A model's folder is not what its kind needs.
    #[error("model {model}: {problem}")]
    ModelFolder {
        /// The model.
        model: String,
        /// What is wrong.
        problem: String,
    },
    /// The operating system gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A background task ended without an answer.
    #[error("{0} ended without an answer")]
    TaskLost(&'static str),
    /// A model's run failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
}

impl From<WorkError> for ImageError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::DeadlineExceeded => Self::DeadlineExceeded,
            WorkError::Lost => Self::TaskLost("blocking work"),
        }
    }
}

impl From<JoinError> for ImageError {
    fn from(_: JoinError) -> Self {
        Self::TaskLost("blocking work")
    }
}

impl ImageError {
    /// A field of the request is out of its range.
    pub(crate) fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), description: description.into() }
    }

    /// Names the field of a picture that can't be read.
    pub(crate) fn at(self, field: &str) -> Self {
        match self {
            Self::Picture(error) => Self::invalid(field, error.to_string()),
            other => other,
        }
    }

    /// A model's folder is not what its kind needs.
    pub(crate) fn folder(model: impl ToString, problem: impl Into<String>) -> Self {
        Self::ModelFolder { model: model.to_string(), problem: problem.into() }
    }
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        let message = error.to_string();
        match error {
            ImageError::ModelNotFound(_) => Self::new(Reason::ModelNotFound, message),
            ImageError::TaskUnsupported { .. } => Self::new(Reason::TaskUnsupported, message),
            ImageError::Invalid { field, description } => Self::invalid(field, description),
            // Where the field is known it is named: see `ImageError::at`.
            ImageError::Picture(_) => Self::new(Reason::InvalidArgument, message),
            ImageError::QueueFull { retry_after } => {
                Self::new(Reason::QueueFull, "the model's queue is full").with_retry_after(retry_after)
            }
            ImageError::DeadlineExceeded => Self::new(Reason::DeadlineExceeded, message),
            ImageError::Draining => Self::new(Reason::Draining, message),
            ImageError::Starting => Self::new(Reason::UpstreamUnavailable, message),
            ImageError::Pipeline(error) => error.into_fault(),
            ImageError::Inference(error) => error.into(),
            error @ (ImageError::Media(_)
            | ImageError::SharedRun(_)
            | ImageError::Panicked
            | ImageError::Configuration(_)
            | ImageError::ModelFolder { .. }
            | ImageError::Thread(_)
            | ImageError::TaskLost(_)) => Self::internal(error),
        }
    }
}
