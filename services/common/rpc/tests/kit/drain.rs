//! The end of a server.

use std::time::{Duration, Instant};

use atelier_core::Reason;
use atelier_rpc::{ServerConfig, fault_of};
use tokio::net::TcpStream;

use crate::toy::{config, open_stream, order, start, until_error, within};

#[tokio::test]
async fn calls_in_flight_end_well_and_new_connections_are_refused() {
    let mut server = start(config()).await;
    let mut client = server.client();
    let call = tokio::spawn(async move { client.moderate_text(order("nap")).await });
    within(5, async {
        while server.toy.seen.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    server.shut_down();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!call.is_finished(), "the call should still be napping");
    assert!(TcpStream::connect(server.grpc).await.is_err(), "the port should be closed");
    within(5, call).await.unwrap().unwrap();
    within(5, server.ended()).await;
}

#[tokio::test]
async fn calls_that_take_too_long_are_cut_with_a_typed_status() {
    let mut server = start(ServerConfig { drain_timeout: Duration::from_millis(400), ..config() }).await;
    let mut client = server.client();
    let answers = client.stream_moderate_text(open_stream("tick")).await.unwrap().into_inner();
    let mut unary = server.client();
    let unary = tokio::spawn(async move { unary.moderate_text(order("sleep")).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    server.shut_down();
    let fault = fault_of(&within(5, until_error(answers)).await);
    assert_eq!(fault.reason(), Reason::Draining);
    assert!(fault.retry_after().is_some());
    let fault = fault_of(&within(5, unary).await.unwrap().unwrap_err());
    assert_eq!(fault.reason(), Reason::Draining);
    assert!(started.elapsed() >= Duration::from_millis(400));
    within(5, server.ended()).await;
    assert!(started.elapsed() < Duration::from_secs(3));
    server.idle().await;
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_end() {
    let mut server = start(config()).await;
    let mut client = server.client();
    client.moderate_text(order("")).await.unwrap();
    let started = Instant::now();
    server.shut_down();
    within(5, server.ended()).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    drop(client);
}

#[tokio::test]
async fn old_connections_are_replaced_and_their_calls_go_on() {
    let server = start(ServerConfig { max_connection_age: Duration::from_millis(200), ..config() }).await;
    let mut client = server.client();
    client.moderate_text(order("")).await.unwrap();
    let mut answers = client.stream_moderate_text(open_stream("tick")).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_millis(400)).await;
    client.moderate_text(order("")).await.unwrap();
    for _ in 0..100 {
        within(1, answers.message()).await.unwrap().unwrap();
    }
    let peers = server.toy.peers.lock().unwrap();
    assert_ne!(peers[0], peers[1], "both calls came over one connection");
}
