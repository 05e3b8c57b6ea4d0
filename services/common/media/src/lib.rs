//! Pictures and clips: read within bounds, resized, written.
//!
//! [`decode`], [`frames()`] and [`DecodePool`] read what strangers send. [`encode`] writes stills, [`ClipWriter`] clips frame by
//! frame. All of it computes for milliseconds or more and belongs on threads that may block; the pool sees to that
//! itself.

mod clip;
mod encode;
mod error;
mod picture;
mod planes;
mod read;
mod resize;
mod sheet;

pub use atelier_resize::Filter;
pub use clip::{ClipConfig, ClipFormat, ClipWriter};
pub use encode::{Encoding, StillFormat, encode};
pub use error::MediaError;
pub use picture::Picture;
pub use read::{DecodePool, Format, Frame, Frames, Header, PictureError, decode, decode_rgba, frames};
pub use resize::{resize_rgb, resize_rgba};
pub use sheet::sheet;
