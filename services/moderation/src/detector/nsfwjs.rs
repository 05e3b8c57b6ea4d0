//! The MobileNetV2 of nsfwjs (Infinite Red): sexual content in photographs and in drawings.

use std::sync::Arc;

use atelier_core::CategoryId;
use atelier_media::MediaError;
use image::RgbImage;

use super::{
    About, Detector, DetectorConfig, Kind, Loader,
    pictures::{Pictures, Recipe, Row},
};
use crate::error::ModerationError;

pub(super) const KIND: Kind = Kind { name: "nsfwjs", open };

/// Side of what the model reads, in pixels.
const SIDE: u32 = 224;
const CATEGORY: CategoryId = CategoryId::Sexual;
/// How much each output counts: drawing, hentai, neutral, porn, and sexy, which is suggestive and no more.
const SHARES: [f32; 5] = [0.0, 1.0, 0.0, 1.0, 0.5];

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let folder = loader.folder(detector)?;
    let columns = detector.columns(&[CATEGORY])?;
    let about = About::of(&folder, columns.into_iter().map(|(_, category)| category));
    let recipe = Recipe {
        graph: None,
        prepare: Box::new(prepare),
        values: Box::new(|pixels| pixels.iter().map(|value| f32::from(*value) / 255.0).collect()),
        shape: [SIDE as usize, SIDE as usize, 3],
        output: None,
        meaning: Box::new(meaning),
        gives_tags: false,
        vectors: None,
    };
    Ok(Detector::Image(Arc::new(Pictures::start(loader, &folder, about, recipe)?)))
}

fn meaning(row: &[f32]) -> Option<Row> {
    let shares: f32 = row.first_chunk::<5>()?.iter().zip(SHARES).map(|(share, weight)| share * weight).sum();
    // Shares add up to 1 but for rounding.
    Some(Row::scores(vec![if shares > 1.0 { 1.0 } else { shares }]))
}

/// Resized as nsfwjs has TensorFlow do it: the corners' pixels stay where they are, and each pixel in between is mixed of the
/// four around its place, however many lie between two of them.
#[expect(clippy::unnecessary_wraps, reason = "other recipes can fail")]
fn prepare(picture: &RgbImage) -> Result<Vec<u8>, MediaError> {
    let (width, height) = picture.dimensions();
    let rows: Vec<_> = (0..SIDE).map(|row| between(row, height)).collect();
    let columns: Vec<_> = (0..SIDE).map(|column| between(column, width)).collect();
    let mut pixels = Vec::with_capacity((SIDE * SIDE * 3) as usize);
    for &(top, bottom, down) in &rows {
        for &(left, right, along) in &columns {
            let corner = |x, y| picture.get_pixel(x, y).0.map(f32::from);
            let mix = |a: [f32; 3], b: [f32; 3], share: f32| {
                std::array::from_fn(|channel| a[channel] + (b[channel] - a[channel]) * share)
            };
            let upper = mix(corner(left, top), corner(right, top), along);
            let lower = mix(corner(left, bottom), corner(right, bottom), along);
            pixels.extend(mix(upper, lower, down).map(|value| value.round() as u8));
        }
    }
    Ok(pixels)
}

/// The two pixels of a side that an output pixel lies between, and how far it is from the first to the second.
fn between(place: u32, side: u32) -> (u32, u32, f32) {
    let last = side.saturating_sub(1);
    let exact = place as f32 * (last as f32 / (SIDE - 1) as f32);
    let first = (exact as u32).min(last);
    (first, (first + 1).min(last), exact - first as f32)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn corners_stay_and_what_lies_between_is_mixed() {
        for (width, height) in [(2, 2), (1, 1), (447, 3), (224, 224), (1, 900)] {
            let picture =
                RgbImage::from_fn(width, height, |x, y| Rgb([x, y, x + y].map(|v| (v % 251) as u8)));
            let pixels = prepare(&picture).unwrap();
            assert_eq!(pixels.len(), (SIDE * SIDE * 3) as usize);
            let last = picture.get_pixel(width - 1, height - 1).0;
            assert_eq!(
                (&pixels[..3], &pixels[pixels.len() - 3..]),
                (&picture.get_pixel(0, 0).0[..], &last[..])
            );
        }
        let steps = RgbImage::from_fn(2, 1, |x, _| Rgb([(x * 223) as u8; 3]));
        let row: Vec<_> = (0..SIDE as u8).flat_map(|column| [column; 3]).collect();
        assert_eq!(prepare(&steps).unwrap(), row.repeat(SIDE as usize));
    }

    #[test]
    fn suggestive_counts_half() {
        let score = |row: &[f32]| meaning(row).map(|row| row.scores[0]);
        assert_eq!(score(&[0.0, 0.25, 0.0, 0.5, 0.25]), Some(0.875));
        assert_eq!((score(&[1.0, 0.0, 0.0, 0.0, 0.0]), score(&[1.0])), (Some(0.0), None));
        assert!(score(&[f32::NAN; 5]).unwrap().is_nan());
    }
}
