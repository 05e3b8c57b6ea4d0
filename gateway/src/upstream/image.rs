//! An image service.

use atelier_proto::{
    common::v1::Model,
    image::v1::{ListModelsRequest, image_service_client::ImageServiceClient},
};
use atelier_rpc::{ClientConfig, RpcError, client};
use tonic::{Request, Status};

use crate::upstream::ModelClient;

pub(crate) type ImageClient = ImageServiceClient<client::Channel>;

impl ModelClient for ImageClient {
    const KIND: &'static str = "image";

    fn connect(connection: &ClientConfig) -> Result<Self, RpcError> {
        Ok(atelier_rpc::limited_client!(ImageServiceClient::new(client::channel(connection)?), connection))
    }

    async fn models(mut self, request: Request<()>) -> Result<Vec<Model>, Status> {
        let answer = self.list_models(request.map(|()| ListModelsRequest {})).await?;
        Ok(answer.into_inner().models)
    }
}
