//! The pixels that a classifier reads.

use atelier_media::{Filter, MediaError, resize_rgb};
use image::RgbImage;

/// Side of the crop, in pixels: the input of Open NSFW.
pub const CROP_SIDE: usize = 224;
/// Side of the square that a picture is first resized to, whatever its shape, in pixels.
const RESIZED_SIDE: u32 = 256;
const CHANNELS: usize = 3;

/// Resizes to 256 x 256 and takes the centre of 224 x 224; RGB, row by row.
///
/// The resize is bilinear with its support widened when shrinking, as Pillow's `Image.BILINEAR` is: the model was
/// trained on pictures so made.
///
/// # Errors
/// The resizer refused, which no picture with at least one pixel is known to cause.
pub fn centre_crop(picture: &RgbImage) -> Result<Vec<u8>, MediaError> {
    const MARGIN: usize = (RESIZED_SIDE as usize - CROP_SIDE) / 2;

    let resized = resize_rgb(picture, RESIZED_SIDE, RESIZED_SIDE, Filter::Bilinear)?;
    let mut crop = Vec::with_capacity(CROP_SIDE * CROP_SIDE * CHANNELS);
    for row in resized.chunks_exact(RESIZED_SIDE as usize * CHANNELS).skip(MARGIN).take(CROP_SIDE) {
        crop.extend_from_slice(&row[MARGIN * CHANNELS..(MARGIN + CROP_SIDE) * CHANNELS]);
    }
    Ok(crop)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

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
            let crop = centre_crop(&pattern(width, height)).unwrap();
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
            assert!(centre_crop(&pattern(width, height)).is_ok(), "{width} x {height}");
        }
    }
}
