//! The moderation services, which are all alike.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use atelier_core::{Fault, Reason, TenantId};
use atelier_proto::moderation::v1::{self as proto, moderation_service_client::ModerationServiceClient};
use atelier_rpc::{CallContext, client, fault_of};
use futures::{FutureExt, future::BoxFuture};
use tonic::Status;

use crate::{
    config::ModerationConfig,
    convert,
    error::GatewayError,
    metrics,
    moderator::{Asked, Content, Measurement, Moderator, Shown},
    upstream::PROBE_TIMEOUT,
};

pub(crate) type ModerationClient = ModerationServiceClient<client::Channel>;

/// Tries for one measurement at least, however few the services are: a queue that is full or a connection that broke
/// is often past a moment later.
const MIN_TRIES: usize = 3;
/// Pause before the second try; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The moderation services; calls take turns among those that answer.
pub(crate) struct ModerationPool {
    members: Arc<[Member]>,
    timeout: Duration,
    turn: AtomicUsize,
}

struct Member {
    endpoint: String,
    client: ModerationClient,
    reachable: AtomicBool,
}

impl ModerationPool {
    pub(crate) fn new(config: &ModerationConfig) -> Result<Self, GatewayError> {
        if config.upstreams.is_empty() {
            return Err(GatewayError::Config("moderation.upstreams: needs at least one".to_owned()));
        }
        let member = |connection| {
            let channel = client::channel(connection)?;
            Ok(Member {
                endpoint: connection.endpoint.clone(),
                client: atelier_rpc::limited_client!(ModerationServiceClient::new(channel), connection),
                reachable: AtomicBool::new(false),
            })
        };
        let members = config.upstreams.iter().map(member).collect::<Result<_, GatewayError>>()?;
        Ok(Self { members, timeout: config.timeout, turn: AtomicUsize::new(0) })
    }

    /// Asks every service for a sign of life; whether any gave one.
    pub(crate) async fn probe(&self) -> bool {
        let asked = self.members.iter().map(Member::probe);
        futures::future::join_all(asked).await.into_iter().any(|answered| answered)
    }

    /// The client of the service whose turn it is, for calls that are passed through.
    pub(crate) fn client(&self) -> ModerationClient {
        // `new` refuses an empty pool, so there is a first in any order.
        self.members[self.order()[0]].client.clone()
    }

    /// Members by turn, those that answered last time first.
    fn order(&self) -> Vec<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> =
            (0..self.members.len()).map(|n| (turn.wrapping_add(n)) % self.members.len()).collect();
        order.sort_by_key(|&at| !self.members[at].reachable.load(Ordering::Relaxed));
        order
    }
}

impl Member {
    async fn probe(&self) -> bool {
        let mut request =
            CallContext::new(TenantId::default_tenant()).outgoing(proto::ListCategoriesRequest {});
        request.set_timeout(PROBE_TIMEOUT);
        let answered = self.client.clone().list_categories(request).await;
        if let Err(status) = &answered
            && self.reachable.load(Ordering::Relaxed)
        {
            let fault = fault_of(status);
            tracing::warn!(endpoint = self.endpoint, ?fault, "a moderation service can't be reached");
        }
        self.set_reachable(answered.is_ok());
        answered.is_ok()
    }

    fn set_reachable(&self, reachable: bool) {
        if !self.reachable.swap(reachable, Ordering::Relaxed) && reachable {
            tracing::info!(endpoint = self.endpoint, "a moderation service answers");
        }
        metrics::upstream("moderation", &self.endpoint, reachable);
    }

    async fn measure(
        &self,
        context: &CallContext,
        content: Content,
        asked: &Asked,
    ) -> Result<Measurement, Status> {
        let categories = asked.names();
        let mut client = self.client.clone();
        match content {
            Content::Texts(texts) => {
                let items =
                    texts.into_iter().map(|text| proto::TextItem { id: String::new(), text }).collect();
                let request =
                    context.outgoing(proto::ModerateTextRequest { items, categories, redact: false });
                let answer = client.moderate_text(request).await?.into_inner();
                Ok(convert::measurement(answer.results, answer.models))
            }
            Content::Images(images) => {
                let item = |Shown { data, time_ms, skip_text }| {
                    let source = Some(proto::image_item::Source::Data(data));
                    proto::ImageItem { id: String::new(), source, time_ms, skip_text }
                };
                let items = images.into_iter().map(item).collect();
                let message = proto::ModerateImageRequest { items, categories, ..Default::default() };
                let request = context.outgoing(message);
                let answer = client.moderate_image(request).await?.into_inner();
                Ok(convert::measurement(answer.results, answer.models))
            }
        }
    }
}

impl Moderator for ModerationPool {
    fn measure(
        &self,
        context: &CallContext,
        content: Content,
        asked: Asked,
    ) -> BoxFuture<'static, Result<Measurement, Fault>> {
        let (members, order, context) = (Arc::clone(&self.members), self.order(), context.clone());
        let tries = async move {
            let mut pause = FIRST_PAUSE;
            let mut last = Fault::new(Reason::UpstreamUnavailable, "no moderation service can be reached");
            for (n, &at) in order.iter().cycle().take(order.len().max(MIN_TRIES)).enumerate() {
                if n >= order.len() {
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                let member = &members[at];
                match member.measure(&context, content.clone(), &asked).await {
                    Ok(measurement) => return Ok(measurement),
                    Err(status) => last = fault_of(&status),
                }
                match last.reason() {
                    Reason::UpstreamUnavailable => member.set_reachable(false),
                    reason if reason.is_retryable() => {}
                    _ => break,
                }
            }
            Err(last)
        };
        let timeout = self.timeout;
        async move {
            let late = || Fault::new(Reason::DeadlineExceeded, "moderation took too long");
            tokio::time::timeout(timeout, tries).await.unwrap_or_else(|_| Err(late()))
        }
        .boxed()
    }
}
