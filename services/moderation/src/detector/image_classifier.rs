//! An image classifier of one's own: a folder as transformers and optimum write it for ONNX.
//!
//! `model.onnx` (or `onnx/model.onnx`) takes `pixel_values` f32 `[batch, 3, height, width]` and gives logits
//! `[batch, labels]`; `config.json` names the labels, `preprocessor_config.json` says how pictures are prepared. Which label
//! means which category stands in the service's configuration.

use std::sync::Arc;

use atelier_media::Filter;
use serde::Deserialize;

use super::{
    About, Detector, DetectorConfig, Kind, Loader,
    labels::Labels,
    pictures::{Pictures, Recipe, Row},
    text_classifier::GRAPHS,
    windows::unfit,
};
use crate::{
    error::ModerationError,
    image::{Preparation, Size},
};

pub(super) const KIND: Kind = Kind { name: "image-classifier", open };

/// Largest side that a model may read, in pixels: a prepared picture waits in a queue of hundreds.
const MAX_SIDE: u32 = 1024;
/// The longer side that goes with a shorter one of 224 pixels where a folder has the old form of `size` and crops.
const DEFAULT_SIDE: u32 = 224;

/// `preprocessor_config.json`.
#[derive(Deserialize)]
#[serde(default)]
struct File {
    do_resize: bool,
    size: Option<Length>,
    resample: u8,
    do_center_crop: bool,
    crop_size: Option<Length>,
    do_rescale: bool,
    rescale_factor: f32,
    do_normalize: bool,
    image_mean: [f32; 3],
    image_std: [f32; 3],
}

/// A size in one of the forms that files have.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Length {
    Shortest { shortest_edge: u32 },
    Both { height: u32, width: u32 },
    One(u32),
}

impl Default for File {
    fn default() -> Self {
        Self {
            do_resize: true,
            size: None,
            resample: 2,
            do_center_crop: false,
            crop_size: None,
            do_rescale: true,
            rescale_factor: 1.0 / 255.0,
            do_normalize: true,
            image_mean: [0.5; 3],
            image_std: [0.5; 3],
        }
    }
}

/// What a model reads: size, and what is done with each value.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pixels {
    preparation: Preparation,
    width: usize,
    height: usize,
    /// Of red, green and blue: factor and what is added.
    affine: [(f32, f32); 3],
}

impl File {
    fn pixels(&self) -> Result<Pixels, String> {
        let crop = match (self.do_center_crop, self.crop_size.or(self.size)) {
            (false, _) => None,
            (true, Some(Length::Both { height, width })) => Some((width, height)),
            (true, Some(Length::One(side) | Length::Shortest { shortest_edge: side })) => Some((side, side)),
            (true, None) => Some((DEFAULT_SIDE, DEFAULT_SIDE)),
        };
        let size = match self.size {
            Some(Length::Both { height, width }) => Size::Exact(width, height),
            Some(Length::Shortest { shortest_edge }) => Size::ShortestEdge(shortest_edge),
            // One number is the shorter side where a crop follows, and both sides where none does.
            Some(Length::One(side)) if crop.is_some() => Size::ShortestEdge(side),
            Some(Length::One(side)) => Size::Exact(side, side),
            None => Size::Exact(DEFAULT_SIDE, DEFAULT_SIDE),
        };
        let filter = match self.resample {
            1 => Filter::Lanczos3,
            2 => Filter::Bilinear,
            3 => Filter::Bicubic,
            other => return Err(format!("resample {other} is none of 1, 2 and 3")),
        };
        let preparation = Preparation { size, crop, filter };
        let (width, height) =
            preparation.output().ok_or("size: the shortest edge alone, without a crop, is no fixed size")?;
        let sides = match size {
            Size::Exact(width, height) => width.max(height),
            Size::ShortestEdge(edge) => edge,
        };
        if !self.do_resize {
            return Err("do_resize: pictures come in all sizes".to_owned());
        }
        if width == 0 || height == 0 || sides == 0 || sides.max(width).max(height) > MAX_SIDE {
            return Err(format!("size: must be 1 to {MAX_SIDE} pixels"));
        }
        let rescale = if self.do_rescale { self.rescale_factor } else { 1.0 };
        let affine = std::array::from_fn(|channel| {
            let (mean, deviation) = match self.do_normalize {
                true => (self.image_mean[channel], self.image_std[channel]),
                false => (0.0, 1.0),
            };
            (rescale / deviation, -mean / deviation)
        });
        if affine.iter().any(|(factor, shift): &(f32, f32)| !factor.is_finite() || !shift.is_finite()) {
            return Err("image_std must not be 0".to_owned());
        }
        Ok(Pixels { preparation, width: width as usize, height: height as usize, affine })
    }
}

