//! Writing clips, frame by frame.

mod gif;
mod mp4;
mod video;
mod webm;
mod webp;

use image::RgbImage;

use crate::error::{MediaError, check_quality, check_size};

/// A file that clips are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClipFormat {
    /// Animated WebP, lossy; repeats for ever.
    WebP,
    /// Animated GIF, 256 colours in each frame; repeats for ever.
    Gif,
    /// AV1 in MP4; the index comes first, so that it plays while it loads.
    Mp4,
    /// AV1 in WebM.
    WebM,
}

/// What a clip is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClipConfig {
    /// The file.
    pub format: ClipFormat,
    /// Width in pixels, odd or even; for MP4 and WebM at least 16.
    pub width: u32,
    /// Height in pixels, as the width.
    pub height: u32,
    /// 1 to 60. GIF shows at most 50: players take shorter delays for none at all and choose their own.
    pub frames_per_second: u32,
    /// 1 to 100, higher is better and larger. GIF keeps 256 colours of a frame at any quality and takes more care in
    /// choosing them.
    pub quality: u8,
}

/// A clip being written. Each frame is encoded as it comes (AV1 looks some ten ahead), so memory holds the file and
/// few frames. A caller who stops early drops the writer.
#[derive(Debug)]
pub struct ClipWriter {
    config: ClipConfig,
    frames: u32,
    writer: Writer,
}

#[derive(Debug)]
enum Writer {
    WebP(webp::Writer),
    Gif(gif::Writer),
    Video(Box<video::Writer>),
}

impl ClipFormat {
    /// The name that callers know.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebP => "animated WebP",
            Self::Gif => "GIF",
            Self::Mp4 => "MP4",
            Self::WebM => "WebM",
        }
    }

    /// Its media type (RFC 6838).
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::WebP => "image/webp",
            Self::Gif => "image/gif",
            Self::Mp4 => "video/mp4",
            Self::WebM => "video/webm",
        }
    }

    /// Shortest and longest side, in pixels.
    const fn sides(self) -> (u32, u32) {
        match self {
            // The length of a frame of VP8 has 14 bits (RFC 9649, section 2.5).
            Self::WebP => (1, 16_383),
            Self::Gif => (1, 65_535),
            // The encoder takes no less.
            Self::Mp4 | Self::WebM => (16, 65_535),
        }
    }
}

impl ClipWriter {
    /// Begins a clip.
    ///
    /// # Errors
    /// The size, the frame rate or the quality is out of range.
    pub fn new(config: ClipConfig) -> Result<Self, MediaError> {
        check_quality(config.quality)?;
        check_size(config.format.name(), (config.width, config.height), config.format.sides())?;
        if !(1..=60).contains(&config.frames_per_second) {
            return Err(MediaError::FrameRate(config.frames_per_second));
        }
        let writer = match config.format {
            ClipFormat::WebP => Writer::WebP(webp::Writer::new(config)),
            ClipFormat::Gif => Writer::Gif(gif::Writer::new(config)?),
            ClipFormat::Mp4 => Writer::Video(Box::new(video::Writer::mp4(config)?)),
            ClipFormat::WebM => Writer::Video(Box::new(video::Writer::webm(config)?)),
        };
        Ok(Self { config, frames: 0, writer })
    }

    /// Adds a frame. A quarter of a megapixel takes some ten milliseconds as WebP, a tenth of a second as GIF, a quarter
    /// as AV1: call it where blocking is allowed.
    ///
    /// # Errors
    /// The frame has another size than the clip, or the encoder failed; the clip is of no use then.
    pub fn push(&mut self, frame: &RgbImage) -> Result<(), MediaError> {
        let ClipConfig { width, height, .. } = self.config;
        if frame.dimensions() != (width, height) {
            return Err(MediaError::Unequal {
                expected_width: width,
                expected_height: height,
                width: frame.width(),
                height: frame.height(),
            });
        }
        match &mut self.writer {
            Writer::WebP(writer) => writer.push(frame)?,
            Writer::Gif(writer) => writer.push(frame)?,
            Writer::Video(writer) => writer.push(frame)?,
        }
        self.frames += 1;
        Ok(())
    }

    /// Frames so far.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Completes the file. AV1 encodes its last frames here.
    ///
    /// # Errors
    /// There are no frames, the encoder failed, or the file outgrew its format.
    pub fn finish(self) -> Result<Vec<u8>, MediaError> {
        if self.frames == 0 {
            return Err(MediaError::Nothing("clip"));
        }
        match self.writer {
            Writer::WebP(writer) => writer.finish(),
            Writer::Gif(writer) => writer.finish(),
            Writer::Video(writer) => writer.finish(),
        }
    }
}

/// When a frame begins, to the nearest tick. Durations are taken between beginnings, so that rounding doesn't add
/// up over a clip.
fn beginning(frame: u32, frames_per_second: u32, ticks_per_second: u32) -> u64 {
    let ticks = u64::from(frame) * u64::from(ticks_per_second);
    (ticks + u64::from(frames_per_second / 2)) / u64::from(frames_per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_does_not_add_up() {
        let beginnings: Vec<_> = (0..5).map(|frame| beginning(frame, 12, 100)).collect();
        assert_eq!(beginnings, [0, 8, 17, 25, 33]);
        for frames_per_second in 1..=60 {
            assert_eq!(beginning(frames_per_second * 7, frames_per_second, 1000), 7000);
        }
    }
}
