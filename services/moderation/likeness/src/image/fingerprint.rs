//! What a picture looks like, in 512 bits.

use std::{f64::consts::PI, sync::LazyLock};

use image::RgbImage;

use super::plane::Plane;
use crate::LikenessError;

/// The plane that the cosine transform sees (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash
/// Functions", section 3.2).
const SIDE: usize = 32;
/// Frequencies kept in each direction. Zauner keeps 8: at 64 bits one in a thousand pairs of unrelated photographs is
/// 28% apart, at 256 bits 40%, while the same edits change the same shares of the bits.
const KEPT: usize = 16;
/// In grey levels: what noise and recompression leave of error in each coefficient. Where half of the coefficients are
/// nearer to the median than that, their bits say nothing.
const NOISE: f64 = 1.0;

/// What a picture looks like. Two such of the same picture, scaled, recompressed or slightly edited, differ in few bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFingerprint {
    /// The DCT hash: which of the 16 x 16 lowest coefficients of the 32 x 32 grey picture lie above their median.
    /// Row by row from the constant one, lowest bit first.
    pub perceptual: [u64; 4],
    /// The difference hash: which of 17 x 16 fields are brighter than their left neighbour. Row by row, lowest bit
    /// first. Overlays change it in their place alone, whereas they change all of the DCT.
    pub difference: [u64; 4],
    /// The picture has too little contrast to be told from others; it is like none.
    pub flat: bool,
}

/// How a picture is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// What is cut off on each of the four sides, in percent of the side; at most 40.
    pub margin: u8,
    /// Left and right are swapped.
    pub mirrored: bool,
}

impl View {
    /// The largest `margin`; larger ones are taken for it.
    pub const MAX_MARGIN: u8 = 40;

    /// What [`ImageQuery::of`] looks at: all, and without margins of 5% and 10%, each also mirrored. A picture within 2.5%
    /// of one of them is mostly near enough.
    pub const ASKED: [Self; 6] = [
        Self { margin: 0, mirrored: false },
        Self { margin: 0, mirrored: true },
        Self { margin: 5, mirrored: false },
        Self { margin: 5, mirrored: true },
        Self { margin: 10, mirrored: false },
        Self { margin: 10, mirrored: true },
    ];
}

/// The fingerprints of a picture that might be a copy, one for each way of looking at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageQuery {
    pub(crate) views: Vec<(View, ImageFingerprint)>,
}

impl ImageQuery {
    /// Looks at a picture in the ways of [`View::ASKED`].
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn of(picture: &RgbImage) -> Result<Self, LikenessError> {
        let plane = Plane::of(picture).ok_or(LikenessError::EmptyPicture)?;
        let views = View::ASKED.map(|view| (view, ImageFingerprint::of_plane(&plane, view)));
        Ok(Self { views: views.into() })
    }

    /// Asks for the picture as it is and nothing else.
    #[must_use]
    pub fn exact(fingerprint: ImageFingerprint) -> Self {
        Self { views: vec![(View::default(), fingerprint)] }
    }

    /// The query as bytes, to travel where only bytes do: 67 for each view.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = |fingerprint: &ImageFingerprint| {
            let words = fingerprint.perceptual.into_iter().chain(fingerprint.difference);
            words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>()
        };
        let one = |(view, fingerprint): &(View, ImageFingerprint)| {
            let flags = [view.margin, view.mirrored.into(), fingerprint.flat.into()];
            [&flags[..], &words(fingerprint)].concat()
        };
        self.views.iter().flat_map(one).collect()
    }

    /// What [`ImageQuery::to_bytes`] wrote; `None` for other bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (views, []) = bytes.as_chunks::<67>() else { return None };
        let one = |bytes: &[u8; 67]| {
            let [margin, mirrored @ (0 | 1), flat @ (0 | 1), words @ ..] = bytes else { return None };
            let (words, _) = words.as_chunks::<8>();
            let four = |from| Some(words.get(from..)?.first_chunk::<4>()?.map(u64::from_le_bytes));
            let view = View { margin: *margin, mirrored: *mirrored == 1 };
            let (perceptual, difference) = (four(0)?, four(4)?);
            Some((view, ImageFingerprint { perceptual, difference, flat: *flat == 1 }))
        };
        Some(Self { views: views.iter().map(one).collect::<Option<_>>()? })
    }
}

impl ImageFingerprint {
    /// The most bits that two fingerprints can differ in.
    pub const BITS: u32 = 512;

    /// The fingerprint of a picture of any size; linear in its pixels.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn of(picture: &RgbImage) -> Result<Self, LikenessError> {
        Self::of_view(picture, View::default())
    }

    /// The fingerprint of a part of a picture: crops of a work in the index find pictures that were cut from it.
    ///
    /// # Errors
    /// The picture has no pixels.
    pub fn of_view(picture: &RgbImage, view: View) -> Result<Self, LikenessError> {
        let plane = Plane::of(picture).ok_or(LikenessError::EmptyPicture)?;
        Ok(Self::of_plane(&plane, view))
    }

    fn of_plane(plane: &Plane, view: View) -> Self {
        let margin = f64::from(view.margin.min(View::MAX_MARGIN)) / 100.0;
        let fields = |width: usize, height: usize| {
            let mut fields = plane.fields(margin, width, height);
            if view.mirrored {
                fields.chunks_exact_mut(width).for_each(<[f32]>::reverse);
            }
            fields
        };
        let coefficients = low_frequencies(&fields(SIDE, SIDE));
        let median = median(&coefficients);
        let deviations: Vec<f64> = coefficients.iter().map(|value| (value - median).abs()).collect();
        let steps = fields(KEPT + 1, KEPT);
        let rises = steps
            .chunks_exact(KEPT + 1)
            .flat_map(|row| row.iter().zip(row.iter().skip(1)).map(|(a, b)| b > a));
        Self {
            perceptual: pack(coefficients.iter().map(|value| *value > median)),
            difference: pack(rises),
            flat: self::median(&deviations) < NOISE,
        }
    }

    /// Bits of both hashes that differ, 0 to 512. `None` if one of the pictures is flat.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Option<u32> {
        self.distance_within(other, Self::BITS)
    }

    /// The distance, unless it is above `most`. Most pictures are too far by their first half already.
    pub(crate) fn distance_within(&self, other: &Self, most: u32) -> Option<u32> {
        let differ =
            |a: &[u64; 4], b: &[u64; 4]| -> u32 { a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum() };
        if self.flat || other.flat {
            return None;
        }
        let perceptual = differ(&self.perceptual, &other.perceptual);
        if perceptual > most {
            return None;
        }
        Some(perceptual + differ(&self.difference, &other.difference)).filter(|distance| *distance <= most)
    }
}

