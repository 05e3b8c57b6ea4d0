//! Models that come and go while the service runs.

use std::{fs, path::Path};

use atelier_core::{ModelId, Reason};
use atelier_proto::text::v1::{
    self as proto, stream_generate_response::Event, text_service_client::TextServiceClient,
};
use atelier_rpc::{config::Secret, fault_of};
use atelier_text::{
    Config,
    config::{Load, ModelConfig},
};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status, Streaming, transport::Channel};

use crate::{
    common::{Client, connect, greedy, start_with},
    hub::{hub, served},
};

/// A folder of the hub under this name, to be loaded by call.
fn on_demand(id: &str, folder: &str) -> ModelConfig {
    let path = Some(hub().join(folder));
    ModelConfig {
        id: ModelId::new(id).expect("the name is valid"),
        load: Load::OnDemand,
        path,
        ..served(folder)
    }
}

const TOKEN: &str = "t-1";

/// A model in this folder, to be loaded by call.
fn at(id: &str, path: &Path) -> ModelConfig {
    ModelConfig { path: Some(path.to_owned()), ..on_demand(id, "llama") }
}

fn copy(folder: &str, to: &Path) {
    for file in fs::read_dir(hub().join(folder)).expect("it is there") {
        let file = file.expect("it is readable");
        fs::copy(file.path(), to.join(file.file_name())).expect("it can be copied");
    }
}

/// A service that an operator may call.
fn admitted(models: Vec<ModelConfig>) -> Config {
    Config { models, admin_token: Some(Secret::new(TOKEN)), ..Config::default() }
}

fn with_token<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let header = format!("Bearer {token}").parse().expect("it is a header");
    request.metadata_mut().insert("authorization", header);
    request
}

async fn load(client: &mut Client, model: &str) -> Result<(), Status> {
    load_revision(client, model, "").await.map(drop)
}

/// The revision that is loaded.
async fn load_revision(client: &mut Client, model: &str, revision: &str) -> Result<String, Status> {
    let request = proto::LoadModelRequest { model: model.to_owned(), revision: revision.to_owned() };
    let loaded = client
        .load_model(with_token(request, TOKEN))
        .await?
        .into_inner()
        .model
        .expect("the answer names the model");
    assert_eq!((loaded.id.as_str(), loaded.revision.len()), (model, 12));
    Ok(loaded.revision)
}

async fn unload(client: &mut Client, model: &str) -> Result<(), Status> {
    let request = proto::UnloadModelRequest { model: model.to_owned() };
    client.unload_model(with_token(request, TOKEN)).await.map(drop)
}

async fn loaded(client: &mut Client) -> Vec<String> {
    let models = client.list_models(proto::ListModelsRequest {}).await.expect("it lists").into_inner().models;
    models.into_iter().map(|model| model.id).collect()
}

fn prompt(model: &str, tokens: u32) -> proto::StreamGenerateRequest {
    let generation = proto::GenerationConfig { ignore_eos: true, ..greedy(tokens) };
    let prompt = "the harbour".to_owned();
    proto::StreamGenerateRequest {
        model: model.to_owned(),
        prompt,
        generation: Some(generation),
        ..Default::default()
    }
}

/// A generation, up to its end.
async fn whole(mut stream: Streaming<proto::StreamGenerateResponse>) -> (String, u32) {
    let mut text = String::new();
    loop {
        let answer = stream.message().await.expect("the call succeeds").expect("it has an end");
        match answer.event.expect("an answer has an event") {
            Event::Delta(delta) => text += &delta.text,
            Event::Completion(end) => return (text, end.usage.expect("usage is reported").completion_tokens),
        }
    }
}

async fn generate(client: &mut Client, model: &str, tokens: u32) -> Result<(String, u32), Status> {
    Ok(whole(client.stream_generate(prompt(model, tokens)).await?.into_inner()).await)
}

