//! How an upstream service is reached.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Settings of a connection to an upstream service. Times are written as `30s`, `5m`, `500ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// `http://host:port`, or `https://host:port` for TLS. Default: http://127.0.0.1:50051.
    pub endpoint: String,
    /// Longest time to connect. Default: 2s.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// Longest time until an upstream starts to answer; the call's own deadline holds besides. Default: 10m.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Time between HTTP/2 pings that find dead peers. Default: 20s.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// A peer that does not answer a ping within this time is gone. Default: 10s.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// Largest message sent, in bytes. Default: 24 MiB.
    pub max_request_bytes: usize,
    /// Largest message read, in bytes. Default: 24 MiB.
    pub max_response_bytes: usize,
    /// Compress requests with zstd and accept compressed answers: for slow networks, not for services side by side.
    /// Default: false.
    pub compression: bool,
    /// TLS settings of an `https` endpoint; none: the public certificate authorities. Default: none.
    pub tls: Option<ClientTls>,
}

/// Certificates of a caller; PEM files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// Authorities that the server's certificate must come from; none: the public ones.
    pub ca: Option<PathBuf>,
    /// The caller's own certificate chain, for mutual TLS; needs `key`.
    pub certificate: Option<PathBuf>,
    /// The private key of `certificate`.
    pub key: Option<PathBuf>,
    /// Name the server's certificate must carry; none: the host of the endpoint.
    pub server_name: Option<String>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            endpoint: "http://127.0.0.1:50051".to_owned(),
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(600),
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            max_request_bytes: 24 << 20,
            max_response_bytes: 24 << 20,
            compression: false,
            tls: None,
        }
    }
}

impl ClientConfig {
    /// The defaults with this endpoint.
    pub fn to(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), ..Self::default() }
    }
}
