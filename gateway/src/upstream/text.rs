//! A text service.

use atelier_proto::{
    common::v1::Model,
    text::v1::{ListModelsRequest, text_service_client::TextServiceClient},
};
use atelier_rpc::{ClientConfig, RpcError, client};
use tonic::{Request, Status};

use crate::upstream::ModelClient;

pub(crate) type TextClient = TextServiceClient<client::Channel>;

impl ModelClient for TextClient {
    const KIND: &'static str = "text";

    fn connect(connection: &ClientConfig) -> Result<Self, RpcError> {
        Ok(atelier_rpc::limited_client!(TextServiceClient::new(client::channel(connection)?), connection))
    }

    async fn models(mut self, request: Request<()>) -> Result<Vec<Model>, Status> {
        let answer = self.list_models(request.map(|()| ListModelsRequest {})).await?;
        Ok(answer.into_inner().models)
    }
}
