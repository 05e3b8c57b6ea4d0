//! Typed clients of a sandbox.

use atelier_proto::{
    gateway::v1::gateway_service_client::GatewayServiceClient,
    moderation::v1::moderation_service_client::ModerationServiceClient,
    text::v1::text_service_client::TextServiceClient,
};
use tonic::transport::{Channel, Endpoint};

/// One client for each service.
#[derive(Clone)]
pub struct Clients {
    /// The gateway.
    pub gateway: GatewayServiceClient<Channel>,
    /// The text service, past the gateway.
    pub text: TextServiceClient<Channel>,
    /// The moderation service, past the gateway.
    pub moderation: ModerationServiceClient<Channel>,
}

impl Clients {
    /// Clients of these endpoints (`http://...`); connections are made at the first call.
    ///
    /// # Errors
    /// An endpoint is no URI.
    pub fn new(gateway: &str, text: &str, moderation: &str) -> anyhow::Result<Self> {
        let channel = |endpoint: &str| anyhow::Ok(Endpoint::try_from(endpoint.to_owned())?.connect_lazy());
        Ok(Self {
            gateway: GatewayServiceClient::new(channel(gateway)?),
            text: TextServiceClient::new(channel(text)?),
            moderation: ModerationServiceClient::new(channel(moderation)?),
        })
    }
}
