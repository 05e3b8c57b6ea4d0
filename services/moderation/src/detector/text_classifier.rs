//! A sequence classifier of one's own: a folder as transformers and optimum write it for ONNX.
//!
//! `model.onnx` (or `onnx/model.onnx`) takes `input_ids` and `attention_mask`, and `token_type_ids` where the model has
//! them, and gives logits `[batch, labels]`; `config.json` names the labels and says whether they exclude one another;
//! `tokenizer.json` is the tokenizer. Which label means which category stands in the service's configuration.

use std::sync::Arc;

use atelier_inference::{BatchModel, InferenceError, Model, RunControl, Tensor};

use super::{
    About, Detector, DetectorConfig, Kind, Loader,
    labels::Labels,
    windows::{Reading, TokenInputs, Windows, unfit},
};
use crate::error::ModerationError;

pub(super) const KIND: Kind = Kind { name: "text-classifier", open };

/// Where the graph lies, by preference.
pub(super) const GRAPHS: [&str; 2] = ["model.onnx", "onnx/model.onnx"];
/// Of a model that doesn't say how much it reads.
pub(super) const MAX_LENGTH: usize = 512;

struct Classifier {
    model: Model,
    inputs: TokenInputs,
    output: String,
    labels: Labels,
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let folder = loader.folder(detector)?;
    let labels = Labels::read(&folder, detector)?;
    let categories = labels.categories();
    let graph = GRAPHS.into_iter().find(|graph| folder.has(graph)).unwrap_or(GRAPHS[0]);
    let load = |padding| {
        let model = Model::load_file(loader.runtime, &folder, graph, &loader.config.session)?;
        let inputs = TokenInputs::of(&model, &folder, padding)?;
        let output = model.outputs().first().map(|output| output.name.clone());
        let output = output.ok_or_else(|| unfit(&folder, "the graph has no output".to_owned()))?;
        Ok(Classifier { model, inputs, output, labels: labels.clone() })
    };
    let about = About::of(&folder, categories.iter().copied());
    let reading =
        Reading { folder: &folder, prefix: "", max_length: labels.max_length.unwrap_or(MAX_LENGTH) };
    Ok(Detector::Text(Arc::new(Windows::start(loader, detector, &reading, about, categories, load)?)))
}

impl BatchModel for Classifier {
    type Input = Vec<u32>;
    type Output = Vec<f32>;

    fn cost(window: &Vec<u32>) -> usize {
        window.len()
    }

    fn run(&mut self, batch: &[Vec<u32>], control: &RunControl) -> Result<Vec<Vec<f32>>, InferenceError> {
        let logits = self.model.run(&self.inputs.batch(batch), &[&self.output], control)?;
        let rows = logits.into_iter().next().map(Tensor::into_f32).transpose()?.unwrap_or_default();
        let wide =
            || InferenceError::InvalidRun("the model wrote other scores than id2label names".to_owned());
        rows.outer_iter().map(|row| self.labels.scores(row.iter().copied()).ok_or_else(wide)).collect()
    }
}
