//! GANs and VAEs: models that draw from a latent space.
//!
//! A folder says what it is in `config.json`. A GAN has `generator.onnx` and, where it has one, `mapping.onnx` (Karras et
//! al., "A style-based generator architecture for generative adversarial networks", 2019); a VAE has `encoder.onnx` and
//! `decoder.onnx`. Pictures are planes `[3, size, size]` in -1..1.

use std::collections::BTreeMap;

use atelier_core::ModelRef;
use atelier_inference::{ModelFolder, Ticket};
use atelier_pipeline::{Draws, Purpose};
use image::RgbaImage;
use ndarray::{ArrayD, s};
use serde::Deserialize;

use crate::{
    ImageError,
    latent::Point,
    pixels::{self, Range},
    rows::{Rows, RowsLoader, own_ticket, row, submit_all},
};

/// `config.json`.
#[derive(Debug, Deserialize)]
struct Form {
    kind: FormKind,
    /// Length of a point.
    latent_dim: usize,
    /// Width and height in pixels.
    image_size: u32,
    /// Directions of a VAE that mean something, each as long as a point.
    #[serde(default)]
    attributes: BTreeMap<String, Point>,
    /// The average style, `style_dim` numbers, towards which truncation pulls.
    #[serde(default)]
    mean_w: Vec<f32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FormKind {
    Gan,
    Vae,
}

/// A model with a latent space.
pub(crate) struct Generator {
    pub(crate) model: ModelRef,
    /// SPDX identifier, or empty.
    pub(crate) license: String,
    /// Length of a point.
    pub(crate) dimensions: usize,
    /// Width and height of its pictures, in pixels.
    pub(crate) size: u32,
    /// Directions that have a name.
    pub(crate) attributes: BTreeMap<String, Point>,
    kind: Kind,
}

enum Kind {
    Gan { generator: Rows, mapping: Option<Mapping> },
    Vae { encoder: Rows, decoder: Rows },
}

struct Mapping {
    network: Rows,
    mean: Vec<f32>,
    layers: usize,
}

/// What a GAN's generator reads: `[layers, style_dim]`, or the point itself where there is no mapping network.
pub(crate) type Style = ArrayD<f32>;

impl Generator {
    /// Loads a model and runs it once.
    ///
    /// # Errors
    /// A file is missing, or is not what `config.json` says.
    pub(crate) async fn load(loader: &RowsLoader<'_>) -> Result<Self, ImageError> {
        let folder: &ModelFolder = loader.folder;
        let form: Form = folder.json("config.json")?;
        let wrong = |what: &str| ImageError::folder(folder.id(), format!("config.json: {what}"));
        if form.attributes.values().any(|direction| direction.len() != form.latent_dim) {
            return Err(wrong("an attribute is not as long as latent_dim"));
        }
        let kind = match form.kind {
            FormKind::Gan => {
                let mapping = if folder.has("mapping.onnx") {
                    let network = loader.load("mapping.onnx", "z", &["w"])?;
                    let style = one(network.submit(row(vec![0.0; form.latent_dim]), own_ticket()).await?)?;
                    if style.ndim() != 2 || style.shape()[1] != form.mean_w.len() {
                        return Err(wrong("mean_w is not as long as a style"));
                    }
                    Some(Mapping { network, mean: form.mean_w, layers: style.shape()[0] })
                } else {
                    None
                };
                let input = if mapping.is_some() { "w" } else { "z" };
                Kind::Gan { generator: loader.load("generator.onnx", input, &["image"])?, mapping }
            }
            FormKind::Vae => Kind::Vae {
                encoder: loader.load("encoder.onnx", "image", &["mean"])?,
                decoder: loader.load("decoder.onnx", "latent", &["image"])?,
            },
        };
        let generator = Self {
            model: folder.model().clone(),
            license: folder.license().to_owned(),
            dimensions: form.latent_dim,
            size: form.image_size,
            attributes: form.attributes,
            kind,
        };
        let drawn = generator.draw(vec![vec![0.0; generator.dimensions]], 1.0, &own_ticket()).await?;
        let side = generator.size;
        if drawn.first().is_none_or(|picture| picture.dimensions() != (side, side)) {
            return Err(wrong("pictures are not of image_size"));
        }
        Ok(generator)
    }

