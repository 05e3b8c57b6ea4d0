//! The tonic kit that every Atelier binary is built from: configuration, telemetry, the server builder with its call
//! layer, health, reflection, client channels, TLS, and the one place where a [`Fault`](atelier_core::Fault) becomes
//! a gRPC status.
//!
//! A binary reads straight down: [`Cli::read`], [`telemetry::init`], [`Listeners::bind`], [`Server::serve`] until
//! [`shutdown::signal`].

mod admin;
mod bearer;
mod cli;
pub mod client;
pub mod config;
mod context;
mod error;
mod layer;
mod limits;
mod metrics;
pub mod runtime;
mod server;
pub mod shutdown;
mod status;
pub mod telemetry;
mod tls;
mod trace_context;
mod workers;

pub use bearer::bearer;
pub use cli::Cli;
pub use config::{ClientConfig, ServerConfig, TelemetryConfig};
pub use context::CallContext;
pub use error::RpcError;
pub use limits::Compression;
pub use server::{Listeners, Readiness, Server};
pub use status::{fault_of, status};
pub use workers::{WorkError, Workers};
