//! From text to the token windows a classifier reads.

mod growing;
mod language;
mod reading;
mod tokenize;
mod windows;

pub use growing::{Growing, Part, Steps};
pub use language::language;
pub use reading::{Reading, Version};
pub use tokenize::{Frame, Tokenizer, Tokens};
pub use windows::WindowShape;
