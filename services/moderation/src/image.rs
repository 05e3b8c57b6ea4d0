//! The pixels that a classifier reads.

use std::borrow::Cow;

use atelier_media::{Filter, MediaError, resize_rgb};
use image::RgbImage;

const CHANNELS: usize = 3;

/// How a picture is made as large as a classifier reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preparation {
    /// What the whole picture is resized to.
    pub size: Size,
    /// Width and height of the middle that is kept; none: all of it.
    pub crop: Option<(u32, u32)>,
    /// How it is resized: with its support widened when shrinking, as Pillow does.
    pub filter: Filter,
}

/// A size to resize to, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Width and height, whatever the shape was.
    Exact(u32, u32),
    /// The shorter side; the longer one in proportion, rounded down as torchvision does.
    ShortestEdge(u32),
}

impl Preparation {
    /// Width and height of what [`Preparation::apply`] gives, if they are the same for all pictures.
    #[must_use]
    pub const fn output(&self) -> Option<(u32, u32)> {
        match (self.crop, self.size) {
            (Some(crop), _) => Some(crop),
            (None, Size::Exact(width, height)) => Some((width, height)),
            (None, Size::ShortestEdge(_)) => None,
        }
    }

    /// The pixels: RGB, row by row. A crop that is larger than the picture is filled up with black around it.
    ///
    /// # Errors
    /// The resizer refused, which no picture with at least one pixel is known to cause.
    pub fn apply(&self, picture: &RgbImage) -> Result<Vec<u8>, MediaError> {
        let (width, height) = self.resized(picture.width(), picture.height());
        let resized = resize_rgb(picture, width, height, self.filter)?.into_raw();
        let Some((crop_width, crop_height)) = self.crop.filter(|crop| *crop != (width, height)) else {
            return Ok(resized);
        };
        let (width, height) = (width as usize, height as usize);
        let (crop_width, crop_height) = (crop_width as usize, crop_height as usize);
        let mut crop = vec![0; crop_width * crop_height * CHANNELS];
        // Places in the picture and in the crop at which they overlap.
        let (left, into_left) = (width.saturating_sub(crop_width) / 2, crop_width.saturating_sub(width) / 2);
        let (top, into_top) =
            (height.saturating_sub(crop_height) / 2, crop_height.saturating_sub(height) / 2);
        let (columns, rows) = (width.min(crop_width), height.min(crop_height));
        for row in 0..rows {
            let from = ((top + row) * width + left) * CHANNELS;
            let to = ((into_top + row) * crop_width + into_left) * CHANNELS;
            crop[to..to + columns * CHANNELS].copy_from_slice(&resized[from..from + columns * CHANNELS]);
        }
        Ok(crop)
    }

    fn resized(&self, width: u32, height: u32) -> (u32, u32) {
        match self.size {
            Size::Exact(width, height) => (width, height),
            Size::ShortestEdge(edge) => {
                let shorter = u64::from(width.min(height).max(1));
                let scaled =
                    |side: u32| (u64::from(side) * u64::from(edge) / shorter).clamp(1, MAX_SIDE) as u32;
                (scaled(width), scaled(height))
            }
        }
    }
}

/// A picture of at most so many pixels: itself, or as much smaller as need be.
///
/// # Errors
/// The resizer refused, which no picture with at least one pixel is known to cause.
pub fn at_most(picture: &RgbImage, pixels: u32) -> Result<Cow<'_, RgbImage>, MediaError> {
    let (width, height) = picture.dimensions();
    let shrink = (f64::from(pixels) / (f64::from(width) * f64::from(height))).sqrt();
    if shrink >= 1.0 {
        return Ok(Cow::Borrowed(picture));
    }
    let side = |side: u32| ((f64::from(side) * shrink) as u32).clamp(1, pixels);
    Ok(Cow::Owned(resize_rgb(picture, side(width), side(height), Filter::Bilinear)?))
}

