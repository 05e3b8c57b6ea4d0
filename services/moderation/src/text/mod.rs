//! From text to the token windows a classifier reads.

mod growing;
mod reading;
mod tokenize;
mod windows;

pub use growing::{Growing, Part, Steps};
pub use reading::Reading;
pub use tokenize::{Frame, Tokenizer, Tokens};
pub use windows::WindowShape;
