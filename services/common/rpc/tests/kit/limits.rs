//! Message sizes, compression and admission.

use std::time::Duration;

use atelier_core::Reason;
use atelier_proto::moderation::v1::ListCategoriesRequest;
use atelier_rpc::{ClientConfig, ServerConfig, fault_of};
use futures::{StreamExt as _, stream};
use tonic::Code;

use crate::toy::{config, order, start, stream_order, until_error, within};

fn limit(fault: &atelier_core::Fault) -> &str {
    &fault.metadata().iter().find(|(key, _)| key == "limit_bytes").expect("no limit named").1
}

#[tokio::test]
async fn oversize_requests_name_the_limit() {
    let server = start(ServerConfig { max_request_bytes: 1000, ..config() }).await;
    let mut client = server.client();
    client.moderate_text(order(&"x".repeat(900))).await.unwrap();
    let status = client.moderate_text(order(&"x".repeat(2000))).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    let fault = fault_of(&status);
    assert_eq!((fault.reason(), limit(&fault)), (Reason::MessageTooLarge, "1000"));

    let requests =
        stream::iter([stream_order("echo"), stream_order(&"x".repeat(2000))]).chain(stream::pending());
    let answers = client.stream_moderate_text(requests).await.unwrap().into_inner();
    let fault = fault_of(&within(5, until_error(answers)).await);
    assert_eq!((fault.reason(), limit(&fault)), (Reason::MessageTooLarge, "1000"));
}

#[tokio::test]
async fn oversize_requests_are_found_behind_compression() {
    let server = start(ServerConfig { max_request_bytes: 1000, ..config() }).await;
    let compressing =
        ClientConfig { compression: true, ..ClientConfig::to(format!("http://{}", server.grpc)) };
    let mut client = server.client_with(&compressing);
    client.moderate_text(order(&"x".repeat(900))).await.unwrap();
    let fault = fault_of(&client.moderate_text(order(&"x".repeat(100_000))).await.unwrap_err());
    assert_eq!((fault.reason(), limit(&fault)), (Reason::MessageTooLarge, "1000"));
}

#[tokio::test]
async fn oversize_answers_name_the_limit_of_either_side() {
    let server = start(ServerConfig { max_response_bytes: 1000, ..config() }).await;
    let fault = fault_of(&server.client().moderate_text(order("answer 2000")).await.unwrap_err());
    assert_eq!((fault.reason(), limit(&fault)), (Reason::MessageTooLarge, "1000"));

    let small =
        ClientConfig { max_response_bytes: 500, ..ClientConfig::to(format!("http://{}", server.grpc)) };
    let fault = fault_of(&server.client_with(&small).moderate_text(order("answer 600")).await.unwrap_err());
    assert_eq!((fault.reason(), limit(&fault)), (Reason::MessageTooLarge, "500"));
}

#[tokio::test]
async fn answers_are_compressed_for_who_asks() {
    let server = start(config()).await;
    let compressing =
        ClientConfig { compression: true, ..ClientConfig::to(format!("http://{}", server.grpc)) };
    let answer = server.client_with(&compressing).moderate_text(order("answer 5000")).await.unwrap();
    assert_eq!(answer.metadata().get("grpc-encoding").unwrap(), "zstd");
    assert_eq!(answer.get_ref().models[0].id.len(), 5000);
    let answer = server.client().moderate_text(order("answer 5000")).await.unwrap();
    assert!(answer.metadata().get("grpc-encoding").is_none());
}

#[tokio::test]
async fn calls_over_the_limit_are_shed_while_streams_run() {
    let server = start(ServerConfig { max_concurrent_requests: 2, ..config() }).await;
    let mut client = server.client();
    let mut running = Vec::new();
    for _ in 0..2 {
        let requests = stream::iter([stream_order("tick")]);
        let mut answers = client.stream_moderate_text(requests).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap();
        running.push(answers);
    }
    let status = client.list_categories(ListCategoriesRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let fault = fault_of(&status);
    assert_eq!(fault.reason(), Reason::Overloaded);
    assert!(fault.retry_after().unwrap() > Duration::ZERO);
    assert!(tonic_types::StatusExt::get_details_retry_info(&status).is_some());

    // Health is answered all the same, and a stream that ends makes room.
    let mut health = tonic_health::pb::health_client::HealthClient::new(server.channel());
    health.check(tonic_health::pb::HealthCheckRequest::default()).await.unwrap();
    running.pop();
    within(5, async {
        while client.list_categories(ListCategoriesRequest {}).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
