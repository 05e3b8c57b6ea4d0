//! A text service.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use atelier_core::{Fault, ModelId, ModelRef, Reason, TenantId};
use atelier_proto::text::v1::{self as proto, text_service_client::TextServiceClient};
use atelier_rpc::{CallContext, client, fault_of};
use tonic::{Request, Response, Status};

use crate::{
    config::TextUpstreamConfig, convert, error::GatewayError, metrics, router::Route, upstream::PROBE_TIMEOUT,
};

pub(crate) type TextClient = TextServiceClient<client::Channel>;

/// What a model can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Generate,
    Embed,
}

/// A model that an upstream has.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) reference: ModelRef,
    pub(crate) tasks: Vec<Task>,
    /// Most tokens of prompt and answer together.
    pub(crate) context_length: u32,
    pub(crate) vocabulary_size: u32,
    pub(crate) embedding_dimensions: u32,
    /// SPDX identifier.
    pub(crate) license: String,
}

/// A text service and what is known of it.
pub(crate) struct TextUpstream {
    endpoint: String,
    client: TextClient,
    /// The only models it is asked for; empty: all.
    only: Vec<ModelId>,
    /// As it said last.
    models: ArcSwap<Vec<Listing>>,
    reachable: AtomicBool,
}

impl TextUpstream {
    pub(crate) fn new(config: &TextUpstreamConfig) -> Result<Self, GatewayError> {
        let channel = client::channel(&config.connection)?;
        Ok(Self {
            endpoint: config.connection.endpoint.clone(),
            client: atelier_rpc::limited_client!(TextServiceClient::new(channel), &config.connection),
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
        let mut request = CallContext::new(TenantId::default_tenant()).outgoing(proto::ListModelsRequest {});
        request.set_timeout(PROBE_TIMEOUT);
        let answer = match self.client.clone().list_models(request).await {
            Ok(answer) => Some(answer.into_inner().models.into_iter().filter_map(convert::listing).collect()),
            Err(status) => {
                if self.is_reachable() {
                    let fault = fault_of(&status);
                    tracing::warn!(endpoint = self.endpoint, ?fault, "a text service can't be reached");
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
                tracing::info!(
                    endpoint = self.endpoint,
                    models = self.models().len(),
                    "a text service answers"
                );
            }
            metrics::upstream("text", &self.endpoint, true);
        } else {
            self.reachable.store(false, Ordering::Relaxed);
            metrics::upstream("text", &self.endpoint, false);
        }
    }
}

/// Sends a request to the first upstream of a route that takes it.
///
/// # Errors
/// The upstream's fault, as it was; of several the last one's.
pub(crate) async fn call<Q, A, F>(
    route: &Route,
    context: &CallContext,
    message: Q,
    send: impl Fn(TextClient, Request<Q>) -> F,
) -> Result<A, Fault>
where
    Q: Clone,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let mut last = Fault::new(Reason::UpstreamUnavailable, "no text service can be reached");
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
pub(crate) async fn open<Q, A, F>(
    route: &Route,
    context: &CallContext,
    messages: Q,
    send: impl FnOnce(TextClient, Request<Q>) -> F,
) -> Result<A, Fault>
where
    F: Future<Output = Result<Response<A>, Status>>,
{
    let Some(upstream) = route.upstreams.first() else {
        return Err(Fault::new(Reason::UpstreamUnavailable, "no text service can be reached"));
    };
    let answer = send(upstream.client.clone(), context.outgoing(messages)).await;
    answer.map(Response::into_inner).map_err(|status| fault_of(&status))
}

#[cfg(test)]
impl Listing {
    /// Everything that tests of routing don't look at.
    pub(crate) fn default_for_test() -> Self {
        let reference = ModelRef {
            id: ModelId::new("model").unwrap(),
            revision: atelier_core::Revision::new("revision").unwrap(),
        };
        let (context_length, vocabulary_size, embedding_dimensions) = (0, 0, 0);
        let license = String::new();
        Self { reference, tasks: Vec::new(), context_length, vocabulary_size, embedding_dimensions, license }
    }
}