/// A client that takes in little of an answer that is not read, so that the call can't end.
async fn slow_reader(config: Config) -> Client {
    let address = start_with(config);
    connect(address).await;
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("the address is valid");
    TextServiceClient::new(endpoint.initial_stream_window_size(256).connect_lazy())
}

#[tokio::test]
async fn a_model_is_loaded_served_and_unloaded() {
    let address = start_with(admitted(vec![served("llama"), on_demand("later", "qwen2-f16")]));
    let client = &mut connect(address).await;
    assert_eq!(loaded(client).await, ["llama"]);
    assert_eq!(generate(client, "later", 4).await.expect_err("it is not loaded").code(), Code::NotFound);

    // Two that ask at once get the same one.
    let (first, second) = (&mut client.clone(), &mut client.clone());
    let both = futures::future::join(load(first, "later"), load(second, "later")).await;
    assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
    assert_eq!(loaded(client).await, ["later", "llama"]);
    assert_eq!(generate(client, "later", 4).await.expect("it writes").1, 4);

    unload(client, "later").await.expect("it is loaded");
    for status in [
        generate(client, "later", 4).await.expect_err("it is unloaded"),
        unload(client, "later").await.expect_err("it is unloaded"),
        load(client, "qwen3-genai").await.expect_err("nobody configured it"),
        load(client, "../hub/llama").await.expect_err("a name is no path"),
    ] {
        assert_eq!(fault_of(&status).reason(), Reason::ModelNotFound, "{status}");
    }
    assert_eq!(generate(client, "", 4).await.expect("the default writes").1, 4);

    let wrong = load_revision(client, "later", "0123456789ab").await.expect_err("its files are others");
    let fault = fault_of(&wrong);
    assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), (Reason::InvalidArgument, "revision"));
    load(client, "later").await.expect("it can be loaded again");
}

#[tokio::test]
async fn a_model_is_listed_as_loading_until_it_is_ready() {
    let slow = ModelConfig {
        load: Load::OnDemand,
        ..ModelConfig::new(ModelId::new("smollm2-135m-instruct").expect("the name is valid"))
    };
    let models = vec![served("llama"), slow, on_demand("after", "qwen2-f16")];
    let client = &mut connect(start_with(admitted(models))).await;
    let mut loads: Vec<JoinHandle<Result<(), Status>>> = Vec::new();
    for (model, loading) in [
        ("smollm2-135m-instruct", &["smollm2-135m-instruct"][..]),
        ("after", &["after", "smollm2-135m-instruct"]),
    ] {
        let mut client_of_load = client.clone();
        loads.push(tokio::spawn(async move { load(&mut client_of_load, model).await }));
        loop {
            let listed =
                client.list_models(proto::ListModelsRequest {}).await.expect("it lists").into_inner();
            if listed.loading == loading {
                assert_eq!(listed.models.len(), 1, "they are not ready");
                break;
            }
            assert!(loads.iter().all(|load| !load.is_finished()), "not listed: {:?}", listed.loading);
        }
    }
    for load in loads {
        load.await.expect("it does not panic").expect("it is configured");
    }
    let listed = client.list_models(proto::ListModelsRequest {}).await.expect("it lists").into_inner();
    assert_eq!((listed.models.len(), listed.loading.len()), (3, 0));
}

#[tokio::test]
async fn a_new_revision_takes_the_place_of_the_old_one() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    copy("llama", folder.path());
    let models = vec![at("changing", folder.path()), on_demand("new", "qwen2-f16")];
    let client = &mut connect(start_with(admitted(models))).await;
    let old = load_revision(client, "changing", "").await.expect("it is configured");
    let written = generate(client, "changing", 20).await.expect("it writes");
    copy("qwen2-f16", folder.path());
    // Both have files of the same names.
    let new = load_revision(client, "new", "").await.expect("it is configured");
    assert_ne!(old, new);
    assert_eq!(load_revision(client, "changing", "").await.expect("it is loaded"), old);
    assert_eq!(generate(client, "changing", 20).await.expect("it writes"), written);
    assert_eq!(load_revision(client, "changing", &new).await.expect("its files are new"), new);
    let renewed = generate(client, "changing", 20).await.expect("it writes");
    assert_ne!(renewed, written);
    assert_eq!(renewed, generate(client, "new", 20).await.expect("it writes"));
    let gone = load_revision(client, "changing", &old).await.expect_err("its files are others");
    assert_eq!(fault_of(&gone).reason(), Reason::InvalidArgument, "{gone}");
    assert_eq!(generate(client, "changing", 20).await.expect("it still writes"), renewed);
}

