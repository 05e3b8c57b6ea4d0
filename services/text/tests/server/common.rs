//! A text service on a free port, with real models from the store.

use std::{net::SocketAddr, sync::OnceLock, thread, time::Duration};

use atelier_core::ModelId;
use atelier_proto::text::v1::{
    self as proto, stream_chat_response::Event, text_service_client::TextServiceClient,
};
use atelier_rpc::Listeners;
use atelier_text::{Config, config::ModelConfig};
use tonic::{Status, transport::Channel};

pub(crate) type Client = TextServiceClient<Channel>;

/// A model of the store with this many slots.
pub(crate) fn model(id: &str, slots: usize) -> ModelConfig {
    let mut model = ModelConfig::new(ModelId::new(id).expect("the name is valid"));
    model.generation.slots = slots;
    model.generation.context_length = 1024;
    model
}

/// Starts a service in a thread of its own; it lives as long as the process.
pub(crate) fn start(models: Vec<ModelConfig>) -> SocketAddr {
    start_with(Config { models, ..Config::default() })
}

/// Starts a service with these settings, but on a free port.
pub(crate) fn start_with(config: Config) -> SocketAddr {
    let (send, receive) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime can be built").block_on(async {
            let listeners = Listeners::local().await.expect("a port is free");
            send.send(listeners.grpc_address().expect("the socket has an address"))
                .expect("the test listens");
            atelier_text::serve(config, listeners, std::future::pending()).await.expect("it serves");
        });
    });
    receive.recv().expect("the service has a port")
}

/// A client, once the models are loaded.
pub(crate) async fn connect(address: SocketAddr) -> Client {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("the address is valid");
    let mut client = TextServiceClient::new(endpoint.connect_lazy());
    for _ in 0..600 {
        match client.list_models(proto::ListModelsRequest {}).await {
            Ok(_) => return client,
            Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable, "{status}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the models are not loaded after a minute");
}

/// The service that most tests share: the default models with four slots.
pub(crate) async fn default_client() -> Client {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let models = || start(vec![model("smollm2-135m-instruct", 4), model("multilingual-e5-small", 1)]);
    connect(*ADDRESS.get_or_init(models)).await
}

pub(crate) fn user(content: &str) -> Vec<proto::Message> {
    vec![proto::Message { role: proto::Role::User.into(), content: content.to_owned(), ..Default::default() }]
}

/// Greedy, up to so many tokens; nothing is left to the model's own defaults.
pub(crate) fn greedy(max_tokens: u32) -> proto::GenerationConfig {
    proto::GenerationConfig {
        max_tokens: Some(max_tokens),
        temperature: Some(0.0),
        repetition_penalty: Some(1.0),
        ..Default::default()
    }
}

/// A streamed chat with the default model: its deltas and its end.
pub(crate) async fn stream_chat(
    client: &mut Client,
    content: &str,
    generation: proto::GenerationConfig,
) -> Result<(Vec<proto::Delta>, proto::Completion), Status> {
    stream_chat_with(client, "", content, generation).await
}

/// A streamed chat with this model.
pub(crate) async fn stream_chat_with(
    client: &mut Client,
    model: &str,
    content: &str,
    generation: proto::GenerationConfig,
) -> Result<(Vec<proto::Delta>, proto::Completion), Status> {
    let request = proto::StreamChatRequest {
        model: model.to_owned(),
        messages: user(content),
        generation: Some(generation),
        ..Default::default()
    };
    let mut stream = client.stream_chat(request).await?.into_inner();
    let (mut deltas, mut completion) = (Vec::new(), None);
    while let Some(answer) = stream.message().await? {
        assert!(completion.is_none(), "the completion is the last");
        match answer.event.expect("an answer has an event") {
            Event::Delta(delta) => deltas.push(delta),
            Event::ToolCall(_) => panic!("no tools are offered"),
            Event::Completion(end) => completion = Some(end),
        }
    }
    Ok((deltas, completion.expect("a stream has an end")))
}

pub(crate) fn text(deltas: &[proto::Delta]) -> String {
    deltas.iter().map(|delta| delta.text.as_str()).collect()
}
