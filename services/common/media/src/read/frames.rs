//! The frames of a moving picture, one after another.
//!
//! Frames come as they are shown: laid over what the ones before left, transparency laid on white. One is decoded when
//! it is asked for, so memory holds few of them however long the picture moves.

use std::{fmt, io::Cursor, sync::Weak, time::Duration};

use atelier_core::limits::{MAX_FRAME_PIXELS, MAX_FRAMES};
use image::{
    AnimationDecoder, ImageDecoder, ImageError, ImageResult, Limits, RgbImage,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};

use super::{Format, Header, PictureError, decode, decode::on_white};

/// What browsers show a frame for that asks for ten milliseconds or less, in milliseconds.
const HURRIED: u64 = 100;
/// A frame that asks for less is a hurried one, in milliseconds.
const LEAST_DELAY: u64 = 11;
/// Bytes a pixel that decoders of moving pictures hold: what is shown, what was shown before, the frame as it was coded and
/// as RGBA, a copy of it all to give away, and our RGB.
const BYTES_PER_PIXEL: u64 = 24;
/// What a decoder may allocate besides, in bytes.
const OVERHEAD: u64 = 1 << 20;

/// One frame as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The whole picture, in the size that the header declares; a still may be turned.
    pub picture: RgbImage,
    /// When it is shown first, in milliseconds from the beginning.
    pub time_ms: u64,
}

/// Iterates over the frames of a picture; made by [`frames()`]. The last item is an error where a frame can't be decoded or
/// the picture has more of them than the limits allow.
pub struct Frames<'a> {
    source: Source<'a>,
    header: Header,
    frames: u32,
    /// Most pixels of all frames together.
    most_pixels: u64,
    time_ms: u64,
    /// Dead when nobody waits for the frames; none: somebody always does.
    waiting: Option<Weak<()>>,
}

type Animation<'a> = image::Frames<'a>;

enum Source<'a> {
    /// The decoder is set up with the first frame: setting up can fail.
    Whole {
        data: &'a [u8],
        motion: Motion,
    },
    Animation(Animation<'a>),
    Ended,
}

/// How a picture moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Motion {
    /// Not at all.
    Still,
    /// In this file every frame belongs to the animation.
    Frames,
    /// What is shown where PNGs can't move is not the first frame, but another picture.
    FramesAndStill,
}

/// The frames of a picture; of one that doesn't move, the picture itself.
///
/// An animated PNG may hold a picture apart for programs that know no animation: it comes first, because some readers see it
/// alone.
#[must_use]
pub fn frames<'a>(data: &'a [u8], header: &Header) -> Frames<'a> {
    let source = Source::Whole { data, motion: Motion::of(data, header.format) };
    Frames { source, header: *header, frames: 0, most_pixels: MAX_FRAME_PIXELS, time_ms: 0, waiting: None }
}

/// The most memory that decoding the frames takes, in bytes.
pub(super) fn memory(data: &[u8], header: &Header) -> u64 {
    match Motion::of(data, header.format) {
        Motion::Still => header.memory(),
        Motion::Frames | Motion::FramesAndStill => header.pixels() * BYTES_PER_PIXEL,
    }
}

impl Motion {
    fn of(data: &[u8], format: Format) -> Self {
        match format {
            // How many frames there are is known at the end alone.
            Format::Gif => Self::Frames,
            // The flags follow the name and the length of the first chunk, if that is the extended header (RFC 9649, 2.7.1).
            Format::WebP => match (data.get(12..16), data.get(20)) {
                (Some(b"VP8X"), Some(flags)) if flags & 2 != 0 => Self::Frames,
                _ => Self::Still,
            },
            Format::Png => png_motion(data).unwrap_or(Self::Still),
            Format::Jpeg | Format::Bmp => Self::Still,
        }
    }
}

/// Walks the chunks before the pixels: `acTL` makes an animation, and an `fcTL` has the pixels belong to it (PNG, third
/// edition, 4.9).
fn png_motion(data: &[u8]) -> Option<Motion> {
    let (mut at, mut moves, mut controlled) = (8_usize, false, false);
    loop {
        let length = u32::from_be_bytes(*data.get(at..)?.first_chunk()?);
        match data.get(at + 4..at + 8)? {
            b"acTL" => moves = true,
            b"fcTL" => controlled = true,
            b"IDAT" => break,
            _ => {}
        }
        // The length counts the body alone: not itself, the name and the checksum.
        at = at.checked_add(usize::try_from(length).ok()?)?.checked_add(12)?;
    }
    Some(match (moves, controlled) {
        (false, _) => Motion::Still,
        (true, true) => Motion::Frames,
        (true, false) => Motion::FramesAndStill,
    })
}

