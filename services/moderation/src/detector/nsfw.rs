//! Yahoo's Open NSFW (Mahadeokar and Pesavento 2016): one score for sexual content in pictures.

use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::CategoryId;
use atelier_inference::{BatchModel, Batcher, InferenceError, Model, RunControl, Tensor};
use image::RgbImage;
use ndarray::Array4;

use super::{About, Detector, DetectorConfig, ImageDetector, Kind, Loader};
use crate::{
    call::Call,
    error::ModerationError,
    image::{CROP_SIDE, centre_crop},
    scores::Measurement,
};

pub(super) const KIND: Kind = Kind { name: "open-nsfw", open };

/// What the model tells apart besides "safe".
const CATEGORY: CategoryId = CategoryId::Sexual;
/// Means of blue, green and red over ImageNet, which Caffe's models subtract.
const MEANS: [f32; 3] = [104.0, 117.0, 123.0];
/// The model's outputs are "safe" and "not safe for work".
const COLUMN: usize = 1;

#[derive(Debug)]
struct OpenNsfw {
    about: About,
    batcher: Batcher<Classifier>,
}

struct Classifier {
    model: Model,
    input: String,
    output: String,
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let folder = loader.folder(detector)?;
    let columns = detector.columns(&[CATEGORY])?;
    let settings = &loader.config.image;
    let load = |_| {
        let model = Model::load(loader.runtime, &folder, &loader.config.session)?;
        match (model.inputs(), model.outputs()) {
            ([input], [output]) => Ok((input.name.clone(), output.name.clone())),
            _ => Err(ModerationError::ModelFolder {
                model: folder.id().clone(),
                problem: "the graph must have one input and one output".to_owned(),
            }),
        }
        .map(|(input, output)| Classifier { model, input, output })
    };
    let models = (0..settings.instances.max(1)).map(load).collect::<Result<Vec<_>, _>>()?;
    let about = About {
        model: folder.model().clone(),
        parts: Vec::new(),
        categories: columns.into_iter().map(|(_, category)| category).collect(),
    };
    let batcher = Batcher::start(KIND.name, &settings.batch, models)?;
    Ok(Detector::Image(Arc::new(OpenNsfw { about, batcher })))
}

#[async_trait]
impl ImageDetector for OpenNsfw {
    fn about(&self) -> &About {
        &self.about
    }

    fn prepare(&self, picture: &RgbImage) -> Result<Vec<u8>, ModerationError> {
        centre_crop(picture).map_err(ModerationError::Resize)
    }

    async fn measure(&self, prepared: Vec<u8>, call: &Call) -> Result<Measurement, ModerationError> {
        let score = call.submit(&self.batcher, prepared).await?;
        let mut measured = Measurement::default();
        measured
            .add_window(&[CATEGORY], &[score])
            .map_err(|source| ModerationError::Score { detector: self.about.model.id.clone(), source })?;
        Ok(measured)
    }
}

impl BatchModel for Classifier {
    /// RGB, row by row.
    type Input = Vec<u8>;
    type Output = f32;

    fn cost(_: &Vec<u8>) -> usize {
        1
    }

    fn run(&mut self, batch: &[Vec<u8>], control: &RunControl) -> Result<Vec<f32>, InferenceError> {
        let pixels = batch.iter().flat_map(|crop| crop.as_chunks::<3>().0);
        let values = pixels.flat_map(|[red, green, blue]| {
            let [b, g, r] = MEANS;
            [f32::from(*blue) - b, f32::from(*green) - g, f32::from(*red) - r]
        });
        let input = Array4::from_shape_vec((batch.len(), CROP_SIDE, CROP_SIDE, 3), values.collect())
            .map_err(|error| InferenceError::InvalidRun(error.to_string()))?;
        let scores = self.model.run(&[(&self.input, input.into())], &[&self.output], control)?;
        let scores = scores.into_iter().next().map(Tensor::into_f32).transpose()?.unwrap_or_default();
        let score = |row: ndarray::ArrayViewD<'_, f32>| row.get(COLUMN).copied();
        let narrow = || InferenceError::InvalidRun("the model wrote fewer than two scores".to_owned());
        scores.outer_iter().map(|row| score(row).ok_or_else(narrow)).collect()
    }
}
