//! Documents in the order in which they answer a query.

use std::{fs, net::SocketAddr, path::PathBuf, sync::OnceLock};

use atelier_core::{ModelId, Reason};
use atelier_inference::home;
use atelier_proto::{
    common::v1::ModelTask,
    text::v1::{self as proto, Truncation},
};
use atelier_rpc::fault_of;
use atelier_text::config::{ModelConfig, Task};
use serde::Deserialize;
use tonic::Status;

use crate::{
    common::{Client, connect, model, start},
    hub::{hub, served},
};

const ENCODER: &str = "multilingual-e5-small";
const CROSS_ENCODER: &str = "cross-encoder";

/// `tests/golden/text/cross_encoder.py`.
#[derive(Deserialize)]
struct Golden {
    query: String,
    max_length: usize,
    documents: Vec<Document>,
}

#[derive(Deserialize)]
struct Document {
    text: String,
    score: f32,
    tokens: u32,
    truncated: bool,
}

fn cross_encoder_folder() -> PathBuf {
    hub().join("../cross-encoder")
}

fn golden() -> Golden {
    let golden = fs::read_to_string(cross_encoder_folder().join("golden.json")).expect("it is there");
    serde_json::from_str(&golden).expect("it parses")
}

fn encoder(id: &str, prefixes: [&str; 3]) -> ModelConfig {
    let mut encoder = model(id, 1);
    encoder.path = Some(home().join("models").join(ENCODER));
    let [text, query, document] = prefixes.map(|prefix| Some(prefix.to_owned()));
    (encoder.embedding.prefix, encoder.embedding.query_prefix) = (text, query);
    encoder.embedding.document_prefix = document;
    encoder
}

fn cross_encoder() -> ModelConfig {
    let mut reader = ModelConfig::new(ModelId::new(CROSS_ENCODER).expect("the name is valid"));
    reader.path = Some(cross_encoder_folder());
    reader.task = Some(Task::TextReranking);
    reader.reranking.max_length = Some(golden().max_length);
    reader
}

/// Two encoders, one of them without prefixes, a cross-encoder and a model that writes.
async fn client() -> Client {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    let models = || {
        let e5 = encoder(ENCODER, ["query: ", "query: ", "passage: "]);
        start(vec![e5, encoder("plain", [""; 3]), cross_encoder(), served("llama")])
    };
    connect(*ADDRESS.get_or_init(models)).await
}

fn request(model: &str, query: &str, documents: &[&str]) -> proto::RerankRequest {
    let documents = documents.iter().map(|&document| document.to_owned()).collect();
    proto::RerankRequest { model: model.to_owned(), query: query.to_owned(), documents, ..Default::default() }
}

async fn rank(client: &mut Client, request: proto::RerankRequest) -> Result<proto::RerankResponse, Status> {
    client.rerank(request).await.map(tonic::Response::into_inner)
}

fn order(answer: &proto::RerankResponse) -> Vec<u32> {
    answer.results.iter().map(|ranked| ranked.index).collect()
}

const DOCUMENTS: [&str; 6] = [
    "Apple trees are pruned in late winter, before the buds open.",
    "The ferry to the island leaves at seven in the morning and at six in the evening.",
    "苹果树应在冬末修剪。",
    "开往岛上的渡轮早上七点和晚上六点出发。",
    "A recipe for bread with rye flour and honey.",
    "股市今天大幅下跌。",
];

