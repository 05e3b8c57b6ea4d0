//! Format and size of a picture from its first bytes.
//!
//! Decoders tell the size too, but only once they are set up, which takes memory and time that the sender
//! controls. This reads a few bytes, so it can run anywhere and decide whether and where the picture is decoded.

use atelier_core::limits::{MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS};

use super::PictureError;

/// Most segments of a JPEG before its frame header. Cameras write some twenty, the longest colour profile takes
/// 255.
const MAX_JPEG_SEGMENTS: usize = 1024;

/// A format that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG, baseline or progressive.
    Jpeg,
    /// WebP, lossy or lossless.
    WebP,
    /// GIF; its first frame.
    Gif,
    /// Windows bitmap.
    Bmp,
}

/// What a picture declares about itself, checked against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its format.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

impl Format {
    /// The name that callers know.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Gif => "GIF",
            Self::Bmp => "BMP",
        }
    }

    fn sniff(data: &[u8]) -> Option<Self> {
        match data {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::WebP),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            [b'B', b'M', ..] => Some(Self::Bmp),
            _ => None,
        }
    }
}

impl Header {
    /// Reads the declared format and size.
    ///
    /// # Errors
    /// The bytes are no picture of a known format, or are more or declare more pixels than the limits allow.
    pub fn read(data: &[u8]) -> Result<Self, PictureError> {
        if data.is_empty() {
            return Err(PictureError::Empty);
        }
        if data.len() > MAX_IMAGE_BYTES {
            return Err(PictureError::TooManyBytes { bytes: data.len() });
        }
        let unknown = || if is_video(data) { PictureError::Video } else { PictureError::UnknownFormat };
        let format = Format::sniff(data).ok_or_else(unknown)?;
        let size = match format {
            Format::Png => png(data),
            Format::Jpeg => jpeg(data),
            Format::WebP => webp(data),
            Format::Gif => gif(data),
            Format::Bmp => bmp(data),
        };
        let (width, height) = size.ok_or(PictureError::Malformed { format, source: None })?;
        let header = Self { format, width, height };
        if (1..=MAX_IMAGE_PIXELS).contains(&header.pixels()) {
            Ok(header)
        } else {
            Err(PictureError::Pixels { width, height })
        }
    }

    /// Declared pixels.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// The most memory that decoding to RGB takes, in bytes. RGBA takes one more a pixel.
    #[must_use]
    pub fn memory(&self) -> u64 {
        // The decoder's pixels: RGBA, of 16 bits in PNG alone. Then what it works with (the coefficients of a
        // progressive JPEG, a filtered row, a frame in RGBA), then the three bytes a pixel of the result.
        let (pixels, work) = match self.format {
            Format::Png => (8, 0),
            Format::Jpeg => (4, 6),
            Format::WebP | Format::Gif => (4, 4),
            Format::Bmp => (4, 0),
        };
        self.pixels() * (pixels + work + 3)
    }
}

/// EBML, or a file of boxes that holds no still (the brands of AVIF and HEIF).
fn is_video(data: &[u8]) -> bool {
    match data {
        [0x1a, 0x45, 0xdf, 0xa3, ..] => true,
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => !matches!(
            brand.first_chunk(),
            Some(b"avif" | b"avis" | b"heic" | b"heix" | b"mif1" | b"msf1") | None
        ),
        _ => false,
    }
}

/// Width and height stand first in the first chunk, which must be the header.
fn png(data: &[u8]) -> Option<(u32, u32)> {
    let fields = data.get(16..24).filter(|_| data.get(12..16) == Some(b"IHDR"))?;
    Some((u32::from_be_bytes(array(fields, 0)?), u32::from_be_bytes(array(fields, 4)?)))
}

/// The logical screen.
fn gif(data: &[u8]) -> Option<(u32, u32)> {
    Some((u16_le(data, 6)?, u16_le(data, 8)?))
}

/// The old header of 12 bytes has fields of 16 bits; in the others a negative height means that rows run downwards.
fn bmp(data: &[u8]) -> Option<(u32, u32)> {
    if u32::from_le_bytes(array(data, 14)?) == 12 {
        return Some((u16_le(data, 18)?, u16_le(data, 20)?));
    }
    let side = |at| Some(i32::from_le_bytes(array(data, at)?).unsigned_abs());
    Some((side(18)?, side(22)?))
}

