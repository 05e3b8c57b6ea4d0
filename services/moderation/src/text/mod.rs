//! From text to the token windows a classifier reads.

mod tokenize;
mod windows;

pub use tokenize::{Frame, Tokenizer};
pub use windows::WindowShape;
