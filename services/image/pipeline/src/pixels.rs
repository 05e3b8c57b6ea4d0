//! Pictures as numbers: planes of height times width, one after the other.

use image::{
    GrayImage, RgbImage, RgbaImage,
    imageops::{self, FilterType},
};

/// Most of what a byte holds.
const BYTE: f32 = 255.0;

/// A picture on white, at that size.
pub(crate) fn on_white(picture: &RgbaImage, (width, height): (u32, u32)) -> RgbImage {
    let flat = RgbImage::from_fn(picture.width(), picture.height(), |x, y| {
        let [red, green, blue, alpha] = picture.get_pixel(x, y).0;
        let alpha = f32::from(alpha) / BYTE;
        let over = |value: u8| (f32::from(value) * alpha + BYTE * (1.0 - alpha)).round() as u8;
        image::Rgb([over(red), over(green), over(blue)])
    });
    rgb(&flat, (width, height))
}

/// A picture at that size.
pub(crate) fn rgb(picture: &RgbImage, (width, height): (u32, u32)) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    imageops::resize(picture, width, height, FilterType::Lanczos3)
}

/// What of a picture is solid, at that size.
pub(crate) fn alpha(picture: &RgbaImage, (width, height): (u32, u32)) -> GrayImage {
    let plane = GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
        image::Luma([picture.get_pixel(x, y).0[3]])
    });
    gray(&plane, (width, height))
}

/// A mask at that size.
pub(crate) fn gray(plane: &GrayImage, (width, height): (u32, u32)) -> GrayImage {
    if plane.dimensions() == (width, height) {
        return plane.clone();
    }
    imageops::resize(plane, width, height, FilterType::Lanczos3)
}

/// Planes of a picture, from `low` (black) to 1.
pub(crate) fn planes<const CHANNELS: usize>(pixels: &[u8], low: f32) -> Vec<f32> {
    let positions = pixels.len() / CHANNELS;
    let mut planes = vec![0.0; positions * CHANNELS];
    for (at, pixel) in pixels.chunks_exact(CHANNELS).enumerate() {
        for (channel, &value) in pixel.iter().enumerate() {
            planes[channel * positions + at] = low + (1.0 - low) * (f32::from(value) / BYTE);
        }
    }
    planes
}

/// Planes between -1 and 1 as a picture: RGB, or RGB on white and alpha, which is taken off the white again.
pub(crate) fn picture(planes: &[f32], channels: usize, (width, height): (u32, u32)) -> RgbaImage {
    let positions = (width * height) as usize;
    RgbaImage::from_fn(width, height, |x, y| {
        let at = (y * width + x) as usize;
        let share = |channel: usize| {
            planes.get(channel * positions + at).map_or(1.0, |value| (value / 2.0 + 0.5).clamp(0.0, 1.0))
        };
        let alpha = if channels > 3 { share(3) } else { 1.0 };
        let colour = |channel: usize| {
            // One channel is grey.
            let value = share(channel.min(channels.saturating_sub(1)));
            byte(if alpha > 0.0 { (value - (1.0 - alpha)) / alpha } else { 0.0 })
        };
        image::Rgba([colour(0), colour(1), colour(2), byte(alpha)])
    })
}

fn byte(share: f32) -> u8 {
    (share.clamp(0.0, 1.0) * BYTE).round_ties_even() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_planes_are_the_same() {
        let opaque = RgbaImage::from_fn(3, 2, |x, y| image::Rgba([x as u8 * 80, y as u8 * 200, 7, 255]));
        let flat = on_white(&opaque, (3, 2));
        let planes = planes::<3>(&flat, -1.0);
        assert_eq!(planes.len(), 18);
        assert_eq!(picture(&planes, 3, (3, 2)), opaque);
    }

    #[test]
    fn white_is_taken_off() {
        let glass = RgbaImage::from_pixel(2, 2, image::Rgba([200, 0, 0, 128]));
        let mut all = planes::<3>(&on_white(&glass, (2, 2)), -1.0);
        all.extend(planes::<1>(&alpha(&glass, (2, 2)), -1.0));
        let back = picture(&all, 4, (2, 2)).get_pixel(1, 1).0;
        assert!(back[0].abs_diff(200) <= 1 && back[1] <= 1 && back[3] == 128, "{back:?}");
        let nothing = picture(&[1.0, 1.0, 1.0, -1.0], 4, (1, 1));
        assert_eq!(nothing.get_pixel(0, 0).0, [0, 0, 0, 0]);
    }

    #[test]
    fn sizes_change() {
        let small = RgbaImage::from_pixel(8, 8, image::Rgba([10, 20, 30, 255]));
        let large = on_white(&small, (32, 16));
        assert_eq!((large.dimensions(), large.get_pixel(9, 9).0), ((32, 16), [10, 20, 30]));
        assert_eq!(gray(&GrayImage::new(4, 4), (2, 2)).dimensions(), (2, 2));
    }
}
