//! Settings of the service.

use std::path::PathBuf;

use atelier_core::ModelId;
use atelier_inference::{BatcherConfig, RuntimeConfig, SessionConfig};
use atelier_rpc::{ServerConfig, TelemetryConfig};
use serde::{Deserialize, Serialize};

use crate::engine::EngineConfig;

/// Settings of the image service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Ports, limits and TLS. Default address: 127.0.0.1:50054, admin 127.0.0.1:9054.
    pub server: ServerConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// ONNX Runtime.
    pub runtime: RuntimeConfig,
    /// Folder of model folders; none: `<home>/models`.
    pub model_store: Option<PathBuf>,
    /// Models to load. The first one of each task serves calls that name none.
    pub models: Vec<ModelConfig>,
    /// Pictures decoded or encoded at once; 0: as many as there are processors. Default: 0.
    pub blocking_jobs: usize,
    /// Memory that large pictures share while they are decoded, in bytes. Default: 1 GiB.
    pub decode_memory_bytes: u64,
    /// Frames of one clip that are in the making at once. Default: 4.
    pub max_frames_in_flight: usize,
}

impl Default for Config {
    fn default() -> Self {
        let server = ServerConfig {
            listen: ([127, 0, 0, 1], 50_054).into(),
            admin_listen: Some(([127, 0, 0, 1], 9_054).into()),
            ..ServerConfig::default()
        };
        let models = [
            "emoji-flow",
            "emoji-gan",
            "emoji-vae",
            "efficientnet-lite0",
            "emoji-captions",
            "emoji-upscale-x2",
            "emoji-upscale-x4",
        ];
        Self {
            server,
            telemetry: TelemetryConfig::default(),
            runtime: RuntimeConfig::default(),
            model_store: None,
            models: models.iter().filter_map(|id| ModelId::new(id).ok()).map(ModelConfig::new).collect(),
            blocking_jobs: 0,
            decode_memory_bytes: 1 << 30,
            max_frames_in_flight: 4,
        }
    }
}

/// What a model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Makes pictures from words or pictures: a pipeline folder with `model_index.json`.
    ImageGeneration,
    /// Draws from a latent space: a GAN or a VAE, as its `config.json` says.
    ImageExploration,
    /// Says what pictures show, or turns them into vectors.
    ImageUnderstanding,
    /// Turns pictures into vectors of a text encoder's space; reads the features of another model, listed before it.
    ImageTextMatching,
    /// Makes pictures larger.
    ImageUpscaling,
    /// Repaints pictures.
    StyleTransfer,
}

/// A model to load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Name by which callers ask for it, and its folder in the store.
    pub id: ModelId,
    /// Its folder, if it lies outside the store.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// What it does; none: as its `atelier.json` says, else generation where there is a `model_index.json`.
    #[serde(default)]
    pub task: Option<Task>,
    /// Queue and steps of a pipeline.
    #[serde(default)]
    pub engine: EngineConfig,
    /// Queue and batches of every other kind of model. A picture counts as one token.
    #[serde(default = "pictures")]
    pub batcher: BatcherConfig,
    /// How its sessions are made.
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
            task: None,
            engine: EngineConfig::default(),
            batcher: pictures(),
            session: SessionConfig::default(),
        }
    }
}

/// A prepared picture is some hundred kilobytes: fewer may wait than texts.
fn pictures() -> BatcherConfig {
    BatcherConfig { max_batch_items: 8, max_queue: 256, ..BatcherConfig::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_serve_the_default_models() {
        let config = Config::default();
        assert_eq!(config.models.first().map(|model| model.id.as_str()), Some("emoji-flow"));
        let json = serde_json::to_value(&config).unwrap();
        assert_eq!(serde_json::from_value::<Config>(json).unwrap(), config);
    }

    #[test]
    fn unknown_keys_are_errors() {
        for text in [r#"{"modells": []}"#, r#"{"models": [{"id": "a", "steps": 1}]}"#] {
            assert!(serde_json::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
