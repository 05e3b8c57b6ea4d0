//! What all detectors that read text with a transformer share: tokens, overlapping windows, batched runs.

use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::CategoryId;
use atelier_inference::{BatchModel, Batcher, InferenceError, Model, ModelFolder, Tensor};
use futures::{StreamExt, TryStreamExt, stream};
use ndarray::Array2;

use super::{About, DetectorConfig, Loader, TextDetector};
use crate::{
    call::Call,
    error::ModerationError,
    scores::Measurement,
    text::{Tokenizer, WindowShape},
};

const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
/// A third input of encoders in the style of BERT; 0 for a single text.
const TYPES: &str = "token_type_ids";

/// A model that scores windows of tokens: one score for each category that it is used for.
pub(super) trait WindowModel: BatchModel<Input = Vec<u32>, Output = Vec<f32>> {}

impl<M: BatchModel<Input = Vec<u32>, Output = Vec<f32>>> WindowModel for M {}

/// A detector that scores a text window by window.
pub(super) struct Windows<M: WindowModel> {
    about: Arc<About>,
    /// The columns of the model's answers.
    categories: Vec<CategoryId>,
    tokenizer: Tokenizer,
    shape: WindowShape,
    batcher: Batcher<M>,
}

/// How a model reads text.
pub(super) struct Reading<'a> {
    /// Folder with `tokenizer.json`.
    pub(super) folder: &'a ModelFolder,
    /// Put before each window.
    pub(super) prefix: &'a str,
    /// Most tokens that the model reads, special ones included.
    pub(super) max_length: usize,
}

impl<M: WindowModel> Windows<M> {
    /// A detector of copies of one model, each with a thread of its own. `load` gets the token that fills batches up.
    ///
    /// # Errors
    /// The tokenizer can't be read, the windows have no room, or a model can't be loaded.
    pub(super) fn start(
        loader: &Loader<'_>,
        detector: &DetectorConfig,
        reading: &Reading<'_>,
        about: About,
        categories: Vec<CategoryId>,
        load: impl Fn(u32) -> Result<M, ModerationError>,
    ) -> Result<Self, ModerationError> {
        let settings = &loader.config.text;
        let file = reading.folder.file("tokenizer.json")?;
        let tokenizer = Tokenizer::load(&file, reading.prefix, loader.config.blocking_jobs())?;
        let window =
            settings.window_tokens.min(reading.max_length).saturating_sub(tokenizer.frame().tokens());
        // Of a model that reads little, half a window is the most that can be read twice.
        let shape = WindowShape::new(window, settings.overlap_tokens.min(window / 2))
            .ok_or_else(|| detector.refuse("text.window_tokens leaves no room for a text"))?;
        let load = |_| load(tokenizer.padding());
        let models = (0..settings.instances.max(1)).map(load).collect::<Result<Vec<_>, _>>()?;
        // A label of metrics lives as long as the process, and so does a detector.
        let label: &'static str = about.model.id.to_string().leak();
        let batcher = Batcher::start(label, &settings.batch, models)?;
        Ok(Self { about: Arc::new(about), categories, tokenizer, shape, batcher })
    }
}

impl<M: WindowModel> std::fmt::Debug for Windows<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Windows").field("about", &self.about).finish_non_exhaustive()
    }
}

#[async_trait]
impl<M: WindowModel> TextDetector for Windows<M> {
    fn about(&self) -> Arc<About> {
        Arc::clone(&self.about)
    }

    async fn measure(&self, text: &str, call: &Call) -> Result<Measurement, ModerationError> {
        let tokens = self.tokenizer.tokens(text).await?;
        if tokens.is_empty() {
            return Ok(Measurement::nothing(&self.categories));
        }
        let (frame, ids) = (self.tokenizer.frame(), tokens.ids());
        let run = async |range: std::ops::Range<usize>| {
            let scores = call.submit(&self.batcher, frame.window(ids, range.clone())).await?;
            Ok::<_, InferenceError>((tokens.bytes(range), scores))
        };
        let ranges = self.shape.ranges(ids.len());
        let mut runs = stream::iter(ranges.map(run)).buffer_unordered(call.width());
        let mut measured = Measurement::default();
        while let Some((place, scores)) = runs.try_next().await? {
            measured
                .add_window(&self.categories, &scores, place)
                .map_err(|source| ModerationError::Score { detector: self.about.model.id.clone(), source })?;
        }
        Ok(measured)
    }
}

/// The names of a transformer's inputs.
pub(super) struct TokenInputs {
    has_types: bool,
    padding: u32,
}

impl TokenInputs {
    /// # Errors
    /// The graph lacks one of the inputs.
    pub(super) fn of(model: &Model, folder: &ModelFolder, padding: u32) -> Result<Self, ModerationError> {
        let has = |name: &str| model.inputs().iter().any(|input| input.name == name);
        if !has(IDS) || !has(MASK) {
            return Err(unfit(folder, format!("the graph must have the inputs {IDS} and {MASK}")));
        }
        Ok(Self { has_types: has(TYPES), padding })
    }

    /// Windows as the rows of one run, filled up to the longest.
    pub(super) fn batch(&self, windows: &[Vec<u32>]) -> Vec<(&'static str, Tensor)> {
        let shape = (windows.len(), windows.iter().map(Vec::len).max().unwrap_or(0));
        let mut ids = Array2::from_elem(shape, i64::from(self.padding));
        let mut mask = Array2::zeros(shape);
        for (row, window) in windows.iter().enumerate() {
            for (column, id) in window.iter().enumerate() {
                ids[[row, column]] = i64::from(*id);
                mask[[row, column]] = 1_i64;
            }
        }
        let mut inputs = vec![(IDS, Tensor::from(ids)), (MASK, Tensor::from(mask))];
        if self.has_types {
            inputs.push((TYPES, Tensor::from(Array2::<i64>::zeros(shape))));
        }
        inputs
    }
}

/// A folder that is not what its detector needs.
pub(super) fn unfit(folder: &ModelFolder, problem: String) -> ModerationError {
    ModerationError::ModelFolder { model: folder.id().clone(), problem }
}
