//! Checks that many fields share.

use std::{fmt::Display, ops::RangeInclusive};

use atelier_core::limits::MAX_BATCH_IMAGES;
use bytes::Bytes;

use super::picture;
use crate::ImageError;

/// A number of the request, if it has one, in its range.
pub(crate) fn within<T: PartialOrd + Display>(
    value: Option<T>,
    range: RangeInclusive<T>,
    field: &str,
) -> Result<Option<T>, ImageError> {
    match value {
        // What can't be compared (NaN) is in no range.
        Some(value) if !range.contains(&value) => {
            let description = format!("must be {} to {}", range.start(), range.end());
            Err(ImageError::invalid(field, description))
        }
        value => Ok(value),
    }
}

/// The pictures of a batch.
pub(crate) fn images(images: Vec<Bytes>) -> Result<Vec<Bytes>, ImageError> {
    counted(&images, 1..=MAX_BATCH_IMAGES, "images")?;
    images.into_iter().enumerate().map(|(n, data)| picture(data, &format!("images[{n}]"))).collect()
}

/// A list of a plausible length.
pub(crate) fn counted<T>(list: &[T], range: RangeInclusive<usize>, field: &str) -> Result<(), ImageError> {
    if range.contains(&list.len()) {
        return Ok(());
    }
    Err(ImageError::invalid(field, format!("must have {} to {} entries", range.start(), range.end())))
}

/// A text of at most so many bytes.
pub(crate) fn short(text: &str, max_bytes: usize, field: &str) -> Result<(), ImageError> {
    if text.len() <= max_bytes {
        return Ok(());
    }
    Err(ImageError::invalid(field, format!("must be at most {max_bytes} bytes")))
}

/// A size, as an index type.
pub(crate) fn size(value: u32) -> usize {
    value.try_into().unwrap_or(usize::MAX)
}
