//! Encoders: graphs that read whole texts, many in one run, and give a row of numbers for each.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use atelier_inference::{
    BatchModel, Batcher, BatcherConfig, InferenceError, Model, ModelFolder, RunControl, Runtime,
    SessionConfig, Tensor,
};
use ndarray::Array2;

/// A text, or two that are read together, as the graph takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    /// Special tokens included.
    pub ids: Vec<u32>,
    /// Which of the two texts each token belongs to, 0 or 1; empty: all to the first.
    pub types: Vec<u32>,
}

/// The graph: `input_ids`, `attention_mask` and perhaps `token_type_ids` `[b, s]` to one output `[b, n]`.
pub(crate) struct Encoder {
    session: Model,
    output: &'static str,
}

impl Encoder {
    /// Loads a graph.
    ///
    /// # Errors
    /// A file is missing or broken, or the graph has other inputs or no such output.
    pub(crate) fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        config: &SessionConfig,
        output: &'static str,
    ) -> Result<Self, InferenceError> {
        let session = Model::load(runtime, folder, config)?;
        let stranger = session
            .inputs()
            .iter()
            .map(|port| port.name.as_str())
            .find(|name| !matches!(*name, "input_ids" | "attention_mask" | "token_type_ids"));
        let problem = match stranger {
            Some(name) => format!("its graph has an unknown input {name:?}"),
            None if session.outputs().iter().all(|port| port.name != output) => {
                format!("its graph has no output {output:?}")
            }
            None => return Ok(Self { session, output }),
        };
        Err(InferenceError::ModelUnsupported { model: folder.id().to_string(), problem })
    }

    /// Runs it once: its row for this text.
    ///
    /// # Errors
    /// The run fails.
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
        if self.session.inputs().iter().any(|port| port.name == "token_type_ids") {
            let types = padded(|text| text.types.iter().copied().map(i64::from).collect());
            inputs.push(("token_type_ids", types));
        }
        let outputs = self.session.run(&inputs, &[self.output], control)?;
        let rows = outputs.into_iter().next().map(Tensor::into_f32).transpose()?;
        let rows = rows.and_then(|array| array.into_dimensionality::<ndarray::Ix2>().ok());
        let rows = rows
            .filter(|array| array.nrows() == batch.len())
            .ok_or_else(|| InferenceError::InvalidRun(format!("{:?} is not one row a text", self.output)))?;
        Ok(rows.rows().into_iter().map(|row| row.to_vec()).collect())
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
