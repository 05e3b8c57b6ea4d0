//! From bytes of unknown origin to pixels.

mod decode;
mod frames;
mod header;
mod pool;

pub use decode::{PictureError, decode, decode_rgba};
pub use frames::{Frame, Frames, frames};
pub use header::{Format, Header};
pub use pool::DecodePool;