#[tokio::test]
async fn a_load_that_fails_leaves_the_others_serving() {
    let broken = tempfile::tempdir().expect("a folder can be made");
    copy("llama", broken.path());
    let graph = broken.path().join("model.onnx");
    let half = fs::read(&graph).expect("it is there").split_off(100_000);
    fs::write(graph, half).expect("it can be written");
    let models =
        vec![served("llama"), at("broken", broken.path()), at("missing", &broken.path().join("nowhere"))];
    let client = &mut connect(start_with(admitted(models))).await;
    let expected = generate(client, "llama", 20).await.expect("it writes");
    for (model, reason, code) in [
        ("broken", Reason::ModelUnusable, Code::FailedPrecondition),
        ("missing", Reason::ModelCorrupt, Code::DataLoss),
    ] {
        let status = load(client, model).await.expect_err("it can't be loaded");
        assert_eq!((fault_of(&status).reason(), status.code()), (reason, code), "{status}");
        assert!(!status.message().contains("nowhere"), "{status}");
    }
    assert_eq!(loaded(client).await, ["llama"]);
    assert_eq!(generate(client, "llama", 20).await.expect("it writes"), expected);
}

#[tokio::test]
async fn an_answer_under_way_is_written_to_its_end() {
    let mut model = on_demand("brief", "llama");
    model.generation.engine.event_buffer = 2;
    let mut client = slow_reader(admitted(vec![model])).await;
    load(&mut client, "brief").await.expect("it is configured");
    let expected = generate(&mut client, "brief", 240).await.expect("it writes");
    let running = client.stream_generate(prompt("brief", 240)).await.expect("it starts").into_inner();
    let unloading = tokio::spawn({
        let mut client = client.clone();
        async move { unload(&mut client, "brief").await }
    });
    // From some moment on there are no new calls.
    while let Ok(again) = client.stream_generate(prompt("brief", 1)).await {
        whole(again.into_inner()).await;
    }
    assert!(!unloading.is_finished(), "the call is still there");
    assert_eq!(whole(running).await, expected);
    unloading.await.expect("it does not panic").expect("it is loaded");
}

/// Bytes that the model needs, as the refusal says.
async fn needed(config: Config) -> u64 {
    let client = &mut connect(start_with(config)).await;
    let status = load(client, "a").await.expect_err("it does not fit");
    let fault = fault_of(&status);
    assert_eq!((fault.reason(), status.code()), (Reason::InsufficientMemory, Code::ResourceExhausted));
    assert!(fault.retry_after().is_some());
    let (_, bytes) =
        fault.metadata().iter().find(|(key, _)| key == "needed_bytes").expect("it says how much");
    bytes.parse().expect("it is a number")
}

