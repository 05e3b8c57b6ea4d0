//! What can go wrong between a request and its scores.

use std::path::PathBuf;

use atelier_core::{Fault, ModelId, Reason};
use atelier_inference::InferenceError;
use atelier_likeness::LikenessError;
use atelier_media::{MediaError, PictureError};
use atelier_normalise::TooMuchHidden;
use atelier_ocr::OcrError;
use atelier_rpc::WorkError;
use tokio::task::JoinError;

use crate::{scores::NotAScore, works::FileError};

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
    /// A text that grows too much when its ligatures are written out.
    #[error("has {bytes} bytes when ligatures are written out, at most {limit}")]
    WrittenOut {
        /// How long it gets.
        bytes: usize,
        /// How long it may get.
        limit: usize,
    },
    /// A text that hides too much in encodings.
    #[error(transparent)]
    Hidden(#[from] TooMuchHidden),
    /// A decoded picture can't be resized.
    #[error(transparent)]
    Resize(MediaError),
    /// A decoded picture can't be made ready for reading.
    #[error(transparent)]
    Ocr(#[from] OcrError),
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
    /// Work off the async workers was not done.
    #[error(transparent)]
    Work(#[from] WorkError),
    /// A picture of a work that could not be told from others.
    #[error("must have more contrast: nothing could be told from it")]
    Flat,
    /// A list of works can't be changed or searched.
    #[error("list of works")]
    Likeness(#[from] LikenessError),
    /// There are as many lists of works as there may be.
    #[error("there is no room for one more list of works")]
    TooManyLists,
    /// A file of works can't be read or written.
    #[error("{}", path.display())]
    WorksFile {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        source: FileError,
    },
}

impl ModerationError {
    /// The error as a caller of the service sees it; `item` is the item's path in the request, e.g. `items[3]`; empty
    /// for the request itself.
    #[must_use]
    pub fn into_fault(self, item: &str) -> Fault {
        match self {
            Self::WrittenOut { .. } | Self::Hidden(_) => {
                let field = if item.is_empty() { "text".to_owned() } else { format!("{item}.text") };
                Fault::invalid(field, self.to_string())
            }
            Self::Picture(error) => Fault::invalid(format!("{item}.data"), error.to_string()),
            Self::Flat => Fault::invalid(format!("{item}.data"), self.to_string()),
            Self::Inference(error) => error.into(),
            Self::Work(WorkError::DeadlineExceeded) => {
                Fault::new(Reason::DeadlineExceeded, "the deadline passed")
            }
            Self::Likeness(LikenessError::Full { what, .. }) => {
                Fault::new(Reason::QuotaExceeded, format!("the list of works has no room for more {what}"))
            }
            Self::TooManyLists => Fault::new(Reason::QuotaExceeded, self.to_string()),
            error @ (Self::Config(_)
            | Self::ModelFolder { .. }
            | Self::Resize(_)
            | Self::Ocr(_)
            | Self::Tokenizer(_)
            | Self::Score { .. }
            | Self::Job(_)
            | Self::Work(WorkError::Lost)
            | Self::Likeness(_)
            | Self::WorksFile { .. }) => Fault::internal(error),
        }
    }
}
