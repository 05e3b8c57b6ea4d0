//! Encoders: graphs that read whole texts, many in one run, and give numbers for each or for each of its tokens.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use atelier_inference::{
    BatchModel, Batcher, BatcherConfig, InferenceError, Model, ModelFolder, RunControl, Runtime,
    SessionConfig, Tensor,
};
use ndarray::{Array2, Ix2, Ix3, s};

use crate::pooling::Pooling;

/// Names of an encoder's graph, as Hugging Face Optimum, sentence-transformers and transformers.js write them; the first that is
/// there.
const GRAPHS: [&str; 2] = ["model.onnx", "onnx/model.onnx"];

/// A text, or two that are read together, as the graph takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Special tokens included.
    pub ids: Vec<u32>,
    /// Which of the two texts each token belongs to, 0 or 1; empty: all to the first.
    pub types: Vec<u32>,
}

/// What a text's numbers are made of.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// An output `[b, n]`: the text's row.
    Rows(&'static str),
    /// An output `[b, s, h]`: what is pooled of the text's tokens.
    Pooled(&'static str, Pooling),
}

impl Output {
    fn name(&self) -> &'static str {
        match self {
            Self::Rows(name) | Self::Pooled(name, _) => name,
        }
    }
}

/// Loads an encoder's graph: `input_ids`, `attention_mask` and perhaps `token_type_ids` `[b, s]` to whatever outputs.
///
/// # Errors
/// A file is missing or broken, or the graph has other inputs.
pub(crate) fn load_graph(
    runtime: &Runtime,
    folder: &ModelFolder,
    config: &SessionConfig,
) -> Result<Model, InferenceError> {
    let file = GRAPHS.into_iter().find(|name| folder.has(name)).unwrap_or(GRAPHS[0]);
    let graph = Model::load_file(runtime, folder, file, config)?;
    let stranger = graph
        .inputs()
        .iter()
        .map(|port| port.name.as_str())
        .find(|name| !matches!(*name, "input_ids" | "attention_mask" | "token_type_ids"));
    match stranger {
        Some(name) => {
            let problem = format!("its graph has an unknown input {name:?}");
            Err(InferenceError::ModelUnsupported { model: folder.id().to_string(), problem })
        }
        None => Ok(graph),
    }
}

/// A graph and what is taken of it.
pub(crate) struct Encoder {
    graph: Model,
    output: Output,
}

impl Encoder {
    /// Takes an output of a graph, which [`load_graph`] gave.
    pub(crate) fn new(graph: Model, output: Output) -> Self {
        Self { graph, output }
    }

    /// Runs it once: its numbers for this text.
    ///
    /// # Errors
    /// The run fails, or the graph has no such output.
    pub(crate) fn probe(&mut self, tokens: Tokens) -> Result<Vec<f32>, InferenceError> {
        Ok(self.run(&[tokens], &RunControl::new())?.pop().unwrap_or_default())
    }

    /// Gives it a queue and a thread.
    ///
    /// # Errors
    /// No thread can be had.
    pub(crate) fn start(self, id: &str, config: &BatcherConfig) -> Result<Batcher<Self>, InferenceError> {
        Batcher::start(label(id), config, vec![self])
    }
}

impl BatchModel for Encoder {
    type Input = Tokens;
    type Output = Vec<f32>;

    fn cost(input: &Tokens) -> usize {
        input.ids.len()
    }

    fn run(&mut self, batch: &[Tokens], control: &RunControl) -> Result<Vec<Vec<f32>>, InferenceError> {
        let longest = batch.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        let padded = |row: fn(&Tokens) -> Vec<i64>| {
            let mut all = Array2::<i64>::zeros((batch.len(), longest));
            for (text, mut line) in batch.iter().zip(all.rows_mut()) {
                line.iter_mut().zip(row(text)).for_each(|(place, value)| *place = value);
            }
            Tensor::from(all)
        };
        let ids = padded(|text| text.ids.iter().copied().map(i64::from).collect());
        let mask = padded(|text| vec![1; text.ids.len()]);
        let mut inputs = vec![("input_ids", ids), ("attention_mask", mask)];
        if self.graph.inputs().iter().any(|port| port.name == "token_type_ids") {
            let types = padded(|text| text.types.iter().copied().map(i64::from).collect());
            inputs.push(("token_type_ids", types));
        }
        let name = self.output.name();
        let outputs = self.graph.run(&inputs, &[name], control)?;
        let values = outputs.into_iter().next().map(Tensor::into_f32).transpose()?;
        match &self.output {
            Output::Rows(_) => {
                let rows = values.and_then(|array| array.into_dimensionality::<Ix2>().ok());
                let rows = rows.filter(|rows| rows.nrows() == batch.len());
                let rows = rows
                    .ok_or_else(|| InferenceError::InvalidRun(format!("{name:?} is not one row a text")))?;
                Ok(rows.rows().into_iter().map(|row| row.to_vec()).collect())
            }
            Output::Pooled(_, pooling) => {
                let tokens = values.and_then(|array| array.into_dimensionality::<Ix3>().ok());
                let tokens = tokens.filter(|tokens| tokens.shape()[..2] == [batch.len(), longest]);
                let tokens = tokens
                    .ok_or_else(|| InferenceError::InvalidRun(format!("{name:?} is not one row a token")))?;
                let own = tokens.outer_iter().zip(batch);
                Ok(own.map(|(rows, text)| pooling.pool(rows.slice(s![..text.ids.len(), ..]))).collect())
            }
        }
    }
}

/// A model's label in metrics, which must live as long as the process. There is one of each, however often it is loaded.
fn label(id: &str) -> &'static str {
    static LABELS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut labels = LABELS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(label) = labels.get(id) {
        return label;
    }
    let label = String::from(id).leak();
    labels.insert(label);
    label
}
