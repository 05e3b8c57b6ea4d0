//! The gateway: routes calls, moderates both directions under a policy, keeps the audit trail.
//!
//! A generating call goes from `service` (who asks, which model) through `request_filter` (may the prompt pass?) and
//! `router` (who has the model?) to an `upstream`, and its text comes back through `response_filter` (may this window
//! pass?). Both filters ask `judge`, which measures, decides by policy and writes the decision to `audit`.

mod audit;
mod auth;
mod config;
mod convert;
mod error;
mod judge;
mod metrics;
mod moderator;
mod policy_store;
mod request_filter;
mod response_filter;
mod router;
mod service;
mod upstream;

use std::{future::Future, sync::Arc, time::Duration};

use atelier_policy::Ruleset;
use atelier_proto::gateway::v1::gateway_service_server::GatewayServiceServer;
use atelier_rpc::{Listeners, Readiness, Server};
use tokio_util::task::AbortOnDropHandle;

pub use config::{
    ApiKey, AuditConfig, AuditDestination, AuthConfig, AuthMode, Config, KeyHash, ModerationConfig,
    PolicyConfig, TextConfig, TextUpstreamConfig,
};
pub use error::GatewayError;

use crate::{
    audit::Audit,
    auth::Authenticator,
    judge::Judge,
    policy_store::PolicyStore,
    router::Router,
    service::Gateway,
    upstream::{ModerationPool, TextUpstream},
};

/// Time between tries to reach upstreams while the gateway is not ready.
const RETRY: Duration = Duration::from_millis(250);

/// Builds the gateway, serves until `shutdown`, drains, and sees the last audit line written.
///
/// Health is NOT_SERVING until a text service and, unless every policy fails open, a moderation service answer.
///
/// # Errors
/// The policy file is wrong, the audit file can't be opened, or the server can't start. Upstreams that are down are
/// no error: the gateway waits for them.
pub async fn serve(
    config: Config,
    listeners: Listeners,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let server = Server::builder("atelier-gateway", &config.server);
    metrics::describe();
    let policies = Arc::new(PolicyStore::open(config.policy.file.clone()).await?);
    let moderation = Arc::new(ModerationPool::new(&config.moderation)?);
    let router = Arc::new(build_router(&config.text)?);
    let (audit, audit_writer) = Audit::start(&config.audit)?;
    let gateway = Gateway {
        authenticator: Authenticator::new(&config.auth)?,
        policies: Arc::clone(&policies),
        router: Arc::clone(&router),
        judge: Judge { moderator: Arc::clone(&moderation) as _, audit },
        moderation: Arc::clone(&moderation),
    };

    let server = server.service(atelier_rpc::limited!(GatewayServiceServer::new(gateway), &config.server));
    let watch = Watch { router, moderation, policies: Arc::clone(&policies), readiness: server.readiness() };
    let _watching = AbortOnDropHandle::new(tokio::spawn(watch.run(config.text.refresh_interval)));
    let _reloading = AbortOnDropHandle::new(tokio::spawn(policies.watch(config.policy.poll_interval)));
    server.serve(listeners, shutdown).await?;
    audit_writer.finish().await;
    Ok(())
}

fn build_router(config: &TextConfig) -> Result<Router, GatewayError> {
    let upstreams = config.upstreams.iter().map(|upstream| Ok(Arc::new(TextUpstream::new(upstream)?)));
    let upstreams = upstreams.collect::<Result<Vec<_>, GatewayError>>()?;
    Ok(Router { upstreams, default_model: config.default_model.clone() })
}

/// Keeps an eye on the upstreams: which models they have, and whether the gateway can do its work.
struct Watch {
    router: Arc<Router>,
    moderation: Arc<ModerationPool>,
    policies: Arc<PolicyStore>,
    readiness: Readiness,
}

impl Watch {
    async fn run(self, interval: Duration) {
        loop {
            let (text, moderation) = tokio::join!(self.router.refresh(), self.moderation.probe());
            let ready = text && (moderation || Ruleset::always_fails_open(&self.policies.current()));
            if ready {
                self.readiness.ready();
            } else {
                self.readiness.not_ready();
            }
            tokio::time::sleep(if ready { interval } else { RETRY.min(interval) }).await;
        }
    }
}