/// The first chunk says which of three layouts follows.
fn webp(data: &[u8]) -> Option<(u32, u32)> {
    match data.get(12..16)? {
        // 14 bits each; the upper two are a scale for display.
        b"VP8 " => Some((u16_le(data, 26)? & 0x3fff, u16_le(data, 28)? & 0x3fff)),
        b"VP8L" => {
            let bits = u32::from_le_bytes(array(data, 21)?);
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let side = |at: usize| {
                let [a, b, c] = array(data, at)?;
                Some(u32::from_le_bytes([a, b, c, 0]) + 1)
            };
            Some((side(24)?, side(27)?))
        }
        _ => None,
    }
}

/// Walks the segments up to the frame header.
fn jpeg(data: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    for _ in 0..MAX_JPEG_SEGMENTS {
        let [0xff, mut marker] = array(data, at)? else { return None };
        at += 2;
        // A marker may be padded with any number of 0xff.
        while marker == 0xff {
            marker = *data.get(at)?;
            at += 1;
        }
        match marker {
            // Start of frame, but for the markers in that range that define tables.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let height = u32::from(u16::from_be_bytes(array(data, at + 3)?));
                let width = u32::from(u16::from_be_bytes(array(data, at + 5)?));
                return Some((width, height));
            }
            // Markers without a body.
            0x01 | 0xd0..=0xd7 => {}
            // The end, or the pixels, before any frame header.
            0xd8..=0xda => return None,
            _ => at += usize::from(u16::from_be_bytes(array(data, at)?).max(2)),
        }
    }
    None
}

fn u16_le(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(array(data, at)?)))
}

fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(data: &[u8]) -> (u32, u32) {
        let header = Header::read(data).unwrap();
        (header.width, header.height)
    }

    #[test]
    fn all_layouts_of_webp_are_read() {
        let file = |chunk: &[u8], body: &[u8]| [b"RIFF\0\0\0\0WEBP", chunk, &[0; 4], body].concat();
        let lossy = [0, 0, 0, 0x9d, 0x01, 0x2a, 0x20, 0x43, 0x10, 0x80];
        assert_eq!(size(&file(b"VP8 ", &lossy)), (0x320, 0x10));
        let lossless = [&[0x2f_u8][..], &(99_u32 | 49 << 14).to_le_bytes()].concat();
        assert_eq!(size(&file(b"VP8L", &lossless)), (100, 50));
        let extended = [0, 0, 0, 0, 99, 0, 0, 49, 1, 0];
        assert_eq!(size(&file(b"VP8X", &extended)), (100, 306));
        assert!(Header::read(&file(b"ABCD", &extended)).is_err());
    }

    #[test]
    fn bitmaps_may_run_downwards_and_be_old() {
        let file =
            |header: u32, rest: &[u8]| [&[b'B', b'M'][..], &[0; 12], &header.to_le_bytes(), rest].concat();
        let new = [7_i32.to_le_bytes(), (-9_i32).to_le_bytes()].concat();
        assert_eq!(size(&file(40, &new)), (7, 9));
        assert_eq!(size(&file(12, &[7, 0, 9, 0])), (7, 9));
        let least = [i32::MIN.to_le_bytes(), 1_i32.to_le_bytes()].concat();
        assert!(matches!(Header::read(&file(40, &least)), Err(PictureError::Pixels { .. })));
    }

    #[test]
    fn segments_of_a_jpeg_are_walked_and_counted() {
        let frame = [0xff, 0xc2, 0, 17, 8, 0, 20, 0, 30];
        let file = |segments: &[u8]| [&[0xff, 0xd8], segments, &frame].concat();
        assert_eq!(size(&file(&[])), (30, 20));
        assert_eq!(size(&file(&[0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, 0xff, 0xc4, 0, 3, 9])), (30, 20));
        assert_eq!(size(&file(&[0xff, 0xe0, 0, 2].repeat(1000))), (30, 20));
        for bad in [
            [0xff, 0xe0, 0, 2].repeat(2000),
            vec![0xff, 0xda, 0, 2],
            vec![0xff, 0xe0, 0, 2, 0x12, 0x34],
            vec![0xff, 0xe0, 9, 9],
        ] {
            assert!(matches!(Header::read(&file(&bad)), Err(PictureError::Malformed { .. })));
        }
    }
}
