//! What can go wrong before and after the models.

use atelier_resize::ResizeError;

/// Why a picture can't be read.
#[derive(Debug, thiserror::Error)]
pub enum OcrError {
    /// The picture has no pixels.
    #[error("a picture without pixels")]
    Empty,
    /// The resizer refused.
    #[error("resizing a page")]
    Resize(#[from] ResizeError),
    /// A map has not the number of values that its size asks for.
    #[error("a map of {width} x {height} with {values} values")]
    Map {
        /// Its width.
        width: usize,
        /// Its height.
        height: usize,
        /// How many values came.
        values: usize,
    },
    /// Probabilities are not a whole number of rows of the charset's columns.
    #[error("{values} probabilities for {columns} columns")]
    Columns {
        /// Columns that the charset has.
        columns: usize,
        /// How many values came.
        values: usize,
    },
    /// The charset names no characters.
    #[error("an empty charset")]
    Charset,
}
