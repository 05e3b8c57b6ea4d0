//! The gateway: routes calls, moderates both directions under a policy, keeps the audit trail.
//!
//! A generating call goes from `service` (who asks, which model) through `request_filter` (may the prompt pass?) and
//! `router` (who has the model?) to an `upstream`, and what was made comes back through `response_filter` (may this
//! window, this picture, this frame pass?). Both filters ask `judge`, which measures, decides by policy and writes the decision to `audit`.

mod audit;
mod auth;
mod config;
mod convert;
mod error;
mod judge;
mod metrics;
mod moderator;
mod picture;
mod policy_store;
mod request_filter;
mod response_filter;
mod router;
mod service;
mod tools;
mod upstream;

use std::{future::Future, sync::Arc, time::Duration};

use atelier_policy::Ruleset;
use atelier_proto::gateway::v1::gateway_service_server::GatewayServiceServer;
use atelier_rpc::{Listeners, Readiness, Server};
use futures::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

pub use config::{
    ApiKey, AuditConfig, AuditDestination, AuthConfig, AuthMode, Config, ImageConfig, KeyHash,
    ModerationConfig, PolicyConfig, TextConfig, UpstreamConfig,
};
pub use error::GatewayError;

use crate::{
    audit::Audit,
    auth::Authenticator,
    judge::Judge,
    policy_store::PolicyStore,
    response_filter::clip::FileMemory,
    router::Router,
    service::Gateway,
    upstream::{ImageClient, ModerationPool, TextClient},
};

/// Time between tries to reach upstreams while the gateway is not ready.
const RETRY: Duration = Duration::from_millis(250);

/// Builds the gateway, serves until `shutdown`, drains, and sees the last audit line written.
///
/// Health is NOT_SERVING until a service of each required kind and, unless every policy fails open, a moderation
/// service answer.
///
/// # Errors
/// The policy file is wrong, the audit file can't be opened, or the server can't start. Upstreams that are down are
/// no error: the gateway waits for them.
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
        let server = Server::builder("atelier-gateway", &config.server);
        metrics::describe();
        let policies = Arc::new(PolicyStore::open(config.policy.file.clone()).await?);
        let moderation = Arc::new(ModerationPool::new(&config.moderation)?);
        let text = Arc::new(Router::new(&config.text.upstreams, config.text.default_model.clone())?);
        let image = Arc::new(Router::new(&config.image.upstreams, config.image.default_model.clone())?);
        let (audit, audit_writer) = Audit::start(&config.audit)?;
        let gateway = Gateway {
            authenticator: Authenticator::new(&config.auth)?,
            policies: Arc::clone(&policies),
            text: Arc::clone(&text),
            image: Arc::clone(&image),
            judge: Judge {
                moderator: Arc::clone(&moderation) as _,
                audit,
                reading: config.moderation.reading,
            },
            moderation: Arc::clone(&moderation),
            files: FileMemory::new(config.image.max_held_bytes),
        };

        let server =
            server.service(atelier_rpc::limited!(GatewayServiceServer::new(gateway), &config.server));
        let watch = Watch {
            text,
            text_required: config.text.required,
            image,
            image_required: config.image.required,
            moderation,
            policies: Arc::clone(&policies),
            readiness: server.readiness(),
        };
        let interval = config.text.refresh_interval.min(config.image.refresh_interval);
        let _watching = AbortOnDropHandle::new(tokio::spawn(watch.run(interval)));
        let _reloading = AbortOnDropHandle::new(tokio::spawn(policies.watch(config.policy.poll_interval)));
        server.serve(listeners, shutdown).await?;
        audit_writer.finish().await;
        Ok(())
    })
}

/// Keeps an eye on the upstreams: which models they have, and whether the gateway can do its work.
struct Watch {
    text: Arc<Router<TextClient>>,
    text_required: bool,
    image: Arc<Router<ImageClient>>,
    image_required: bool,
    moderation: Arc<ModerationPool>,
    policies: Arc<PolicyStore>,
    readiness: Readiness,
}

impl Watch {
    async fn run(self, interval: Duration) {
        loop {
            let (text, image, moderation) =
                tokio::join!(self.text.refresh(), self.image.refresh(), self.moderation.probe());
            let ready = (text || !self.text_required)
                && (image || !self.image_required)
                && (moderation || Ruleset::always_fails_open(&self.policies.current()));
            if ready {
                self.readiness.ready();
            } else {
                self.readiness.not_ready();
            }
            tokio::time::sleep(if ready { interval } else { RETRY.min(interval) }).await;
        }
    }
}
