//! Which graph of a folder is its decoder, and in which layout.

use serde::{Deserialize, Serialize};

use super::{Decoder, OnnxDecoder, hub};
use crate::{InferenceError, ModelFolder, Runtime, SessionConfig, session};

/// Size of a decoder's KV cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecoderConfig {
    /// Sequences side by side.
    pub slots: usize,
    /// Tokens that each of them may hold.
    pub context_length: usize,
    /// Tokens that all of them may hold together, at least `context_length`; none: as many as there is room for. Keeping to it
    /// is for the caller.
    pub tokens: Option<usize>,
}

impl DecoderConfig {
    pub(super) fn most_tokens(&self) -> usize {
        let room = self.slots.saturating_mul(self.context_length);
        self.tokens.map_or(room, |tokens| tokens.min(room))
    }
}

impl Default for DecoderConfig {
    fn default() -> Self {
        Self { slots: 8, context_length: 2048, tokens: None }
    }
}

/// Names of a folder's decoder, as Hugging Face Optimum and transformers.js write them; the first that is there.
const GRAPHS: [&str; 4] =
    ["model.onnx", "decoder_model_merged.onnx", "onnx/model.onnx", "onnx/decoder_model_merged.onnx"];
/// The two graphs of an export for the first run and for those after it.
const PAIR: [&str; 2] = ["decoder_model.onnx", "decoder_with_past_model.onnx"];

/// Loads the decoder of a folder: `model.onnx`, or the graph that Optimum, transformers.js or onnxruntime-genai
/// (`genai_config.json`) name otherwise. The graph's inputs tell the layout: with `seqlens_k` it is that of
/// [`OnnxDecoder`], else the hub's, whose cache grows (`past_key_values` to `present`).
///
/// # Errors
/// The errors of loading any model, and [`InferenceError::ModelUnsupported`] when the graph lacks an input or output,
/// comes in two halves, or `config` asks for more context than the model was trained for.
pub fn load_decoder(
    runtime: &Runtime,
    folder: &ModelFolder,
    config: &DecoderConfig,
    session: &SessionConfig,
) -> Result<Box<dyn Decoder>, InferenceError> {
    check_context(folder, config)?;
    let session = session::open_session(runtime, folder, &graph_file(folder)?, session)?;
    if session.inputs().iter().any(|input| input.name() == "seqlens_k") {
        Ok(Box::new(OnnxDecoder::new(session, folder, config)?))
    } else {
        hub::open(session, folder, config)
    }
}

/// `genai_config.json` of onnxruntime-genai, as far as it concerns us.
#[derive(Debug, Default, Deserialize)]
struct GenaiConfig {
    model: GenaiModel,
}

#[derive(Debug, Default, Deserialize)]
struct GenaiModel {
    context_length: Option<usize>,
    #[serde(default)]
    decoder: GenaiDecoder,
}

#[derive(Debug, Default, Deserialize)]
struct GenaiDecoder {
    filename: Option<String>,
}

impl GenaiConfig {
    fn read(folder: &ModelFolder) -> Result<GenaiModel, InferenceError> {
        if folder.has("genai_config.json") {
            Ok(folder.json::<Self>("genai_config.json")?.model)
        } else {
            Ok(GenaiModel::default())
        }
    }
}

fn graph_file(folder: &ModelFolder) -> Result<String, InferenceError> {
    if let Some(filename) = GenaiConfig::read(folder)?.decoder.filename {
        return Ok(filename);
    }
    if let Some(found) = GRAPHS.into_iter().find(|name| folder.has(name)) {
        return Ok(found.to_owned());
    }
    if PAIR.into_iter().any(|name| folder.has(name) || folder.has(&format!("onnx/{name}"))) {
        let problem = format!("{} and {} are two graphs: export the model as a single one", PAIR[0], PAIR[1]);
        return Err(InferenceError::unsupported(folder.id(), problem));
    }
    Ok(GRAPHS[0].to_owned())
}

/// A context longer than the model's positions would read past the end of its tables.
pub(super) fn check_context(folder: &ModelFolder, config: &DecoderConfig) -> Result<(), InferenceError> {
    #[derive(Default, Deserialize)]
    struct ModelConfig {
        max_position_embeddings: Option<usize>,
        /// GPT-2's name of it.
        n_positions: Option<usize>,
    }
    if config.slots == 0 || config.context_length == 0 {
        return Err(InferenceError::InvalidRun("a decoder needs at least one slot and one token".to_owned()));
    }
    if config.most_tokens() < config.context_length {
        let message = format!("a KV cache of {} tokens is shorter than a context", config.most_tokens());
        return Err(InferenceError::InvalidRun(message));
    }
    let model: ModelConfig =
        if folder.has("config.json") { folder.json("config.json")? } else { ModelConfig::default() };
    let longest = model.max_position_embeddings.or(model.n_positions);
    match longest.or(GenaiConfig::read(folder)?.context_length) {
        Some(longest) if config.context_length > longest => {
            let problem =
                format!("context_length {} is above its {longest} positions", config.context_length);
            Err(InferenceError::unsupported(folder.id(), problem))
        }
        _ => Ok(()),
    }
}
