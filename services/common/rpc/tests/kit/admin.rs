//! The admin port.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::toy::{config, order, start, start_cold};

/// Status line and body.
async fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[tokio::test]
async fn probes_tell_life_from_readiness() {
    let mut server = start_cold(atelier_rpc::ServerConfig {
        drain_notice: std::time::Duration::from_millis(400),
        ..config()
    })
    .await;
    assert!(get(server.admin, "/livez").await.0.contains("200"));
    let (status, body) = get(server.admin, "/readyz").await;
    assert!(status.contains("503") && body.contains("starting"));
    server.readiness.ready();
    assert!(get(server.admin, "/readyz").await.0.contains("200"));
    server.shut_down();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let (status, body) = get(server.admin, "/readyz").await;
    assert!(status.contains("503") && body.contains("draining"));
    assert!(get(server.admin, "/livez").await.0.contains("200"));
}

#[tokio::test]
async fn metrics_count_calls_by_method_and_code() {
    let server = start(config()).await;
    let mut client = server.client();
    client.moderate_text(order("")).await.unwrap();
    client.moderate_text(order("fault")).await.unwrap_err();
    let (_, text) = get(server.admin, "/metrics").await;
    let counted = |code: &str| {
        text.lines().any(|line| {
            line.starts_with("atelier_rpc_requests_total{")
                && line.contains(r#"grpc_service="atelier.moderation.v1.ModerationService""#)
                && line.contains(r#"grpc_method="ModerateText""#)
                && line.contains(&format!(r#"grpc_code="{code}""#))
                && !line.ends_with(" 0")
        })
    };
    assert!(counted("OK") && counted("RESOURCE_EXHAUSTED"), "{text}");
    assert!(text.contains("atelier_rpc_duration_seconds_bucket"), "{text}");
    assert!(text.contains("atelier_rpc_in_flight"), "{text}");
    let resident = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    assert!(resident.parse::<f64>().unwrap() > 1e6, "{resident}");
}
