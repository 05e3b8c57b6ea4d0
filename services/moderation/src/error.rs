//! What can go wrong between a request and its scores.

use atelier_core::{Fault, ModelId};
use atelier_inference::InferenceError;
use atelier_media::{MediaError, PictureError};
use tokio::task::JoinError;

use crate::scores::NotAScore;

/// Why content was not measured, or why the service can't start.
#[derive(Debug, thiserror::Error)]
pub enum ModerationError {
    /// The configuration asks for something that can't be.
    #[error("configuration: {0}")]
    Config(String),
    /// A model folder lacks something its detector needs.
    #[error("model {model}: {problem}")]
    ModelFolder {
        /// The model.
        model: ModelId,
        /// What is wrong, with the file's name.
        problem: String,
    },
    /// The bytes are no picture that may be decoded.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// A decoded picture can't be resized.
    #[error(transparent)]
    Resize(MediaError),
    /// The run of a model failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The tokenizer can't be loaded or failed on a text.
    #[error("tokenizer")]
    Tokenizer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A model wrote something that is no score.
    #[error("detector {detector}")]
    Score {
        /// The detector.
        detector: ModelId,
        /// What it wrote.
        source: NotAScore,
    },
    /// A job on the blocking pool ended without a result.
    #[error("blocking job")]
    Job(#[from] JoinError),
}

impl ModerationError {
    /// The error as a caller of the service sees it; `item` is the item's path in the request, e.g. `items[3]`.
    #[must_use]
    pub fn into_fault(self, item: &str) -> Fault {
        match self {
            Self::Picture(error) => Fault::invalid(format!("{item}.data"), error.to_string()),
            Self::Inference(error) => error.into(),
            error @ (Self::Config(_)
            | Self::ModelFolder { .. }
            | Self::Resize(_)
            | Self::Tokenizer(_)
            | Self::Score { .. }
            | Self::Job(_)) => Fault::internal(error),
        }
    }
}
