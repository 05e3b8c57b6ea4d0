//! Writing stills.

mod avif;
pub(crate) mod webp;

use image::{
    ExtendedColorType, ImageEncoder,
    codecs::{jpeg::JpegEncoder, png::PngEncoder},
};

use crate::{
    error::{MediaError, check_quality, check_size},
    picture::Picture,
};

/// A format that stills are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StillFormat {
    /// Portable Network Graphics: lossless, with alpha.
    Png,
    /// WebP: lossy or, at quality 100, lossless; with alpha.
    WebP,
    /// Baseline JPEG: lossy, no alpha.
    Jpeg,
    /// AV1 image: lossy, with alpha.
    Avif,
}

/// How a still is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// The format.
    pub format: StillFormat,
    /// 1 to 100, higher is better and larger. PNG ignores it; for WebP 100 is lossless.
    pub quality: u8,
}

impl StillFormat {
    /// The name that callers know.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Jpeg => "JPEG",
            Self::Avif => "AVIF",
        }
    }

    /// Its media type (RFC 6838).
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::WebP => "image/webp",
            Self::Jpeg => "image/jpeg",
            Self::Avif => "image/avif",
        }
    }

    /// Whether it keeps an alpha channel.
    #[must_use]
    pub const fn has_alpha(self) -> bool {
        match self {
            Self::Png | Self::WebP | Self::Avif => true,
            Self::Jpeg => false,
        }
    }

    /// Longest side, in pixels.
    const fn max_side(self) -> u32 {
        match self {
            Self::Png => i32::MAX as u32,
            // 14 bits (RFC 9649, section 2.5).
            Self::WebP => 16_383,
            // 16 bits (ITU-T T.81, B.2.2; AV1, section 5.5.1).
            Self::Jpeg | Self::Avif => 65_535,
        }
    }
}

/// Writes a still. A megapixel takes some ten to hundred milliseconds, as lossless WebP half a second, as AVIF one or
/// two: call it where blocking is allowed.
///
/// # Errors
/// The quality is out of range, the picture is empty or larger than the format or the limits allow, or it has alpha
/// and the format hasn't.
pub fn encode(picture: &Picture, encoding: &Encoding) -> Result<Vec<u8>, MediaError> {
    let Encoding { format, quality } = *encoding;
    check_quality(quality)?;
    check_size(format.name(), picture.size(), (1, format.max_side()))?;
    match format {
        StillFormat::Png => {
            let mut file = Vec::new();
            write(picture, PngEncoder::new(&mut file)).map_err(|error| MediaError::encoder("PNG", error))?;
            Ok(file)
        }
        StillFormat::Jpeg => {
            let Picture::Rgb(_) = picture else { return Err(MediaError::Alpha("JPEG")) };
            let mut file = Vec::new();
            write(picture, JpegEncoder::new_with_quality(&mut file, quality))
                .map_err(|error| MediaError::encoder("JPEG", error))?;
            Ok(file)
        }
        StillFormat::WebP => webp::still(picture, quality),
        StillFormat::Avif => avif::still(picture, quality),
    }
}

fn write(picture: &Picture, encoder: impl ImageEncoder) -> Result<(), image::ImageError> {
    let (pixels, colour) = match picture {
        Picture::Rgb(picture) => (picture.as_raw(), ExtendedColorType::Rgb8),
        Picture::Rgba(picture) => (picture.as_raw(), ExtendedColorType::Rgba8),
    };
    encoder.write_image(pixels, picture.width(), picture.height(), colour)
}
