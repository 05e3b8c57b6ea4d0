//! Health and reflection.

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::toy::{Running, config, start, start_cold, within};

const SERVICE: &str = "atelier.moderation.v1.ModerationService";

async fn check(server: &Running, service: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(server.channel()).check(request).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn health_is_not_serving_until_ready_and_again_on_drain() {
    let mut server = start_cold(config()).await;
    for service in ["", SERVICE] {
        assert_eq!(check(&server, service).await, ServingStatus::NotServing);
    }
    let request = HealthCheckRequest { service: SERVICE.to_owned() };
    let mut watch = HealthClient::new(server.channel()).watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    server.readiness.ready();
    assert_eq!(within(5, watch.message()).await.unwrap().unwrap().status(), ServingStatus::Serving);
    for service in ["", SERVICE] {
        assert_eq!(check(&server, service).await, ServingStatus::Serving);
    }
    server.shut_down();
    assert_eq!(within(5, watch.message()).await.unwrap().unwrap().status(), ServingStatus::NotServing);
    // A watcher does not hold up the end.
    within(5, server.ended()).await;
    assert!(watch.message().await.is_err());
}

#[tokio::test]
async fn health_of_a_service_that_is_not_here_is_not_found() {
    let server = start(config()).await;
    let request = HealthCheckRequest { service: "nobody".into() };
    let status = HealthClient::new(server.channel()).check(request).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::NotFound);
}

macro_rules! reflection_test {
    ($name:ident, $version:ident) => {
        #[tokio::test]
        async fn $name() {
            use tonic_reflection::pb::$version::{
                ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
                server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
            };
            let server = start(config()).await;
            let ask =
                |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
            let requests = futures::stream::iter([
                ask(MessageRequest::ListServices(String::new())),
                ask(MessageRequest::FileContainingSymbol(SERVICE.to_owned())),
                ask(MessageRequest::FileByFilename("atelier/common/v1/model.proto".to_owned())),
            ]);
            let mut client = ServerReflectionClient::new(server.channel());
            let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
            let Some(MessageResponse::ListServicesResponse(list)) =
                answers.message().await.unwrap().unwrap().message_response
            else {
                panic!("no list");
            };
            let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            names.sort();
            let expected = [
                SERVICE,
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
            ];
            assert_eq!(names, expected);
            for _ in 0..2 {
                let answer = answers.message().await.unwrap().unwrap().message_response;
                assert!(matches!(answer, Some(MessageResponse::FileDescriptorResponse(_))), "{answer:?}");
            }
        }
    };
}

reflection_test!(reflection_v1_lists_and_describes, v1);
reflection_test!(reflection_v1alpha_lists_and_describes, v1alpha);
