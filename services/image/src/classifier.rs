//! What pictures show, and where they lie among others.

use atelier_core::ModelRef;
use atelier_inference::Ticket;
use atelier_media::{Filter, resize_rgba};
use image::{RgbaImage, imageops::crop_imm};
use ndarray::{Array3, ArrayD};
use serde::Deserialize;

use crate::{
    ImageError,
    pixels::{self, Range},
    rows::{Rows, RowsLoader, own_ticket},
};

/// `options` of the model's manifest.
#[derive(Clone, Debug, Deserialize)]
struct Options {
    /// The shorter side is scaled to this, in pixels.
    resize: u32,
    /// How it is scaled.
    filter: Interpolation,
    /// The middle square of it that the model reads.
    crop: u32,
    /// Subtracted from each channel, in 0..255.
    mean: [f32; 3],
    /// Divides each channel after that.
    std: [f32; 3],
    /// File with the names of the classes: a JSON list.
    labels: String,
}

/// How pixels are weighed, in the words of Pillow.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Interpolation {
    Bilinear,
    Bicubic,
    Lanczos,
}

/// A model that classifies and embeds.
pub(crate) struct Classifier {
    pub(crate) model: ModelRef,
    /// SPDX identifier, or empty.
    pub(crate) license: String,
    /// Length of a vector.
    pub(crate) dimensions: usize,
    labels: Vec<String>,
    options: Options,
    rows: Rows,
}

/// A class and how likely it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Label {
    pub(crate) index: usize,
    pub(crate) name: String,
    pub(crate) probability: f32,
}

/// A picture as the model reads it.
pub(crate) struct Prepared(ArrayD<f32>);

impl Classifier {
    /// Loads a model and runs it once.
    ///
    /// # Errors
    /// A file or an option is missing or wrong.
    pub(crate) async fn load(loader: &RowsLoader<'_>) -> Result<Self, ImageError> {
        let folder = loader.folder;
        let options: Options = folder.options()?;
        if options.crop == 0 || options.crop > options.resize || options.std.contains(&0.0) {
            return Err(ImageError::folder(folder.id(), "options: crop must be 1 to resize, std not 0"));
        }
        let labels: Vec<String> = folder.json(&options.labels)?;
        let rows = loader.load("model.onnx", "pixels", &["probabilities", "features"])?;
        let mut classifier = Self {
            model: folder.model().clone(),
            license: folder.license().to_owned(),
            dimensions: 0,
            labels,
            options,
            rows,
        };
        let blank = RgbaImage::new(classifier.options.crop, classifier.options.crop);
        let [probabilities, features] = classifier.run(classifier.prepare(&blank)?, &own_ticket()).await?;
        if probabilities.len() != classifier.labels.len() {
            let problem = format!("{} labels for {} classes", classifier.labels.len(), probabilities.len());
            return Err(ImageError::folder(folder.id(), problem));
        }
        classifier.dimensions = features.len();
        Ok(classifier)
    }

    /// Scales and crops; takes a millisecond or more for a large picture.
    ///
    /// # Errors
    /// The picture can't be scaled.
    pub(crate) fn prepare(&self, picture: &RgbaImage) -> Result<Prepared, ImageError> {
        let Options { resize, crop, filter, mean, std, .. } = &self.options;
        let filter = match filter {
            Interpolation::Bilinear => Filter::Bilinear,
            Interpolation::Bicubic => Filter::Bicubic,
            Interpolation::Lanczos => Filter::Lanczos3,
        };
        let (width, height) = picture.dimensions();
        let scale = f64::from(*resize) / f64::from(width.min(height).max(1));
        let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(*crop);
        let scaled = resize_rgba(picture, side(width), side(height), filter)?;
        let (left, top) = ((scaled.width() - crop) / 2, (scaled.height() - crop) / 2);
        let middle = crop_imm(&scaled, left, top, *crop, *crop).to_image();
        let mut planes: Array3<f32> = pixels::planes(&middle, Range { low: 0.0, high: 255.0 });
        for ((mut plane, mean), std) in planes.outer_iter_mut().zip(mean).zip(std) {
            plane.mapv_inplace(|x| (x - mean) / std);
        }
        Ok(Prepared(planes.into_dyn()))
    }

    /// The likeliest classes, likeliest first.
    ///
    /// # Errors
    /// As any run.
    pub(crate) async fn classify(
        &self,
        picture: Prepared,
        top_k: usize,
        ticket: &Ticket,
    ) -> Result<Vec<Label>, ImageError> {
        let [probabilities, _] = self.run(picture, ticket).await?;
        let mut ranked: Vec<(usize, f32)> = probabilities.into_iter().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked.truncate(top_k);
        let label = |(index, probability): (usize, f32)| Label {
            index,
            name: self.labels[index].clone(),
            probability,
        };
        Ok(ranked.into_iter().map(label).collect())
    }

    /// The picture's vector, of length 1.
    ///
    /// # Errors
    /// As any run.
    pub(crate) async fn embed(&self, picture: Prepared, ticket: &Ticket) -> Result<Vec<f32>, ImageError> {
        let [_, features] = self.run(picture, ticket).await?;
        let length = features.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        Ok(features.into_iter().map(|x| x / length).collect())
    }

    async fn run(&self, picture: Prepared, ticket: &Ticket) -> Result<[Vec<f32>; 2], ImageError> {
        let answer = self.rows.submit(picture.0, ticket.clone()).await?;
        let mut outputs = answer.into_iter().map(|output| output.into_iter().collect::<Vec<f32>>());
        match (outputs.next(), outputs.next()) {
            (Some(probabilities), Some(features)) => Ok([probabilities, features]),
            _ => Err(ImageError::TaskLost("a run")),
        }
    }
}
