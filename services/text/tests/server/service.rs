//! The service with its default models, called over the wire.

use std::time::{Duration, Instant};

use crate::common::{Client, connect, default_client, greedy, model, start, stream_chat, text, user};
use atelier_proto::{
    common::v1::{FinishReason, ModelTask},
    text::v1::{self as proto},
};
use atelier_rpc::fault_of;
use futures::StreamExt;
use tonic::Code;

const QUESTION: &str = "Say hello.";

#[tokio::test]
async fn a_chat_streams_what_it_answers_whole() {
    let mut client = default_client().await;
    let (deltas, end) = stream_chat(&mut client, QUESTION, greedy(40)).await.expect("it succeeds");
    let streamed = text(&deltas);
    assert!(streamed.contains("Hello"), "{streamed}");
    assert!(deltas.len() > 3 && deltas.iter().all(|delta| !delta.text.is_empty()));
    assert!(deltas.is_sorted_by_key(|delta| delta.completion_tokens));

    let request =
        proto::ChatRequest { messages: user(QUESTION), generation: Some(greedy(40)), ..Default::default() };
    let whole = client.chat(request).await.expect("it succeeds").into_inner();
    let message = whole.message.expect("there is a message");
    assert_eq!((message.content, message.role), (streamed, proto::Role::Assistant.into()));

    let usage = end.usage.expect("usage is reported");
    assert!(usage.prompt_tokens > 20 && usage.completion_tokens as usize >= deltas.len());
    assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    let timings = end.timings.expect("timings are reported");
    let seconds = |time: Option<prost_types::Duration>| {
        Duration::try_from(time.expect("it is set")).expect("it is positive").as_secs_f64()
    };
    let parts = seconds(timings.queue) + seconds(timings.prefill) + seconds(timings.decode);
    let total = seconds(timings.total);
    assert!(parts > 0.0 && (total - parts).abs() < 0.05 + 0.1 * total, "{parts} of {total}");
    let model = end.model.expect("the model is named");
    assert_eq!((model.id.as_str(), model.revision.len()), ("smollm2-135m-instruct", 12));
}

#[tokio::test]
async fn answers_end_where_they_are_told_to() {
    let mut client = default_client().await;
    let (_, end) = stream_chat(&mut client, QUESTION, greedy(3)).await.expect("it succeeds");
    assert_eq!(end.finish_reason(), FinishReason::Length);
    assert_eq!(end.usage.expect("usage is reported").completion_tokens, 3);

    let (deltas, end) = stream_chat(&mut client, QUESTION, greedy(200)).await.expect("it succeeds");
    let whole = text(&deltas);
    assert_eq!((end.finish_reason(), end.stop_sequence.as_str()), (FinishReason::Stop, ""), "{whole}");

    let (at, word, token) = marker(&mut client, &whole).await;
    let ending = word[2..].to_owned();
    let stop = proto::GenerationConfig { stop_sequences: vec!["zzz".into(), ending.clone()], ..greedy(200) };
    let (deltas, end) = stream_chat(&mut client, QUESTION, stop).await.expect("it succeeds");
    assert_eq!((end.finish_reason(), end.stop_sequence.as_str()), (FinishReason::Stop, ending.as_str()));
    assert_eq!(text(&deltas), whole[..at + 2]);

    let stop = proto::GenerationConfig { stop_token_ids: vec![token], ..greedy(200) };
    let (deltas, end) = stream_chat(&mut client, QUESTION, stop).await.expect("it succeeds");
    assert_eq!((end.finish_reason(), text(&deltas)), (FinishReason::Stop, whole[..at].to_owned()));
}

/// A word of an answer that is one token: where its space stands, the space and the word, the token. Neither the word
/// nor its ending comes up before.
async fn marker(client: &mut Client, answer: &str) -> (usize, String, u32) {
    for word in answer.split_whitespace().skip(2).filter(|word| word.len() >= 4) {
        let word = format!(" {word}");
        let at = answer.find(&word).expect("words are parted by spaces");
        let request = proto::TokenizeRequest { text: word.clone(), ..Default::default() };
        let tokens = client.tokenize(request).await.expect("it succeeds").into_inner().tokens;
        if tokens.len() == 1 && word.is_ascii() && answer.find(&word[2..]) == Some(at + 2) {
            return (at, word, tokens[0].id);
        }
    }
    panic!("no word of {answer:?} will do");
}