/// Row `u` holds `cos(pi u (2x + 1) / 64)`, times what makes white noise of one grey level coefficients of one (DCT-II).
/// The constant rows are not halved in energy as in the orthonormal transform: imagehash does not either.
static COSINES: LazyLock<[[f64; SIDE]; KEPT]> = LazyLock::new(|| {
    let scale = (2.0 / SIDE as f64).sqrt();
    std::array::from_fn(|u| {
        std::array::from_fn(|x| scale * (PI * (u * (2 * x + 1)) as f64 / (2 * SIDE) as f64).cos())
    })
});

/// The 16 x 16 lowest coefficients of a 32 x 32 plane, row by row; the first index is the vertical frequency.
fn low_frequencies(plane: &[f32]) -> Vec<f64> {
    let along_rows: Vec<[f64; KEPT]> = plane
        .chunks_exact(SIDE)
        .map(|row| {
            COSINES.map(|wave| wave.iter().zip(row).map(|(cosine, value)| cosine * f64::from(*value)).sum())
        })
        .collect();
    let coefficient = |wave: &[f64; SIDE], u: usize| -> f64 {
        wave.iter().zip(&along_rows).map(|(cosine, row)| cosine * row[u]).sum()
    };
    COSINES.iter().flat_map(|wave| (0..KEPT).map(move |u| coefficient(wave, u))).collect()
}

/// Halfway between the two middle values: the number of values is even.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    (sorted[middle - 1] + sorted[middle]) / 2.0
}

fn pack(bits: impl Iterator<Item = bool>) -> [u64; 4] {
    let mut words = [0; 4];
    for (n, bit) in bits.enumerate().take(256) {
        words[n / 64] |= u64::from(bit) << (n % 64);
    }
    words
}

#[cfg(test)]
mod tests {
    use image::{Rgb, imageops};
    use proptest::prelude::*;

    use super::*;

    fn waves(width: u32, height: u32, seed: u64) -> RgbImage {
        let at = |x: u32, y: u32| {
            let wave = |n: u64| {
                let turn = (seed.wrapping_mul(2 * n + 3) % 97) as f32 / 97.0;
                let (fx, fy) = (((seed >> n) % 7) as f32, ((seed >> (n + 5)) % 6) as f32);
                let angle = fx * x as f32 / width as f32 + fy * y as f32 / height as f32 + turn;
                (6.3 * angle).sin()
            };
            (128.0 + 25.0 * (0..5).map(wave).sum::<f32>()).clamp(0.0, 255.0) as u8
        };
        RgbImage::from_fn(width, height, |x, y| Rgb([at(x, y), at(x, y) / 2, 255 - at(x, y)]))
    }

    #[test]
    fn flat_pictures_are_like_nothing() {
        let slope = RgbImage::from_fn(256, 200, |x, _| Rgb([x as u8; 3]));
        let white = RgbImage::from_pixel(50, 50, Rgb([255; 3]));
        for picture in [slope, white, RgbImage::new(1, 1)] {
            let fingerprint = ImageFingerprint::of(&picture).unwrap();
            assert!(fingerprint.flat);
            assert_eq!(fingerprint.distance(&fingerprint), None);
        }
        assert!(matches!(ImageFingerprint::of(&RgbImage::new(0, 0)), Err(LikenessError::EmptyPicture)));
    }

    #[test]
    fn a_mirrored_view_is_that_of_the_mirrored_picture() {
        let picture = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * x * 7 + y * x * 3 + y * y * 11) as u8; 3]));
        let query = ImageQuery::of(&picture).unwrap();
        let mirrored = ImageQuery::of(&imageops::flip_horizontal(&picture)).unwrap();
        for n in 0..3 {
            let [plain, turned] = [query.views[2 * n].1, mirrored.views[2 * n + 1].1];
            assert!(plain.distance(&turned).unwrap() <= 2);
            assert!(plain.distance(&mirrored.views[2 * n].1).unwrap() > 150);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_size_and_any_view_has_a_fingerprint(
            width in 1_u32..70, height in 1_u32..700, seed: u64, margin: u8, mirrored: bool,
        ) {
            let fingerprint = ImageFingerprint::of_view(&waves(width, height, seed), View { margin, mirrored }).unwrap();
            prop_assert_eq!(fingerprint.distance(&fingerprint), (!fingerprint.flat).then_some(0));
            let query = ImageQuery::of(&waves(width, height, seed)).unwrap();
            let bytes = query.to_bytes();
            prop_assert_eq!(ImageQuery::from_bytes(&bytes[1..]), None);
            prop_assert_eq!(ImageQuery::from_bytes(&bytes), Some(query));
        }
    }
}
