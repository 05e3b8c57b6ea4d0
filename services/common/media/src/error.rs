//! What can go wrong when pictures and clips are made.

use std::error::Error;

use atelier_core::limits::MAX_IMAGE_PIXELS;

/// The cause of a failure inside an encoder.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why a picture or a clip can't be made.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// A side or the whole is smaller or larger than can be written.
    #[error(
        "{what}: sides must be {min_side} to {max_side} pixels and their product at most {MAX_IMAGE_PIXELS}, \
         got {width} x {height}"
    )]
    Size {
        /// What was to be made.
        what: &'static str,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Shortest side that can be written, in pixels.
        min_side: u32,
        /// Longest side that can be written, in pixels.
        max_side: u32,
    },
    /// The quality is out of range.
    #[error("quality must be 1 to 100, got {0}")]
    Quality(u8),
    /// The format keeps no transparency.
    #[error("{0} has no alpha channel")]
    Alpha(&'static str),
    /// The pictures of a sheet, or the frames of a clip, differ in size.
    #[error("expected {expected_width} x {expected_height} pixels, got {width} x {height}")]
    Unequal {
        /// Width of the clip or of the first picture, in pixels.
        expected_width: u32,
        /// Height of the clip or of the first picture, in pixels.
        expected_height: u32,
        /// Width of the one that differs, in pixels.
        width: u32,
        /// Height of the one that differs, in pixels.
        height: u32,
    },
    /// A sheet without pictures or columns, or a clip without frames.
    #[error("{0} holds nothing")]
    Nothing(&'static str),
    /// The frame rate is out of range.
    #[error("frames_per_second must be 1 to 60, got {0}")]
    FrameRate(u32),
    /// The file outgrows what its format can address.
    #[error("a {0} file can't be this long")]
    TooLong(&'static str),
    /// The encoder failed.
    #[error("{format} encoder")]
    Encoder {
        /// The format.
        format: &'static str,
        /// What it met.
        source: Cause,
    },
    /// The resizer failed.
    #[error("resizing a picture")]
    Resize(#[source] Cause),
}

impl MediaError {
    pub(crate) fn encoder(format: &'static str, source: impl Into<Cause>) -> Self {
        Self::Encoder { format, source: source.into() }
    }
}

/// Checks a size against the sides that `what` can have and the pixels that any picture may have.
pub(crate) fn check_size(
    what: &'static str,
    (width, height): (u32, u32),
    (min_side, max_side): (u32, u32),
) -> Result<(), MediaError> {
    let sides = min_side.max(1)..=max_side;
    if sides.contains(&width)
        && sides.contains(&height)
        && u64::from(width) * u64::from(height) <= MAX_IMAGE_PIXELS
    {
        Ok(())
    } else {
        Err(MediaError::Size { what, width, height, min_side, max_side })
    }
}

/// Checks that a quality is 1 to 100.
pub(crate) fn check_quality(quality: u8) -> Result<(), MediaError> {
    if (1..=100).contains(&quality) { Ok(()) } else { Err(MediaError::Quality(quality)) }
}
