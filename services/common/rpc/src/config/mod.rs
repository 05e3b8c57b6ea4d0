//! Configuration: defaults, then a YAML file, then the environment; unknown keys are errors.

mod client;
mod load;
mod secret;
mod server;
mod telemetry;

pub use client::{ClientConfig, ClientTls};
pub use load::{load, to_yaml};
pub use secret::Secret;
pub use server::{ServerConfig, ServerTls};
pub use telemetry::{LogFormat, TelemetryConfig};
