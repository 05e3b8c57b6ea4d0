//! One server for all tests of the binary: loading the models takes longer than the tests.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use atelier_moderation::{Config, serve};
use atelier_proto::moderation::v1::{Scores, moderation_service_client::ModerationServiceClient};
use atelier_rpc::Listeners;
use tonic::{Status, transport::Channel};
use tonic_types::StatusExt as _;

pub(crate) type Client = ModerationServiceClient<Channel>;

/// Runs a test against the server.
pub(crate) fn test(body: impl AsyncFnOnce(Client)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Channel::from_shared(format!("http://{}", server())).unwrap();
        let client = ModerationServiceClient::new(endpoint.connect().await.unwrap());
        body(client.max_decoding_message_size(64 << 20).max_encoding_message_size(64 << 20)).await;
    });
}

/// The score of a category; panics when it has none.
pub(crate) fn score(scores: &Scores, category: &str) -> f32 {
    let found = scores.categories.iter().find(|score| score.category == category);
    found.unwrap_or_else(|| panic!("no score for {category}: {scores:?}")).score
}

/// The fields that a status names.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let details = status.get_details_bad_request().into_iter();
    details.flat_map(|details| details.field_violations).map(|violation| violation.field).collect()
}

/// A file under the repository's `tests/golden/moderation`.
pub(crate) fn golden(name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/moderation");
    PathBuf::from(root).join(name)
}

fn server() -> SocketAddr {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    *ADDRESS.get_or_init(|| {
        let (tell, told) = mpsc::sync_channel(1);
        // It lives as long as the process.
        thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let listeners = Listeners::local().await.unwrap();
                tell.send((listeners.grpc_address().unwrap(), listeners.admin_address().unwrap())).unwrap();
                serve(Config::default(), listeners, std::future::pending()).await.unwrap();
            });
        });
        let (grpc, admin) = told.recv().unwrap();
        wait_until_ready(admin);
        grpc
    })
}

/// Asks `/readyz` until it says 200.
fn wait_until_ready(admin: SocketAddr) {
    use std::{
        io::{Read, Write},
        net::TcpStream,
    };
    let started = Instant::now();
    let asked = || {
        let mut stream = TcpStream::connect(admin)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer.starts_with("HTTP/1.1 200"))
    };
    while !asked().unwrap_or(false) {
        assert!(started.elapsed() < Duration::from_secs(60), "the server did not become ready");
        thread::park_timeout(Duration::from_millis(20));
    }
}
