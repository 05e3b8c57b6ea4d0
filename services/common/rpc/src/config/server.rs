//! How a server listens and what it admits.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// Settings of a gRPC server. Times are written as `30s`, `5m`, `500ms`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address of the gRPC port. Default: 127.0.0.1:50051; each service has its own.
    pub listen: SocketAddr,
    /// Address of `/metrics`, `/livez` and `/readyz` (plain HTTP/1); none: not served. Default: none.
    pub admin_listen: Option<SocketAddr>,
    /// Largest message a caller may send, in bytes, after decompression. Default: 24 MiB, room for one picture of
    /// the largest size that the API admits.
    pub max_request_bytes: usize,
    /// Largest message the server answers with, in bytes. Default: 24 MiB.
    pub max_response_bytes: usize,
    /// Calls in flight, streams included; further ones are refused with `OVERLOADED`. Health and reflection are not
    /// counted. Default: 1024.
    pub max_concurrent_requests: usize,
    /// HTTP/2 streams one connection may have open. Default: 256.
    pub max_concurrent_streams: u32,
    /// Longest life of a call, streams included, whatever deadline the caller sets. Default: 10m.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// A connection is asked to close (and its caller to connect anew, perhaps to another replica) after this time,
    /// give or take a tenth; calls on it run to their end. Default: 30m.
    #[serde(with = "humantime_serde")]
    pub max_connection_age: Duration,
    /// Time between HTTP/2 pings that find dead peers. Default: 30s.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// A peer that does not answer a ping within this time is gone. Default: 10s.
    #[serde(with = "humantime_serde")]
    pub keepalive_timeout: Duration,
    /// On shutdown: time between reporting NOT_SERVING and refusing new connections, so that load balancers notice
    /// first. Default: 500ms; on Kubernetes a few seconds.
    #[serde(with = "humantime_serde")]
    pub drain_notice: Duration,
    /// On shutdown: time that calls in flight have to end before they are cut with `DRAINING`. Default: 30s.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// Compress answers with gzip or zstd for callers that accept it. Compressed requests are always read.
    /// Default: true.
    pub compression: bool,
    /// TLS; none: plain text. Default: none.
    pub tls: Option<ServerTls>,
}

/// Certificates of a server; PEM files, read anew when they change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// Authorities that callers' certificates must come from (mutual TLS); none: callers need no certificate.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Time between looks at the files. Default: 5s.
    #[serde(default = "reload_interval", with = "humantime_serde")]
    pub reload_interval: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50051)),
            admin_listen: None,
            max_request_bytes: 24 << 20,
            max_response_bytes: 24 << 20,
            max_concurrent_requests: 1024,
            max_concurrent_streams: 256,
            request_timeout: Duration::from_secs(600),
            max_connection_age: Duration::from_secs(1800),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
            drain_notice: Duration::from_millis(500),
            drain_timeout: Duration::from_secs(30),
            compression: true,
            tls: None,
        }
    }
}

fn reload_interval() -> Duration {
    Duration::from_secs(5)
}