/// Longest side of a resized picture, in pixels: a strip of one by a thousand would grow without bound.
const MAX_SIDE: u64 = 8192;

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// Of Open NSFW.
    const OPEN_NSFW: Preparation =
        Preparation { size: Size::Exact(256, 256), crop: Some((224, 224)), filter: Filter::Bilinear };
    const CROP_SIDE: usize = 224;

    /// Size of a picture, and pixels of its crop.
    type Sample = ((u32, u32), [[u8; 3]; 5]);

    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x * 7 + y, x * y, x + y * 5].map(|v| (v % 256) as u8)))
    }

    /// Pixels at (row, column) of the crop as Pillow 12 computes them:
    ///
    /// ```python
    /// import numpy as np; from PIL import Image
    /// y, x = np.mgrid[:h, :w]
    /// picture = Image.fromarray((np.stack([x * 7 + y, x * y, x + y * 5], -1) % 256).astype(np.uint8))
    /// crop = np.asarray(picture.resize((256, 256), Image.BILINEAR).crop((16, 16, 240, 240)))
    /// print([crop[at].tolist() for at in [(0, 0), (17, 101), (112, 112), (200, 3), (223, 223)]])
    /// ```
    #[test]
    fn pixels_equal_pillows() {
        const AT: [(usize, usize); 5] = [(0, 0), (17, 101), (112, 112), (200, 3), (223, 223)];
        let expected: [Sample; 3] = [
            ((640, 480), [[59, 169, 193], [67, 130, 92], [181, 111, 243], [231, 134, 27], [29, 123, 25]]),
            ((100, 37), [[44, 11, 15], [66, 197, 67], [110, 131, 140], [81, 220, 161], [173, 103, 8]]),
            ((256, 1000), [[176, 97, 80], [181, 157, 138], [117, 64, 75], [210, 185, 149], [48, 187, 50]]),
        ];
        for ((width, height), pixels) in expected {
            let crop = OPEN_NSFW.apply(&pattern(width, height)).unwrap();
            assert_eq!(crop.len(), CROP_SIDE * CROP_SIDE * CHANNELS);
            for ((row, column), pixel) in AT.into_iter().zip(pixels) {
                let at = (row * CROP_SIDE + column) * CHANNELS;
                let ours = &crop[at..at + CHANNELS];
                let close = ours.iter().zip(pixel).all(|(ours, theirs)| ours.abs_diff(theirs) <= 1);
                assert!(close, "{width} x {height} at ({row}, {column}): {ours:?}, Pillow {pixel:?}");
            }
        }
    }

    #[test]
    fn pictures_of_any_shape_are_resized() {
        for (width, height) in [(1, 1), (1, 3_000), (3_000, 1), (256, 256)] {
            assert!(OPEN_NSFW.apply(&pattern(width, height)).is_ok(), "{width} x {height}");
        }
    }

    #[test]
    fn large_pictures_become_small_ones_of_their_shape() {
        let sides = |width, height| at_most(&pattern(width, height), 10_000).unwrap().dimensions();
        assert_eq!((sides(100, 100), sides(3, 5)), ((100, 100), (3, 5)));
        assert_eq!((sides(400, 100), sides(100, 400)), ((200, 50), (50, 200)));
        assert_eq!((sides(20_000, 1), sides(1, 30_000)), ((10_000, 1), (1, 10_000)));
    }

    #[test]
    fn the_middle_is_kept_and_what_is_missing_is_black() {
        let shorter =
            Preparation { size: Size::ShortestEdge(4), crop: Some((4, 4)), filter: Filter::Bilinear };
        let stripes = RgbImage::from_fn(12, 4, |x, _| Rgb([(x / 4) as u8 * 100; 3]));
        assert_eq!(shorter.apply(&stripes).unwrap(), [100; 48]);
        let larger = Preparation { size: Size::Exact(2, 2), crop: Some((4, 2)), filter: Filter::Bilinear };
        let white = RgbImage::from_pixel(2, 2, Rgb([255; 3]));
        let row = [0, 0, 0, 255, 255, 255, 255, 255, 255, 0, 0, 0];
        assert_eq!(larger.apply(&white).unwrap(), [row, row].concat());
        assert_eq!((larger.output(), shorter.output()), (Some((4, 2)), Some((4, 4))));
        let thin = Preparation { size: Size::ShortestEdge(100), crop: None, filter: Filter::Bilinear };
        assert_eq!(thin.apply(&pattern(1, 3_000)).unwrap().len(), 100 * MAX_SIDE as usize * 3);
    }
}
