//! What can go wrong.

use std::io;

use crate::WorkId;

/// Why something is no picture, no vector, no work or no index.
#[derive(Debug, thiserror::Error)]
pub enum LikenessError {
    /// The picture has no pixels.
    #[error("the picture has no pixels")]
    EmptyPicture,
    /// The vector is empty, too long, not finite or not of length 1.
    #[error("{0}")]
    NotAUnitVector(&'static str),
    /// All vectors of an index come from one model, so they have one number of components.
    #[error("the vector has {got} components, those of the index have {expected}")]
    Components {
        /// Of the vectors in the index.
        expected: usize,
        /// Of this one.
        got: usize,
    },
    /// The index has a work of this id; remove it first.
    #[error("work {0} is in the index already")]
    Known(WorkId),
    /// The work has neither pictures nor fingerprints of text: nothing could ever match it.
    #[error("work {0} has no pictures, and no text that is long enough")]
    Nothing(WorkId),
    /// The work has more pictures than [`Work::MAX_PICTURES`](crate::Work::MAX_PICTURES).
    #[error("work {0} has too many pictures")]
    TooManyPictures(WorkId),
    /// One of the index's [`Capacity`](crate::Capacity) limits is reached.
    #[error("the index is full: it holds at most {limit} {what}")]
    Full {
        /// `works`, `pictures` or `fingerprints`.
        what: &'static str,
        /// The limit reached.
        limit: usize,
    },
    /// Reading or writing failed.
    #[error("the index could not be read or written")]
    Io(#[source] io::Error),
    /// What was read does not begin as an index does.
    #[error("not an index")]
    NotAnIndex,
    /// The index was written by another version of this crate.
    #[error("the index has format version {0}")]
    Version(u16),
    /// What was read ends in the middle.
    #[error("the index is cut short")]
    Truncated,
    /// What was read was not written by this crate.
    #[error("the index is broken: {0}")]
    Broken(&'static str),
}