impl Pixels {
    /// What the model reads: colour by colour.
    fn values(&self, picture: &[u8]) -> Vec<f32> {
        let plane = |channel: usize| {
            let (factor, shift) = self.affine[channel];
            let pixels = picture.as_chunks::<3>().0.iter();
            pixels.map(move |pixel| f32::from(pixel[channel]) * factor + shift)
        };
        (0..3).flat_map(plane).collect()
    }
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let folder = loader.folder(detector)?;
    let labels = Labels::read(&folder, detector)?;
    let file: File = folder.json("preprocessor_config.json")?;
    let pixels =
        file.pixels().map_err(|problem| unfit(&folder, format!("preprocessor_config.json: {problem}")))?;
    let about = About::of(&folder, labels.categories());
    let recipe = Recipe {
        graph: Some(GRAPHS.into_iter().find(|graph| folder.has(graph)).unwrap_or(GRAPHS[0])),
        prepare: Box::new(move |picture| pixels.preparation.apply(picture)),
        values: Box::new(move |picture| pixels.values(picture)),
        shape: [3, pixels.height, pixels.width],
        output: None,
        meaning: Box::new(move |row| {
            let scores = labels.scores(row.iter().copied())?;
            let mut scores: Vec<_> = labels.categories().into_iter().zip(scores).collect();
            scores.sort_by_key(|(category, _)| *category);
            Some(Row::scores(scores.into_iter().map(|(_, score)| score).collect()))
        }),
        gives_tags: false,
        vectors: None,
    };
    Ok(Detector::Image(Arc::new(Pictures::start(loader, &folder, about, recipe)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pixels(json: &str) -> Result<Pixels, String> {
        serde_json::from_str::<File>(json).unwrap().pixels()
    }

    #[test]
    fn files_of_all_ages_are_read() {
        let vit = pixels(r#"{"size": {"height": 224, "width": 224}, "resample": 2}"#).unwrap();
        assert_eq!((vit.width, vit.height, vit.preparation.size), (224, 224, Size::Exact(224, 224)));
        assert!((vit.affine[0].0 - 2.0 / 255.0).abs() < 1e-6 && vit.affine[0].1 == -1.0);
        let clip = r#"{"size": {"shortest_edge": 256}, "crop_size": {"height": 200, "width": 224}, "resample": 3,
            "do_center_crop": true, "do_normalize": false}"#;
        let clip = pixels(clip).unwrap();
        assert_eq!((clip.width, clip.height, clip.preparation.size), (224, 200, Size::ShortestEdge(256)));
        assert_eq!(clip.affine[2], (1.0 / 255.0, 0.0));
        assert_eq!(pixels(r#"{"size": 96}"#).unwrap().preparation.size, Size::Exact(96, 96));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (json, word) in [
            (r#"{"size": {"shortest_edge": 96}}"#, "crop"),
            (r#"{"size": 0}"#, "pixels"),
            (r#"{"size": 100000}"#, "pixels"),
            (r#"{"resample": 9}"#, "resample"),
            (r#"{"image_std": [1, 0, 1]}"#, "image_std"),
            (r#"{"do_resize": false}"#, "do_resize"),
        ] {
            assert!(pixels(json).unwrap_err().contains(word), "{json}");
        }
    }
}
