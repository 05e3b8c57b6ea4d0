//! Traces, in a process of their own: the subscriber is global.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking, their helpers too")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use atelier_proto::moderation::v1::{
    FollowTextRequest, FollowTextResponse, ListCategoriesRequest, ListCategoriesResponse,
    ModerateImageRequest, ModerateImageResponse, ModerateTextRequest, ModerateTextResponse,
    StreamModerateImageRequest, StreamModerateImageResponse, StreamModerateTextRequest,
    StreamModerateTextResponse,
    moderation_service_client::ModerationServiceClient,
    moderation_service_server::{ModerationService, ModerationServiceServer},
};
use atelier_rpc::{
    CallContext, ClientConfig, Listeners, Server, ServerConfig, TelemetryConfig, client, telemetry,
};
use futures::stream;
use http::{Request as HttpRequest, Response as HttpResponse};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, Streaming, body::Body};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Answers with the trace context that a call to an upstream would carry.
struct Relay;

#[tonic::async_trait]
impl ModerationService for Relay {
    async fn moderate_text(
        &self,
        request: Request<ModerateTextRequest>,
    ) -> Result<Response<ModerateTextResponse>, Status> {
        let outgoing = CallContext::of(&request).outgoing(());
        let mut response = Response::new(ModerateTextResponse::default());
        let parent = outgoing.metadata().get("traceparent").cloned().expect("no trace context");
        response.metadata_mut().insert("relayed", parent);
        Ok(response)
    }

    type StreamModerateTextStream = stream::Empty<Result<StreamModerateTextResponse, Status>>;
    async fn stream_moderate_text(
        &self,
        _: Request<Streaming<StreamModerateTextRequest>>,
    ) -> Result<Response<Self::StreamModerateTextStream>, Status> {
        Err(Status::unimplemented(""))
    }

    type FollowTextStream = stream::Empty<Result<FollowTextResponse, Status>>;
    async fn follow_text(
        &self,
        _: Request<Streaming<FollowTextRequest>>,
    ) -> Result<Response<Self::FollowTextStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn moderate_image(
        &self,
        _: Request<ModerateImageRequest>,
    ) -> Result<Response<ModerateImageResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type StreamModerateImageStream = stream::Empty<Result<StreamModerateImageResponse, Status>>;
    async fn stream_moderate_image(
        &self,
        _: Request<Streaming<StreamModerateImageRequest>>,
    ) -> Result<Response<Self::StreamModerateImageStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_categories(
        &self,
        _: Request<ListCategoriesRequest>,
    ) -> Result<Response<ListCategoriesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

/// A collector that keeps what it is sent.
async fn collector(listener: TcpListener, received: Arc<Mutex<Vec<u8>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let received = Arc::clone(&received);
        let answer = service_fn(move |request: HttpRequest<Incoming>| {
            let received = Arc::clone(&received);
            async move {
                assert_eq!(request.headers()["x-key"], "sesame");
                let mut body = Body::new(request.into_body());
                while let Some(Ok(frame)) =
                    std::future::poll_fn(|cx| http_body::Body::poll_frame(std::pin::Pin::new(&mut body), cx))
                        .await
                {
                    if let Ok(data) = frame.into_data() {
                        received.lock().unwrap().extend_from_slice(&data);
                    }
                }
                Ok::<HttpResponse<Body>, Infallible>(Status::ok("").into_http())
            }
        });
        tokio::spawn(
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer),
        );
    }
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_callers_trace_goes_through_and_is_exported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(collector(listener, Arc::clone(&received)));
    let config = TelemetryConfig {
        otlp_endpoint: Some(endpoint),
        otlp_headers: [("x-key".to_owned(), atelier_rpc::config::Secret::new("sesame"))].into(),
        ..TelemetryConfig::default()
    };
    let guard = telemetry::init("relay", &config).unwrap();
    drop(telemetry::init("again", &TelemetryConfig::default()).unwrap());

    let listeners = Listeners::local().await.unwrap();
    let address = listeners.grpc_address().unwrap();
    let server =
        Server::builder("relay", &ServerConfig::default()).service(ModerationServiceServer::new(Relay));
    tokio::spawn(server.serve(listeners, std::future::pending()));

    let channel = client::channel(&ClientConfig::to(format!("http://{address}"))).unwrap();
    let mut request = Request::new(ModerateTextRequest::default());
    request.metadata_mut().insert("traceparent", format!("00-{TRACE}-{PARENT}-01").parse().unwrap());
    let answer = ModerationServiceClient::new(channel).moderate_text(request).await.unwrap();
    let relayed = answer.metadata().get("relayed").unwrap().to_str().unwrap().to_owned();
    assert!(relayed.starts_with(&format!("00-{TRACE}-")), "{relayed}");
    assert!(!relayed.contains(PARENT), "the upstream's parent is the span of this call: {relayed}");

    // The span ends a moment after the answer.
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::task::spawn_blocking(move || drop(guard)).await.unwrap();
    let received = received.lock().unwrap();
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    assert!(holds(&received, &bytes(TRACE)) && holds(&received, &bytes(PARENT)), "the span was not exported");
    assert!(holds(&received, &bytes(relayed.split('-').nth(2).unwrap())), "another span was exported");
    assert!(holds(&received, b"ModerateText"));
}
