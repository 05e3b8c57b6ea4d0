//! The image service: diffusion, GAN and VAE models, clips, and what pictures show.
//!
//! A call goes: `service` (gRPC) -> `convert` (checks) -> `generation` (pictures), `clip` (frames and their file) or
//! `explore` (a latent space). Diffusion pipelines run behind the `engine`, which steps calls in turn; every other graph
//! behind a batcher (`rows`). `post` and `output` finish pictures.

mod caller;
mod classifier;
mod clip;
pub mod config;
mod convert;
mod diffusion;
pub mod engine;
mod error;
mod explore;
mod generation;
mod generator;
mod latent;
mod output;
mod pixels;
mod post;
mod projection;
mod registry;
mod rows;
mod service;
mod studio;
mod video;

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use atelier_proto::image::v1::image_service_server::ImageServiceServer;
use atelier_rpc::{Listeners, Server, limited};
use futures::future::BoxFuture;
use tokio::runtime::Handle;

pub use config::Config;
pub use error::ImageError;
use registry::Registry;
use service::Images;
use studio::Studio;

/// Serves until `shutdown`, then lets calls in flight end. Models are loaded in the background; until they are, health
/// says NOT_SERVING.
///
/// # Errors
/// A model can't be loaded, or the server can't serve.
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
        let service = Images::new(Studio::new(Arc::clone(&registry), &config));
        let server = Server::builder("image", &config.server)
            .service(limited!(ImageServiceServer::new(service), &config.server));
        let load = move || Ok(Handle::current().block_on(Registry::load(&config))?);
        let served: anyhow::Result<()> = server.serve_loading(listeners, shutdown, &registry, load).await;
        if let Some(registry) = registry.get() {
            registry.close().await;
        }
        served
    })
}
