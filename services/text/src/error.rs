//! What can go wrong in this service, and what a caller is told of it.

use std::time::Duration;

use atelier_core::{Fault, Reason};
use atelier_inference::InferenceError;
use atelier_rpc::WorkError;

/// A cause that only the log sees.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// When models that are busy now may be idle.
const IDLE_SOON: Duration = Duration::from_secs(10);

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// No model of that name is loaded.
    #[error("no model named {0:?} is loaded")]
    ModelNotFound(String),
    /// The configuration admits no model of that name.
    #[error("no model named {0:?} is configured")]
    ModelNotConfigured(String),
    /// A model's files can't be served.
    #[error("model {model:?} can't be loaded")]
    LoadFailed {
        /// Name of the model.
        model: String,
        /// What is wrong with it.
        #[source]
        cause: Box<TextError>,
    },
    /// A model does not fit the memory that models may take.
    #[error(
        "model {model:?} needs {needed_bytes} bytes; of the budget of {budget_bytes}, {free_bytes} are free or held by idle models"
    )]
    InsufficientMemory {
        /// Name of the model.
        model: String,
        /// What it takes, as far as is known.
        needed_bytes: u64,
        /// What all models may take together.
        budget_bytes: u64,
        /// What it could have.
        free_bytes: u64,
    },
    /// Models may not be loaded and unloaded by calls.
    #[error("models can't be loaded or unloaded: the service has no admin_token")]
    AdminDisabled,
    /// A call that takes an operator carries no valid token.
    #[error("authorization: the operator's bearer token is needed")]
    AdminUnauthenticated,
    /// The model can't do what was asked.
    #[error("model {model:?} does not serve {task}")]
    TaskUnsupported {
        /// Name of the model.
        model: String,
        /// What was asked: "chat", "generation", "embedding".
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
    /// A text has more tokens than the model reads.
    #[error("{field}: {tokens} tokens do not fit the model's context of {limit}")]
    ContextLengthExceeded {
        /// Path in the request.
        field: String,
        /// Tokens of the text.
        tokens: usize,
        /// Most that are possible.
        limit: usize,
    },
    /// The chat template refuses the conversation, or the conversation can't be rendered.
    #[error("the conversation is refused: {0}")]
    ConversationRefused(String),
    /// The chat template fails.
    #[error("the chat template fails")]
    Template(#[source] Cause),
    /// A file of the model's folder can't be used.
    #[error("cannot use {file}")]
    ModelFile {
        /// Which file.
        file: String,
        /// What is wrong with it.
        #[source]
        cause: Cause,
    },
    /// The tokenizer fails on a text.
    #[error("the tokenizer fails")]
    Tokenizer(#[source] Cause),
    /// The model gave logits that are no numbers.
    #[error("the model gave no finite logits")]
    BrokenLogits,
    /// The queue for a slot is full.
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
    /// The operating system gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A background task ended without an answer.
    #[error("{0} ended without an answer")]
    TaskLost(&'static str),
    /// The model's run failed.
    #[error(transparent)]
    Inference(#[from] InferenceError),
}

impl From<WorkError> for TextError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::DeadlineExceeded => Self::DeadlineExceeded,
            WorkError::Lost => Self::TaskLost("blocking work"),
        }
    }
}

impl TextError {
    /// A field of the request is out of its range.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), description: description.into() }
    }

    pub(crate) fn template(cause: impl Into<Cause>) -> Self {
        Self::Template(cause.into())
    }

    pub(crate) fn model_file(file: impl Into<String>, cause: impl Into<Cause>) -> Self {
        Self::ModelFile { file: file.into(), cause: cause.into() }
    }
}

impl From<TextError> for Fault {
    fn from(error: TextError) -> Self {
        let message = error.to_string();
        match error {
            TextError::ModelNotFound(_) | TextError::ModelNotConfigured(_) => {
                Self::new(Reason::ModelNotFound, message)
            }
            TextError::LoadFailed { cause, .. } => {
                Self::new(Reason::ModelUnusable, message).with_cause(*cause)
            }
            TextError::InsufficientMemory { needed_bytes, budget_bytes, free_bytes, .. } => {
                Self::new(Reason::InsufficientMemory, message)
                    .with_metadata("needed_bytes", needed_bytes.to_string())
                    .with_metadata("budget_bytes", budget_bytes.to_string())
                    .with_metadata("free_bytes", free_bytes.to_string())
                    .with_retry_after(IDLE_SOON)
            }
            TextError::AdminDisabled => Self::new(Reason::PermissionDenied, message),
            TextError::AdminUnauthenticated => Self::new(Reason::Unauthenticated, message),
            TextError::TaskUnsupported { .. } => Self::new(Reason::TaskUnsupported, message),
            TextError::Invalid { field, description } => Self::invalid(field, description),
            TextError::ContextLengthExceeded { field, tokens, limit } => {
                Self::new(Reason::ContextLengthExceeded, message)
                    .with_violation(field, format!("must have at most {limit} tokens, has {tokens}"))
                    .with_metadata("tokens", tokens.to_string())
                    .with_metadata("limit", limit.to_string())
            }
            TextError::ConversationRefused(why) => Self::invalid("messages", why),
            TextError::QueueFull { retry_after } => {
                Self::new(Reason::QueueFull, "the model's queue is full").with_retry_after(retry_after)
            }
            TextError::DeadlineExceeded => Self::new(Reason::DeadlineExceeded, message),
            TextError::Draining => Self::new(Reason::Draining, message),
            TextError::Starting => Self::new(Reason::UpstreamUnavailable, message),
            TextError::Inference(error) => error.into(),
            error @ (TextError::Template(_)
            | TextError::ModelFile { .. }
            | TextError::Tokenizer(_)
            | TextError::BrokenLogits
            | TextError::Thread(_)
            | TextError::Configuration(_)
            | TextError::TaskLost(_)) => Self::internal(error),
        }
    }
}
