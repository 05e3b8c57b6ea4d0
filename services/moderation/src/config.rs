//! The service's configuration. Every key has a default; the defaults run the models of the catalogue.

use std::{net::SocketAddr, path::PathBuf, thread, time::Duration};

use atelier_inference::{BatcherConfig, ModelStore, RuntimeConfig, SessionConfig};
use atelier_rpc::{ServerConfig, TelemetryConfig};
use serde::{Deserialize, Serialize};

use crate::detector::{DetectorConfig, KINDS, token_classifier::names_and_addresses};

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
    /// The table of detectors. Default: `text-moderation-heads` for text, `nsfw-pair` and `efficientnet-lite0` for pictures,
    /// `pp-ocrv6-rec-small` to read the text in them, `blazeface-full-range` to count faces, `rampart-pii` to find
    /// names and addresses on request.
    pub detectors: Vec<DetectorConfig>,
    /// Pictures decoded, and long texts read, searched and tokenised, at once; 0: as many as there are processors. Default: 0.
    pub blocking_jobs: usize,
    /// Term lists, patterns and personal data.
    pub rules: RulesConfig,
    /// Lists of protected works.
    pub works: WorksConfig,
    /// How text is measured.
    pub text: TextConfig,
    /// How pictures are measured.
    pub image: ImageConfig,
}

/// Term lists, patterns and personal data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// The rules file, as `deploy/config/rules.yaml`. Default: none; then personal data, secrets and profanity are found, for every
    /// tenant.
    pub file: Option<PathBuf>,
    /// How often it is looked at for changes. Default: 5 s.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

/// Lists of protected works. All bounds but the first are those of one tenant's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorksConfig {
    /// Where the lists are kept, a file for each tenant; for one process alone. Default: none; then they end with the
    /// process.
    pub folder: Option<PathBuf>,
    /// Tenants that have works. Default: 100.
    pub max_tenants: usize,
    /// Works. Default: 10,000.
    pub max_works: usize,
    /// Pictures of all works; 11 KB each where the table has a detector that gives vectors (`image-tags`), else some 600 bytes.
    /// Default: 20,000.
    pub max_pictures: usize,
    /// Fingerprints of text of all works; some 34 bytes and two or three words each. Default: 1,000,000.
    pub max_text_fingerprints: usize,
}

/// How text is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Tokens of one window, the model's prefix and special tokens included. At most what the encoder reads.
    /// Default: 128: in a longer one a harmful sentence among harmless ones is drowned.
    pub window_tokens: usize,
    /// Tokens that neighbouring windows share, at least; at most half a window. Default: 32.
    pub overlap_tokens: usize,
    /// Copies of the model, each with its own owner thread. Default: 1.
    pub instances: usize,
    /// Texts of one call (batch or stream) that are measured at once; the next is read when one is done. Default:
    /// 64.
    pub max_in_flight: usize,
    /// New bytes of a growing text from which on they are judged. Default: 384, with the overlap about a window.
    pub step_bytes: usize,
    /// Bytes before them that are judged again. What is no longer than this is always seen whole. Default: 128.
    pub overlap_bytes: usize,
    /// How long nothing more must come of a growing text before a flush of less than a step is judged. A flush without more text
    /// behind it is answered this much later; a caller who flushes every token, and writes them faster than this, pays for
    /// whole steps only. 0: as soon as nothing more is there, whatever it costs. Default: 100 ms.
    #[serde(with = "humantime_serde")]
    pub flush_wait: Duration,
    /// How windows are batched. `max_batch_items` is the windows of one run; they differ in length by a few tokens only, and a score
    /// does not depend on what else is in its run. Default: 8. On a GPU, 32 or so.
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
    /// Frames of a moving picture that are measured, at most: half of them spread over time, whatever they show, half where it
    /// changes most. While it is decoded each takes up to 3 MB. Default: 16.
    pub clip_frames: usize,
    /// How runs are batched. A picture counts as one token.
    pub batch: BatcherConfig,
    /// How the text in them is read.
    pub ocr: OcrConfig,
}

/// How the text in pictures is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OcrConfig {
    /// Longest side, in pixels, of what lines are looked for in; larger pictures are shrunk to it. The time grows with its
    /// square, and letters below 8 pixels in it are missed. At most 2,000. Default: 1280.
    pub max_side: u32,
    /// Lines of a picture that are read, at most. Of more, and of what `max_columns` leaves no room for, the largest are read, and
    /// `text_truncated` is set. Default: 100.
    pub max_lines: usize,
    /// Columns of all lines of a picture together, as they are read: 48 pixels high. A thousand take 0.1 s on one thread; a screen
    /// full of text has 100,000. Default: 30,000.
    pub max_columns: usize,
    /// Pictures that are read at once, by all calls together. Default: 8.
    pub max_in_flight: usize,
    /// Memory of the pictures that are or wait to be read, in bytes: up to 12 MB each, usually 3. One that finds no room is
    /// refused with RESOURCE_EXHAUSTED. Default: 512 MiB.
    pub queue_bytes: usize,
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
        let models = [
            "text-moderation-heads",
            "nsfw-pair",
            "efficientnet-lite0",
            "pp-ocrv6-rec-small",
            "blazeface-full-range",
        ];
        let table = KINDS.iter().zip(models);
        let detectors = table.into_iter().map(|(kind, model)| DetectorConfig::new(kind, model));
        let detectors = detectors.chain([names_and_addresses()]).filter_map(Result::ok);
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
            rules: RulesConfig::default(),
            works: WorksConfig::default(),
            text: TextConfig::default(),
            image: ImageConfig::default(),
        }
    }
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self { file: None, reload_interval: Duration::from_secs(5) }
    }
}

impl Default for WorksConfig {
    fn default() -> Self {
        Self {
            folder: None,
            max_tenants: 100,
            max_works: 10_000,
            max_pictures: 20_000,
            max_text_fingerprints: 1_000_000,
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
            step_bytes: 384,
            overlap_bytes: 128,
            flush_wait: Duration::from_millis(100),
            batch: BatcherConfig { max_batch_items: 8, ..BatcherConfig::default() },
        }
    }
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            decode_memory_bytes: 1 << 30,
            instances: 1,
            max_in_flight: 16,
            clip_frames: 16,
            // A prepared picture is 150 KB: the queue holds up to 38 MB of them.
            batch: BatcherConfig { max_batch_items: 8, max_queue: 256, ..BatcherConfig::default() },
            ocr: OcrConfig::default(),
        }
    }
}

impl Default for OcrConfig {
    fn default() -> Self {
        Self { max_side: 1280, max_lines: 100, max_columns: 30_000, max_in_flight: 8, queue_bytes: 512 << 20 }
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
        assert_eq!(kinds, ["text-heads", "combined", "image-tags", "ocr", "faces", "token-classifier"]);
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
