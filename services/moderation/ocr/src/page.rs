//! The picture as it is read: bounded, with room above and below flat strips, and small enough for the detector.

use atelier_resize::{Filter, resize_rgb};
use image::{GenericImage, Rgb, RgbImage};

use crate::{OcrError, Quad, Region};

/// Longest side of a page, in pixels; what is larger is shrunk first. `max_side_len` of rapidocr.
pub const MAX_PAGE_SIDE: u32 = 2000;
/// Sides of what the detector reads are multiples of this: it halves them five times.
const STRIDE: u32 = 32;
/// A picture no higher than this, or this many times as wide as high, gets black rows above and below: the detector
/// misses text that touches the edges. `min_height` and `width_height_ratio` of rapidocr.
const FLAT_HEIGHT: u32 = 30;
const FLAT_RATIO: u32 = 8;

/// A picture made ready for reading: at most 2,000 x 2,000 pixels, 12 MB.
#[derive(Clone, Debug)]
pub struct Page {
    pixels: RgbImage,
    /// Rows that were added above.
    padding: u32,
    /// Pixels of the picture for one of the page, across and down.
    scale: [f32; 2],
    picture: (u32, u32),
}

impl Page {
    /// Prepares a picture.
    ///
    /// # Errors
    /// It has no pixels, or the resizer refused.
    pub fn new(picture: &RgbImage) -> Result<Self, OcrError> {
        let (width, height) = picture.dimensions();
        if width == 0 || height == 0 {
            return Err(OcrError::Empty);
        }
        let longest = width.max(height);
        let shrunk =
            |side: u32| (u64::from(side) * u64::from(MAX_PAGE_SIDE) / u64::from(longest)).max(1) as u32;
        let pixels = match longest > MAX_PAGE_SIDE {
            true => resize_rgb(picture, (shrunk(width), shrunk(height)), Filter::Bilinear)?,
            false => picture.clone(),
        };
        let scale = [width as f32 / pixels.width() as f32, height as f32 / pixels.height() as f32];
        let (pixels, padding) = padded(pixels);
        Ok(Self { pixels, padding, scale, picture: (width, height) })
    }

    /// The pixels, in which [`Quad`]s are measured.
    #[must_use]
    pub fn pixels(&self) -> &RgbImage {
        &self.pixels
    }

    /// What the detector reads: the page with its longer side at most `max_side` and both sides multiples of 32 pixels.
    ///
    /// # Errors
    /// The resizer refused.
    pub fn for_detector(&self, max_side: u32) -> Result<RgbImage, OcrError> {
        let size = detector_size(self.pixels.dimensions(), max_side);
        if size == self.pixels.dimensions() {
            return Ok(self.pixels.clone());
        }
        Ok(resize_rgb(&self.pixels, size, Filter::Bilinear)?)
    }

    /// Where in the picture these points of the page are.
    #[must_use]
    pub fn region(&self, quad: &Quad) -> Region {
        let [across, down] = self.scale;
        let points = quad.map(|[x, y]| [x * across, (y - self.padding as f32) * down]);
        Region::around(&points, self.picture)
    }
}

fn padded(pixels: RgbImage) -> (RgbImage, u32) {
    let (width, height) = pixels.dimensions();
    if height > FLAT_HEIGHT && width <= FLAT_RATIO * height {
        return (pixels, 0);
    }
    let padding = ((width / FLAT_RATIO).max(FLAT_HEIGHT) * 2).abs_diff(height) / 2;
    let mut page = RgbImage::from_pixel(width, height + 2 * padding, Rgb([0; 3]));
    // It fits: the page is made for it.
    let _ = page.copy_from(&pixels, 0, padding);
    (page, padding)
}

fn detector_size((width, height): (u32, u32), max_side: u32) -> (u32, u32) {
    let ratio = (f64::from(max_side) / f64::from(width.max(height))).min(1.0);
    let most = (max_side / STRIDE).max(1);
    let side = |side: u32| {
        let strides = (f64::from(side) * ratio).floor() / f64::from(STRIDE);
        (strides.round_ties_even() as u32).clamp(1, most) * STRIDE
    };
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_for_the_detector_are_bounded_multiples() {
        for (from, to) in [
            ((640, 320), (640, 320)),
            ((700, 463), (704, 448)),
            ((2000, 1500), (1280, 960)),
            ((1, 2000), (32, 1280)),
            ((5, 5), (32, 32)),
        ] {
            assert_eq!(detector_size(from, 1280), to, "{from:?}");
        }
    }

    #[test]
    fn flat_strips_get_room_and_places_lead_back() {
        let page = Page::new(&RgbImage::from_pixel(400, 20, Rgb([200; 3]))).unwrap();
        assert_eq!((page.pixels().dimensions(), page.padding), ((400, 100), 40));
        let region = page.region(&[[10.0, 45.0], [100.0, 45.0], [100.0, 55.0], [10.0, 55.0]]);
        assert_eq!(region, Region { left: 10, top: 5, width: 90, height: 10 });
        let large = Page::new(&RgbImage::new(4000, 3000)).unwrap();
        assert_eq!(large.pixels().dimensions(), (2000, 1500));
        let region = large.region(&[[10.0, 20.0], [30.0, 20.0], [30.0, 40.0], [10.0, 40.0]]);
        assert_eq!(region, Region { left: 20, top: 40, width: 40, height: 40 });
    }

    #[test]
    fn no_pixels_are_no_page() {
        assert!(matches!(Page::new(&RgbImage::new(0, 7)), Err(OcrError::Empty)));
    }

    proptest! {
        #[test]
        fn pages_of_any_shape_are_bounded(width in 1_u32..3_000, height in 1_u32..60, turned in any::<bool>()) {
            let (width, height) = if turned { (height, width) } else { (width, height) };
            let page = Page::new(&RgbImage::new(width, height)).unwrap();
            prop_assert!(page.pixels().width().max(page.pixels().height()) <= MAX_PAGE_SIDE);
            let small = page.for_detector(320).unwrap();
            prop_assert!(small.width().is_multiple_of(32) && small.height().is_multiple_of(32));
            prop_assert!(small.width().max(small.height()) <= 320);
        }
    }
}