impl<'a> Frames<'a> {
    /// Ends them when this is dead.
    pub(super) fn while_waited_for(mut self, waiting: Weak<()>) -> Self {
        self.waiting = Some(waiting);
        self
    }

    /// The next picture, and for how long it is shown, in milliseconds.
    fn advance(&mut self) -> Result<Option<(RgbImage, u64)>, PictureError> {
        let animation = match &mut self.source {
            Source::Ended => return Ok(None),
            Source::Animation(animation) => animation,
            Source::Whole { data, motion } => {
                let (data, motion) = (*data, *motion);
                self.source = match motion {
                    Motion::Still => Source::Ended,
                    Motion::Frames | Motion::FramesAndStill => Source::Animation(self.animation(data)?),
                };
                if motion != Motion::Frames {
                    return Ok(Some((decode(data, &self.header)?, 0)));
                }
                return self.advance();
            }
        };
        let Some(frame) = animation.next() else { return Ok(None) };
        let frame = frame.map_err(|source| self.malformed(Some(source)))?;
        let shown = match u64::try_from(Duration::from(frame.delay()).as_millis()) {
            Ok(0..LEAST_DELAY) => HURRIED,
            Ok(delay) => delay,
            Err(_) => u64::MAX,
        };
        let picture = frame.into_buffer();
        if picture.dimensions() != (self.header.width, self.header.height) {
            return Err(self.malformed(None));
        }
        Ok(Some((on_white(picture.into()), shown)))
    }

    fn animation(&self, data: &'a [u8]) -> Result<Animation<'a>, PictureError> {
        let mut limits = Limits::default();
        limits.max_alloc = Some(self.header.pixels() * BYTES_PER_PIXEL + OVERHEAD);
        let animation = match self.header.format {
            Format::Gif => gif(data, limits),
            Format::WebP => WebPDecoder::new(Cursor::new(data)).map(AnimationDecoder::into_frames),
            Format::Png => png(data, limits),
            Format::Jpeg | Format::Bmp => return Err(self.malformed(None)),
        };
        animation.map_err(|source| self.malformed(Some(source)))
    }

    fn malformed(&self, source: Option<ImageError>) -> PictureError {
        PictureError::Malformed { format: self.header.format, source }
    }

    fn within_limits(&self) -> bool {
        // A single frame may be as large as any picture.
        self.frames == 0
            || self.frames < MAX_FRAMES
                && u64::from(self.frames + 1) * self.header.pixels() <= self.most_pixels
    }
}

fn gif(data: &[u8], limits: Limits) -> ImageResult<Animation<'_>> {
    let mut decoder = GifDecoder::new(Cursor::new(data))?;
    decoder.set_limits(limits)?;
    Ok(decoder.into_frames())
}

fn png(data: &[u8], limits: Limits) -> ImageResult<Animation<'_>> {
    Ok(PngDecoder::with_limits(Cursor::new(data), limits)?.apng()?.into_frames())
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, PictureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.strong_count() == 0) {
            return None;
        }
        let next = match self.advance() {
            // Whether there is one more than is allowed shows when it is decoded.
            Ok(Some(_)) if !self.within_limits() => Err(PictureError::TooManyFrames),
            Ok(None) if self.frames == 0 && !matches!(self.source, Source::Ended) => {
                Err(self.malformed(None))
            }
            other => other,
        };
        match next {
            Ok(Some((picture, shown_ms))) => {
                let frame = Frame { picture, time_ms: self.time_ms };
                self.time_ms = self.time_ms.saturating_add(shown_ms);
                self.frames += 1;
                Some(Ok(frame))
            }
            Ok(None) => None,
            Err(error) => {
                self.source = Source::Ended;
                Some(Err(error))
            }
        }
    }
}

impl fmt::Debug for Frames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("header", &self.header)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
