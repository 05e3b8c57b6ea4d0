//! Decoding pictures that a stranger sent.
//!
//! The format is sniffed from the bytes. Nothing is allocated for pixels before the declared size has been
//! checked, so a small file that declares a huge picture costs nothing. Unless alpha is asked for, transparent
//! pixels are laid on white, as most viewers show them. A still that says how it is turned (EXIF) is turned so, as viewers do:
//! what is measured is what is seen. Viewers differ about pictures that move; those are taken as they are stored.

use std::io::Cursor;

use atelier_core::limits::{MAX_FRAME_PIXELS, MAX_FRAMES, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageReader, RgbImage, RgbaImage, metadata::Orientation,
};

use super::{Format, Header};

/// Why bytes are no picture that may be decoded. The texts are for the caller and tell nothing about the content.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// No bytes.
    #[error("must not be empty")]
    Empty,
    /// More bytes than a picture may have.
    #[error("must be at most {MAX_IMAGE_BYTES} bytes, has {bytes}")]
    TooManyBytes {
        /// Size of the picture.
        bytes: usize,
    },
    /// The first bytes belong to no format that is decoded.
    #[error("must be a PNG, JPEG, WebP, GIF or BMP picture")]
    UnknownFormat,
    /// The first bytes are those of MP4, QuickTime, Matroska or WebM.
    #[error(
        "is a video, which is not read: send its frames as pictures (PNG, JPEG, WebP, GIF or BMP), each with its time_ms, \
         two or more a second"
    )]
    Video,
    /// The picture declares more pixels than are decoded, or none.
    #[error("must have 1 to {MAX_IMAGE_PIXELS} pixels, declares {width} x {height}")]
    Pixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
    },
    /// The picture moves for longer than is decoded.
    #[error(
        "must have at most {MAX_FRAMES} frames, and {MAX_FRAME_PIXELS} pixels in all of them together, has more"
    )]
    TooManyFrames,
    /// The format is known and what follows breaks its rules or ends too soon.
    #[error("is not a whole and valid {} picture", format.name())]
    Malformed {
        /// The sniffed format.
        format: Format,
        /// What the decoder met.
        source: Option<ImageError>,
    },
}

/// Decodes the first frame to RGB of 8 bits, transparency laid on white. Turned as it says, so that width and height may be
/// those of the header the other way round.
///
/// # Errors
/// The bytes break the rules of their format, end too soon, or hold more pixels than they declared.
pub fn decode(data: &[u8], header: &Header) -> Result<RgbImage, PictureError> {
    let (picture, turned) = whole(data, header)?;
    // Small pixels are turned: the picture takes twice its memory while it is.
    let mut picture = DynamicImage::ImageRgb8(on_white(picture));
    picture.apply_orientation(turned);
    Ok(picture.into_rgb8())
}

/// Decodes the first frame to RGBA of 8 bits, alpha straight (colours are not multiplied by it). A picture without
/// alpha is opaque.
///
/// # Errors
/// As [`decode`].
pub fn decode_rgba(data: &[u8], header: &Header) -> Result<RgbaImage, PictureError> {
    let (picture, turned) = whole(data, header)?;
    let mut picture = DynamicImage::ImageRgba8(picture.into_rgba8());
    picture.apply_orientation(turned);
    Ok(picture.into_rgba8())
}

/// The picture as it is stored, and how it is to be turned.
fn whole(data: &[u8], header: &Header) -> Result<(DynamicImage, Orientation), PictureError> {
    let format = header.format;
    let malformed = |source| PictureError::Malformed { format, source: Some(source) };
    let read = || {
        // The decoders bound their own memory too, at 512 MiB: a file that shows its decoder another size than it
        // showed us is caught there or below.
        let mut decoder = ImageReader::new(Cursor::new(data)).with_guessed_format()?.into_decoder()?;
        // Broken notes about the picture are no reason to refuse it.
        let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok((DynamicImage::from_decoder(decoder)?, turned))
    };
    let (picture, turned) = read().map_err(malformed)?;
    if (picture.width(), picture.height()) != (header.width, header.height) {
        return Err(PictureError::Malformed { format, source: None });
    }
    Ok((picture, turned))
}

pub(super) fn on_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let picture = picture.into_rgba8();
    let mut out = RgbImage::new(picture.width(), picture.height());
    for (to, from) in out.pixels_mut().zip(picture.pixels()) {
        let [colours @ .., alpha] = from.0;
        to.0 = colours.map(|colour| over_white(colour, alpha));
    }
    out
}

