//! What detectors that run one graph over one picture share: batched runs from bytes to a row of numbers.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use atelier_inference::{BatchModel, Batcher, InferenceError, Model, ModelFolder, RunControl, Tensor};
use atelier_likeness::UnitVector;
use atelier_media::MediaError;
use image::RgbImage;
use ndarray::{Array, IxDyn};

use super::{About, ImageDetector, Loader, Prepared, windows::unfit};
use crate::{
    call::Call,
    error::ModerationError,
    scores::{Measurement, Tag},
};

/// Reduces a picture to RGB bytes, row by row.
type Prepare = dyn Fn(&RgbImage) -> Result<Vec<u8>, MediaError> + Send + Sync;
/// Turns those bytes into the numbers that a model reads.
type Values = dyn Fn(&[u8]) -> Vec<f32> + Send + Sync;
/// What a model's row of numbers means; `None`: the row has another length.
type Meaning = dyn Fn(&[f32]) -> Option<Row> + Send + Sync;

/// How a model reads pictures and what it says of them.
pub(super) struct Recipe {
    /// The file in the folder that is the graph; none: the usual one.
    pub(super) graph: Option<&'static str>,
    pub(super) prepare: Box<Prepare>,
    pub(super) values: Box<Values>,
    /// Of those numbers, for one picture.
    pub(super) shape: [usize; 3],
    /// The output that is read; none: the first one.
    pub(super) output: Option<&'static str>,
    pub(super) meaning: Box<Meaning>,
    /// It gives tags.
    pub(super) gives_tags: bool,
    /// The output with vectors of length 1 by which pictures are compared, if there is one.
    pub(super) vectors: Option<&'static str>,
}

/// What a row means: scores of the detector's categories, in their order, and tags.
pub(super) struct Row {
    pub(super) scores: Vec<f32>,
    pub(super) tags: Vec<Tag>,
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
    batcher: Batcher<Graph>,
}

struct Graph {
    model: Model,
    input: String,
    /// What is read, then the vectors if there are any.
    outputs: Vec<String>,
    recipe: Arc<Recipe>,
}

/// What a run says of one picture.
struct Answer {
    row: Vec<f32>,
    vector: Vec<f32>,
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
        let load = |_| Graph::load(loader, folder, Arc::clone(&recipe));
        let graphs = (0..settings.instances.max(1)).map(load).collect::<Result<Vec<_>, _>>()?;
        // A label of metrics lives as long as the process, and so does a detector.
        let label: &'static str = about.model.id.to_string().leak();
        let batcher = Batcher::start(label, &settings.batch, graphs)?;
        Ok(Self { about: Arc::new(about), recipe, batcher })
    }

    async fn run(&self, prepared: Prepared, call: &Call) -> Result<Answer, ModerationError> {
        let pixels = prepared.into_iter().next().unwrap_or_default();
        Ok(call.submit(&self.batcher, pixels).await?)
    }
}

impl Graph {
    fn load(loader: &Loader<'_>, folder: &ModelFolder, recipe: Arc<Recipe>) -> Result<Self, ModerationError> {
        let model = match recipe.graph {
            Some(graph) => Model::load_file(loader.runtime, folder, graph, &loader.config.session)?,
            None => Model::load(loader.runtime, folder, &loader.config.session)?,
        };
        let has = |name: &str| model.outputs().iter().any(|output| output.name == name);
        let first = model.outputs().first().map(|output| output.name.clone());
        let outputs: Vec<_> = recipe.output.map(str::to_owned).or(first).into_iter().collect();
        let outputs = [outputs, recipe.vectors.iter().map(|name| (*name).to_owned()).collect()].concat();
        let [input] = model.inputs() else {
            return Err(unfit(folder, "the graph must have one input, the pixels".to_owned()));
        };
        if outputs.is_empty() || !outputs.iter().all(|name| has(name)) {
            return Err(unfit(folder, format!("the graph must have outputs {outputs:?}")));
        }
        Ok(Self { input: input.name.clone(), outputs, model, recipe })
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

    fn gives_vectors(&self) -> bool {
        self.recipe.vectors.is_some()
    }

    fn prepare(&self, picture: &RgbImage) -> Result<Prepared, ModerationError> {
        Ok(vec![(self.recipe.prepare)(picture).map_err(ModerationError::Resize)?])
    }

    async fn measure(&self, prepared: Prepared, call: &Call) -> Result<Measurement, ModerationError> {
        let answer = self.run(prepared, call).await?;
        let other =
            || InferenceError::InvalidRun("the model wrote other numbers than it has classes".to_owned());
        let Row { scores, tags } = (self.recipe.meaning)(&answer.row).ok_or_else(other)?;
        let mut measured = Measurement { tags, ..Measurement::default() };
        let categories: Vec<_> = self.about.categories.iter().collect();
        measured
            .add_window(&categories, &scores, 0..0)
            .map_err(|source| ModerationError::Score { detector: self.about.model.id.clone(), source })?;
        Ok(measured)
    }

    async fn embed(&self, prepared: Prepared, call: &Call) -> Result<Option<UnitVector>, ModerationError> {
        if self.recipe.vectors.is_none() {
            return Ok(None);
        }
        Ok(Some(UnitVector::new(&self.run(prepared, call).await?.vector)?))
    }
}

impl BatchModel for Graph {
    /// RGB, row by row.
    type Input = Vec<u8>;
    type Output = Answer;

    fn cost(_: &Vec<u8>) -> usize {
        1
    }

    fn run(&mut self, batch: &[Vec<u8>], control: &RunControl) -> Result<Vec<Answer>, InferenceError> {
        let values = batch.iter().flat_map(|picture| (self.recipe.values)(picture)).collect();
        let [a, b, c] = self.recipe.shape;
        let input = Array::from_shape_vec(IxDyn(&[batch.len(), a, b, c]), values)
            .map_err(|error| InferenceError::InvalidRun(error.to_string()))?;
        let outputs: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
        let mut tensors = self.model.run(&[(&self.input, input.into())], &outputs, control)?.into_iter();
        let mut rows = || {
            let tensor = tensors.next().map(Tensor::into_f32).transpose()?.unwrap_or_default();
            Ok::<_, InferenceError>(tensor.outer_iter().map(|row| row.iter().copied().collect()).collect())
        };
        let (read, vectors): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (rows()?, rows()?);
        let vectors = vectors.into_iter().chain(std::iter::repeat_with(Vec::new));
        Ok(read.into_iter().zip(vectors).map(|(row, vector)| Answer { row, vector }).collect())
    }
}
