//! The server that every binary runs.

mod connection;
pub(crate) mod drain;
mod health;
mod listeners;
pub(crate) mod readiness;
mod reflection;
pub(crate) mod routes;

use std::{
    convert::Infallible,
    future::{Future, pending},
    sync::{Arc, OnceLock},
};

use http::{Request, Response};
use tokio_util::task::AbortOnDropHandle;
use tonic::{body::Body, server::NamedService};
use tower::Service;

pub use listeners::Listeners;
pub use readiness::Readiness;

use crate::{RpcError, WorkError, admin, config::ServerConfig, layer::CallService, metrics, tls::Tls};
use connection::Acceptor;
use drain::Drain;
use readiness::Gate;
use routes::Routes;

/// Collects services and serves them with everything a service of ours has: health, reflection, limits, deadlines,
/// load shedding, metrics, traces, TLS and a graceful end.
pub struct Server {
    name: &'static str,
    config: ServerConfig,
    routes: Routes,
    gate: Gate,
}

impl Server {
    /// A server without services; `name` is what the log calls it.
    #[must_use]
    pub fn builder(name: &'static str, config: &ServerConfig) -> Self {
        // From here on: what a service counts while it is being built must not be lost.
        metrics::registry();
        Self { name, config: config.clone(), routes: Routes::default(), gate: Gate::default() }
    }

    /// Adds a generated service; wrap it in [`limited!`](crate::limited) first.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes.add(service);
        self
    }

    /// One more condition of readiness: the server reports NOT_SERVING until all handles say ready. A server without
    /// conditions is ready at once.
    pub fn readiness(&self) -> Readiness {
        self.gate.condition()
    }

    /// Serves until `shutdown` completes, then drains: reports NOT_SERVING, stops to accept, lets calls in flight end
    /// until `drain_timeout`, cuts the rest with `DRAINING`.
    ///
    /// # Errors
    /// Certificates can't be used. Once it serves, nothing that a caller does ends it.
    pub async fn serve(
        self,
        listeners: Listeners,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), RpcError> {
        let registry = metrics::registry();
        let _upkeep = background(async {
            loop {
                tokio::time::sleep(metrics::UPKEEP).await;
                registry.run_upkeep();
            }
        });
        let (tls, _reload) = match &self.config.tls {
            None => (None, None),
            Some(config) => {
                let (tls, reload) = Tls::load(config).await?;
                (Some(tls), Some(background(reload)))
            }
        };
        let _admin = listeners.admin.map(|listener| background(admin::serve(listener, self.gate.clone())));
        let mut routes = self.routes;
        let services = routes.names();
        let (health, report) = health::service(services.clone(), &self.gate).await;
        let _health = background(report);
        routes.add(health);
        reflection::add(&mut routes, &services)?;

        let drain = Drain::default();
        let calls = CallService::new(routes, &self.config, &drain)?;
        let acceptor = Arc::new(Acceptor::new(&self.config, tls, calls, drain.clone()));
        let address = listeners.grpc.local_addr().ok();
        tracing::info!(server = self.name, address = ?address, services = ?services, "serving");

        let stopping = async {
            shutdown.await;
            tracing::info!(server = self.name, "draining");
            self.gate.drain();
            tokio::time::sleep(self.config.drain_notice).await;
            drain.stop_accepting();
        };
        tokio::join!(acceptor.accept(listeners.grpc), stopping);
        let cut = drain.finish(self.config.drain_timeout).await;
        tracing::info!(server = self.name, cut_calls = cut, "stopped");
        Ok(())
    }

    /// Serves at once while `load` runs on a thread that may block, and is ready when it has succeeded; what it gives is
    /// put where the services look for it. Ends as [`Server::serve`] does, or when loading fails.
    ///
    /// # Errors
    /// Those of [`Server::serve`] and of `load`; [`WorkError::Lost`] if `load` panics.
    pub async fn serve_loading<T, E>(
        self,
        listeners: Listeners,
        shutdown: impl Future<Output = ()> + Send,
        loaded: &OnceLock<T>,
        load: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<(), E>
    where
        T: Send + Sync + 'static,
        E: From<RpcError> + From<WorkError> + Send + 'static,
    {
        let readiness = self.readiness();
        let loading = tokio::task::spawn_blocking(load);
        let failed = async {
            match loading.await {
                Ok(Ok(value)) => {
                    // Nobody else sets it.
                    let _ = loaded.set(value);
                    readiness.ready();
                    pending().await
                }
                Ok(Err(error)) => error,
                Err(_) => WorkError::Lost.into(),
            }
        };
        let mut outcome = Ok(());
        let stop = async {
            tokio::select! {
                () = shutdown => {}
                failure = failed => outcome = Err(failure),
            }
        };
        self.serve(listeners, stop).await?;
        outcome
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("name", &self.name)
            .field("services", &self.routes.names())
            .finish_non_exhaustive()
    }
}

/// Runs beside the server and ends with it.
fn background(work: impl Future<Output = ()> + Send + 'static) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(work))
}
