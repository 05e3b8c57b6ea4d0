//! Between pictures and the planes that models read and write.

use image::{Rgba, RgbaImage};
use ndarray::{Array3, ArrayD, ArrayView3, Ix3};

/// The range that a model's colours have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    /// What black is.
    pub(crate) low: f32,
    /// What white is.
    pub(crate) high: f32,
}

impl Range {
    /// -1 to 1.
    pub(crate) const SIGNED: Self = Self { low: -1.0, high: 1.0 };
    /// 0 to 1.
    pub(crate) const UNIT: Self = Self { low: 0.0, high: 1.0 };
}

/// A picture of three planes, each `[height, width]`; `None` when the array has another form.
pub(crate) fn picture(planes: &ArrayD<f32>, range: Range) -> Option<RgbaImage> {
    let planes: ArrayView3<'_, f32> = planes.view().into_dimensionality::<Ix3>().ok()?;
    let (channels, height, width) = planes.dim();
    if channels != 3 {
        return None;
    }
    let scale = 255.0 / (range.high - range.low);
    // The cast saturates, and sends NaN to 0.
    let byte = |x: f32| ((x - range.low) * scale).round() as u8;
    let mut picture = RgbaImage::new(u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    for (x, y, pixel) in picture.enumerate_pixels_mut() {
        let at = |channel| byte(planes[[channel, y as usize, x as usize]]);
        *pixel = Rgba([at(0), at(1), at(2), u8::MAX]);
    }
    Some(picture)
}

/// The planes of a picture, on white where it is transparent.
pub(crate) fn planes(picture: &RgbaImage, range: Range) -> Array3<f32> {
    let (width, height) = picture.dimensions();
    let scale = (range.high - range.low) / 255.0;
    Array3::from_shape_fn((3, height as usize, width as usize), |(channel, y, x)| {
        let Rgba(pixel) = *picture.get_pixel(x as u32, y as u32);
        range.low + scale * on_white(pixel[channel], pixel[3])
    })
}

/// A colour laid on white.
fn on_white(colour: u8, alpha: u8) -> f32 {
    let share = f32::from(alpha) / 255.0;
    255.0 + share * (f32::from(colour) - 255.0)
}

/// Lays a picture on white and drops its transparency.
pub(crate) fn opaque(picture: &mut RgbaImage) {
    for Rgba(pixel) in picture.pixels_mut() {
        for channel in 0..3 {
            pixel[channel] = on_white(pixel[channel], pixel[3]).round() as u8;
        }
        pixel[3] = u8::MAX;
    }
}

/// Peak signal-to-noise ratio of two pictures' planes of equal size, in dB: 10 log10(range^2 / mean squared error).
pub(crate) fn psnr(one: &Array3<f32>, other: &Array3<f32>, range: Range) -> f32 {
    let error = (one - other).mapv(|x| x * x).mean().unwrap_or_default();
    let peak = range.high - range.low;
    10.0 * (peak * peak / error.max(f32::MIN_POSITIVE)).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_and_back() {
        let original = RgbaImage::from_fn(3, 2, |x, y| Rgba([(x * 100) as u8, (y * 200) as u8, 7, 255]));
        for range in [Range::SIGNED, Range::UNIT] {
            let planes = planes(&original, range).into_dyn();
            assert_eq!(picture(&planes, range).as_ref(), Some(&original));
        }
        assert!(picture(&ArrayD::zeros(vec![4, 2, 2]), Range::UNIT).is_none());
    }

    #[test]
    fn what_is_transparent_is_white() {
        let mut clear = RgbaImage::from_pixel(1, 1, Rgba([10, 20, 30, 0]));
        assert!(planes(&clear, Range::UNIT).iter().all(|&x| (x - 1.0).abs() < 1e-6));
        opaque(&mut clear);
        assert_eq!(clear.get_pixel(0, 0).0, [255; 4]);
    }

    #[test]
    fn noise_of_a_tenth_is_twenty_decibels() {
        let black = Array3::zeros((3, 4, 4));
        let grey = Array3::from_elem((3, 4, 4), 0.1);
        assert!((psnr(&black, &grey, Range::UNIT) - 20.0).abs() < 1e-3);
    }
}
