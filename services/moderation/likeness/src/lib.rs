//! Is this picture or text a copy (exact, edited, quoted) of a work on a list?
//!
//! A picture becomes an [`ImageFingerprint`], a text a [`TextFingerprint`]; an [`Index`] holds those of one tenant's works
//! and says which works a picture or a text comes from. The works themselves are not kept. The index also compares
//! [`UnitVector`]s, the embeddings of a model that this crate knows nothing about.
//!
//! ```
//! use atelier_likeness::{Capacity, Index, TextFingerprint, TextLimits, Work, WorkId};
//!
//! let poem = "Tyger Tyger, burning bright, In the forests of the night; What immortal hand or eye";
//! let mut index = Index::new(Capacity::default());
//! index.add(WorkId(7), Work { text: TextFingerprint::of(poem), ..Work::default() })?;
//! let said = "He wrote: tyger tyger burning bright in the forests of the night, and left.";
//! let found = index.find_text(said, &TextLimits::default());
//! assert_eq!(found[0].work, WorkId(7));
//! assert_eq!(&said[found[0].ranges[0].clone()], "burning bright in the forests of the night");
//! # Ok::<(), atelier_likeness::LikenessError>(())
//! ```
//!
//! # What is found
//!
//! * Pictures: scaled, recompressed, brighter or darker, with a small overlay, mirrored, with margins of up to an eighth
//!   of the side around the work; `tests/robustness.rs` has the distances. Not found: pictures cut from a work (unless
//!   crops of the work are in the index as well), turned by more than a few degrees, redrawn. Embeddings are for those.
//! * Texts: runs of words or characters taken over as they are, whatever the case, accents, punctuation and spaces; see
//!   [`TextFingerprint`] for how long a run is always found. Not found: paraphrases, translations, traditional characters
//!   for simplified ones.

mod error;
mod image;
mod index;
mod text;

pub use self::{
    error::LikenessError,
    image::{ImageFingerprint, ImageQuery, UnitVector, View},
    index::{Capacity, ImageLimits, ImageMatch, Index, Picture, TextLimits, TextMatch, Work, WorkId},
    text::TextFingerprint,
};
