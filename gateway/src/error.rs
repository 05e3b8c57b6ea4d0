//! What can go wrong before the gateway serves.

use std::{io, path::PathBuf};

use atelier_policy::PolicyError;
use atelier_rpc::RpcError;

/// A failure of start-up.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The policy file can't be read.
    #[error("can't read the policy {}", path.display())]
    ReadPolicy {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The policy file is wrong.
    #[error("policy {origin}: {source}")]
    Policy {
        /// The file, or "built-in".
        origin: String,
        /// All that is wrong with it.
        source: PolicyError,
    },
    /// The audit trail can't be opened.
    #[error("can't open the audit trail {}", path.display())]
    OpenAudit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that writes the audit trail can't be started.
    #[error("can't start the audit writer")]
    StartAudit(#[source] io::Error),
    /// Settings that contradict each other.
    #[error("configuration: {0}")]
    Config(String),
    /// An upstream's settings can't be used.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}
