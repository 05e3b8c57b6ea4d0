//! Tags for pictures, and weapons among them: a classifier of ImageNet's classes.
//!
//! The folder has `model.onnx` (`pixels` f32 `[batch, 3, 224, 224]`, red-green-blue, each value less 127 and divided by 128
//! -> `probabilities` f32 `[batch, classes]` and `features` f32 `[batch, components]` of length 1) and `labels.json`, the
//! names of the classes in their order. By the features pictures are compared with protected works.

use std::sync::Arc;

use atelier_core::{CategoryId, limits::MAX_TAGS};
use atelier_media::Filter;

use super::{
    About, Detector, DetectorConfig, Kind, Loader,
    pictures::{Pictures, Recipe, Row},
    windows::unfit,
};
use crate::{
    error::ModerationError,
    image::{Preparation, Size},
    scores::Tag,
};

pub(super) const KIND: Kind = Kind { name: "image-tags", open };

/// Side of what the model reads, in pixels.
const SIDE: usize = 224;
const PREPARATION: Preparation = Preparation {
    size: Size::ShortestEdge(256),
    crop: Some((SIDE as u32, SIDE as u32)),
    filter: Filter::Bicubic,
};
const CATEGORY: CategoryId = CategoryId::Weapons;
/// Classes that are weapons. Left out, because they would call harmless pictures weapons: "missile" and "projectile" (space
/// rockets), "cleaver" and "hatchet" (tools), "tank" and "cannon" (museums).
const WEAPONS: [&str; 3] = ["assault rifle", "revolver", "rifle"];
/// A class that is less likely is no tag.
const LEAST_TAG: f32 = 0.01;

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let folder = loader.folder(detector)?;
    let labels: Vec<String> = folder.json("labels.json")?;
    let labels: Vec<Arc<str>> = labels.into_iter().map(Arc::from).collect();
    let column = |name: &str| labels.iter().position(|label| **label == *name);
    let weapons = WEAPONS
        .into_iter()
        .map(|name| column(name).ok_or_else(|| unfit(&folder, format!("labels.json: there is no {name:?}"))));
    let weapons = weapons.collect::<Result<Vec<_>, _>>()?;
    let columns = detector.columns(&[CATEGORY])?;
    let about = About::of(&folder, columns.into_iter().map(|(_, category)| category));
    let recipe = Recipe {
        graph: None,
        prepare: Box::new(|picture| PREPARATION.apply(picture)),
        values: Box::new(values),
        shape: [3, SIDE, SIDE],
        output: Some("probabilities"),
        meaning: Box::new(move |row| meaning(row, &labels, &weapons)),
        gives_tags: true,
        vectors: Some("features"),
    };
    Ok(Detector::Image(Arc::new(Pictures::start(loader, &folder, about, recipe)?)))
}

/// Colour by colour.
fn values(pixels: &[u8]) -> Vec<f32> {
    let pixels = pixels.as_chunks::<3>().0;
    (0..3)
        .flat_map(|channel| pixels.iter().map(move |pixel| (f32::from(pixel[channel]) - 127.0) / 128.0))
        .collect()
}

fn meaning(row: &[f32], labels: &[Arc<str>], weapons: &[usize]) -> Option<Row> {
    if row.len() != labels.len() {
        return None;
    }
    let sum: f32 = weapons.iter().filter_map(|column| row.get(*column)).sum();
    let mut tags: Vec<_> = labels
        .iter()
        .zip(row.iter().copied())
        .filter(|(_, score)| *score >= LEAST_TAG)
        .map(|(label, score)| Tag { label: Arc::clone(label), score: score.min(1.0) })
        .collect();
    tags.sort_by(|a, b| b.score.total_cmp(&a.score));
    tags.truncate(MAX_TAGS as usize);
    // Probabilities add up to 1 but for rounding.
    Some(Row { scores: vec![if sum > 1.0 { 1.0 } else { sum }], tags })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weapons_add_up_and_what_is_unlikely_is_no_tag() {
        let labels: Vec<Arc<str>> = ["cup", "rifle", "revolver", "dog"].map(Arc::from).to_vec();
        let Row { scores, tags } = meaning(&[0.1, 0.5, 0.395, 0.005], &labels, &[1, 2]).unwrap();
        assert!((scores[0] - 0.895).abs() < 1e-6);
        let names: Vec<_> = tags.iter().map(|tag| &*tag.label).collect();
        assert_eq!(names, ["rifle", "revolver", "cup"]);
        assert!(meaning(&[0.1, 0.5], &labels, &[1, 2]).is_none());
    }

    #[test]
    fn colours_come_one_after_another() {
        let values = values(&[127, 255, 0, 127, 127, 127]);
        assert_eq!(values, [0.0, 0.0, 1.0, 0.0, -127.0 / 128.0, 0.0]);
    }
}
