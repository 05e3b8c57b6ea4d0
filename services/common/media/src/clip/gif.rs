//! Animated GIF (GIF89a) with a palette for each frame.

use std::fmt;

use gif::{Encoder, EncodingError, Frame, Repeat};
use image::RgbImage;

use super::{ClipConfig, beginning};
use crate::error::MediaError;

/// Delays are in hundredths of a second.
const TICKS_PER_SECOND: u32 = 100;
/// The shortest delay that players respect: browsers show frames with a shorter one for a tenth of a second.
const MIN_DELAY: u16 = 2;

/// Pixels that a palette is learnt from at least: with fewer its colours are visibly off.
const MIN_SAMPLES: u32 = 20_000;

pub(super) struct Writer {
    config: ClipConfig,
    frames: u32,
    encoder: Encoder<Vec<u8>>,
}

impl Writer {
    pub(super) fn new(config: ClipConfig) -> Result<Self, MediaError> {
        let (width, height) = (side(config.width), side(config.height));
        let mut encoder = Encoder::new(Vec::new(), width, height, &[]).map_err(failed)?;
        encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
        Ok(Self { config, frames: 0, encoder })
    }

    pub(super) fn push(&mut self, picture: &RgbImage) -> Result<(), MediaError> {
        let ClipConfig { width, height, frames_per_second, quality, .. } = self.config;
        let mut frame = Frame::from_rgb_speed(
            side(width),
            side(height),
            picture,
            speed(quality, picture.width() * picture.height()),
        );
        let begins = |frame| beginning(frame, frames_per_second, TICKS_PER_SECOND);
        let delay = begins(self.frames + 1) - begins(self.frames);
        frame.delay = u16::try_from(delay).unwrap_or(u16::MAX).max(MIN_DELAY);
        self.encoder.write_frame(&frame).map_err(failed)?;
        self.frames += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, MediaError> {
        self.encoder.into_inner().map_err(|error| MediaError::encoder("GIF", error))
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("config", &self.config).field("frames", &self.frames).finish()
    }
}

/// One pixel in how many the palette is learnt from (NeuQuant, Dekker, 1994): all of them at quality 100, one in 30
/// at the lowest, and never fewer than [`MIN_SAMPLES`] where there are as many.
fn speed(quality: u8, pixels: u32) -> i32 {
    let asked = 1 + (100 - i32::from(quality.min(100))) * 29 / 99;
    asked.min(i32::try_from(pixels / MIN_SAMPLES).unwrap_or(i32::MAX)).max(1)
}

/// Sides have been checked to have 16 bits.
fn side(pixels: u32) -> u16 {
    u16::try_from(pixels).unwrap_or(u16::MAX)
}

fn failed(error: EncodingError) -> MediaError {
    MediaError::encoder("GIF", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_those_the_quantizer_takes() {
        let large = |quality| speed(quality, 1 << 20);
        assert_eq!([100, 80, 50, 1].map(large), [1, 6, 15, 30]);
        assert!((1..=100).all(|quality| (1..=30).contains(&large(quality)) && speed(quality, 1000) == 1));
        assert_eq!(speed(50, 100_000), 5);
    }
}