#[tokio::test]
async fn idle_models_make_room_the_longest_unused_first() {
    let budget = |memory_budget_bytes| {
        let models = ["a", "b", "c"].map(|id| {
            let mut model = on_demand(id, "llama");
            model.generation.engine.event_buffer = 2;
            model
        });
        Config { memory_budget_bytes, ..admitted(models.into()) }
    };
    let files = needed(budget(1)).await;
    // With room for its files, what is missing is the KV cache: 7 slots of 256 tokens.
    let all = needed(budget(files)).await;
    assert!(all > files);

    let client = &mut slow_reader(budget(2 * all)).await;
    for model in ["a", "b"] {
        load(client, model).await.expect("there is room");
    }
    generate(client, "a", 1).await.expect("it writes");
    load(client, "c").await.expect("b makes room");
    assert_eq!(loaded(client).await, ["a", "c"]);

    // The longest unused one is busy: the other one goes.
    let a = client.stream_generate(prompt("a", 240)).await.expect("it starts").into_inner();
    load(client, "b").await.expect("c makes room");
    assert_eq!(loaded(client).await, ["a", "b"]);
    let b = client.stream_generate(prompt("b", 240)).await.expect("it starts").into_inner();
    let status = load(client, "c").await.expect_err("all are busy");
    assert_eq!(fault_of(&status).reason(), Reason::InsufficientMemory, "{status}");
    assert_eq!(loaded(client).await, ["a", "b"]);
    assert_eq!((whole(a).await.1, whole(b).await.1), (240, 240));
}

#[tokio::test]
async fn models_of_the_start_stay() {
    let models = |load| vec![ModelConfig { load, ..on_demand("a", "llama") }, on_demand("b", "llama")];
    let config = |load, memory_budget_bytes| Config { memory_budget_bytes, ..admitted(models(load)) };
    let files = needed(config(Load::OnDemand, 1)).await;
    let all = needed(config(Load::OnDemand, files)).await;
    let client = &mut connect(start_with(config(Load::Startup, all))).await;
    let status = load(client, "b").await.expect_err("there is no room");
    assert_eq!(fault_of(&status).reason(), Reason::InsufficientMemory, "{status}");
    assert_eq!(loaded(client).await, ["a"]);
    // An operator may make room.
    unload(client, "a").await.expect("it is loaded");
    load(client, "b").await.expect("there is room");
}

#[tokio::test]
async fn only_operators_load_and_unload() {
    let models = || vec![served("llama"), on_demand("later", "llama")];
    let client = &mut connect(start_with(Config { models: models(), ..Config::default() })).await;
    for status in [
        load(client, "later").await.expect_err("nobody may"),
        unload(client, "llama").await.expect_err("nobody may"),
    ] {
        assert_eq!(fault_of(&status).reason(), Reason::PermissionDenied, "{status}");
    }

    let client = &mut connect(start_with(admitted(models()))).await;
    let ask = || proto::LoadModelRequest { model: "later".to_owned(), revision: String::new() };
    let named = proto::UnloadModelRequest { model: "llama".to_owned() };
    for status in [
        client.load_model(ask()).await.expect_err("there is no token"),
        client.unload_model(named).await.expect_err("there is no token"),
        client.load_model(with_token(ask(), "t-2")).await.expect_err("it is another token"),
    ] {
        assert_eq!(fault_of(&status).reason(), Reason::Unauthenticated, "{status}");
    }
    assert_eq!(loaded(client).await, ["llama"]);
    load(client, "later").await.expect("it is the token");
    assert_eq!(loaded(client).await, ["later", "llama"]);
}

#[tokio::test]
async fn folders_of_the_store_are_loaded_where_they_are_admitted() {
    let config = Config { allow_store_models: true, ..admitted(Vec::new()) };
    let client = &mut connect(start_with(config)).await;
    assert!(loaded(client).await.is_empty());
    load(client, "multilingual-e5-small").await.expect("the store has it");
    let request = proto::EmbedRequest { texts: vec!["harbour".to_owned()], ..Default::default() };
    let request = proto::EmbedRequest { model: "multilingual-e5-small".to_owned(), ..request };
    let answer = client.embed(request.clone()).await.expect("it embeds").into_inner();
    assert_eq!(answer.embeddings.len(), 1);
    unload(client, "multilingual-e5-small").await.expect("it is loaded");
    assert_eq!(client.embed(request).await.expect_err("it is unloaded").code(), Code::NotFound);
    let status = load(client, "no-such-model").await.expect_err("the store has none");
    assert_eq!(fault_of(&status).reason(), Reason::ModelNotFound, "{status}");
}