    /// Layers of its style; 0 where it has no mapping network.
    pub(crate) fn style_layers(&self) -> usize {
        match &self.kind {
            Kind::Gan { mapping: Some(mapping), .. } => mapping.layers,
            Kind::Gan { mapping: None, .. } | Kind::Vae { .. } => 0,
        }
    }

    /// Whether pictures can be turned into points.
    pub(crate) fn encodes(&self) -> bool {
        matches!(self.kind, Kind::Vae { .. })
    }

    /// The point that a seed draws from the standard normal distribution.
    pub(crate) fn point(&self, seed: u64) -> Point {
        let mut point = vec![0.0; self.dimensions];
        Draws::new(seed, Purpose::Initial).fill(&mut point);
        point
    }

    /// Pictures at points. `truncation`: see [`Generator::styles`].
    ///
    /// # Errors
    /// As any run.
    pub(crate) async fn draw(
        &self,
        points: Vec<Point>,
        truncation: f32,
        ticket: &Ticket,
    ) -> Result<Vec<RgbaImage>, ImageError> {
        match &self.kind {
            Kind::Gan { .. } => {
                let styles = self.styles(points, truncation, ticket).await?;
                self.draw_styles(styles, ticket).await
            }
            Kind::Vae { decoder, .. } => {
                pictures(decoder, points.into_iter().map(row).collect(), ticket).await
            }
        }
    }

    /// Styles at points, pulled towards the average style: mean + truncation * (style - mean) (Karras et al., 2019,
    /// appendix B).
    ///
    /// # Errors
    /// As any run.
    pub(crate) async fn styles(
        &self,
        points: Vec<Point>,
        truncation: f32,
        ticket: &Ticket,
    ) -> Result<Vec<Style>, ImageError> {
        let points: Vec<_> = points.into_iter().map(row).collect();
        let Kind::Gan { mapping: Some(mapping), .. } = &self.kind else { return Ok(points) };
        let mean = ndarray::ArrayView1::from(&mapping.mean);
        let pull = |style: Style| &mean + &((style - mean) * truncation);
        let styles = submit_all(&mapping.network, points, ticket).await?;
        styles.into_iter().map(|answer| Ok(pull(one(answer)?))).collect()
    }

    /// Pictures of styles; GANs only.
    ///
    /// # Errors
    /// As any run.
    pub(crate) async fn draw_styles(
        &self,
        styles: Vec<Style>,
        ticket: &Ticket,
    ) -> Result<Vec<RgbaImage>, ImageError> {
        match &self.kind {
            Kind::Gan { generator, .. } => pictures(generator, styles, ticket).await,
            Kind::Vae { .. } => Err(self.unsupported("style mixing")),
        }
    }

    /// The point of a picture of the model's size; VAEs only.
    ///
    /// # Errors
    /// The model has no encoder, or as any run.
    pub(crate) async fn encode(&self, picture: &RgbaImage, ticket: &Ticket) -> Result<Point, ImageError> {
        let Kind::Vae { encoder, .. } = &self.kind else { return Err(self.unsupported("encoding pictures")) };
        let planes = pixels::planes(picture, Range::SIGNED).into_dyn();
        let mean = one(encoder.submit(planes, ticket.clone()).await?)?;
        Ok(mean.into_iter().collect())
    }

    /// The error of a caller who asks this model for something that its kind can't do.
    pub(crate) fn unsupported(&self, task: &'static str) -> ImageError {
        ImageError::TaskUnsupported { model: self.model.id.to_string(), task }
    }
}

/// A style whose layers from `first` to `last` are those of another one.
pub(crate) fn mixed(base: &Style, other: &Style, first: usize, last: usize) -> Style {
    let mut style = base.clone();
    style.slice_mut(s![first..=last, ..]).assign(&other.slice(s![first..=last, ..]));
    style
}

async fn pictures(
    rows: &Rows,
    inputs: Vec<ArrayD<f32>>,
    ticket: &Ticket,
) -> Result<Vec<RgbaImage>, ImageError> {
    let form = || {
        ImageError::from(atelier_inference::InferenceError::InvalidRun(
            "a picture must have three planes".into(),
        ))
    };
    let answers = submit_all(rows, inputs, ticket).await?;
    answers.into_iter().map(|answer| pixels::picture(&one(answer)?, Range::SIGNED).ok_or_else(form)).collect()
}

fn one(answer: Vec<ArrayD<f32>>) -> Result<ArrayD<f32>, ImageError> {
    answer.into_iter().next().ok_or(ImageError::TaskLost("a run"))
}
