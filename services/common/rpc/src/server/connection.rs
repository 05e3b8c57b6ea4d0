//! Accepts connections and serves HTTP/2 on them.

use std::{
    hash::{BuildHasher as _, RandomState},
    io,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::{rt, server::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

use super::drain::Drain;
use crate::{
    config::ServerConfig,
    layer::{CallService, OnConnection},
    tls::Tls,
};

/// A peer that has not finished its handshake by then is not one of ours.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept; it fails mostly for want of file descriptors, which others must give back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything a connection needs.
pub(super) struct Acceptor {
    http: http2::Builder<TokioExecutor>,
    tls: Option<Arc<Tls>>,
    calls: CallService,
    max_age: Duration,
    drain: Drain,
}

impl Acceptor {
    pub(super) fn new(
        config: &ServerConfig,
        tls: Option<Arc<Tls>>,
        calls: CallService,
        drain: Drain,
    ) -> Self {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(config.max_concurrent_streams)
            .keep_alive_interval(config.keepalive_interval)
            .keep_alive_timeout(config.keepalive_timeout);
        Self { http, tls, calls, max_age: config.max_connection_age, drain }
    }

    /// Accepts until the drain begins; connections go on by themselves.
    pub(super) async fn accept(self: Arc<Self>, listener: TcpListener) {
        // Should this future be dropped (a test that ends early), connections end with it.
        let abandoned = self.drain.close().clone().drop_guard();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.drain.stop().cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    self.drain.connections().spawn(Arc::clone(&self).serve(stream));
                }
                Err(error) => {
                    tracing::warn!(error = %error, "connection can't be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        abandoned.disarm();
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let connections = metrics::gauge!("atelier_rpc_connections");
        connections.increment(1.0);
        if let Err(error) = self.handshake_and_serve(stream).await {
            // Peers vanish and port scanners knock: nothing a person must act upon.
            tracing::debug!(error = %error, "connection failed");
        }
        connections.decrement(1.0);
    }

    async fn handshake_and_serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            let calls = self.calls.on_connection(stream.connect_info());
            return self.serve_http(TokioIo::new(stream), calls).await;
        };
        let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
        let calls = self.calls.on_connection(stream.connect_info());
        self.serve_http(TokioIo::new(stream), calls).await
    }

    async fn serve_http<I, P>(&self, io: I, calls: OnConnection<P>) -> io::Result<()>
    where
        I: rt::Read + rt::Write + Unpin,
        P: Clone + Send + Sync + 'static,
    {
        let mut connection = pin!(self.http.serve_connection(io, calls));
        let until_old = tokio::time::sleep(spread(self.max_age));
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(io::Error::other),
            () = self.drain.close().cancelled() => return Ok(()),
            () = self.drain.stop().cancelled() => {}
            () = until_old => {}
        }
        // GOAWAY: the peer opens no further streams here, those it has run to their end.
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = connection => ended.map_err(io::Error::other),
            () = self.drain.close().cancelled() => Ok(()),
        }
    }
}

/// The age, give or take a tenth, so that connections opened together are not closed together.
fn spread(age: Duration) -> Duration {
    let random = RandomState::new().hash_one(age);
    age.mul_f64(0.9 + 0.2 * (random % 1024) as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_by_a_tenth() {
        let age = Duration::from_secs(1000);
        let ages: Vec<u64> = (0..64).map(|_| spread(age).as_secs()).collect();
        assert!(ages.iter().all(|age| (900..=1100).contains(age)), "{ages:?}");
        assert!(ages.iter().any(|age| *age != ages[0]));
    }
}
