//! Which graph of a folder is its decoder, and in which layout.

use serde::{Deserialize, Serialize};

use super::{
    Decoder, OnnxDecoder,
    hub::{self, GraphFile},
};
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
/// The two graphs of an export for the first run of a sequence and for those after it, in a folder without any of
/// [`GRAPHS`].
const PAIR: [&str; 2] = ["decoder_model.onnx", "decoder_with_past_model.onnx"];

/// Loads the decoder of a folder: `model.onnx`, or the graph that Optimum, transformers.js or onnxruntime-genai
/// (`genai_config.json`) name otherwise, or else the pair of `decoder_model.onnx` and `decoder_with_past_model.onnx`. The
/// graph's inputs tell the layout: with `seqlens_k` it is that of [`OnnxDecoder`], else the hub's, whose cache grows
/// (`past_key_values` to `present`), as it does in a pair.
///
/// # Errors
/// The errors of loading any model, and [`InferenceError::ModelUnsupported`] when a graph lacks an input or output,
/// half of a pair is missing, or `config` asks for more context than the model was trained for.
pub fn load_decoder(
    runtime: &Runtime,
    folder: &ModelFolder,
    config: &DecoderConfig,
    session: &SessionConfig,
) -> Result<Box<dyn Decoder>, InferenceError> {
    check_context(folder, config)?;
    let open = |name: String| {
        session::open_session(runtime, folder, &name, session).map(|session| GraphFile { name, session })
    };
    match graph_names(folder)? {
        GraphNames::Pair { first, later } => hub::open(open(later)?, Some(open(first)?), folder, config),
        GraphNames::Single(name) => {
            let file = open(name)?;
            if file.session.inputs().iter().any(|input| input.name() == "seqlens_k") {
                Ok(Box::new(OnnxDecoder::new(file.session, folder, config)?))
            } else {
                hub::open(file, None, folder, config)
            }
        }
    }
}

/// Names of a decoder's graphs within its folder.
enum GraphNames {
    Single(String),
    Pair { first: String, later: String },
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

fn graph_names(folder: &ModelFolder) -> Result<GraphNames, InferenceError> {
    if let Some(filename) = GenaiConfig::read(folder)?.decoder.filename {
        return Ok(GraphNames::Single(filename));
    }
    if let Some(found) = GRAPHS.into_iter().find(|name| folder.has(name)) {
        return Ok(GraphNames::Single(found.to_owned()));
    }
    for prefix in ["", "onnx/"] {
        let [first, later] = PAIR.map(|name| format!("{prefix}{name}"));
        let (half, missing) = match (folder.has(&first), folder.has(&later)) {
            (true, true) => return Ok(GraphNames::Pair { first, later }),
            (true, false) => (first, later),
            (false, true) => (later, first),
            (false, false) => continue,
        };
        let problem = format!(
            "{half} is one of two graphs, and {missing} is missing (Optimum: --task text-generation-with-past)"
        );
        return Err(InferenceError::unsupported(folder.id(), problem));
    }
    Ok(GraphNames::Single(GRAPHS[0].to_owned()))
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