#[tokio::test]
async fn a_seed_decides_and_is_reported() {
    let mut client = default_client().await;
    let sampled = |seed| proto::GenerationConfig {
        max_tokens: Some(16),
        temperature: Some(1.5),
        seed,
        ..Default::default()
    };
    let (first, end) =
        stream_chat(&mut client, "Tell me a story.", sampled(None)).await.expect("it succeeds");
    let (again, same) =
        stream_chat(&mut client, "Tell me a story.", sampled(Some(end.seed))).await.expect("it succeeds");
    assert_eq!((text(&first), end.seed), (text(&again), same.seed));
    let (other, _) =
        stream_chat(&mut client, "Tell me a story.", sampled(Some(end.seed ^ 1))).await.expect("it succeeds");
    assert_ne!(text(&first), text(&other));
}

#[tokio::test]
async fn an_answer_ends_no_sooner_than_asked() {
    let mut client = default_client().await;
    let question = "Answer with one word: what is the capital of France?";
    let mut end = async |config| {
        let (_, end) = stream_chat(&mut client, question, config).await.expect("it succeeds");
        (end.finish_reason(), end.usage.expect("usage is reported").completion_tokens)
    };
    let (reason, alone) = end(greedy(200)).await;
    assert_eq!(reason, FinishReason::Stop);
    let least = proto::GenerationConfig { min_tokens: Some(alone + 5), ..greedy(200) };
    assert!(end(least).await.1 >= alone + 5);
    let endless = proto::GenerationConfig { ignore_eos: true, ..greedy(alone + 20) };
    assert_eq!(end(endless).await, (FinishReason::Length, alone + 20));
}

#[tokio::test]
async fn nothing_is_said_twice_where_that_is_asked() {
    let mut client = default_client().await;
    let mut answer = async |no_repeat_ngram_size| {
        let request = proto::GenerateRequest {
            prompt: "one two three one two three one two three".into(),
            generation: Some(proto::GenerationConfig { no_repeat_ngram_size, ..greedy(30) }),
            ..Default::default()
        };
        client.generate(request).await.expect("it succeeds").into_inner().text
    };
    assert!(answer(None).await.contains(" one two three"));
    let other = answer(Some(3)).await;
    assert!(!other.contains("one two three"), "{other:?}");
}

#[tokio::test]
async fn a_prompt_is_continued_with_its_space() {
    let mut client = default_client().await;
    let request = proto::GenerateRequest {
        prompt: "The capital of France is".into(),
        generation: Some(greedy(4)),
        ..Default::default()
    };
    let answer = client.generate(request).await.expect("it succeeds").into_inner();
    assert!(answer.text.starts_with(" Paris"), "{:?}", answer.text);
}

#[tokio::test]
async fn typed_special_tokens_do_not_end_a_message() {
    let mut client = default_client().await;
    let count = async |client: &mut Client, content: &str| {
        let (_, end) = stream_chat(client, content, greedy(1)).await.expect("it succeeds");
        end.usage.expect("usage is reported").prompt_tokens
    };
    let without = count(&mut client, "").await;
    // One token if it were one; its characters otherwise.
    assert!(count(&mut client, "<|im_end|>").await > without + 3);
}

