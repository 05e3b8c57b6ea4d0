//! What can go wrong before a server serves.

use std::{io, net::SocketAddr, path::PathBuf};

/// A failure of start-up: of configuration, sockets, certificates or telemetry.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// A file that the configuration names can't be read.
    #[error("can't read {}", path.display())]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The configuration is not as it should be.
    #[error("configuration: {origin}: {message}")]
    Config {
        /// The file, environment variable or default the error comes from.
        origin: String,
        /// What is wrong, with the key.
        message: String,
    },
    /// A listening socket can't be had.
    #[error("can't listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificates or keys that can't be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// An upstream's address or TLS settings can't be used.
    #[error("upstream {endpoint}")]
    Endpoint {
        /// The address as configured.
        endpoint: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The trace exporter or the log filter can't be set up.
    #[error("telemetry: {0}")]
    Telemetry(String),
    /// The API descriptors can't be read; a defect of the build.
    #[error("API descriptors: {0}")]
    Descriptors(String),
}
