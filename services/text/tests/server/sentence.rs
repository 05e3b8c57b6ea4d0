//! Sentence encoders in folders as sentence-transformers and Optimum write them, served as they are:
//! `tests/golden/text/sentence_encoders.py`.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use atelier_core::{ModelId, Reason};
use atelier_proto::text::v1::{self as proto, Truncation};
use atelier_rpc::{Listeners, fault_of};
use atelier_text::{
    Config,
    config::{ModelConfig, Task},
};
use futures::future::join_all;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    common::{Client, connect, start},
    hub::hub,
};

const TOLERANCE: f32 = 1e-5;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    models: BTreeMap<String, Vectors>,
}

/// What a folder's model makes of the texts.
#[derive(Deserialize)]
struct Vectors {
    max_length: u32,
    /// Of each text, as it is cut.
    tokens: Vec<u32>,
    vectors: Vec<Vec<f32>>,
}

fn folders() -> PathBuf {
    hub().join("../sentence-encoders")
}

fn golden() -> Golden {
    let golden = fs::read_to_string(folders().join("golden.json")).expect("it is there");
    serde_json::from_str(&golden).expect("it parses")
}

fn encoder(id: &str, path: PathBuf) -> ModelConfig {
    let mut encoder = ModelConfig::new(ModelId::new(id).expect("the name is valid"));
    (encoder.path, encoder.task) = (Some(path), Some(Task::TextEmbedding));
    encoder
}

/// All folders, one of them with a limit in its configuration too.
async fn client() -> Client {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let models = || {
        let mut models: Vec<_> =
            golden().models.keys().map(|name| encoder(name, folders().join(name))).collect();
        let mut limited = encoder("limited", folders().join("mean"));
        limited.embedding.max_length = Some(10);
        models.push(limited);
        start(models)
    };
    connect(*ADDRESS.get_or_init(models)).await
}

async fn embed(client: &Client, model: &str, texts: &[String]) -> proto::EmbedResponse {
    let request = proto::EmbedRequest {
        model: model.to_owned(),
        texts: texts.to_vec(),
        truncation: Truncation::End.into(),
    };
    client.clone().embed(request).await.expect("it embeds").into_inner()
}

fn assert_near(one: &[f32], other: &[f32], what: &str) {
    let near = one.iter().zip(other).all(|(one, other)| (one - other).abs() < TOLERANCE);
    assert!(near && one.len() == other.len(), "{what}: {one:?} {other:?}");
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|value| value * value).sum::<f32>().sqrt()
}

#[tokio::test]
async fn folders_give_the_vectors_of_sentence_transformers() {
    let (client, golden) = (client().await, golden());
    assert_eq!(golden.models.len(), 9);
    for (name, expected) in &golden.models {
        let answer = embed(&client, name, &golden.texts).await;
        assert_eq!(answer.embeddings.len(), expected.vectors.len());
        for (embedding, vector) in answer.embeddings.iter().zip(&expected.vectors) {
            assert_near(&embedding.values, vector, name);
        }
        let usage = answer.usage.expect("usage is reported");
        assert_eq!(usage.prompt_tokens, expected.tokens.iter().sum::<u32>(), "{name}");
        assert!(answer.embeddings[5].truncated && !answer.embeddings[4].truncated, "{name}");
    }
    // The folders do not all say the same of lengths, or the test would show nothing.
    let scaled = |name: &str| golden.models[name].vectors.iter().all(|one| (length(one) - 1.0).abs() < 1e-5);
    assert!(scaled("mean") && scaled("whole") && !scaled("cls") && !scaled("mean-sqrt-length"));
}

#[tokio::test]
async fn a_folder_says_how_long_a_text_may_be_and_the_configuration_is_heard_first() {
    let (mut client, golden) = (client().await, golden());
    let models = client.list_models(proto::ListModelsRequest {}).await.expect("it lists").into_inner().models;
    let limits: BTreeMap<_, _> = models.into_iter().map(|model| (model.id, model.context_length)).collect();
    for (name, expected) in &golden.models {
        assert_eq!(limits[name], expected.max_length, "{name}");
    }
    assert_eq!(limits["limited"], 10);
    for (model, limit) in [("cls", "24"), ("limited", "10")] {
        let request = proto::EmbedRequest {
            model: model.to_owned(),
            texts: golden.texts.clone(),
            ..Default::default()
        };
        let refused = client.embed(request).await.expect_err("it is too long");
        let fault = fault_of(&refused);
        assert_eq!(fault.reason(), Reason::ContextLengthExceeded, "{model}");
        assert_eq!(fault.violations()[0].field, "texts[0]", "{model}");
        assert!(fault.metadata().iter().any(|(key, value)| key == "limit" && value == limit), "{model}");
    }
}

