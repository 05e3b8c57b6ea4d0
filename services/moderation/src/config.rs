//! The service's configuration. Every key has a default; the defaults run the models of the catalogue.

use std::{net::SocketAddr, path::PathBuf, thread};

use atelier_inference::{BatcherConfig, ModelStore, RuntimeConfig, SessionConfig};
use atelier_rpc::{ServerConfig, TelemetryConfig};
use serde::{Deserialize, Serialize};

use crate::detector::{DetectorConfig, KINDS};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The gRPC server. Default address: 127.0.0.1:50053, admin 127.0.0.1:9053.
    pub server: ServerConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// ONNX Runtime.
    pub runtime: RuntimeConfig,
    /// How models are loaded.
    pub session: SessionConfig,
    /// Folder of the models. Default: `models` in Atelier's cache folder.
    pub models: Option<PathBuf>,
    /// The table of detectors. Default: `text-moderation-heads` for text, `open-nsfw` for pictures.
    pub detectors: Vec<DetectorConfig>,
    /// Pictures decoded, and long texts tokenised, at once; 0: as many as there are processors. Default: 0.
    pub blocking_jobs: usize,
    /// How text is measured.
    pub text: TextConfig,
    /// How pictures are measured.
    pub image: ImageConfig,
}

/// How text is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Tokens of one window, the model's prefix and special tokens included. At most what the encoder reads.
    /// Default: 128, the length that the default heads are trained on.
    pub window_tokens: usize,
    /// Tokens that neighbouring windows share, at least. Default: 32.
    pub overlap_tokens: usize,
    /// Copies of the model, each with its own owner thread. Default: 1.
    pub instances: usize,
    /// Texts of one call (batch or stream) that are measured at once; the next is read when one is done. Default:
    /// 64.
    pub max_in_flight: usize,
    /// Windows that one run of the graphs holds. A larger batch is sorted by length and run in parts, because on a
    /// processor padding costs more than a longer run saves; on a GPU make it as large as a batch. Default: 8.
    pub max_run_windows: usize,
    /// How runs are batched.
    pub batch: BatcherConfig,
}

/// How pictures are measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConfig {
    /// Memory that pictures above about a megapixel share while they are decoded, in bytes. Default: 1 GiB,
    /// enough for the largest picture that the API admits.
    pub decode_memory_bytes: u64,
    /// Copies of the model, each with its own owner thread. Default: 1.
    pub instances: usize,
    /// Pictures of one call (batch or stream) that are held in memory at once. Default: 16.
    pub max_in_flight: usize,
    /// How runs are batched. A picture counts as one token.
    pub batch: BatcherConfig,
}

impl Config {
    /// Where models are looked for.
    #[must_use]
    pub fn store(&self) -> ModelStore {
        self.models.clone().map_or_else(ModelStore::default, ModelStore::new)
    }

    /// Jobs of one sort that may occupy threads of the blocking pool at once.
    #[must_use]
    pub fn blocking_jobs(&self) -> usize {
        match self.blocking_jobs {
            0 => thread::available_parallelism().map_or(1, usize::from),
            jobs => jobs,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let table = [(&KINDS[0], "text-moderation-heads"), (&KINDS[1], "open-nsfw")];
        let detectors = table.into_iter().filter_map(|(kind, model)| DetectorConfig::new(kind, model).ok());
        Self {
            server: ServerConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 50053)),
                admin_listen: Some(SocketAddr::from(([127, 0, 0, 1], 9053))),
                ..ServerConfig::default()
            },
            telemetry: TelemetryConfig::default(),
            runtime: RuntimeConfig::default(),
            session: SessionConfig::default(),
            models: None,
            detectors: detectors.collect(),
            blocking_jobs: 0,
            text: TextConfig::default(),
            image: ImageConfig::default(),
        }
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            window_tokens: 128,
            overlap_tokens: 32,
            instances: 1,
            max_in_flight: 64,
            max_run_windows: 8,
            batch: BatcherConfig::default(),
        }
    }
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            decode_memory_bytes: 1 << 30,
            instances: 1,
            max_in_flight: 16,
            // A prepared picture is 150 KB: the queue holds up to 38 MB of them.
            batch: BatcherConfig { max_batch_items: 8, max_queue: 256, ..BatcherConfig::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_survive_being_written_and_read() {
        let written = serde_json::to_value(Config::default()).unwrap();
        let read: Config = serde_json::from_value(written).unwrap();
        assert_eq!(read, Config::default());
        let kinds: Vec<_> = read.detectors.iter().map(|detector| detector.kind.as_str()).collect();
        assert_eq!(kinds, ["text-heads", "open-nsfw"]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        for wrong in [
            r#"{"detector": []}"#,
            r#"{"text": {"window": 3}}"#,
            r#"{"detectors": [{"kind": "a", "model": "b", "c": 1}]}"#,
        ] {
            assert!(serde_json::from_str::<Config>(wrong).is_err(), "{wrong}");
        }
        let unknown = r#"{"detectors": [{"kind": "a", "model": "b", "categories": ["rudeness"]}]}"#;
        assert!(serde_json::from_str::<Config>(unknown).is_err());
    }
}
