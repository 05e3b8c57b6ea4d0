//! All services and the gateway in one process.
//!
//! The parts are the same as in their own binaries and speak gRPC to each other over loopback, so what is tried here
//! behaves the same when it is spread over machines.

mod config;
mod supervisor;

use std::{future::Future, net::SocketAddr};

use anyhow::Context;
use atelier_rpc::Listeners;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use config::{Config, ServicesConfig};
use supervisor::Parts;

/// The running process. Dropping it ends everything at once; [`Running::shutdown`] drains first.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    stop: CancellationToken,
    supervisor: AbortOnDropHandle<anyhow::Result<()>>,
}

/// Where the parts listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The gateway: the address for callers.
    pub gateway: SocketAddr,
    /// The process's `/metrics`, `/livez` and `/readyz`, where they are served.
    pub admin: Option<SocketAddr>,
    /// The text service.
    pub text: SocketAddr,
    /// The image service.
    pub image: SocketAddr,
    /// The moderation service.
    pub moderation: SocketAddr,
}

impl Running {
    /// Where the parts listen.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Waits for the end: of a shutdown, or because a part failed.
    ///
    /// # Errors
    /// The error of the part that failed first.
    pub async fn wait(&mut self) -> anyhow::Result<()> {
        (&mut self.supervisor).await.context("the supervisor was lost")?
    }

    /// Drains the gateway, then the services behind it, and waits for their end.
    ///
    /// # Errors
    /// As [`Running::wait`].
    pub async fn shutdown(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.wait().await
    }
}

/// Starts everything and returns as soon as all ports are open; the gateway's health tells when the models are warm.
/// Port 0 takes a free one. Telemetry is the caller's, who may have other parts in the same process.
///
/// # Errors
/// A port can't be bound.
pub async fn start(mut config: Config) -> anyhow::Result<Running> {
    config.text.runtime = config.runtime.clone();
    config.image.runtime = config.runtime.clone();
    config.moderation.runtime = config.runtime.clone();
    config.services.apply(&mut config.text.server);
    config.services.apply(&mut config.image.server);
    config.services.apply(&mut config.moderation.server);
    let listeners = Parts {
        gateway: Listeners::bind(&config.gateway.server).await.context("gateway")?,
        text: Listeners::bind(&config.text.server).await.context("text service")?,
        image: Listeners::bind(&config.image.server).await.context("image service")?,
        moderation: Listeners::bind(&config.moderation.server).await.context("moderation service")?,
    };
    let bound = |listeners: &Listeners| listeners.grpc_address().context("a bound port has no address");
    let addresses = Addresses {
        gateway: bound(&listeners.gateway)?,
        admin: listeners.gateway.admin_address(),
        text: bound(&listeners.text)?,
        image: bound(&listeners.image)?,
        moderation: bound(&listeners.moderation)?,
    };
    // A service with TLS is reached as the gateway's own settings say: only they know which names and authorities hold.
    if config.text.server.tls.is_none() {
        first(&mut config.gateway.text.upstreams).connection.endpoint = config::endpoint(addresses.text);
    }
    if config.image.server.tls.is_none() {
        first(&mut config.gateway.image.upstreams).connection.endpoint = config::endpoint(addresses.image);
    }
    if config.moderation.server.tls.is_none() {
        first(&mut config.gateway.moderation.upstreams).endpoint = config::endpoint(addresses.moderation);
    }
    tracing::info!(
        gateway = %addresses.gateway,
        text = %addresses.text,
        image = %addresses.image,
        moderation = %addresses.moderation,
        admin = ?addresses.admin,
        "starting"
    );
    let stop = CancellationToken::new();
    let supervisor = tokio::spawn(supervisor::run(config, listeners, stop.clone()));
    Ok(Running { addresses, stop, supervisor: AbortOnDropHandle::new(supervisor) })
}

/// Starts everything and serves until `shutdown` completes or a part fails.
///
/// # Errors
/// A port can't be bound, or the error of the part that failed first.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut running = start(config).await?;
    tokio::select! {
        ended = running.wait() => ended,
        () = shutdown => running.shutdown().await,
    }
}

/// The first of the gateway's upstreams is ours; the user's settings of it hold but for the address.
fn first<T: Default>(upstreams: &mut Vec<T>) -> &mut T {
    if upstreams.is_empty() {
        upstreams.push(T::default());
    }
    &mut upstreams[0]
}