#[tokio::test]
async fn padding_changes_no_vector() {
    let (client, golden) = (client().await, golden());
    // Enough for batches of several, whose longest is now this text and now that.
    let texts: Vec<String> = (0..64).map(|n| "abcdefgh ".repeat(8)[..n * 37 % 60].to_owned()).collect();
    for name in golden.models.keys() {
        let together = embed(&client, name, &texts).await.embeddings;
        let alone = join_all(texts.iter().step_by(7).map(|text| async {
            embed(&client, name, std::slice::from_ref(text)).await.embeddings.swap_remove(0)
        }));
        for (one, other) in together.iter().step_by(7).zip(alone.await) {
            assert_near(&one.values, &other.values, name);
        }
    }
}

#[tokio::test]
async fn rankings_are_by_cosine_whatever_the_length_of_vectors() {
    let (client, golden) = (client().await, golden());
    for name in ["mean-sqrt-length", "mean"] {
        let (query, documents) = golden.texts[4..].split_first().expect("there are texts");
        assert_eq!((query.as_str(), documents.len()), ("x", 1));
        let documents = [&golden.texts[..4], documents].concat();
        let request = proto::RerankRequest {
            model: name.to_owned(),
            query: query.clone(),
            documents,
            truncation: Truncation::End.into(),
            ..Default::default()
        };
        let ranked = client.clone().rerank(request).await.expect("it ranks").into_inner().results;
        assert_eq!(ranked.len(), 5);
        let vectors = &golden.models[name].vectors;
        let others = [&vectors[..4], &vectors[5..]].concat();
        for result in ranked {
            let (one, other) = (&vectors[4], &others[result.index as usize]);
            let product: f32 = one.iter().zip(other).map(|(a, b)| a * b).sum();
            let cosine = product / (length(one) * length(other));
            assert!((result.score - cosine).abs() < TOLERANCE, "{name}: {result:?} {cosine}");
        }
    }
}

/// A folder's files, but for these.
fn copy_without(from: &Path, left_out: &[&str]) -> TempDir {
    fn copy(from: &Path, to: &Path, left_out: &[&str]) {
        for entry in fs::read_dir(from).expect("it is there") {
            let entry = entry.expect("it is readable");
            let (name, to) = (entry.file_name(), to.join(entry.file_name()));
            if left_out.iter().any(|left_out| *left_out == name) {
                continue;
            }
            if entry.path().is_dir() {
                fs::create_dir(&to).expect("a folder can be made");
                copy(&entry.path(), &to, left_out);
            } else {
                fs::copy(entry.path(), to).expect("it can be copied");
            }
        }
    }
    let made = tempfile::tempdir().expect("a folder can be made");
    copy(from, made.path(), left_out);
    made
}

#[tokio::test]
async fn a_folder_without_modules_is_scaled_as_ever() {
    let golden = golden();
    let bare = copy_without(&folders().join("cls"), &["modules.json"]);
    let client = connect(start(vec![encoder("bare", bare.path().to_owned())])).await;
    let answer = embed(&client, "bare", &golden.texts).await;
    for (embedding, vector) in answer.embeddings.iter().zip(&golden.models["cls"].vectors) {
        let scaled: Vec<f32> = vector.iter().map(|value| value / length(vector)).collect();
        assert_near(&embedding.values, &scaled, "bare");
    }
}

#[tokio::test]
async fn what_can_not_be_served_is_named() {
    let dense = copy_without(&folders().join("mean"), &["modules.json"]);
    let modules = fs::read_to_string(folders().join("whole/modules.json")).expect("it is there");
    fs::write(dense.path().join("modules.json"), modules).expect("it can be written");
    let median = copy_without(&folders().join("mean"), &["1_Pooling"]);
    fs::create_dir(median.path().join("1_Pooling")).expect("a folder can be made");
    fs::write(median.path().join("1_Pooling/config.json"), r#"{"pooling_mode": "median"}"#)
        .expect("it can be written");
    let silent = copy_without(&folders().join("mean"), &["modules.json", "1_Pooling"]);
    for (folder, name) in [
        (dense, "sentence_transformers.base.modules.dense.Dense"),
        (median, "no mode \"median\""),
        (silent, "there is no 1_Pooling/config.json"),
    ] {
        let models = vec![encoder("refused", folder.path().to_owned())];
        let listeners = Listeners::local().await.expect("a port is free");
        let served =
            atelier_text::serve(Config { models, ..Config::default() }, listeners, std::future::pending());
        let error = served.await.expect_err(name);
        let chain = error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(chain.contains(name), "{name}: {chain}");
    }
}