#[tokio::test]
async fn documents_that_answer_come_first_in_every_language() {
    let client = &mut client().await;
    // In English and Chinese, the document that answers and one that does not.
    let (ferry, apples) = ([(1, 0), (3, 2)], [(0, 1), (2, 3)]);
    for (query, best, pairs) in [
        ("When does the boat to the island depart?", 1, ferry),
        ("去岛上的船几点开?", 3, ferry),
        ("What is the right time of year to cut back apple trees?", 0, apples),
        ("什么时候修剪苹果树?", 2, apples),
    ] {
        let answer = rank(client, request(ENCODER, query, &DOCUMENTS)).await.expect("it ranks");
        let order = order(&answer);
        let place = |document| order.iter().position(|&index| index == document).expect("all are ranked");
        assert_eq!(order[0], best, "{query}: {answer:?}");
        for (answers, does_not) in pairs {
            assert!(place(answers) < place(does_not), "{query}: {answer:?}");
        }
        assert!(answer.results.is_sorted_by(|one, other| one.score >= other.score));
        let mut all = order.clone();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        assert_eq!(answer.model.expect("the model is named").id, ENCODER);
    }
}

#[tokio::test]
async fn scores_are_cosines_of_the_vectors_with_their_prefixes() {
    let client = &mut client().await;
    let query = "When does the boat to the island depart?";
    let answer = rank(client, request(ENCODER, query, &DOCUMENTS)).await.expect("it ranks");
    let mut texts = vec![format!("query: {query}")];
    texts.extend(DOCUMENTS.map(|document| format!("passage: {document}")));
    let embed = proto::EmbedRequest { model: "plain".to_owned(), texts, ..Default::default() };
    let embedded = client.embed(embed).await.expect("it embeds").into_inner();
    let (asked, vectors) = embedded.embeddings.split_first().expect("there are vectors");
    for ranked in &answer.results {
        let vector = &vectors[ranked.index as usize];
        let cosine: f32 = asked.values.iter().zip(&vector.values).map(|(a, b)| a * b).sum();
        // Activations are quantised by row, padding included: a vector depends on its batch a little.
        assert!((ranked.score - cosine).abs() < 3e-3, "{ranked:?}: {cosine}");
    }
    let tokens = |usage: Option<atelier_proto::common::v1::Usage>| usage.expect("it is told").prompt_tokens;
    assert_eq!(tokens(answer.usage), tokens(embedded.usage));

    // Embed has its own prefix, as before, and a model without prefixes ranks without.
    let text = |model: &str, text: &str| proto::EmbedRequest {
        model: model.to_owned(),
        texts: vec![text.to_owned()],
        ..Default::default()
    };
    let mut vectors = Vec::new();
    for (model, words) in
        [(ENCODER, "the harbour"), ("plain", "query: the harbour"), ("plain", "the harbour")]
    {
        let mut answer = client.embed(text(model, words)).await.expect("it embeds").into_inner();
        vectors.push(answer.embeddings.swap_remove(0).values);
    }
    let distance = |one: &[f32], other: &[f32]| -> f32 {
        one.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
    };
    // Texts of other tests may be in a batch with the first.
    let (spelled, bare) = (distance(&vectors[0], &vectors[1]), distance(&vectors[0], &vectors[2]));
    assert!(spelled < bare / 4.0, "{spelled} {bare}");
    let plain = rank(client, request("plain", query, &[query])).await.expect("it ranks");
    assert!(plain.results[0].score > 0.999, "{plain:?}");
}

