//! What detectors that run one graph over one picture share: batched runs from bytes to a row of numbers.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use atelier_inference::{BatchModel, Batcher, InferenceError, Model, ModelFolder, RunControl, Tensor};
use atelier_media::MediaError;
use image::RgbImage;
use ndarray::{Array, IxDyn};

use super::{About, ImageDetector, Loader, windows::unfit};
use crate::{call::Call, error::ModerationError, scores::Measurement};

/// What a model's row of numbers means; `None`: the row is too short.
type Meaning = dyn Fn(&[f32]) -> Option<Row> + Send + Sync;

/// How a model reads pictures and what it says of them.
pub(super) struct Recipe {
    /// Reduces a picture to RGB bytes, row by row.
    pub(super) prepare: fn(&RgbImage) -> Result<Vec<u8>, MediaError>,
    /// Turns those bytes into the numbers that the model reads.
    pub(super) values: fn(&[u8]) -> Vec<f32>,
    /// Of those numbers, for one picture.
    pub(super) shape: [usize; 3],
    /// The output that is read; none: the only one.
    pub(super) output: Option<&'static str>,
    /// What it means.
    pub(super) meaning: Arc<Meaning>,
    /// It gives tags.
    pub(super) gives_tags: bool,
}

/// What a row means: scores of the detector's categories, in their order, and tags.
pub(super) struct Row {
    pub(super) scores: Vec<f32>,
    pub(super) tags: Vec<crate::scores::Tag>,
}

impl Row {
    /// A row of scores alone.
    pub(super) fn scores(scores: Vec<f32>) -> Self {
        Self { scores, tags: Vec::new() }
    }
}

/// A detector that runs a model over each picture.
pub(super) struct Pictures {
    about: Arc<About>,
    recipe: Arc<Recipe>,
    batcher: Batcher<Rows>,
}

struct Rows {
    model: Model,
    input: String,
    output: String,
    recipe: Arc<Recipe>,
}

impl Pictures {
    /// A detector of copies of the folder's model, each with a thread of its own.
    ///
    /// # Errors
    /// The model can't be loaded, or has other inputs and outputs.
    pub(super) fn start(
        loader: &Loader<'_>,
        folder: &ModelFolder,
        about: About,
        recipe: Recipe,
    ) -> Result<Self, ModerationError> {
        let (settings, recipe) = (&loader.config.image, Arc::new(recipe));
        let load = |_| {
            let model = Model::load(loader.runtime, folder, &loader.config.session)?;
            let names: Vec<_> = model.outputs().iter().map(|output| output.name.clone()).collect();
            let output = match (recipe.output, names.as_slice()) {
                (Some(wanted), names) => names.iter().find(|name| *name == wanted).cloned(),
                (None, [only]) => Some(only.clone()),
                (None, _) => None,
            };
            let ([input], Some(output)) = (model.inputs(), output) else {
                let wanted = recipe.output.unwrap_or("one output");
                return Err(unfit(folder, format!("the graph must have one input, and {wanted}")));
            };
            Ok(Rows { input: input.name.clone(), output, model, recipe: Arc::clone(&recipe) })
        };
        let models = (0..settings.instances.max(1)).map(load).collect::<Result<Vec<_>, _>>()?;
        // A label of metrics lives as long as the process, and so does a detector.
        let label: &'static str = about.model.id.to_string().leak();
        let batcher = Batcher::start(label, &settings.batch, models)?;
        Ok(Self { about: Arc::new(about), recipe, batcher })
    }
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pictures").field("about", &self.about).finish_non_exhaustive()
    }
}

#[async_trait]
impl ImageDetector for Pictures {
    fn about(&self) -> Arc<About> {
        Arc::clone(&self.about)
    }

    fn gives_tags(&self) -> bool {
        self.recipe.gives_tags
    }

    fn prepare(&self, picture: &RgbImage) -> Result<Vec<u8>, ModerationError> {
        (self.recipe.prepare)(picture).map_err(ModerationError::Resize)
    }

    async fn measure(&self, prepared: Vec<u8>, call: &Call) -> Result<Measurement, ModerationError> {
        let row = call.submit(&self.batcher, prepared).await?;
        let narrow =
            || InferenceError::InvalidRun("the model wrote fewer numbers than it has classes".to_owned());
        let Row { scores, tags } = (self.recipe.meaning)(&row).ok_or_else(narrow)?;
        let mut measured = Measurement { tags, ..Measurement::default() };
        let categories: Vec<_> = self.about.categories.iter().collect();
        measured
            .add_window(&categories, &scores, 0..0)
            .map_err(|source| ModerationError::Score { detector: self.about.model.id.clone(), source })?;
        Ok(measured)
    }
}

impl BatchModel for Rows {
    /// RGB, row by row.
    type Input = Vec<u8>;
    type Output = Vec<f32>;

    fn cost(_: &Vec<u8>) -> usize {
        1
    }

    fn run(&mut self, batch: &[Vec<u8>], control: &RunControl) -> Result<Vec<Vec<f32>>, InferenceError> {
        let values = batch.iter().flat_map(|picture| (self.recipe.values)(picture)).collect();
        let [a, b, c] = self.recipe.shape;
        let input = Array::from_shape_vec(IxDyn(&[batch.len(), a, b, c]), values)
            .map_err(|error| InferenceError::InvalidRun(error.to_string()))?;
        let rows = self.model.run(&[(&self.input, input.into())], &[&self.output], control)?;
        let rows = rows.into_iter().next().map(Tensor::into_f32).transpose()?.unwrap_or_default();
        Ok(rows.outer_iter().map(|row| row.iter().copied().collect()).collect())
    }
}
