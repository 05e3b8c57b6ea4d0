//! A gateway on free ports between scripted upstreams.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use atelier_gateway::{AuditDestination, Config, UpstreamConfig, serve};
use atelier_proto::{
    gateway::v1::{
        ChatRequest, Completion, StreamChatRequest, Verdict, gateway_service_client::GatewayServiceClient,
        stream_chat_response::Event,
    },
    image::v1::image_service_server::ImageServiceServer,
    moderation::v1::moderation_service_server::ModerationServiceServer,
    text::v1::{Message, Role, ToolCall, text_service_server::TextServiceServer},
};
use atelier_rpc::{
    ClientConfig, Listeners, Server, ServerConfig,
    client::{Channel, channel},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use tonic::{Status, Streaming};

use crate::{critic::FakeModeration, painter::FakeImage, writer::FakeText};

pub(crate) type Client = GatewayServiceClient<Channel>;

/// Thresholds that all policies here share.
const CATEGORIES: &str = "{hate: {flag: 0.5, block: 0.9}, violence: {block: 0.9}, illicit: {block: 0.9}}";

/// A policy file with one policy.
pub(crate) fn policy(failure: &str, mode: &str, window: &str) -> String {
    format!(
        "version: 1\ndefault_policy: p\npolicies:\n  p:\n    on_moderation_failure: {failure}\n    \
         input: {{categories: {CATEGORIES}}}\n    output:\n      mode: {mode}\n      window: {window}\n      \
         categories: {CATEGORIES}\n"
    )
}

/// Small windows that only close when they are full.
pub(crate) const WINDOW: &str = "{characters: 40, overlap: 12, max_hold: 60s}";

pub(crate) struct Sandbox {
    pub(crate) client: Client,
    pub(crate) text: FakeText,
    pub(crate) image: FakeImage,
    pub(crate) moderation: FakeModeration,
    pub(crate) admin: SocketAddr,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<anyhow::Result<()>>,
    upstreams: Vec<JoinHandle<()>>,
}

impl Sandbox {
    pub(crate) async fn start(policy: &str) -> Self {
        Self::start_with(policy, |_| {}).await
    }

    pub(crate) async fn start_with(policy: &str, change: impl FnOnce(&mut Config)) -> Self {
        let sandbox = Self::start_unready(policy, change).await;
        sandbox.until("it is ready", async || sandbox.get("/readyz").await.starts_with("HTTP/1.1 200")).await;
        sandbox
    }

    pub(crate) async fn start_unready(policy: &str, change: impl FnOnce(&mut Config)) -> Self {
        let (text, image, moderation) =
            (FakeText::default(), FakeImage::default(), FakeModeration::default());
        let (image_address, image_task) = upstream(ImageServiceServer::new(image.clone())).await;
        let (text_address, text_task) = upstream(TextServiceServer::new(text.clone())).await;
        let (moderation_address, moderation_task) =
            upstream(ModerationServiceServer::new(moderation.clone())).await;

        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("policy.yaml"), policy).unwrap();
        let mut config = Config::default();
        config.text.upstreams = vec![UpstreamConfig::to(text_address)];
        config.image.upstreams = vec![UpstreamConfig::to(image_address)];
        config.moderation.upstreams = vec![ClientConfig::to(moderation_address)];
        config.policy.file = Some(folder.path().join("policy.yaml"));
        config.policy.poll_interval = Duration::from_millis(20);
        config.audit.destination = AuditDestination::File;
        config.audit.file = Some(folder.path().join("audit.jsonl"));
        config.server.drain_notice = Duration::ZERO;
        change(&mut config);

        let listeners = Listeners::local().await.unwrap();
        let (address, admin) = (listeners.grpc_address().unwrap(), listeners.admin_address().unwrap());
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let served = tokio::spawn(serve(config, listeners, shutdown));
        let client = Client::new(channel(&ClientConfig::to(format!("http://{address}"))).unwrap());
        let upstreams = vec![text_task, image_task, moderation_task];
        Self { client, text, image, moderation, admin, folder, stop: Some(stop), served, upstreams }
    }

    /// Waits for something that happens soon.
    pub(crate) async fn until(&self, what: &str, mut happened: impl AsyncFnMut() -> bool) {
        let since = Instant::now();
        while !happened().await {
            assert!(since.elapsed() < Duration::from_secs(20), "in vain: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until the text service has no call open.
    pub(crate) async fn until_slot_is_free(&self) {
        self.until("the upstream call has ended", async || self.text.0.open.load(Ordering::SeqCst) == 0)
            .await;
    }

    /// The answer of the admin port, headers and all.
    pub(crate) async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    /// Stops the gateway and gives what is on the audit trail.
    pub(crate) async fn finish(mut self) -> (Vec<serde_json::Value>, String) {
        drop(self.stop.take());
        drop(self.client);
        (&mut self.served).await.unwrap().unwrap();
        for upstream in &self.upstreams {
            upstream.abort();
        }
        let trail = fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        (trail.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), trail)
    }

    pub(crate) async fn chat(&self, content: &str) -> Result<(String, Completion), Status> {
        let request = ChatRequest { messages: user(content), ..Default::default() };
        let answer = self.client.clone().chat(request).await?.into_inner();
        Ok((answer.message.unwrap().content, answer.completion.unwrap()))
    }

    pub(crate) async fn stream(&self, content: &str) -> Result<Answer, Status> {
        let request = StreamChatRequest { messages: user(content), ..Default::default() };
        Ok(Answer::new(self.client.clone().stream_chat(request).await?.into_inner()))
    }
}

pub(crate) fn user(content: &str) -> Vec<Message> {
    vec![Message { role: Role::User.into(), content: content.to_owned(), ..Default::default() }]
}

/// A streamed answer as it comes in.
pub(crate) struct Answer {
    pub(crate) stream: Streaming<atelier_proto::gateway::v1::StreamChatResponse>,
    pub(crate) text: String,
    pub(crate) deltas: usize,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) completion: Option<Completion>,
}

impl Answer {
    fn new(stream: Streaming<atelier_proto::gateway::v1::StreamChatResponse>) -> Self {
        Self {
            stream,
            text: String::new(),
            deltas: 0,
            calls: Vec::new(),
            verdicts: Vec::new(),
            completion: None,
        }
    }

    /// Takes one more event; whether there was one.
    pub(crate) async fn next(&mut self) -> Result<bool, Status> {
        let Some(message) = self.stream.message().await? else { return Ok(false) };
        assert!(self.completion.is_none(), "the completion is the last event");
        match message.event.unwrap() {
            Event::Delta(delta) => {
                self.text.push_str(&delta.text);
                self.deltas += 1;
            }
            Event::ToolCall(call) => self.calls.push(call),
            Event::Verdict(verdict) => self.verdicts.push(verdict),
            Event::Completion(completion) => self.completion = Some(completion),
        }
        Ok(true)
    }

    /// Reads to the end.
    pub(crate) async fn finish(mut self) -> (Self, Result<(), Status>) {
        loop {
            match self.next().await {
                Ok(true) => {}
                Ok(false) => return (self, Ok(())),
                Err(status) => return (self, Err(status)),
            }
        }
    }
}

async fn upstream<S>(service: S) -> (String, JoinHandle<()>)
where
    S: tonic::codegen::Service<
            tonic::codegen::http::Request<tonic::body::Body>,
            Response = tonic::codegen::http::Response<tonic::body::Body>,
            Error = std::convert::Infallible,
        > + tonic::server::NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    let listeners = Listeners::local().await.unwrap();
    let address = listeners.grpc_address().unwrap();
    let server = Server::builder("fake", &ServerConfig::default()).service(service);
    let task = tokio::spawn(async move { server.serve(listeners, std::future::pending()).await.unwrap() });
    (format!("http://{address}"), task)
}
