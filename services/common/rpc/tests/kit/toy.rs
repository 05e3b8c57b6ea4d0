//! A moderation service whose behaviour the request chooses, and a server around it.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use atelier_core::{Fault, Reason};
use atelier_proto::moderation::v1::{
    FollowTextRequest, FollowTextResponse, ListCategoriesRequest, ListCategoriesResponse,
    ModerateImageRequest, ModerateImageResponse, ModerateTextRequest, ModerateTextResponse,
    StreamModerateImageRequest, StreamModerateImageResponse, StreamModerateTextRequest,
    StreamModerateTextResponse, TextItem,
    moderation_service_client::ModerationServiceClient,
    moderation_service_server::{ModerationService, ModerationServiceServer},
};
use atelier_rpc::{
    CallContext, ClientConfig, Listeners, Readiness, Server, ServerConfig,
    client::{self, Channel},
    status,
};
use futures::{Stream, StreamExt as _, stream};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Request, Response, Status, Streaming};

pub(crate) type Client = ModerationServiceClient<Channel>;

/// What the toy does is the id of the first item.
#[derive(Clone, Default)]
pub(crate) struct Toy {
    /// Contexts of unary calls.
    pub(crate) seen: Arc<Mutex<Vec<CallContext>>>,
    /// Their peers.
    pub(crate) peers: Arc<Mutex<Vec<SocketAddr>>>,
    /// Streams being produced.
    pub(crate) producing: Arc<AtomicUsize>,
}

/// Counts while it lives.
struct Producing(Arc<AtomicUsize>);

impl Producing {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Producing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<StreamModerateTextResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ModerationService for Toy {
    async fn moderate_text(
        &self,
        request: Request<ModerateTextRequest>,
    ) -> Result<Response<ModerateTextResponse>, Status> {
        let _producing = Producing::new(&self.producing);
        self.seen.lock().unwrap().push(CallContext::of(&request));
        self.peers.lock().unwrap().extend(request.remote_addr());
        let order = request.get_ref().items.first().map(|item| item.id.clone()).unwrap_or_default();
        match order.as_str() {
            "panic" => panic!("as asked"),
            "sleep" => tokio::time::sleep(Duration::from_secs(60)).await,
            "nap" => tokio::time::sleep(Duration::from_millis(700)).await,
            "fault" => {
                let fault = Fault::new(Reason::QueueFull, "the queue is full")
                    .with_retry_after(Duration::from_millis(250))
                    .with_cause("secret cause");
                return Err(status(fault));
            }
            _ => {}
        }
        let bytes = order.strip_prefix("answer ").map_or(0, |bytes| bytes.parse().unwrap());
        let models =
            vec![atelier_proto::common::v1::ModelRef { id: "x".repeat(bytes), revision: "r".into() }];
        Ok(Response::new(ModerateTextResponse { results: Vec::new(), models }))
    }

    type StreamModerateTextStream = Answers;

    async fn stream_moderate_text(
        &self,
        request: Request<Streaming<StreamModerateTextRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let producing = Arc::new(Producing::new(&self.producing));
        let counted = Arc::clone(&producing);
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|request| request.item).unwrap_or_default();
        let answer = move |_| {
            let _ = &producing;
            Ok(StreamModerateTextResponse { id: "tick".into(), ..Default::default() })
        };
        Ok(Response::new(match first.id.as_str() {
            // Never pauses: no deadline that waits for a pause would end it.
            "flood" => stream::repeat(()).map(answer).boxed(),
            "panic" => stream::repeat(()).map(|()| panic!("as asked")).boxed(),
            "echo" => requests
                .map(move |request| {
                    let _ = &counted;
                    request.map(|request| StreamModerateTextResponse {
                        id: request.item.unwrap_or_default().id,
                        ..Default::default()
                    })
                })
                .boxed(),
            _ => {
                let ticks = tokio::time::interval(Duration::from_millis(5));
                stream::unfold(ticks, async |mut ticks| Some((ticks.tick().await, ticks)))
                    .map(|_| ())
                    .map(answer)
                    .boxed()
            }
        }))
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
        Ok(Response::new(ListCategoriesResponse::default()))
    }
}

/// A server that runs until it is stopped or dropped.
pub(crate) struct Running {
    pub(crate) toy: Toy,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) readiness: Readiness,
    shutdown: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

/// Settings that keep tests short.
pub(crate) fn config() -> ServerConfig {
    ServerConfig { drain_notice: Duration::from_millis(50), ..ServerConfig::default() }
}

/// A server that is not ready yet.
pub(crate) async fn start_cold(config: ServerConfig) -> Running {
    let listeners = Listeners::local().await.unwrap();
    let (grpc, admin) = (listeners.grpc_address().unwrap(), listeners.admin_address().unwrap());
    let toy = Toy::default();
    let service = atelier_rpc::limited!(ModerationServiceServer::new(toy.clone()), &config);
    let server = Server::builder("toy", &config).service(service);
    let readiness = server.readiness();
    let (shutdown, asked) = oneshot::channel();
    let serving = tokio::spawn(async move {
        // The sender gone: the test is over and wants no drain.
        let asked = async {
            if asked.await.is_err() {
                std::future::pending().await
            }
        };
        server.serve(listeners, asked).await.unwrap();
    });
    Running { toy, grpc, admin, readiness, shutdown: Some(shutdown), serving }
}

pub(crate) async fn start(config: ServerConfig) -> Running {
    let running = start_cold(config).await;
    running.readiness.ready();
    running
}

impl Running {
    pub(crate) fn client(&self) -> Client {
        self.client_with(&ClientConfig::to(format!("http://{}", self.grpc)))
    }

    pub(crate) fn client_with(&self, config: &ClientConfig) -> Client {
        atelier_rpc::limited_client!(ModerationServiceClient::new(client::channel(config).unwrap()), config)
    }

    pub(crate) fn channel(&self) -> Channel {
        client::channel(&ClientConfig::to(format!("http://{}", self.grpc))).unwrap()
    }

    /// Begins the drain.
    pub(crate) fn shut_down(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end of `serve`.
    pub(crate) async fn ended(&mut self) {
        (&mut self.serving).await.unwrap();
    }

    /// Waits until no call is being worked on.
    pub(crate) async fn idle(&self) {
        within(2, async {
            while self.toy.producing.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub(crate) fn order(what: &str) -> ModerateTextRequest {
    let item = TextItem { id: what.to_owned(), text: String::new() };
    ModerateTextRequest { items: vec![item], ..Default::default() }
}

pub(crate) fn stream_order(what: &str) -> StreamModerateTextRequest {
    let item = TextItem { id: what.to_owned(), text: String::new() };
    StreamModerateTextRequest { item: Some(item), categories: Vec::new() }
}

/// A request stream that says this and stays open.
pub(crate) fn open_stream(what: &str) -> impl Stream<Item = StreamModerateTextRequest> + Send + 'static {
    stream::once(std::future::ready(stream_order(what))).chain(stream::pending())
}

/// Reads a stream to its end, which must be an error.
pub(crate) async fn until_error(mut answers: Streaming<StreamModerateTextResponse>) -> Status {
    loop {
        match answers.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended well"),
            Err(status) => return status,
        }
    }
}

/// Fails a test that hangs.
pub(crate) async fn within<T>(seconds: u64, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(seconds), work).await.expect("took too long")
}
