//! Resizing within the limits.

use atelier_resize::Filter;
use image::{RgbImage, RgbaImage};

use crate::error::{MediaError, check_size};

/// Resizes to exactly this size; the support is widened when shrinking, so nothing aliases.
///
/// # Errors
/// A side, before or after, is 0, or one of the two has more pixels than a picture may have.
pub fn resize_rgb(
    picture: &RgbImage,
    width: u32,
    height: u32,
    filter: Filter,
) -> Result<RgbImage, MediaError> {
    check(picture.dimensions(), (width, height))?;
    atelier_resize::resize_rgb(picture, (width, height), filter).map_err(failed)
}

/// As [`resize_rgb`], with colours weighted by their alpha: what is transparent lends no colour to its neighbours.
///
/// # Errors
/// As [`resize_rgb`].
pub fn resize_rgba(
    picture: &RgbaImage,
    width: u32,
    height: u32,
    filter: Filter,
) -> Result<RgbaImage, MediaError> {
    check(picture.dimensions(), (width, height))?;
    atelier_resize::resize_rgba(picture, (width, height), filter).map_err(failed)
}

fn check(from: (u32, u32), to: (u32, u32)) -> Result<(), MediaError> {
    check_size("picture to resize", from, (1, u32::MAX))?;
    check_size("resized picture", to, (1, u32::MAX))
}

fn failed(error: atelier_resize::ResizeError) -> MediaError {
    MediaError::Resize(error.into())
}

#[cfg(test)]
mod tests {
    use image::{Rgb, Rgba};
    use proptest::prelude::*;

    use super::*;

    /// A size, and pixels of the picture in that size.
    type Sample = ((u32, u32), [[u8; 3]; 3]);

    #[test]
    fn what_is_transparent_lends_no_colour() {
        let pixel = |x, _| if x < 8 { Rgba([255, 0, 0, 255]) } else { Rgba([0, 255, 0, 0]) };
        let picture = RgbaImage::from_fn(16, 4, pixel);
        for pixel in resize_rgba(&picture, 5, 3, Filter::Lanczos3).unwrap().pixels() {
            assert!(pixel.0[3] == 0 || pixel.0[..3] == [255, 0, 0], "{pixel:?}");
        }
    }

    /// Pixels at (column, row) as Pillow 13 computes them:
    ///
    /// ```python
    /// import numpy as np; from PIL import Image
    /// y, x = np.mgrid[:48, :64]
    /// picture = Image.fromarray((np.stack([x * 3 + y, x + y * 4, x + y], -1) % 256).astype(np.uint8))
    /// for size in [(20, 15), (100, 77)]:
    ///     print([picture.resize(size, Image.LANCZOS).getpixel(at) for at in [(0, 0), (7, 11), (19, 14)]])
    /// ```
    #[test]
    fn pixels_equal_pillows() {
        let pixel = |x, y| Rgb([x * 3 + y, x + y * 4, x + y].map(|value| (value % 256) as u8));
        let picture = RgbImage::from_fn(64, 48, pixel);
        let expected: [Sample; 2] = [
            ((20, 15), [[4, 5, 2], [106, 168, 59], [232, 246, 108]]),
            ((100, 77), [[0, 0, 0], [20, 31, 11], [45, 46, 21]]),
        ];
        for ((width, height), pixels) in expected {
            let ours = resize_rgb(&picture, width, height, Filter::Lanczos3).unwrap();
            for (at, theirs) in [(0, 0), (7, 11), (19, 14)].into_iter().zip(pixels) {
                let ours = ours.get_pixel(at.0, at.1).0;
                let close = ours.iter().zip(theirs).all(|(ours, theirs)| ours.abs_diff(theirs) <= 1);
                assert!(close, "{width} x {height} at {at:?}: {ours:?}, Pillow {theirs:?}");
            }
        }
    }

    #[test]
    fn sizes_are_checked() {
        let picture = RgbImage::new(4, 4);
        for (width, height) in [(0, 4), (4, 0), (8_001, 8_000), (u32::MAX, u32::MAX)] {
            assert!(matches!(
                resize_rgb(&picture, width, height, Filter::Bicubic),
                Err(MediaError::Size { .. })
            ));
        }
        assert!(matches!(
            resize_rgb(&RgbImage::new(0, 4), 4, 4, Filter::Bilinear),
            Err(MediaError::Size { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_size_becomes_any_other(from in (1_u32..70, 1_u32..70), to in (1_u32..70, 1_u32..70)) {
            let flat = RgbImage::from_pixel(from.0, from.1, Rgb([9, 130, 251]));
            let flat = resize_rgb(&flat, to.0, to.1, Filter::Bicubic).unwrap();
            prop_assert_eq!(flat.dimensions(), to);
            prop_assert!(flat.pixels().all(|pixel| pixel.0 == [9, 130, 251]));
            let flat = RgbaImage::from_pixel(from.0, from.1, Rgba([9, 130, 251, 255]));
            let flat = resize_rgba(&flat, to.0, to.1, Filter::Lanczos3);
            prop_assert!(flat.unwrap().pixels().all(|pixel| pixel.0 == [9, 130, 251, 255]));
        }
    }
}
