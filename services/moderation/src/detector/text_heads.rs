//! Small classification heads on a shared sentence encoder.
//!
//! The heads' folder has `model.onnx` (embedding f32 `[batch, dimensions]` -> scores f32 `[batch, categories]`)
//! and `heads.json`: the encoder's model id and the categories, one for each column. The encoder's folder has
//! `model.onnx` (token ids and attention mask -> sentence embedding) and `tokenizer.json`. Both run one after the
//! other on one owner thread.

use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::CategoryId;
use atelier_inference::{
    BatchModel, Batcher, InferenceError, Model, ModelFolder, Port, RunControl, SessionConfig, Tensor,
};
use futures::{StreamExt, TryStreamExt, stream};
use ndarray::{Array2, ArrayViewD};
use serde::Deserialize;

use super::{About, Detector, DetectorConfig, Kind, Loader, TextDetector};
use crate::{
    call::Call,
    error::ModerationError,
    scores::Measurement,
    text::{Tokenizer, WindowShape},
};

pub(super) const KIND: Kind = Kind { name: "text-heads", open };

const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
/// A third input of encoders in the style of BERT; 0 for a single text.
const TYPES: &str = "token_type_ids";

/// `heads.json`.
#[derive(Deserialize)]
struct HeadsFile {
    encoder: String,
    categories: Vec<CategoryId>,
}

/// What the encoder's manifest says; the defaults are those of the E5 family.
#[derive(Deserialize)]
#[serde(default)]
struct EncoderOptions {
    prefix: String,
    max_length: usize,
}

impl Default for EncoderOptions {
    fn default() -> Self {
        Self { prefix: "query: ".to_owned(), max_length: 512 }
    }
}

#[derive(Debug)]
struct TextHeads {
    about: About,
    categories: Vec<CategoryId>,
    tokenizer: Tokenizer,
    shape: WindowShape,
    batcher: Batcher<EncoderAndHeads>,
}

/// What it takes to load the models once more.
struct Recipe<'a> {
    loader: &'a Loader<'a>,
    encoder: &'a ModelFolder,
    heads: &'a ModelFolder,
    columns: Vec<usize>,
    width: usize,
    padding: u32,
}

/// The two models, with the names of their inputs and outputs.
struct EncoderAndHeads {
    encoder: Model,
    embedding: String,
    has_types: bool,
    padding: u32,
    heads: Model,
    heads_input: String,
    scores: String,
    columns: Vec<usize>,
    run_windows: usize,
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let heads = loader.folder(detector)?;
    let file: HeadsFile = heads.json("heads.json")?;
    let encoder = loader.store.open(&file.encoder)?;
    let options: EncoderOptions = encoder.options()?;

    let (columns, categories): (Vec<_>, Vec<_>) = detector.columns(&file.categories)?.into_iter().unzip();
    let settings = &loader.config.text;
    let tokenizer =
        Tokenizer::load(&encoder.file("tokenizer.json")?, &options.prefix, loader.config.blocking_jobs())?;
    let window = settings.window_tokens.min(options.max_length).saturating_sub(tokenizer.frame().tokens());
    let shape = WindowShape::new(window, settings.overlap_tokens)
        .ok_or_else(|| detector.refuse("text.window_tokens leaves no room beside text.overlap_tokens"))?;

    let recipe = Recipe {
        loader,
        encoder: &encoder,
        heads: &heads,
        columns,
        width: file.categories.len(),
        padding: tokenizer.padding(),
    };
    let models = (0..settings.instances.max(1)).map(|_| recipe.load()).collect::<Result<Vec<_>, _>>()?;
    let batcher = Batcher::start(KIND.name, &settings.batch, models)?;
    let about = About {
        model: heads.model().clone(),
        parts: vec![encoder.model().clone()],
        categories: categories.iter().copied().collect(),
    };
    Ok(Detector::Text(Arc::new(TextHeads { about, categories, tokenizer, shape, batcher })))
}

#[async_trait]
impl TextDetector for TextHeads {
    fn about(&self) -> &About {
        &self.about
    }

    async fn measure(&self, text: &str, call: &Call) -> Result<Measurement, ModerationError> {
        let tokens = self.tokenizer.tokens(text).await?;
        if tokens.is_empty() {
            return Ok(Measurement::nothing(&self.categories));
        }
        let run = |range| call.submit(&self.batcher, self.tokenizer.frame().window(&tokens, range));
        let mut runs = stream::iter(self.shape.ranges(tokens.len()).map(run)).buffer_unordered(call.width());
        let mut measured = Measurement::default();
        while let Some(scores) = runs.try_next().await? {
            measured
                .add_window(&self.categories, &scores)
                .map_err(|source| ModerationError::Score { detector: self.about.model.id.clone(), source })?;
        }
        Ok(measured)
    }
}

