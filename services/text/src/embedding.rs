//! A loaded sentence encoder: texts in, unit vectors out, many texts in one run.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use atelier_core::ModelRef;
use atelier_inference::{
    BatchModel, Batcher, InferenceError, Model, ModelFolder, RunControl, Runtime, Tensor, Ticket,
};
use atelier_rpc::Workers;
use ndarray::Array2;
use serde::Deserialize;

use crate::{
    TextError,
    config::ModelConfig,
    generation::Caller,
    tokens::TextTokenizer,
    truncation::{Cut, Truncation},
};

/// Longest text of an encoder that does not say, in tokens: what BERT-like encoders are trained with.
const DEFAULT_MAX_LENGTH: usize = 512;
const OUTPUT: &str = "sentence_embedding";

/// A vector of length 1 (L2) and what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Embedded {
    /// The vector.
    pub values: Vec<f32>,
    /// Tokens that the model read.
    pub tokens: usize,
    /// Part of the text was left out.
    pub truncated: bool,
}

/// A model that embeds.
pub(crate) struct EmbeddingModel {
    /// Name and revision.
    pub model: ModelRef,
    /// SPDX identifier of its licence, or empty.
    pub license: String,
    /// Length of a vector.
    pub dimensions: usize,
    /// Most tokens of a text, prefix and special tokens included.
    pub max_length: usize,
    prefix: Arc<str>,
    tokenizer: Arc<TextTokenizer>,
    batcher: Batcher<Encoder>,
}

/// `options` of the model's manifest.
#[derive(Debug, Default, Deserialize)]
struct ManifestOptions {
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    max_length: Option<usize>,
}

impl EmbeddingModel {
    /// Loads a model and runs it once.
    ///
    /// # Errors
    /// A file is missing, broken or of a kind that can't be served.
    pub(crate) fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        config: &ModelConfig,
    ) -> Result<Self, TextError> {
        let tokenizer = Arc::new(TextTokenizer::load(&folder.file("tokenizer.json")?)?);
        let options: ManifestOptions = folder.options()?;
        let settings = &config.embedding;
        let mut encoder = Encoder { session: Model::load(runtime, folder, &config.session)? };
        encoder.check(config.id.as_str())?;
        let probe = tokenizer.encode_truncated("warm-up", DEFAULT_MAX_LENGTH, Cut::End)?;
        let dimensions = encoder.run(&[probe.ids], &RunControl::new())?.first().map_or(0, Vec::len);
        let batcher = Batcher::start(label(config.id.as_str()), &settings.batcher, vec![encoder])?;
        Ok(Self {
            model: ModelRef { id: config.id.clone(), revision: folder.model().revision.clone() },
            license: folder.license().to_owned(),
            dimensions,
            max_length: settings.max_length.or(options.max_length).unwrap_or(DEFAULT_MAX_LENGTH),
            prefix: settings.prefix.clone().or(options.prefix).unwrap_or_default().into(),
            tokenizer,
            batcher,
        })
    }

    /// Its tokenizer.
    #[must_use]
    pub(crate) fn tokenizer(&self) -> &Arc<TextTokenizer> {
        &self.tokenizer
    }

    /// Embeds a text, in a batch with others. `field` names it in an error.
    ///
    /// # Errors
    /// The text is too long and may not be cut, the queue is full or the deadline passes.
    pub(crate) async fn embed(
        &self,
        text: String,
        field: &str,
        truncation: Truncation,
        caller: Caller,
        workers: &Workers,
    ) -> Result<Embedded, TextError> {
        let (tokenizer, prefix, max_length) =
            (Arc::clone(&self.tokenizer), Arc::clone(&self.prefix), self.max_length);
        let cut = match truncation {
            Truncation::Cut(cut) => cut,
            Truncation::Refuse => Cut::End,
        };
        let encode = move || tokenizer.encode_truncated(&format!("{prefix}{text}"), max_length, cut);
        let kept = workers.run(caller.deadline, encode).await?;
        let truncated = kept.full_length > kept.ids.len();
        if truncated && truncation == Truncation::Refuse {
            let (field, tokens) = (field.to_owned(), kept.full_length);
            return Err(TextError::ContextLengthExceeded { field, tokens, limit: self.max_length });
        }
        let tokens = kept.ids.len();
        let ticket = Ticket { deadline: caller.deadline, tenant: caller.tenant };
        let values = self.batcher.submit(kept.ids, ticket).await?;
        Ok(Embedded { values, tokens, truncated })
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

/// The graph: `input_ids` and `attention_mask` `[b, s]` to `sentence_embedding` `[b, d]`.
struct Encoder {
    session: Model,
}

impl Encoder {
    fn check(&self, model: &str) -> Result<(), InferenceError> {
        let has_output = self.session.outputs().iter().any(|port| port.name == OUTPUT);
        let stranger = self
            .session
            .inputs()
            .iter()
            .map(|port| port.name.as_str())
            .find(|name| !matches!(*name, "input_ids" | "attention_mask" | "token_type_ids"));
        let problem = match stranger {
            Some(name) => format!("its graph has an unknown input {name:?}"),
            None if !has_output => format!("its graph has no output {OUTPUT:?}"),
            None => return Ok(()),
        };
        Err(InferenceError::ModelUnsupported { model: model.to_owned(), problem })
    }
}

impl BatchModel for Encoder {
    type Input = Vec<u32>;
    type Output = Vec<f32>;

    fn cost(input: &Vec<u32>) -> usize {
        input.len()
    }

    fn run(&mut self, batch: &[Vec<u32>], control: &RunControl) -> Result<Vec<Vec<f32>>, InferenceError> {
        let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
        let mut ids = Array2::<i64>::zeros((batch.len(), longest));
        let mut mask = Array2::<i64>::zeros((batch.len(), longest));
        for ((text, mut ids), mut mask) in batch.iter().zip(ids.rows_mut()).zip(mask.rows_mut()) {
            for (n, &token) in text.iter().enumerate() {
                ids[n] = token.into();
                mask[n] = 1;
            }
        }
        let mut inputs = vec![("input_ids", Tensor::from(ids)), ("attention_mask", Tensor::from(mask))];
        if self.session.inputs().iter().any(|port| port.name == "token_type_ids") {
            inputs.push(("token_type_ids", Array2::<i64>::zeros((batch.len(), longest)).into()));
        }
        let outputs = self.session.run(&inputs, &[OUTPUT], control)?;
        let vectors = outputs.into_iter().next().map(Tensor::into_f32).transpose()?;
        let vectors = vectors.and_then(|array| array.into_dimensionality::<ndarray::Ix2>().ok());
        let rows = vectors.filter(|array| array.nrows() == batch.len());
        let rows =
            rows.ok_or_else(|| InferenceError::InvalidRun(format!("{OUTPUT:?} is not one row a text")))?;
        Ok(rows.rows().into_iter().map(|row| unit(&row.to_vec())).collect())
    }
}

/// Scales to length 1; graphs that do so already differ in the last bits.
fn unit(values: &[f32]) -> Vec<f32> {
    let length = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter().map(|&value| (f64::from(value) / length) as f32).collect()
    } else {
        values.to_vec()
    }
}
