//! What a stranger's tools see: reflection, health, metrics, the command line over the standalone process.

use std::collections::BTreeSet;

use atelier_proto::gateway::v1::{ListCategoriesRequest, ListModelsRequest};
use atelier_tests::{Running, Sandbox, http_get};
use tonic::transport::Endpoint;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_reflection::pb::{
    v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    },
    v1alpha,
};

async fn reflected(running: &Running) -> BTreeSet<String> {
    let channel = Endpoint::try_from(running.endpoint()).unwrap().connect().await.unwrap();
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    list.service.into_iter().map(|service| service.name).collect()
}

async fn reflected_v1alpha(running: &Running) -> usize {
    use v1alpha::{server_reflection_client as client, server_reflection_request as request};
    let channel = Endpoint::try_from(running.endpoint()).unwrap().connect().await.unwrap();
    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(request::MessageRequest::FileContainingSymbol(
            "atelier.common.v1.Usage".to_owned(),
        )),
    };
    let mut client = client::ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(tokio_stream::once(ask)).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files) = answer else {
        panic!("{answer:?}")
    };
    files.file_descriptor_proto.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_and_health_answers_for_every_service() {
    let sandbox = Sandbox::start().await.unwrap();
    let text = Running::text(atelier_text::Config::default()).await.unwrap();
    let moderation = Running::moderation(atelier_moderation::Config::default()).await.unwrap();
    for (running, name) in [
        (&sandbox.gateway, "atelier.gateway.v1.GatewayService"),
        (&text, "atelier.text.v1.TextService"),
        (&moderation, "atelier.moderation.v1.ModerationService"),
    ] {
        let services = reflected(running).await;
        assert!(services.contains(name) && services.contains("grpc.health.v1.Health"), "{services:?}");
        assert!(reflected_v1alpha(running).await > 0);
        for service in ["", name] {
            assert_eq!(running.health(service).await.unwrap(), Some(ServingStatus::Serving), "{service:?}");
        }
        assert_eq!(running.health("no.such.Service").await.unwrap(), None);
        assert!(http_get(running.admin, "/metrics").await.unwrap().contains("atelier_"));
        http_get(running.admin, "/livez").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_not_serving_until_it_is_warm() {
    // Nobody listens at these endpoints: the gateway lives, answers health, and is not ready.
    let (text, moderation) = ("http://127.0.0.1:9".to_owned(), "http://127.0.0.1:9".to_owned());
    let sandbox = Sandbox::builder().text(text).moderation(moderation).start_cold().await.unwrap();
    assert_eq!(sandbox.gateway.health("").await.unwrap(), Some(ServingStatus::NotServing));
    http_get(sandbox.gateway.admin, "/livez").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn models_and_categories_are_listed() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let models = sandbox.clients.gateway.list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    let ids: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["multilingual-e5-small", "smollm2-135m-instruct"]);
    assert!(models.iter().all(|model| model.revision.len() == 12));
    let categories = sandbox
        .clients
        .gateway
        .list_categories(ListCategoriesRequest {})
        .await
        .unwrap()
        .into_inner()
        .categories;
    let measured: Vec<_> =
        categories.iter().filter(|c| !c.detectors.is_empty()).map(|c| c.id.as_str()).collect();
    for category in ["hate", "harassment", "self-harm", "sexual", "violence", "toxicity", "prompt-injection"]
    {
        assert!(measured.contains(&category), "{measured:?}");
    }
    assert!(measured.len() < categories.len(), "some categories have no detector, and that is said");
}