impl Recipe<'_> {
    fn load(&self) -> Result<EncoderAndHeads, ModerationError> {
        let (runtime, session) = (self.loader.runtime, &self.loader.config.session);
        let encoder = Model::load(runtime, self.encoder, session)?;
        // The heads are a few small products: threads to share them would take longer than the work.
        let alone = SessionConfig { intra_op_threads: Some(1), ..session.clone() };
        let heads = Model::load(runtime, self.heads, &alone)?;
        let has = |name: &str| encoder.inputs().iter().any(|input| input.name == name);
        if !has(IDS) || !has(MASK) {
            return Err(unfit(self.encoder, format!("the graph must have the inputs {IDS} and {MASK}")));
        }
        let has_types = has(TYPES);
        let embedding = encoder.outputs().iter().find(|output| output.dimensions.len() == 2);
        let embedding =
            embedding.ok_or_else(|| unfit(self.encoder, "no output is one vector a text".to_owned()))?;
        let ([input], [output]) = (heads.inputs(), heads.outputs()) else {
            return Err(unfit(self.heads, "the graph must have one input and one output".to_owned()));
        };
        // A graph may leave a dimension open; then the first run tells.
        let (reads, writes) = (last(input), last(output));
        if writes.is_some_and(|width| width != self.width) {
            let problem = format!("heads.json names {} categories, the graph has others", self.width);
            return Err(unfit(self.heads, problem));
        }
        if reads.zip(last(embedding)).is_some_and(|(reads, embeds)| reads != embeds) {
            let problem = format!("the heads do not read embeddings of {}", self.encoder.id());
            return Err(unfit(self.heads, problem));
        }
        Ok(EncoderAndHeads {
            embedding: embedding.name.clone(),
            heads_input: input.name.clone(),
            scores: output.name.clone(),
            padding: self.padding,
            has_types,
            columns: self.columns.clone(),
            run_windows: self.loader.config.text.max_run_windows.max(1),
            encoder,
            heads,
        })
    }
}

fn last(port: &Port) -> Option<usize> {
    port.dimensions.last().copied().flatten()
}

fn unfit(folder: &ModelFolder, problem: String) -> ModerationError {
    ModerationError::ModelFolder { model: folder.id().clone(), problem }
}

impl BatchModel for EncoderAndHeads {
    type Input = Vec<u32>;
    type Output = Vec<f32>;

    fn cost(window: &Vec<u32>) -> usize {
        window.len()
    }

    fn run(&mut self, batch: &[Vec<u32>], control: &RunControl) -> Result<Vec<Vec<f32>>, InferenceError> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|place| batch[*place].len());
        let mut scores = vec![Vec::new(); batch.len()];
        for places in order.chunks(self.run_windows) {
            let windows: Vec<&[u32]> = places.iter().map(|place| batch[*place].as_slice()).collect();
            for (place, row) in places.iter().zip(self.run_alike(&windows, control)?) {
                scores[*place] = row;
            }
        }
        Ok(scores)
    }
}

impl EncoderAndHeads {
    /// One run of both graphs over windows of like lengths, the longest last; their scores, in their order.
    fn run_alike(
        &mut self,
        windows: &[&[u32]],
        control: &RunControl,
    ) -> Result<Vec<Vec<f32>>, InferenceError> {
        let shape = (windows.len(), windows.last().map_or(0, |window| window.len()));
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
        let embeddings = self.encoder.run(&inputs, &[&self.embedding], control)?;
        let inputs: Vec<_> =
            embeddings.into_iter().map(|embedding| (self.heads_input.as_str(), embedding)).collect();
        let scores = self.heads.run(&inputs, &[&self.scores], control)?;
        let rows = scores.into_iter().next().map(Tensor::into_f32).transpose()?.unwrap_or_default();
        let row = |row: ArrayViewD<'_, f32>| {
            let columns = self.columns.iter().map(|column| row.get(*column).copied());
            columns.collect::<Option<Vec<f32>>>()
        };
        let wrong =
            || InferenceError::InvalidRun("the heads wrote other scores than heads.json names".to_owned());
        let rows = rows.outer_iter().map(row).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        if rows.len() == windows.len() { Ok(rows) } else { Err(wrong()) }
    }
}