/// One channel of a pixel over white, rounded to nearest.
fn over_white(colour: u8, alpha: u8) -> u8 {
    let (colour, alpha) = (u32::from(colour), u32::from(alpha));
    let sum = colour * alpha + 255 * (255 - alpha);
    u8::try_from((sum + 127) / 255).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, ImageFormat, Rgb, Rgba};
    use proptest::prelude::*;

    use super::*;
    use crate::frames;

    const FORMATS: [ImageFormat; 5] =
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Bmp];

    fn read(data: &[u8]) -> Result<RgbImage, PictureError> {
        decode(data, &Header::read(data)?)
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient(width: u32, height: u32) -> DynamicImage {
        let pixel = |x, y| Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, ((x + y) % 256) as u8]);
        DynamicImage::ImageRgb8(ImageBuffer::from_fn(width, height, pixel))
    }

    /// A PNG of one chunk: the header, with a right checksum.
    fn png_header(width: u32, height: u32) -> Vec<u8> {
        let mut chunk = b"IHDR".to_vec();
        chunk.extend(width.to_be_bytes());
        chunk.extend(height.to_be_bytes());
        chunk.extend([8, 6, 0, 0, 0]);
        let crc = !chunk.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
        });
        let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\x0d".to_vec();
        file.extend(chunk);
        file.extend(crc.to_be_bytes());
        file.extend(b"\0\0\0\x04IDAT\0\0\0\0\0\0\0\0");
        file
    }

    #[test]
    fn all_formats_are_read_by_their_bytes() {
        let picture = gradient(37, 23);
        for format in FORMATS {
            let data = encoded(&picture, format);
            let ours = read(&data).unwrap_or_else(|error| panic!("{format:?}: {error}"));
            assert_eq!(ours.dimensions(), (37, 23), "{format:?}");
            if !matches!(format, ImageFormat::Jpeg | ImageFormat::Gif) {
                assert_eq!(&ours, picture.as_rgb8().unwrap(), "{format:?} is lossless");
            }
        }
    }

    #[test]
    fn transparency_is_laid_on_white() {
        let alphas = [0, 128, 255];
        let pixel = |x: u32, _| Rgba([200, 0, 10, alphas[x as usize]]);
        let picture = DynamicImage::ImageRgba8(ImageBuffer::from_fn(3, 1, pixel));
        let ours = read(&encoded(&picture, ImageFormat::Png)).unwrap();
        let pixels: Vec<_> = ours.pixels().map(|pixel| pixel.0).collect();
        assert_eq!(pixels, [[255, 255, 255], [227, 127, 132], [200, 0, 10]]);
    }

    /// The picture as a JPEG that says it is turned.
    fn turned(picture: &DynamicImage, orientation: u8) -> Vec<u8> {
        let plain = encoded(picture, ImageFormat::Jpeg);
        // TIFF, big-endian, with one directory of one entry: tag 0x0112, a short.
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let length = (exif.len() as u16 + 2).to_be_bytes();
        [&plain[..2], b"\xff\xe1", &length, &exif, &plain[2..]].concat()
    }

    #[test]
    fn what_is_stored_turned_is_seen_upright() {
        // Four fields of grey, each coarse enough for JPEG to keep: upper left, upper right, lower left, lower right.
        let field = |x, y| [[10, 90], [170, 250]][usize::from(y >= 16)][usize::from(x >= 24)];
        let picture = DynamicImage::ImageRgb8(ImageBuffer::from_fn(48, 32, |x, y| Rgb([field(x, y); 3])));
        // Where the stored picture's fields are seen, by EXIF's numbers (CIPA DC-008, 4.6.4).
        let seen: [[u8; 4]; 8] = [
            [10, 90, 170, 250],
            [90, 10, 250, 170],
            [250, 170, 90, 10],
            [170, 250, 10, 90],
            [10, 170, 90, 250],
            [170, 10, 250, 90],
            [250, 90, 170, 10],
            [90, 250, 10, 170],
        ];
        for (orientation, expected) in (1..).zip(seen) {
            let data = turned(&picture, orientation);
            let header = Header::read(&data).unwrap();
            assert_eq!((header.width, header.height), (48, 32));
            let ours = decode(&data, &header).unwrap();
            let (width, height) = ours.dimensions();
            assert_eq!((width, height), if orientation < 5 { (48, 32) } else { (32, 48) }, "{orientation}");
            let corners = [(4, 4), (width - 5, 4), (4, height - 5), (width - 5, height - 5)];
            for ((x, y), grey) in corners.into_iter().zip(expected) {
                let pixel = ours.get_pixel(x, y).0[0];
                assert!(pixel.abs_diff(grey) < 8, "{orientation} at ({x}, {y}): {pixel} {grey}");
            }
            let with_alpha = decode_rgba(&data, &header).unwrap();
            assert_eq!(DynamicImage::ImageRgba8(with_alpha).into_rgb8(), ours);
            let frames: Vec<_> = frames(&data, &header).collect::<Result<_, _>>().unwrap();
            assert_eq!((frames.len(), &frames[0].picture), (1, &ours));
        }
        assert_eq!(
            read(&turned(&picture, 77)).unwrap().dimensions(),
            (48, 32),
            "a number that means nothing"
        );
    }

    #[test]
    fn alpha_is_kept_where_asked_for() {
        let pixel = |x: u32, y: u32| Rgba([200, 0, 10, (x * 9 + y) as u8]);
        let picture = DynamicImage::ImageRgba8(ImageBuffer::from_fn(20, 5, pixel));
        let data = encoded(&picture, ImageFormat::Png);
        let ours = decode_rgba(&data, &Header::read(&data).unwrap()).unwrap();
        assert_eq!(&ours, picture.as_rgba8().unwrap());
        let data = encoded(&gradient(9, 4), ImageFormat::Png);
        let opaque = decode_rgba(&data, &Header::read(&data).unwrap()).unwrap();
        assert!(opaque.pixels().all(|pixel| pixel.0[3] == 255));
    }

    #[test]
    fn declared_size_is_checked_before_memory_is_taken() {
        for (width, height) in [(100_000, 100_000), (u32::MAX >> 1, 1), (8_001, 8_000)] {
            let error = Header::read(&png_header(width, height)).unwrap_err();
            assert!(matches!(error, PictureError::Pixels { .. }), "{width} x {height}: {error:?}");
        }
        let mut bomb = encoded(&gradient(2, 2), ImageFormat::Gif);
        bomb[6..10].copy_from_slice(&[0xff; 4]);
        assert!(matches!(Header::read(&bomb), Err(PictureError::Pixels { width: 65_535, height: 65_535 })));
        // A huge frame on a small screen.
        let mut bomb = encoded(&gradient(2, 2), ImageFormat::Gif);
        let frame = bomb.windows(5).rposition(|bytes| bytes == [0x2c, 0, 0, 0, 0]).unwrap() + 5;
        bomb[frame..frame + 4].copy_from_slice(&[0xff; 4]);
        assert!(matches!(read(&bomb), Err(PictureError::Malformed { .. })));
    }

    #[test]
    fn what_is_no_picture_is_named() {
        assert!(matches!(read(b""), Err(PictureError::Empty)));
        for video in [b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\0".as_slice(), b"\0\0\0\x20ftypisom"] {
            assert!(matches!(read(video), Err(PictureError::Video)));
        }
        assert!(matches!(read(b"\0\0\0\x20ftypavif"), Err(PictureError::UnknownFormat)));
        assert!(matches!(read(b"%PDF-1.7 and so on"), Err(PictureError::UnknownFormat)));
        assert!(matches!(read(&vec![0; MAX_IMAGE_BYTES + 1]), Err(PictureError::TooManyBytes { .. })));
        assert!(matches!(
            read(&png_header(0, 5)),
            Err(PictureError::Pixels { .. } | PictureError::Malformed { .. })
        ));
        assert!(matches!(read(&png_header(5, 5)), Err(PictureError::Malformed { format: Format::Png, .. })));
    }

    #[test]
    fn a_truncated_png_is_refused() {
        let whole = encoded(&gradient(64, 64), ImageFormat::Png);
        for end in [9, 40, whole.len() / 2] {
            assert!(
                matches!(read(&whole[..end]), Err(PictureError::Malformed { format: Format::Png, .. })),
                "{end}"
            );
        }
    }

    proptest! {
        #[test]
        fn random_bytes_after_a_signature_never_panic(
            format in 0_usize..FORMATS.len(),
            tail in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let signature: &[u8] = [
                b"\x89PNG\r\n\x1a\n".as_slice(), b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBPVP8 ", b"GIF89a", b"BM",
            ][format];
            if let Ok(picture) = read(&[signature, &tail].concat()) {
                prop_assert!(u64::from(picture.width()) * u64::from(picture.height()) <= MAX_IMAGE_PIXELS);
            }
        }

        #[test]
        fn damaged_pictures_never_panic(
            format in 0_usize..FORMATS.len(),
            damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut data = encoded(&gradient(24, 24), FORMATS[format]);
            for (at, byte) in damage {
                let at = at.index(data.len());
                data[at] = byte;
            }
            if let Ok(header) = Header::read(&data) {
                // Declared sizes that damage made large are honest work for a decoder and only slow the test.
                if header.memory() < 64 << 20 {
                    let _ = decode(&data, &header);
                }
            }
        }
    }
}
