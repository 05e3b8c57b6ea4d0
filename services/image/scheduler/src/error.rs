//! What can be wrong with a scheduler's configuration or a request.

/// Why a scheduler could not be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SchedulerError {
    /// The file is no JSON object of the known shape.
    #[error("no scheduler configuration: {0}")]
    Malformed(String),
    /// The file names a class that is not implemented here, or none and its keys fit none.
    #[error("unknown scheduler {0:?}")]
    UnknownScheduler(String),
    /// A key has a value that is not known, or that the scheduler does not have.
    #[error("{key}: {value:?} is not supported")]
    Unsupported {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// The number of steps is out of range.
    #[error("steps: {steps} is not between 1 and {most}")]
    Steps {
        /// The number asked for.
        steps: usize,
        /// The largest that is possible.
        most: usize,
    },
}

impl SchedulerError {
    pub(crate) fn unsupported(key: &'static str, value: impl ToString) -> Self {
        Self::Unsupported { key, value: value.to_string() }
    }
}
