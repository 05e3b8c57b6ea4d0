//! Pictures on their way out: background, encoding, and the copy that is judged.

use atelier_media::{Encoding, Filter, Picture, StillFormat, encode, resize_rgba};
use bytes::Bytes;
use image::{DynamicImage, RgbaImage};

use crate::{ImageError, pixels};

/// Longest side of a copy that is made for judging, in pixels: more than any detector reads.
const MAX_COPY_SIDE: u32 = 512;

/// How pictures leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) encoding: Encoding,
    /// Keep the alpha channel.
    pub(crate) transparent: bool,
    /// Add a copy for judging where the picture itself would not do.
    pub(crate) moderation_copy: bool,
}

impl Output {
    /// A PNG: what previews are.
    pub(crate) const PNG: Self = Self {
        encoding: Encoding { format: StillFormat::Png, quality: 100 },
        transparent: false,
        moderation_copy: false,
    };
}

/// An encoded picture.
#[derive(Clone, Debug)]
pub(crate) struct Encoded {
    pub(crate) data: Bytes,
    pub(crate) format: StillFormat,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Empty where none was asked for or `data` will do.
    pub(crate) moderation_copy: Bytes,
}

/// Encodes a picture; takes milliseconds and more.
///
/// # Errors
/// The encoder can't write it.
pub(crate) fn encoded(mut picture: RgbaImage, output: &Output) -> Result<Encoded, ImageError> {
    let (width, height) = picture.dimensions();
    let moderation_copy = if output.moderation_copy { copy(&picture, output)? } else { Bytes::new() };
    let picture = if output.transparent {
        Picture::Rgba(picture)
    } else {
        pixels::opaque(&mut picture);
        Picture::Rgb(DynamicImage::ImageRgba8(picture).into_rgb8())
    };
    let data = encode(&picture, &output.encoding)?.into();
    Ok(Encoded { data, format: output.encoding.format, width, height, moderation_copy })
}

/// What is judged in place of the picture.
fn copy(picture: &RgbaImage, output: &Output) -> Result<Bytes, ImageError> {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= MAX_COPY_SIDE && output.encoding.format != StillFormat::Avif {
        return Ok(Bytes::new());
    }
    let mut small = if longest > MAX_COPY_SIDE {
        let side = |length: u32| (u64::from(length) * u64::from(MAX_COPY_SIDE) / u64::from(longest)).max(1);
        let side = |length| u32::try_from(side(length)).unwrap_or(MAX_COPY_SIDE);
        resize_rgba(picture, side(width), side(height), Filter::Lanczos3)?
    } else {
        picture.clone()
    };
    pixels::opaque(&mut small);
    let small = Picture::Rgb(DynamicImage::ImageRgba8(small).into_rgb8());
    Ok(encode(&small, &Output::PNG.encoding)?.into())
}

#[cfg(test)]
mod tests {
    use image::Rgba;

    use super::*;

    fn output(format: StillFormat, transparent: bool) -> Output {
        Output { encoding: Encoding { format, quality: 90 }, transparent, moderation_copy: true }
    }

    #[test]
    fn a_copy_is_made_where_the_picture_itself_would_not_do() {
        let small = RgbaImage::from_pixel(40, 20, Rgba([200, 10, 10, 255]));
        let large = RgbaImage::from_pixel(1_024, 256, Rgba([200, 10, 10, 255]));
        let copy_of = |picture: &RgbaImage, format| {
            let bytes = encoded(picture.clone(), &output(format, false)).unwrap().moderation_copy;
            (!bytes.is_empty()).then(|| image::load_from_memory(&bytes).unwrap().into_rgb8().dimensions())
        };
        assert_eq!(copy_of(&small, StillFormat::Png), None);
        assert_eq!(copy_of(&small, StillFormat::Avif), Some((40, 20)));
        assert_eq!(copy_of(&large, StillFormat::Jpeg), Some((512, 128)));
    }

    #[test]
    fn transparency_is_kept_or_becomes_white() {
        let clear = RgbaImage::from_pixel(2, 2, Rgba([0, 0, 0, 0]));
        let decoded = |transparent| {
            let encoded = encoded(clear.clone(), &output(StillFormat::Png, transparent)).unwrap();
            image::load_from_memory(&encoded.data).unwrap()
        };
        assert_eq!(decoded(true).into_rgba8().get_pixel(0, 0).0[3], 0);
        let white = decoded(false);
        assert!(!white.color().has_alpha());
        assert_eq!(white.into_rgb8().get_pixel(1, 1).0, [255; 3]);
    }
}
