//! Settings of the service.

use std::path::PathBuf;

use atelier_core::ModelId;
use atelier_inference::{BatcherConfig, RuntimeConfig, SessionConfig};
use atelier_rpc::{ServerConfig, TelemetryConfig, config::Secret};
use serde::{Deserialize, Serialize};

use crate::engine::EngineConfig;

/// Settings of the text service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, limits and TLS.
    pub server: ServerConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// ONNX Runtime.
    pub runtime: RuntimeConfig,
    /// Folder of model folders; none: `<home>/models`.
    pub model_store: Option<PathBuf>,
    /// Models that may be served. The first one of each task that is loaded at startup serves calls that name none.
    pub models: Vec<ModelConfig>,
    /// `LoadModel` may also name any other folder of the model store; it is loaded with default settings. Default: false.
    pub allow_store_models: bool,
    /// Most bytes that models may take together, each counted with its files and its KV cache when every slot is full; 0: any. A
    /// load that would exceed it takes the place of idle on-demand models, those longest unused first, or is refused. Default: 0.
    pub memory_budget_bytes: u64,
    /// Bearer token of `LoadModel` and `UnloadModel`, best set by the environment (`ATELIER_TEXT__ADMIN_TOKEN`); none: they are
    /// refused. The gateway passes neither on. Default: none.
    pub admin_token: Option<Secret>,
    /// Texts that are tokenized at once; 0: one for each processor.
    pub max_concurrent_tokenizations: usize,
}

impl Default for Config {
    fn default() -> Self {
        let server = ServerConfig {
            listen: ([127, 0, 0, 1], 50_052).into(),
            admin_listen: Some(([127, 0, 0, 1], 9_052).into()),
            ..ServerConfig::default()
        };
        let models = ["smollm2-135m-instruct", "multilingual-e5-small"];
        Self {
            server,
            telemetry: TelemetryConfig::default(),
            runtime: RuntimeConfig::default(),
            model_store: None,
            models: models.iter().filter_map(|id| ModelId::new(id).ok()).map(ModelConfig::new).collect(),
            allow_store_models: false,
            memory_budget_bytes: 0,
            admin_token: None,
            max_concurrent_tokenizations: 0,
        }
    }
}

/// When a model is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Before the service is ready; only `UnloadModel` takes it out of memory.
    #[default]
    Startup,
    /// When `LoadModel` names it; its place may be taken by another while it is idle.
    OnDemand,
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Continues text and answers conversations.
    TextGeneration,
    /// Turns text into vectors.
    TextEmbedding,
    /// Says how well a document answers a query (a cross-encoder).
    TextReranking,
}

/// A model that may be served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Name by which callers ask for it, and its folder in the store.
    pub id: ModelId,
    /// Its folder, if it lies outside the store.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// When it is loaded.
    #[serde(default)]
    pub load: Load,
    /// What it does; none: as its `atelier.json` says.
    #[serde(default)]
    pub task: Option<Task>,
    /// Settings of a generating model.
    #[serde(default)]
    pub generation: GenerationConfig,
    /// Settings of an embedding model.
    #[serde(default)]
    pub embedding: EmbeddingConfig,
    /// Settings of a reranking model.
    #[serde(default)]
    pub reranking: RerankingConfig,
    /// How its session is made.
    #[serde(default)]
    pub session: SessionConfig,
}

impl ModelConfig {
    /// A model of the store with default settings.
    #[must_use]
    pub fn new(id: ModelId) -> Self {
        Self {
            id,
            path: None,
            load: Load::default(),
            task: None,
            generation: GenerationConfig::default(),
            embedding: EmbeddingConfig::default(),
            reranking: RerankingConfig::default(),
            session: SessionConfig::default(),
        }
    }
}

/// Settings of a generating model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerationConfig {
    /// Calls that write at the same time. Each has its own part of the KV cache, beside what `engine.prefix_cache` keeps.
    pub slots: usize,
    /// Most tokens of prompt and answer together. The KV cache grows with it: the default model takes 46 KB a token
    /// and slot, once the token is there.
    pub context_length: usize,
    /// Most tokens that the KV cache holds at a time, of all calls and of prompts that are kept; at least `context_length`.
    /// None: as many as fit into the slots. With it there can be more slots than there is memory for long calls: a call waits
    /// until its prompt has room, and where answers outgrow the cache, the least urgent call, or the last that came, computes
    /// its rows again later.
    pub cache_tokens: Option<usize>,
    /// Queue and steps.
    pub engine: EngineConfig,
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self { slots: 16, context_length: 2048, cache_tokens: None, engine: EngineConfig::default() }
    }
}

/// Settings of an embedding model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingConfig {
    /// Put before each text; none: as the model's `atelier.json` says, else `config_sentence_transformers.json`
    /// (`default_prompt_name`), else nothing.
    pub prefix: Option<String>,
    /// Put before the query of a ranking; none: as `atelier.json` says (`query_prefix`), else `config_sentence_transformers.json`
    /// (`prompts`), else as before each text.
    pub query_prefix: Option<String>,
    /// As `query_prefix`, before each document: `document_prefix`, or the prompt `document` or `passage`.
    pub document_prefix: Option<String>,
    /// Most tokens of a text; none: as the model's `atelier.json` says, else its folder's `sentence_bert_config.json`
    /// (`max_seq_length`), else `tokenizer_config.json` (`model_max_length`) or `config.json` (`max_position_embeddings`),
    /// whichever is less, else 512.
    pub max_length: Option<usize>,
    /// Queue and batches.
    pub batcher: BatcherConfig,
}

/// Settings of a reranking model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RerankingConfig {
    /// Most tokens of query and document; none: as the model's `atelier.json` says, else 512.
    pub max_length: Option<usize>,
    /// Queue and batches.
    pub batcher: BatcherConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_serve_the_default_models() {
        let config = Config::default();
        let ids: Vec<_> = config.models.iter().map(|model| model.id.as_str()).collect();
        assert_eq!(ids, ["smollm2-135m-instruct", "multilingual-e5-small"]);
        let json = serde_json::to_value(&config).expect("it serialises");
        assert_eq!(serde_json::from_value::<Config>(json).expect("it parses"), config);
    }

    #[test]
    fn unknown_keys_are_errors() {
        for text in [r#"{"modells": []}"#, r#"{"models": [{"id": "a", "slots": 1}]}"#] {
            assert!(serde_json::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
