//! What can be wrong with a request or a model folder.

use std::error::Error;

use atelier_core::{Fault, ModelId};
use atelier_inference::InferenceError;
use atelier_scheduler::SchedulerError;

/// Why a pipeline could not be loaded, or a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// A field of the request is out of its range, or asks for something that the model does not have.
    #[error("{field}: {description}")]
    Invalid {
        /// Path in the request, e.g. `diffusion.width`.
        field: String,
        /// What it should be.
        description: String,
    },
    /// The folder lacks something that its pipeline needs.
    #[error("model {model}: {problem}")]
    ModelFolder {
        /// The model.
        model: ModelId,
        /// What is wrong, with the file's name.
        problem: String,
    },
    /// A scheduler can't be made from the folder's configuration.
    #[error("scheduler")]
    Scheduler(#[from] SchedulerError),
    /// The run of a model failed, or was cancelled.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// A tokenizer can't be loaded or failed on a text.
    #[error("tokenizer")]
    Tokenizer(#[source] Box<dyn Error + Send + Sync>),
}

impl PipelineError {
    pub(crate) fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), description: description.into() }
    }

    pub(crate) fn folder(model: &ModelId, problem: impl Into<String>) -> Self {
        Self::ModelFolder { model: model.clone(), problem: problem.into() }
    }

    /// The error as a caller of the service sees it.
    #[must_use]
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Invalid { field, description } => Fault::invalid(field, description),
            Self::Inference(error) => error.into(),
            error @ (Self::ModelFolder { .. } | Self::Scheduler(_) | Self::Tokenizer(_)) => {
                Fault::internal(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use atelier_core::Reason;

    use super::*;

    #[test]
    fn a_field_at_fault_is_named() {
        let fault = PipelineError::invalid("diffusion.width", "must be a multiple of 8").into_fault();
        assert_eq!(fault.reason(), Reason::InvalidArgument);
        assert_eq!(fault.violations()[0].field, "diffusion.width");
        let fault = PipelineError::from(InferenceError::Cancelled).into_fault();
        assert_eq!(fault.reason(), Reason::Cancelled);
    }
}
