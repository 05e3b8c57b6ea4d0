//! Small classification heads on a shared sentence encoder.
//!
//! The heads' folder has `model.onnx` (embedding f32 `[batch, dimensions]` -> scores f32 `[batch, categories]`)
//! and `heads.json`: the encoder's model id and the categories, one for each column. The encoder's folder has
//! `model.onnx` (token ids and attention mask -> sentence embedding) and `tokenizer.json`. Both run one after the
//! other on one owner thread.

use std::sync::Arc;

use atelier_core::CategoryId;
use atelier_inference::{
    BatchModel, InferenceError, Model, ModelFolder, Port, RunControl, SessionConfig, Tensor,
};
use ndarray::ArrayViewD;
use serde::Deserialize;

use super::{
    About, Detector, DetectorConfig, Kind, Loader,
    windows::{Reading, TokenInputs, Windows, unfit},
};
use crate::error::ModerationError;

pub(super) const KIND: Kind = Kind { name: "text-heads", open };

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

/// What it takes to load the models once more.
struct Recipe<'a> {
    loader: &'a Loader<'a>,
    encoder: &'a ModelFolder,
    heads: &'a ModelFolder,
    columns: Vec<usize>,
    width: usize,
}

/// The two models, with the names of their inputs and outputs.
struct EncoderAndHeads {
    encoder: Model,
    inputs: TokenInputs,
    embedding: String,
    heads: Model,
    heads_input: String,
    scores: String,
    columns: Vec<usize>,
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let heads = loader.folder(detector)?;
    let file: HeadsFile = heads.json("heads.json")?;
    let encoder = loader.store.open(&file.encoder)?;
    let options: EncoderOptions = encoder.options()?;
    let (columns, categories): (Vec<_>, Vec<_>) = detector.columns(&file.categories)?.into_iter().unzip();
    let about =
        About { parts: vec![encoder.model().clone()], ..About::of(&heads, categories.iter().copied()) };
    let width = file.categories.len();
    let recipe = Recipe { loader, encoder: &encoder, heads: &heads, columns, width };
    let reading = Reading { folder: &encoder, prefix: &options.prefix, max_length: options.max_length };
    let load = |padding| recipe.load(padding);
    let windows = Windows::start(loader, detector, &reading, about, categories, load)?;
    Ok(Detector::Text(Arc::new(windows)))
}

impl Recipe<'_> {
    fn load(&self, padding: u32) -> Result<EncoderAndHeads, ModerationError> {
        let (runtime, session) = (self.loader.runtime, &self.loader.config.session);
        let encoder = Model::load(runtime, self.encoder, session)?;
        // The heads are a few small products: threads to share them would take longer than the work.
        let alone = SessionConfig { intra_op_threads: Some(1), ..session.clone() };
        let heads = Model::load(runtime, self.heads, &alone)?;
        let inputs = TokenInputs::of(&encoder, self.encoder, padding)?;
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
            inputs,
            embedding: embedding.name.clone(),
            heads_input: input.name.clone(),
            scores: output.name.clone(),
            columns: self.columns.clone(),
            encoder,
            heads,
        })
    }
}

fn last(port: &Port) -> Option<usize> {
    port.dimensions.last().copied().flatten()
}

impl BatchModel for EncoderAndHeads {
    type Input = Vec<u32>;
    type Output = Vec<f32>;

    fn cost(window: &Vec<u32>) -> usize {
        window.len()
    }

    fn run(&mut self, batch: &[Vec<u32>], control: &RunControl) -> Result<Vec<Vec<f32>>, InferenceError> {
        let embeddings = self.encoder.run(&self.inputs.batch(batch), &[&self.embedding], control)?;
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
        rows.outer_iter().map(row).collect::<Option<Vec<_>>>().ok_or_else(wrong)
    }
}
