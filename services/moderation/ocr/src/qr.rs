//! QR codes, found and decoded by `rqrr`.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use image::{GenericImage, GenericImageView, GrayImage, Luma, Pixel};

use crate::{Page, Region};

/// Most codes of a picture.
pub const MAX_QR_CODES: usize = 16;
/// Most finder patterns, of which a code has three: all pairs of them are tried for each.
const MAX_FINDERS: u32 = 64;
/// Pixels touched for each pixel of the page; ordinary ones need about ten.
const WORK_PER_PIXEL: u64 = 64;
/// Copying a pixel with its neighbours costs this part of touching it alone.
const COPIED_PER_TOUCHED: u64 = 16;
/// What `rqrr` paints a finder pattern with, first and last.
const FINDER_PAINTS: [u8; 2] = [4, 2];

/// A code that could be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QrCode {
    /// What it says: at most 8,896 bytes.
    pub payload: String,
    /// Where it stands.
    pub region: Region,
}

/// The codes of a page, from top to bottom; those that can't be decoded, or whose payload is no UTF-8, are left out.
///
/// A page on which the search would take too long has none: more than 64 finder patterns, or more than 64 looks at every
/// pixel.
#[must_use]
pub fn qr_codes(page: &Page) -> Vec<QrCode> {
    // The search ends by unwinding, ours when the page asks for too much work, its own when it trips over its state.
    let mut codes = catch_unwind(AssertUnwindSafe(|| search(page))).unwrap_or_default();
    codes.sort_by_key(|code| (code.region.top, code.region.left));
    codes
}

fn search(page: &Page) -> Vec<QrCode> {
    let grey = image::DynamicImage::ImageRgb8(page.pixels().clone()).into_luma8();
    let limits = Limits::of(&grey);
    let mut prepared = rqrr::PreparedImage::prepare(Bounded { grey, limits: &limits });
    let grids = prepared.detect_grids();
    let decoded = grids.iter().take(MAX_QR_CODES).filter_map(|grid| {
        let (_, payload) = grid.decode().ok()?;
        let corners = grid.bounds.map(|corner| [corner.x as f32, corner.y as f32]);
        Some(QrCode { payload, region: page.region(&corners) })
    });
    decoded.collect()
}

/// What a search may still do.
struct Limits {
    work: Cell<u64>,
    finders: Cell<u32>,
    last_paint: Cell<u8>,
}

impl Limits {
    fn of(grey: &GrayImage) -> Self {
        let pixels = u64::from(grey.width()) * u64::from(grey.height());
        Self {
            work: Cell::new(pixels.saturating_mul(WORK_PER_PIXEL)),
            finders: Cell::new(MAX_FINDERS),
            last_paint: Cell::new(0),
        }
    }

    fn spend(&self, pixels: u64) {
        match self.work.get().checked_sub(pixels) {
            Some(left) => self.work.set(left),
            None => resume_unwind(Box::new("too much work")),
        }
    }

    fn paint(&self, paint: u8) {
        if [self.last_paint.replace(paint), paint] == FINDER_PAINTS {
            match self.finders.get().checked_sub(1) {
                Some(left) => self.finders.set(left),
                None => resume_unwind(Box::new("too many finder patterns")),
            }
        }
    }
}

/// A picture that ends the search when its limits are reached.
struct Bounded<'a> {
    grey: GrayImage,
    limits: &'a Limits,
}

impl Clone for Bounded<'_> {
    fn clone(&self) -> Self {
        self.limits.spend(self.grey.len() as u64 / COPIED_PER_TOUCHED);
        Self { grey: self.grey.clone(), limits: self.limits }
    }
}

impl GenericImageView for Bounded<'_> {
    type Pixel = Luma<u8>;

    fn dimensions(&self) -> (u32, u32) {
        self.grey.dimensions()
    }

    fn get_pixel(&self, x: u32, y: u32) -> Luma<u8> {
        self.limits.spend(1);
        *self.grey.get_pixel(x, y)
    }
}

impl GenericImage for Bounded<'_> {
    fn get_pixel_mut(&mut self, x: u32, y: u32) -> &mut Luma<u8> {
        self.grey.get_pixel_mut(x, y)
    }

    fn put_pixel(&mut self, x: u32, y: u32, pixel: Luma<u8>) {
        self.limits.spend(1);
        self.limits.paint(pixel.0[0]);
        self.grey.put_pixel(x, y, pixel);
    }

    fn blend_pixel(&mut self, x: u32, y: u32, pixel: Luma<u8>) {
        self.grey.get_pixel_mut(x, y).blend(&pixel);
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};
    use proptest::prelude::*;

    use super::*;

    fn finder(x: u32, y: u32) -> bool {
        let from_middle = x.abs_diff(3).max(y.abs_diff(3));
        from_middle <= 3 && from_middle != 2
    }

    #[test]
    fn a_page_full_of_finder_patterns_has_no_codes() {
        let picture = RgbImage::from_fn(900, 900, |x, y| {
            let black = finder(x % 27 / 3, y % 27 / 3);
            Rgb([if black { 0 } else { 255 }; 3])
        });
        assert!(qr_codes(&Page::new(&picture).unwrap()).is_empty());
        let limits = Limits::of(&GrayImage::new(1, 1));
        let all = catch_unwind(AssertUnwindSafe(|| {
            (0..=MAX_FINDERS).for_each(|_| FINDER_PAINTS.into_iter().for_each(|paint| limits.paint(paint)));
        }));
        assert!(all.is_err() && limits.finders.get() == 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn noise_has_no_codes(seed in any::<u32>(), width in 1_u32..200, height in 1_u32..200, cell in 1_u32..9) {
            let noise = |x: u32, y: u32| {
                let cell = (x / cell).wrapping_mul(0x9e37_79b9) ^ (y / cell).wrapping_mul(0x85eb_ca6b) ^ seed;
                (cell.wrapping_mul(0xc2b2_ae35) >> 31) as u8 * 255
            };
            let picture = RgbImage::from_fn(width, height, |x, y| Rgb([noise(x, y); 3]));
            prop_assert!(qr_codes(&Page::new(&picture).unwrap()).is_empty());
        }
    }
}
