//! From bytes of unknown origin to pixels.

mod decode;
mod header;
mod pool;

pub use decode::{PictureError, decode, decode_rgba};
pub use header::{Format, Header};
pub use pool::DecodePool;
