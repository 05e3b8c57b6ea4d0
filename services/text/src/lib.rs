//! The text service: chat, generation, tokens, embeddings and rankings from ONNX language models.
//!
//! A call goes: `service` (gRPC) -> `convert` (checks) -> `generation` (template, tokens) -> `engine` (slots, steps;
//! `sampling` chooses tokens, `detokenize`, `tools` and `stop` make text and calls of them) -> events back to the caller.
//! Texts that are scored (`score`) take the same way and write nothing. Embeddings and rankings go through `embedding` or
//! `rerank`, `encoder` and the batcher of `atelier-inference`; `sentence` reads what an encoder's folder says, `pooling` makes one
//! vector of many.

mod admin;
mod catalogue;
mod choices;
mod clock;
pub mod config;
mod convert;
pub mod detokenize;
mod embedding;
mod encoder;
pub mod engine;
mod error;
mod files;
mod generation;
mod grammar;
mod memory;
mod metrics;
mod pooling;
mod registry;
mod rerank;
pub mod sampling;
mod score;
mod sentence;
mod service;
pub mod stop;
pub mod template;
pub mod tokens;
pub mod tools;
mod truncation;
mod utf8;

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use atelier_proto::text::v1::text_service_server::TextServiceServer;
use atelier_rpc::{Listeners, Server, Workers, limited};
use futures::future::BoxFuture;

use admin::Admin;
pub use config::Config;
pub use error::TextError;
use registry::Registry;
use service::Text;

/// Serves until `shutdown`, then lets calls in flight end. Models are loaded in the background; until they are, health
/// says NOT_SERVING.
///
/// # Errors
/// The operators' token is empty, a model can't be loaded, or the server can't serve.
pub fn serve(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<'static, anyhow::Result<()>> {
    serve_boxed(config, listeners, Box::pin(shutdown))
}

/// Not generic: the service is compiled here, once, and not again in each program and each test that serves it.
fn serve_boxed(
    config: Config,
    listeners: Listeners,
    shutdown: BoxFuture<'static, ()>,
) -> BoxFuture<'static, anyhow::Result<()>> {
    Box::pin(async move {
        let registry = Arc::new(OnceLock::new());
        let admin = Admin::new(config.admin_token.as_ref())?;
        let service =
            Text::new(Arc::clone(&registry), admin, Workers::new(config.max_concurrent_tokenizations));
        let server = Server::builder("text", &config.server)
            .service(limited!(TextServiceServer::new(service), &config.server));
        let load = move || Ok(Registry::start(&config)?);
        let served: anyhow::Result<()> = server.serve_loading(listeners, shutdown, &registry, load).await;
        if let Some(registry) = registry.get() {
            registry.close().await;
        }
        served
    })
}
