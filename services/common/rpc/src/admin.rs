//! The admin port: `/metrics`, `/livez`, `/readyz`.

use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::net::TcpListener;

use crate::{
    metrics,
    server::readiness::{Gate, State},
};

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, gate: Gate) {
    let router = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(async move || readyz(gate.state())))
        .route("/metrics", get(scrape));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(error = %error, "admin port failed");
    }
}

fn readyz(state: State) -> (StatusCode, &'static str) {
    match state {
        State::Ready => (StatusCode::OK, "ready\n"),
        State::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        State::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn scrape() -> impl IntoResponse {
    // Prometheus text exposition format 0.0.4.
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics::render())
}
