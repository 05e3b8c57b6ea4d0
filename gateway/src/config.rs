//! Settings of the gateway.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use atelier_core::{ModelId, TenantId};
use atelier_rpc::{ClientConfig, ServerConfig, TelemetryConfig};
use serde::{Deserialize, Serialize};

/// Settings of the gateway; times are written as `30s`, `5m`, `500ms`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The gRPC server. Default: 127.0.0.1:50051, admin 127.0.0.1:9051.
    pub server: ServerConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// The text services behind the gateway.
    pub text: TextConfig,
    /// The image services behind the gateway.
    pub image: ImageConfig,
    /// The moderation services behind the gateway.
    pub moderation: ModerationConfig,
    /// The rules.
    pub policy: PolicyConfig,
    /// Who may call.
    pub auth: AuthConfig,
    /// Where decisions are written down.
    pub audit: AuditConfig,
}

/// The text services behind the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// In order of preference: a call goes to the first that has its model and answers. Default: one, at
    /// <http://127.0.0.1:50052>.
    pub upstreams: Vec<UpstreamConfig>,
    /// The model of calls that name none. Default: the first one that can do what is asked.
    pub default_model: Option<ModelId>,
    /// Time between looks at the models of the upstreams; of text's and images' the shorter one holds. Default: 5s.
    #[serde(with = "humantime_serde")]
    pub refresh_interval: Duration,
    /// The gateway is ready only while one of them answers. Default: true.
    pub required: bool,
}

/// The image services behind the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConfig {
    /// In order of preference, as those of text. Default: one, at <http://127.0.0.1:50054>.
    pub upstreams: Vec<UpstreamConfig>,
    /// The model of calls that name none. Default: the first one that can do what is asked.
    pub default_model: Option<ModelId>,
    /// Time between looks at the models of the upstreams; of text's and images' the shorter one holds. Default: 5s.
    #[serde(with = "humantime_serde")]
    pub refresh_interval: Duration,
    /// The gateway is ready only while one of them answers. Default: false.
    pub required: bool,
    /// Memory that the files of clips share until their frames have all passed, in bytes; a clip that finds none left
    /// is refused with OVERLOADED. One clip has at most 64 MiB. Default: 256 MiB.
    pub max_held_bytes: usize,
}

/// One service that has models.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// How it is reached.
    pub connection: ClientConfig,
    /// The only models it is asked for; empty: all it lists. Default: empty.
    pub models: Vec<ModelId>,
}

/// The moderation services behind the gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModerationConfig {
    /// All alike; calls take turns among those that answer. Default: one, at <http://127.0.0.1:50053>.
    pub upstreams: Vec<ClientConfig>,
    /// Longest time for the measurement behind one decision, tries and all; after it the policy's failure mode
    /// decides. A text of the greatest length takes several seconds on two cores. Default: 10s.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// In which pictures the text is read.
    pub reading: ReadingConfig,
}

/// In which pictures the text is read: that takes half a second and more, many times as long as all else that is measured in a
/// picture. Pictures that come with a request and pictures that are made are always read. In the others, what is measured by
/// reading alone is unsupported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadingConfig {
    /// In previews. The finished picture is read in any case. Default: false.
    pub previews: bool,
    /// In frames of clips: the first one, and after each such time the next one. 0s: in all. Default: 1s.
    #[serde(with = "humantime_serde")]
    pub frame_interval: Duration,
}

impl Default for ReadingConfig {
    fn default() -> Self {
        Self { previews: false, frame_interval: Duration::from_secs(1) }
    }
}

/// The rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// The policy file; none: the built-in one, `deploy/config/policy.yaml` of the source tree. Default: none.
    pub file: Option<PathBuf>,
    /// Time between looks at the file. Default: 1s.
    #[serde(with = "humantime_serde")]
    pub poll_interval: Duration,
}

/// Who may call.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Default: none.
    pub mode: AuthMode,
    /// Keys that are let in; for mode `api_key`.
    pub api_keys: Vec<ApiKey>,
}

/// How callers prove who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// They don't: `atelier-tenant` is believed. For trusted networks.
    #[default]
    None,
    /// By `authorization: Bearer KEY`; the key says which tenant they are.
    ApiKey,
}

/// A key that is let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// SHA-256 of the key in hex (`printf %s "$KEY" | sha256sum`): the configuration holds no secret.
    pub sha256: KeyHash,
    /// Who calls with it.
    pub tenant: TenantId,
}

/// SHA-256 of a key; 64 hex digits in files.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash(pub [u8; 32]);

/// Where decisions are written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// Default: stdout.
    pub destination: AuditDestination,
    /// The file for destination `file`; lines are appended, rotation is the platform's.
    pub file: Option<PathBuf>,
    /// Lines that may wait to be written; when it is full, calls wait. Default: 1024.
    pub max_queue: usize,
}

/// Kinds of audit trail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditDestination {
    /// Nothing is written.
    Off,
    /// JSON lines on standard output; logs are on standard error.
    #[default]
    Stdout,
    /// JSON lines in a file.
    File,
}

impl Default for Config {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            server: ServerConfig {
                listen: local(50051),
                admin_listen: Some(local(9051)),
                ..ServerConfig::default()
            },
            telemetry: TelemetryConfig::default(),
            text: TextConfig::default(),
            image: ImageConfig::default(),
            moderation: ModerationConfig::default(),
            policy: PolicyConfig::default(),
            auth: AuthConfig::default(),
            audit: AuditConfig::default(),
        }
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            upstreams: vec![UpstreamConfig::to("http://127.0.0.1:50052")],
            default_model: None,
            refresh_interval: Duration::from_secs(5),
            required: true,
        }
    }
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            upstreams: vec![UpstreamConfig::to("http://127.0.0.1:50054")],
            default_model: None,
            refresh_interval: Duration::from_secs(5),
            required: false,
            max_held_bytes: 256 << 20,
        }
    }
}

impl UpstreamConfig {
    /// The defaults with this endpoint.
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self { connection: ClientConfig::to(endpoint), models: Vec::new() }
    }
}

impl Default for ModerationConfig {
    fn default() -> Self {
        Self {
            upstreams: vec![ClientConfig::to("http://127.0.0.1:50053")],
            timeout: Duration::from_secs(10),
            reading: ReadingConfig::default(),
        }
    }
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self { file: None, poll_interval: Duration::from_secs(1) }
    }
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self { destination: AuditDestination::default(), file: None, max_queue: 1024 }
    }
}

impl TryFrom<String> for KeyHash {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut hash = [0; 32];
        let read = hex::decode_to_slice(&text, &mut hash);
        // The text might be a key put here by mistake, so the message does not repeat it.
        read.map(|()| Self(hash)).map_err(|_| "must be 64 hex digits, the SHA-256 of a key".to_owned())
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hex::encode(hash.0)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