#[tokio::test]
async fn a_cross_encoder_gives_the_references_scores_and_is_the_default() {
    let client = &mut client().await;
    let golden = golden();
    let documents: Vec<&str> = golden.documents.iter().map(|document| document.text.as_str()).collect();
    let mut asked = request("", &golden.query, &documents);
    let refused = rank(client, asked.clone()).await.expect_err("a document is too long");
    let fault = fault_of(&refused);
    assert_eq!(fault.reason(), Reason::ContextLengthExceeded, "{refused}");
    assert_eq!(fault.violations()[0].field, "documents[4]");

    asked.set_truncation(Truncation::End);
    let answer = rank(client, asked.clone()).await.expect("it ranks");
    assert_eq!(answer.model.as_ref().expect("the model is named").id, CROSS_ENCODER);
    let mut expected: Vec<_> = golden.documents.iter().enumerate().collect();
    expected.sort_by(|one, other| other.1.score.total_cmp(&one.1.score));
    assert_eq!(answer.results.len(), expected.len());
    for (ranked, (index, document)) in answer.results.iter().zip(expected) {
        assert_eq!((ranked.index as usize, ranked.truncated), (index, document.truncated));
        assert!((ranked.score - document.score).abs() < 1e-4, "{ranked:?}: {}", document.score);
    }
    let tokens: u32 = golden.documents.iter().map(|document| document.tokens).sum();
    assert_eq!(answer.usage.expect("it is told").prompt_tokens, tokens);

    let two = rank(client, proto::RerankRequest { top_n: Some(2), ..asked }).await.expect("it ranks");
    assert_eq!(order(&two), order(&answer)[..2]);
    let models = client.list_models(proto::ListModelsRequest {}).await.expect("it lists").into_inner().models;
    let tasks = |id: &str| -> Vec<ModelTask> {
        models.iter().filter(|model| model.id == id).flat_map(|model| model.tasks()).collect()
    };
    assert_eq!(tasks(CROSS_ENCODER), [ModelTask::TextReranking]);
    assert_eq!(tasks(ENCODER), [ModelTask::TextEmbedding, ModelTask::TextReranking]);
}

#[tokio::test]
async fn many_documents_are_read_as_one_by_one() {
    let client = &mut client().await;
    let documents: Vec<String> = (0..300).map(|n| format!("document {}", n * 7919 % 1000)).collect();
    let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
    let together = rank(client, request(CROSS_ENCODER, "which?", &documents)).await.expect("it ranks");
    assert_eq!(together.results.len(), 300);
    for ranked in together.results.iter().step_by(50) {
        let document = documents[ranked.index as usize];
        let alone = rank(client, request(CROSS_ENCODER, "which?", &[document])).await.expect("it ranks");
        assert!((alone.results[0].score - ranked.score).abs() < 1e-5, "{document}");
    }
}

#[tokio::test]
async fn bad_requests_are_told_by_field() {
    let client = &mut client().await;
    let good = request(ENCODER, "which?", &["one", "two"]);
    let many = vec![String::from("a"); 1025];
    let cases = [
        ("query", proto::RerankRequest { query: String::new(), ..good.clone() }),
        ("query", proto::RerankRequest { query: "a".repeat((1 << 20) + 1), ..good.clone() }),
        ("documents", proto::RerankRequest { documents: Vec::new(), ..good.clone() }),
        ("documents", proto::RerankRequest { documents: many, ..good.clone() }),
        ("top_n", proto::RerankRequest { top_n: Some(0), ..good.clone() }),
    ];
    for (field, request) in cases {
        let fault = fault_of(&rank(client, request).await.expect_err(field));
        assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), (Reason::InvalidArgument, field));
    }
    let long = "word ".repeat(600);
    for (model, field, request) in [
        (ENCODER, "query", request(ENCODER, &long, &["one"])),
        (ENCODER, "documents[1]", request(ENCODER, "which?", &["one", &long])),
        (CROSS_ENCODER, "query", request(CROSS_ENCODER, &long, &["one"])),
    ] {
        let fault = fault_of(&rank(client, request).await.expect_err(field));
        assert_eq!(fault.reason(), Reason::ContextLengthExceeded, "{model}");
        assert_eq!(fault.violations()[0].field, field, "{model}");
    }
    let writer = rank(client, proto::RerankRequest { model: "llama".to_owned(), ..good }).await;
    assert_eq!(fault_of(&writer.expect_err("it writes")).reason(), Reason::TaskUnsupported);
    let embed = proto::EmbedRequest {
        model: CROSS_ENCODER.to_owned(),
        texts: vec!["one".to_owned()],
        ..Default::default()
    };
    let reader = client.embed(embed).await.expect_err("it reads pairs");
    assert_eq!(fault_of(&reader).reason(), Reason::TaskUnsupported);
}
