//! What a single call meets: context, faults, deadlines, panics.

use std::time::{Duration, Instant};

use atelier_core::Reason;
use atelier_proto::moderation::v1::ModerateTextRequest;
use atelier_rpc::fault_of;
use tonic::{Code, Request};

use crate::toy::{config, open_stream, order, start, stream_order, until_error, within};

fn with(message: ModerateTextRequest, pairs: &[(&'static str, &str)]) -> Request<ModerateTextRequest> {
    let mut request = Request::new(message);
    for (name, value) in pairs {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn context_is_read_and_the_request_id_given_back() {
    let server = start(config()).await;
    let pairs = [("x-request-id", "r-17"), ("atelier-tenant", "acme"), ("grpc-timeout", "5S")];
    let answer = server.client().moderate_text(with(order(""), &pairs)).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "r-17");
    let seen = server.toy.seen.lock().unwrap()[0].clone();
    assert_eq!((seen.request_id.as_str(), seen.tenant.as_str()), ("r-17", "acme"));
    let remaining = seen.remaining().unwrap();
    assert!(remaining <= Duration::from_secs(5) && remaining > Duration::from_secs(3), "{remaining:?}");
}

#[tokio::test]
async fn without_context_there_are_defaults_and_a_new_id() {
    let server = start(config()).await;
    let answer = server.client().moderate_text(order("")).await.unwrap();
    let seen = server.toy.seen.lock().unwrap()[0].clone();
    assert_eq!(seen.tenant.as_str(), "default");
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), seen.request_id.as_str());
    let longest = config().request_timeout;
    assert!(seen.remaining().unwrap() <= longest);
}

#[tokio::test]
async fn a_bad_tenant_is_refused_with_the_field() {
    let server = start(config()).await;
    let refused =
        server.client().moderate_text(with(order(""), &[("atelier-tenant", "a b")])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(fault_of(&refused).violations()[0].field, "atelier-tenant");
    assert!(server.toy.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn faults_arrive_typed_and_without_their_cause() {
    let server = start(config()).await;
    let status = server.client().moderate_text(order("fault")).await.unwrap_err();
    assert!(!format!("{status:?}").contains("secret"));
    assert!(status.metadata().contains_key("x-request-id"));
    let fault = fault_of(&status);
    assert_eq!(fault.reason(), Reason::QueueFull);
    assert_eq!(fault.retry_after(), Some(Duration::from_millis(250)));
}

#[tokio::test]
async fn the_server_bounds_a_unary_call() {
    let server =
        start(atelier_rpc::ServerConfig { request_timeout: Duration::from_millis(200), ..config() }).await;
    let started = Instant::now();
    let status = within(5, server.client().moderate_text(order("sleep"))).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(fault_of(&status).reason(), Reason::DeadlineExceeded);
    assert!(started.elapsed() < Duration::from_secs(2));
    server.idle().await;
}

#[tokio::test]
async fn the_callers_deadline_ends_a_unary_call() {
    let server = start(config()).await;
    let mut request = Request::new(order("sleep"));
    request.set_timeout(Duration::from_millis(200));
    let status = within(5, server.client().moderate_text(request)).await.unwrap_err();
    assert_eq!(fault_of(&status).reason(), Reason::DeadlineExceeded);
    server.idle().await;
}

#[tokio::test]
async fn deadlines_end_streams_that_tick_and_streams_that_never_pause() {
    let server =
        start(atelier_rpc::ServerConfig { request_timeout: Duration::from_millis(300), ..config() }).await;
    for what in ["tick", "flood"] {
        let started = Instant::now();
        let answers = server.client().stream_moderate_text(open_stream(what)).await.unwrap().into_inner();
        let status = within(10, until_error(answers)).await;
        assert_eq!(fault_of(&status).reason(), Reason::DeadlineExceeded, "{what}");
        assert!(started.elapsed() >= Duration::from_millis(290), "{what}");
        // The handler's stream is dropped: nobody works for a call that is over.
        server.idle().await;
    }
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_work() {
    let server = start(config()).await;
    let mut client = server.client();
    // With its own stream at its end: tonic's clients keep a call alive that they can still write to.
    let requests = futures::stream::iter([stream_order("tick")]);
    let mut answers = client.stream_moderate_text(requests).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    drop(answers);
    server.idle().await;
}

#[tokio::test]
async fn panics_are_internal_errors_and_the_server_lives_on() {
    let server = start(config()).await;
    let mut client = server.client();
    let status = client.moderate_text(order("panic")).await.unwrap_err();
    assert_eq!(fault_of(&status).reason(), Reason::Internal);
    assert!(!status.message().contains("as asked"));
    let answers = client.stream_moderate_text(open_stream("panic")).await.unwrap().into_inner();
    let status = within(5, until_error(answers)).await;
    assert_eq!(fault_of(&status).reason(), Reason::Internal);
    client.moderate_text(order("")).await.unwrap();
}

#[tokio::test]
async fn unknown_services_and_methods_are_unimplemented() {
    let server = start(config()).await;
    for path in ["/nobody.v1.Service/Call", "/atelier.moderation.v1.ModerationService/Nothing"] {
        let mut client = tonic::client::Grpc::new(server.channel());
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ModerateTextRequest, ModerateTextRequest>::default();
        let status = client.unary(Request::new(order("")), path.parse().unwrap(), codec).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_unavailable_upstream() {
    let server = start(config()).await;
    let mut client = server.client();
    let answers = client.stream_moderate_text(open_stream("tick")).await.unwrap().into_inner();
    drop(server);
    let fault = fault_of(&within(5, until_error(answers)).await);
    assert_eq!(fault.reason(), Reason::UpstreamUnavailable);
    let status = within(5, client.moderate_text(order(""))).await.unwrap_err();
    assert_eq!(fault_of(&status).reason(), Reason::UpstreamUnavailable, "{status:?}");
}