#[tokio::test]
async fn a_caller_that_leaves_gives_back_its_slot() {
    let mut client = connect(start(vec![model("smollm2-135m-instruct", 1)])).await;
    let request = proto::StreamChatRequest {
        messages: user("Count from one to a thousand."),
        generation: Some(proto::GenerationConfig {
            logit_bias: [(2, -100.0), (0, -100.0)].into(),
            ..greedy(900)
        }),
        ..Default::default()
    };
    let mut stream = client.stream_chat(request).await.expect("it starts").into_inner();
    stream.message().await.expect("it writes");
    drop(stream);
    let started = Instant::now();
    stream_chat(&mut client, QUESTION, greedy(2)).await.expect("the slot is free");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn faults_are_typed() {
    let mut client = default_client().await;
    let status = client
        .chat(proto::ChatRequest { model: "no-such".into(), messages: user("x"), ..Default::default() })
        .await
        .expect_err("it is refused");
    assert_eq!((status.code(), fault_of(&status).reason().as_str()), (Code::NotFound, "MODEL_NOT_FOUND"));

    let status = client
        .chat(proto::ChatRequest { messages: user(&"word ".repeat(1100)), ..Default::default() })
        .await
        .expect_err("it is refused");
    let fault = fault_of(&status);
    assert_eq!((status.code(), fault.reason().as_str()), (Code::InvalidArgument, "CONTEXT_LENGTH_EXCEEDED"));
    assert_eq!(fault.violations()[0].field, "messages");

    let generation = proto::GenerationConfig { top_p: Some(0.0), ..Default::default() };
    let status = stream_chat(&mut client, "x", generation).await.expect_err("it is refused");
    assert_eq!(fault_of(&status).violations()[0].field, "generation.top_p");

    let status = client
        .embed(proto::EmbedRequest {
            model: "smollm2-135m-instruct".into(),
            texts: vec!["x".into()],
            ..Default::default()
        })
        .await
        .expect_err("it is refused");
    assert_eq!(fault_of(&status).reason().as_str(), "TASK_UNSUPPORTED");
}

#[tokio::test]
async fn tokens_round_trip() {
    let mut client = default_client().await;
    let original = "Grüße, 世界! 🦀 12345\n\n  x";
    let tokens = client
        .tokenize(proto::TokenizeRequest { text: original.into(), ..Default::default() })
        .await
        .expect("it succeeds")
        .into_inner()
        .tokens;
    assert_eq!(tokens.first().map(|token| token.start_byte), Some(0));
    assert_eq!(tokens.last().map(|token| token.end_byte as usize), Some(original.len()));
    let request = proto::DetokenizeRequest {
        token_ids: tokens.iter().map(|token| token.id).collect(),
        ..Default::default()
    };
    assert_eq!(client.detokenize(request).await.expect("it succeeds").into_inner().text, original);
    let request = proto::DetokenizeRequest { token_ids: vec![1, 2, 49_152], ..Default::default() };
    let status = client.detokenize(request).await.expect_err("it is refused");
    assert_eq!(fault_of(&status).violations()[0].field, "token_ids[2]");
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn vectors_of_one_meaning_are_close_across_languages() {
    let mut client = default_client().await;
    let texts = ["The cat sits on the mat.", "猫坐在垫子上。", "Interest rates rose again this quarter."];
    let request = proto::EmbedRequest { texts: texts.map(str::to_owned).to_vec(), ..Default::default() };
    let answer = client.embed(request).await.expect("it succeeds").into_inner();
    let vectors: Vec<_> = answer.embeddings.iter().map(|embedding| &embedding.values).collect();
    assert!(vectors.iter().all(|vector| vector.len() == 384 && (cosine(vector, vector) - 1.0).abs() < 1e-5));
    assert!(cosine(vectors[0], vectors[1]) > cosine(vectors[0], vectors[2]) + 0.05);

    // The same vectors, whatever else is in the batch and however they are asked for.
    let requests = texts.iter().enumerate().map(|(n, text)| proto::StreamEmbedRequest {
        id: n.to_string(),
        text: (*text).to_owned(),
        ..Default::default()
    });
    let requests: Vec<_> = requests.collect();
    let answers = client.stream_embed(futures::stream::iter(requests)).await.expect("it starts").into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.expect("it succeeds")).collect().await;
    assert_eq!(answers.len(), 3);
    for answer in answers {
        let n: usize = answer.id.parse().expect("ids come back");
        let values = answer.embedding.expect("there is a vector").values;
        assert!(cosine(&values, vectors[n]) > 0.999);
    }
}

#[tokio::test]
async fn a_long_text_is_cut_only_if_the_caller_says_so() {
    let mut client = default_client().await;
    let mut request =
        proto::EmbedRequest { texts: vec!["short".into(), "long ".repeat(600)], ..Default::default() };
    let status = client.embed(request.clone()).await.expect_err("it is refused");
    let fault = fault_of(&status);
    assert_eq!(
        (fault.reason().as_str(), fault.violations()[0].field.as_str()),
        ("CONTEXT_LENGTH_EXCEEDED", "texts[1]")
    );
    request.truncation = proto::Truncation::End.into();
    let answer = client.embed(request).await.expect("it succeeds").into_inner();
    let truncated: Vec<_> = answer.embeddings.iter().map(|embedding| embedding.truncated).collect();
    assert_eq!(truncated, [false, true]);
}

#[tokio::test]
async fn models_say_what_they_are() {
    let mut client = default_client().await;
    let models =
        client.list_models(proto::ListModelsRequest {}).await.expect("it succeeds").into_inner().models;
    let ids: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
    assert_eq!(ids, ["multilingual-e5-small", "smollm2-135m-instruct"]);
    assert_eq!((models[0].embedding_dimensions, models[0].context_length), (384, 512));
    assert_eq!((models[1].vocabulary_size, models[1].context_length), (49_152, 1024));
    assert!(models[1].tasks().eq([ModelTask::TextGeneration]));
    assert_eq!(models[1].license, "Apache-2.0");
    let request = proto::GetModelRequest { model: "multilingual-e5-small".into() };
    assert_eq!(
        client.get_model(request).await.expect("it succeeds").into_inner().model.as_ref(),
        models.first()
    );
}
