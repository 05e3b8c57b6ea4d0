//! A service that has models, whatever its kind: which ones, whether it answers, how a call gets there.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use atelier_core::{Fault, ModelId, ModelRef, Reason, TenantId};
use atelier_proto::common::v1 as common;
use atelier_rpc::{CallContext, ClientConfig, RpcError, fault_of};
use tonic::{Request, Response, Status};

use crate::{
    config::UpstreamConfig, convert, error::GatewayError, metrics, router::Route, upstream::PROBE_TIMEOUT,
};

/// The generated client of a kind of service that has models.
pub(crate) trait ModelClient: Clone + Send + Sync + 'static {
    /// The kind in logs, metrics and faults, e.g. "text".
    const KIND: &'static str;

    fn connect(connection: &ClientConfig) -> Result<Self, RpcError>;

    /// All models it has; the request carries the context, each kind has a message of its own.
    fn models(self, request: Request<()>) -> impl Future<Output = Result<Vec<common::Model>, Status>> + Send;
}

/// What a model can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Generate,
    Embed,
    Rerank,
    GenerateImage,
    GenerateVideo,
    ExploreImages,
    EmbedImage,
    ClassifyImage,
    UpscaleImage,
    TransferStyle,
}

/// A model that an upstream has.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) reference: ModelRef,
    pub(crate) tasks: Vec<Task>,
    /// As the upstream describes it, for callers who ask.
    pub(crate) description: common::Model,
}

/// A service and what is known of it.
pub(crate) struct Upstream<C> {
    endpoint: String,
    client: C,
    /// The only models it is asked for; empty: all.
    only: Vec<ModelId>,
    /// As it said last.
    models: ArcSwap<Vec<Listing>>,
    reachable: AtomicBool,
}

impl<C: ModelClient> Upstream<C> {
    pub(crate) fn new(config: &UpstreamConfig) -> Result<Self, GatewayError> {
        Ok(Self {
            endpoint: config.connection.endpoint.clone(),
            client: C::connect(&config.connection)?,
            only: config.models.clone(),
            models: ArcSwap::default(),
            reachable: AtomicBool::new(false),
        })
    }

    /// The models it has, as far as it is to be asked for them.
    pub(crate) fn models(&self) -> Arc<Vec<Listing>> {
        self.models.load_full()
    }

    /// Whether it answered last time.
    pub(crate) fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// Whether it could have a model that it has not listed.
    pub(crate) fn may_have(&self, id: &ModelId) -> bool {
        if self.only.is_empty() { self.models().is_empty() } else { self.only.contains(id) }
    }

    /// Asks for its models; whether it answered.
    pub(crate) async fn refresh(&self) -> bool {
        let mut request = CallContext::new(TenantId::default_tenant()).outgoing(());
        request.set_timeout(PROBE_TIMEOUT);
        let answer = match self.client.clone().models(request).await {
            Ok(models) => Some(models.into_iter().filter_map(convert::listing).collect()),
            Err(status) => {
                if self.is_reachable() {
                    let (kind, fault) = (C::KIND, fault_of(&status));
                    tracing::warn!(kind, endpoint = self.endpoint, ?fault, "a service can't be reached");
                }
                None
            }
        };
        let answered = answer.is_some();
        self.learn(answer);
        answered
    }

    /// Takes note of its answer; `None`: there was none. What it listed before is still where it belongs.
    pub(crate) fn learn(&self, models: Option<Vec<Listing>>) {
        if let Some(mut models) = models {
            models.retain(|model| self.only.is_empty() || self.only.contains(&model.reference.id));
            self.models.store(Arc::new(models));
            if !self.reachable.swap(true, Ordering::Relaxed) {
                let (kind, models) = (C::KIND, self.models().len());
                tracing::info!(kind, endpoint = self.endpoint, models, "a service answers");
            }
            metrics::upstream(C::KIND, &self.endpoint, true);
        } else {
            self.reachable.store(false, Ordering::Relaxed);
            metrics::upstream(C::KIND, &self.endpoint, false);
        }
    }
}

/// Sends a request to the first upstream of a route that takes it.
///
/// # Errors
/// The upstream's fault, as it was; of several the last one's.
pub(crate) async fn call<C, Q, A, F>(
    route: &Route<C>,
    context: &CallContext,
    message: Q,
    send: impl Fn(C, Request<Q>) -> F,
) -> Result<A, Fault>
where
    C: ModelClient,
    Q: Clone,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut last = unreachable::<C>();
    for upstream in &route.upstreams {
        match send(upstream.client.clone(), context.outgoing(message.clone())).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => last = fault_of(&status),
        }
        match last.reason() {
            Reason::UpstreamUnavailable => upstream.learn(None),
            // It is there and has no room: another replica may have.
            reason if reason.is_retryable() => {}
            _ => return Err(last),
        }
    }
    Err(last)
}

/// Opens a stream to the first upstream of a route; its messages can't be sent twice, so there is no second try.
///
/// # Errors
/// The upstream's fault, as it was.
pub(crate) async fn open<C, Q, A, F>(
    route: &Route<C>,
    context: &CallContext,
    messages: Q,
    send: impl FnOnce(C, Request<Q>) -> F,
) -> Result<A, Fault>
where
    C: ModelClient,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let Some(upstream) = route.upstreams.first() else {
        return Err(unreachable::<C>());
    };
    let answer = send(upstream.client.clone(), context.outgoing(messages)).await;
    answer.map(Response::into_inner).map_err(|status| fault_of(&status))
}

/// The fault where no service of a kind answers.
pub(crate) fn unreachable<C: ModelClient>() -> Fault {
    Fault::new(Reason::UpstreamUnavailable, format!("no {} service can be reached", C::KIND))
}
