//! Between the API's messages and the service's own types. Ranges that hold for every model are checked here; those of a
//! model, by the model.

pub(crate) mod answer;
mod check;
pub(crate) mod explore;
pub(crate) mod generation;
pub(crate) mod video;

pub(crate) use check::{images, within};

use atelier_core::limits::MAX_IMAGE_BYTES;
use atelier_media::{Encoding, StillFormat};
use atelier_proto::image::v1 as proto;
use bytes::Bytes;

use crate::{ImageError, output::Output};

/// Quality of a lossy picture whose request says none.
const DEFAULT_QUALITY: u32 = 90;

/// An encoded picture of a request, of plausible size.
pub(crate) fn picture(data: Bytes, field: &str) -> Result<Bytes, ImageError> {
    if data.is_empty() {
        return Err(ImageError::invalid(field, "must not be empty"));
    }
    if data.len() > MAX_IMAGE_BYTES {
        return Err(ImageError::invalid(field, format!("must be at most {MAX_IMAGE_BYTES} bytes")));
    }
    Ok(data)
}

/// How pictures leave; `field` is the configuration's path.
pub(crate) fn output(config: Option<proto::OutputConfig>, field: &str) -> Result<Output, ImageError> {
    let config = config.unwrap_or_default();
    let format = match known(config.format, &format!("{field}.format"))? {
        proto::ImageFormat::Unspecified | proto::ImageFormat::Png => StillFormat::Png,
        proto::ImageFormat::Webp => StillFormat::WebP,
        proto::ImageFormat::Jpeg => StillFormat::Jpeg,
        proto::ImageFormat::Avif => StillFormat::Avif,
    };
    let transparent = match known(config.background, &format!("{field}.background"))? {
        proto::Background::Unspecified | proto::Background::Opaque => false,
        proto::Background::Transparent => true,
    };
    if transparent && !format.has_alpha() {
        return Err(ImageError::invalid(format!("{field}.background"), "must be opaque for JPEG"));
    }
    let quality = within(config.quality, 1..=100, &format!("{field}.quality"))?.unwrap_or(DEFAULT_QUALITY);
    // The range ends at 100.
    let quality = u8::try_from(quality).unwrap_or(100);
    Ok(Output {
        encoding: Encoding { format, quality },
        transparent,
        moderation_copy: config.moderation_copy,
    })
}

/// A value of an enum that this version knows.
fn known<T: TryFrom<i32>>(value: i32, field: &str) -> Result<T, ImageError> {
    T::try_from(value).map_err(|_| ImageError::invalid(field, format!("has no value {value}")))
}
