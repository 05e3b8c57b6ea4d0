//! The moderation service: measures text and pictures against a table of detectors.
//!
//! It measures and never decides: answers are scores, and what a score leads to is policy, which lives in the
//! gateway. A request goes from [`service`] (checks, items side by side, conversion) to the [`moderator`] (which
//! detectors take part) to the [`detector`]s (windows or pixels, batched runs) and back through [`scores`]
//! (merging). What a reader finds written in a picture is measured as text. [`works`] keeps the lists of protected works
//! that content is compared with.
//!
//! A new model is one file and one line: see [`detector`].

pub mod call;
pub mod categories;
pub mod config;
mod convert;
pub mod detector;
pub mod error;
pub mod follow;
pub mod image;
mod metrics;
pub mod moderator;
pub mod rules;
pub mod sampler;
pub mod scores;
pub mod service;
pub mod text;
pub mod works;

use std::{future::Future, sync::Arc};

use anyhow::Context as _;
use atelier_inference::Runtime;
use atelier_media::DecodePool;
use atelier_proto::moderation::v1::{
    moderation_service_server::ModerationServiceServer, similarity_service_server::SimilarityServiceServer,
};
use atelier_rpc::{Listeners, Server, Workers};
use futures::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

pub use config::Config;
pub use error::ModerationError;

use crate::{
    detector::{Detector, Loader},
    moderator::{Moderator, Readers},
    rules::RuleStore,
    service::Service,
    works::Works,
};

/// Loads the detectors, serves until `shutdown`, drains. Health is NOT_SERVING until every detector has measured
/// something.
///
/// # Errors
/// The configuration can't be, a model is missing or altered, or the server can't start.
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
        metrics::describe();
        let settings = config.clone();
        let loading = tokio::task::spawn_blocking(move || load(&settings));
        let moderator = Arc::new(loading.await?.context("cannot load the detectors")?);
        let watching = Arc::clone(moderator.rules()).watch(config.rules.reload_interval);
        let _watching = AbortOnDropHandle::new(tokio::spawn(watching));

        let service = Service::new(Arc::clone(&moderator), &config);
        let similarity = works::Similarity::new(Arc::clone(moderator.works()), &config);
        let server = Server::builder("atelier-moderation", &config.server)
            .service(atelier_rpc::limited!(ModerationServiceServer::new(service), &config.server))
            .service(atelier_rpc::limited!(SimilarityServiceServer::new(similarity), &config.server));
        let ready = server.readiness();
        let _warming = AbortOnDropHandle::new(tokio::spawn(async move {
            match moderator.warm_up().await {
                Ok(()) => ready.ready(),
                Err(error) => tracing::error!(%error, "warm-up failed, the service stays unready"),
            }
        }));
        server.serve(listeners, shutdown).await?;
        Ok(())
    })
}

/// Loads the configured detectors. Takes about a second, most of it reading and checking files.
///
/// # Errors
/// The configuration can't be, or a model is missing, altered or not what its kind needs.
pub fn load(config: &Config) -> Result<Moderator, ModerationError> {
    let runtime = Runtime::start(&config.runtime)?;
    let store = config.store();
    let detectors = Loader { runtime: &runtime, store: &store, config }.open_all()?;
    let rules = Arc::new(RuleStore::open(config.rules.file.clone())?);
    let pool = DecodePool::new(config.blocking_jobs(), config.image.decode_memory_bytes);
    let embedder = detectors.iter().find_map(Detector::embedder);
    let works = Arc::new(Works::open(&config.works, pool.clone(), config.blocking_jobs, embedder)?);
    let texts = Workers::new(config.blocking_jobs);
    let readers = Readers { texts, pool, most: config.image.clip_frames };
    Moderator::new(detectors, rules, works, readers)
}
