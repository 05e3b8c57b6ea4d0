//! From bytes of unknown origin to the pixels a classifier reads.

mod decode;
mod header;
mod pool;
mod preprocess;

pub use decode::{PictureError, decode};
pub use header::{Format, Header};
pub use pool::DecodePool;
pub use preprocess::{CROP_SIDE, centre_crop};
