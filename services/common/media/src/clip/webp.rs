//! Animated WebP (RFC 9649, section 2.7): a canvas, and frames that replace each other.

use image::RgbImage;

use super::{ClipConfig, beginning};
use crate::{encode::webp::encoded, error::MediaError, picture::Picture};

/// Durations are in milliseconds.
const TICKS_PER_SECOND: u32 = 1000;
/// In the flags of the canvas.
const IS_ANIMATION: u8 = 0b10;
/// In the flags of a frame: it replaces what was there instead of being blended with it.
const REPLACES: u8 = 0b10;

#[derive(Debug)]
pub(super) struct Writer {
    config: ClipConfig,
    frames: u32,
    /// Everything that comes after the length of the file.
    body: Vec<u8>,
}

impl Writer {
    pub(super) fn new(config: ClipConfig) -> Self {
        let mut body = b"WEBP".to_vec();
        let size = [u24(config.width - 1), u24(config.height - 1)].concat();
        chunk(&mut body, b"VP8X", &[&[IS_ANIMATION, 0, 0, 0], &size]);
        // A background that nobody sees, and 0 repetitions: for ever.
        chunk(&mut body, b"ANIM", &[&[0; 4], &[0; 2]]);
        Self { config, frames: 0, body }
    }

    pub(super) fn push(&mut self, frame: &RgbImage) -> Result<(), MediaError> {
        let ClipConfig { width, height, frames_per_second, quality, .. } = self.config;
        let file = encoded(&Picture::Rgb(frame.clone()), quality, false)?;
        // The file of an opaque lossy picture has one chunk, after the words "RIFF", its length and "WEBP".
        let picture = file
            .get(12..)
            .filter(|chunk| chunk.starts_with(b"VP8 "))
            .ok_or_else(|| MediaError::encoder("WebP", "not the layout of a lossy picture"))?;
        let begins = |frame| beginning(frame, frames_per_second, TICKS_PER_SECOND);
        let duration = u32::try_from(begins(self.frames + 1) - begins(self.frames)).unwrap_or(u32::MAX);
        let place = [[0; 3], [0; 3], u24(width - 1), u24(height - 1), u24(duration)].concat();
        chunk(&mut self.body, b"ANMF", &[&place, &[REPLACES], picture]);
        self.frames += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, MediaError> {
        let length = u32::try_from(self.body.len()).map_err(|_| MediaError::TooLong("WebP"))?;
        Ok([b"RIFF".as_slice(), &length.to_le_bytes(), &self.body].concat())
    }
}

/// A name, a length, a body of even length.
fn chunk(to: &mut Vec<u8>, name: &[u8; 4], parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    to.extend(name);
    // The length of the whole file is checked at the end, and no chunk is longer.
    to.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    parts.iter().for_each(|part| to.extend(*part));
    if length % 2 == 1 {
        to.push(0);
    }
}

fn u24(value: u32) -> [u8; 3] {
    let [low, middle, high, _] = value.to_le_bytes();
    [low, middle, high]
}
