//! From RGB to the planes that AV1 codes: luma and two of chroma, by the matrix of BT.709 (ITU-R BT.709-6, part 3).

use atelier_av1::Plane;
use image::{Rgb, RgbImage, RgbaImage};

/// Weights of red and blue in luma; green has the rest.
const RED: f32 = 0.2126;
const BLUE: f32 = 0.0722;

/// A picture as AV1 codes it.
#[derive(Debug)]
pub(crate) struct Planes {
    luma: Vec<u8>,
    luma_width: usize,
    /// Blue, then red. Empty for alpha.
    chroma: [Vec<u8>; 2],
    chroma_width: usize,
}

impl Planes {
    /// Chroma in full resolution, all in the full range.
    pub(crate) fn full(picture: &RgbImage) -> Self {
        let width = side(picture.width());
        let mut planes = Self {
            luma: Vec::new(),
            luma_width: width,
            chroma: [const { Vec::new() }; 2],
            chroma_width: width,
        };
        for pixel in picture.pixels() {
            let (luma, blue, red) = convert(pixel.0.map(f32::from));
            planes.luma.push(byte(luma));
            planes.chroma[0].push(byte(128.0 + blue));
            planes.chroma[1].push(byte(128.0 + red));
        }
        planes
    }

    /// The alpha of a picture.
    pub(crate) fn alpha(picture: &RgbaImage) -> Self {
        let luma = picture.pixels().map(|pixel| pixel.0[3]).collect();
        let luma_width = side(picture.width());
        Self { luma, luma_width, chroma: [const { Vec::new() }; 2], chroma_width: 0 }
    }

    /// Chroma in half the resolution, rounded up; luma of 16 to 235 and chroma of 16 to 240.
    ///
    /// A chroma sample lies on every other pixel of a row and between two rows, and takes in its neighbours in the
    /// row with half the weight.
    pub(crate) fn video(picture: &RgbImage) -> Self {
        let (width, height) = picture.dimensions();
        let luma = picture.pixels().map(|pixel| {
            let (luma, ..) = convert(pixel.0.map(f32::from));
            byte(16.0 + luma * (219.0 / 255.0))
        });
        let mut planes = Self {
            luma: luma.collect(),
            luma_width: side(width),
            chroma: [const { Vec::new() }; 2],
            chroma_width: side(width.div_ceil(2)),
        };
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let columns = [x.saturating_sub(1), x, x, (x + 1).min(width - 1)];
                let rows = [y, (y + 1).min(height - 1)];
                let mut mean = [0.0; 3];
                for row in rows {
                    for column in columns {
                        let Rgb(pixel) = picture.get_pixel(column, row);
                        mean = std::array::from_fn(|channel| mean[channel] + f32::from(pixel[channel]) / 8.0);
                    }
                }
                let (_, blue, red) = convert(mean);
                planes.chroma[0].push(byte(128.0 + blue * (224.0 / 255.0)));
                planes.chroma[1].push(byte(128.0 + red * (224.0 / 255.0)));
            }
        }
        planes
    }

    pub(crate) fn views(&self) -> Vec<Plane<'_>> {
        let mut views = vec![Plane { samples: &self.luma, width: self.luma_width }];
        let chroma = self.chroma.iter().filter(|samples| !samples.is_empty());
        views.extend(chroma.map(|samples| Plane { samples, width: self.chroma_width }));
        views
    }
}

/// Luma, 0 to 255, and the differences of blue and red from it, -127.5 to 127.5.
fn convert([red, green, blue]: [f32; 3]) -> (f32, f32, f32) {
    let luma = RED * red + (1.0 - RED - BLUE) * green + BLUE * blue;
    (luma, (blue - luma) / (2.0 * (1.0 - BLUE)), (red - luma) / (2.0 * (1.0 - RED)))
}

/// Rounded to nearest; what lies beyond a byte is cut off.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, as is wanted"
)]
fn byte(value: f32) -> u8 {
    (value + 0.5) as u8
}

fn side(pixels: u32) -> usize {
    usize::try_from(pixels).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(planes: &Planes) -> Vec<(Vec<u8>, usize)> {
        planes.views().into_iter().map(|plane| (plane.samples.to_vec(), plane.width)).collect()
    }

    /// Colours and their values as BT.709-6 defines them (items 3.2 to 3.4), rounded.
    #[test]
    fn primaries_have_the_values_of_the_recommendation() {
        let cases = [
            ([255, 255, 255], [255, 128, 128], [235, 128, 128]),
            ([0, 0, 0], [0, 128, 128], [16, 128, 128]),
            ([255, 0, 0], [54, 99, 255], [63, 102, 240]),
            ([0, 255, 0], [182, 30, 12], [173, 42, 26]),
            ([0, 0, 255], [18, 255, 116], [32, 240, 118]),
        ];
        for (colour, full, video) in cases {
            let picture = RgbImage::from_pixel(3, 3, Rgb(colour));
            let of = |planes: Planes| samples(&planes).iter().map(|(plane, _)| plane[0]).collect::<Vec<_>>();
            assert_eq!(of(Planes::full(&picture)), full, "{colour:?}");
            assert_eq!(of(Planes::video(&picture)), video, "{colour:?}");
        }
    }

    #[test]
    fn odd_sides_are_rounded_up() {
        for (width, height) in [(1, 1), (2, 2), (5, 3), (6, 7)] {
            let planes = Planes::video(&RgbImage::new(width, height));
            let chroma = width.div_ceil(2) as usize;
            let sizes: Vec<_> = samples(&planes).iter().map(|(plane, width)| (plane.len(), *width)).collect();
            let chroma = (chroma * height.div_ceil(2) as usize, chroma);
            assert_eq!(sizes, [((width * height) as usize, width as usize), chroma, chroma]);
        }
        assert_eq!(samples(&Planes::alpha(&RgbaImage::new(3, 2))), [(vec![0; 6], 3)]);
    }
}
