//! Yahoo's Open NSFW (Mahadeokar and Pesavento 2016): one score for sexual content in pictures.

use std::sync::Arc;

use atelier_core::CategoryId;
use atelier_media::Filter;

use super::{
    About, Detector, DetectorConfig, Kind, Loader,
    pictures::{Pictures, Recipe, Row},
};
use crate::{
    error::ModerationError,
    image::{Preparation, Size},
};

pub(super) const KIND: Kind = Kind { name: "open-nsfw", open };

/// Side of what the model reads, in pixels.
const SIDE: usize = 224;
/// As the pictures that it was trained on were made.
const PREPARATION: Preparation = Preparation {
    size: Size::Exact(256, 256),
    crop: Some((SIDE as u32, SIDE as u32)),
    filter: Filter::Bilinear,
};
/// What the model tells apart besides "safe".
const CATEGORY: CategoryId = CategoryId::Sexual;
/// Means of blue, green and red over ImageNet, which Caffe's models subtract.
const MEANS: [f32; 3] = [104.0, 117.0, 123.0];
/// The model's outputs are "safe" and "not safe for work".
const COLUMN: usize = 1;

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let folder = loader.folder(detector)?;
    let columns = detector.columns(&[CATEGORY])?;
    let about = About::of(&folder, columns.into_iter().map(|(_, category)| category));
    let recipe = Recipe {
        graph: None,
        prepare: Box::new(|picture| PREPARATION.apply(picture)),
        values: Box::new(values),
        shape: [SIDE, SIDE, 3],
        output: None,
        meaning: Box::new(|row| Some(Row::scores(vec![*row.get(COLUMN)?]))),
        gives_tags: false,
        vectors: None,
    };
    Ok(Detector::Image(Arc::new(Pictures::start(loader, &folder, about, recipe)?)))
}

fn values(pixels: &[u8]) -> Vec<f32> {
    let [b, g, r] = MEANS;
    let value =
        |[red, green, blue]: &[u8; 3]| [f32::from(*blue) - b, f32::from(*green) - g, f32::from(*red) - r];
    pixels.as_chunks::<3>().0.iter().flat_map(value).collect()
}
