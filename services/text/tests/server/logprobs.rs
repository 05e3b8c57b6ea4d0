//! How likely tokens are: those of an answer and those of texts that are scored.

use std::{net::SocketAddr, sync::OnceLock};

use atelier_proto::text::v1::{self as proto, Truncation};
use atelier_rpc::fault_of;

use crate::{
    common::{Client, connect, greedy, start, stream_chat, user},
    hub::served,
};

const PROMPT: &str = "The quick brown fox jumps over the lazy dog and";

async fn client() -> Client {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    connect(*ADDRESS.get_or_init(|| start(vec![served("llama")]))).await
}

fn asking(max_tokens: u32, top: u32) -> Option<proto::GenerationConfig> {
    Some(proto::GenerationConfig { logprobs: true, top_logprobs: Some(top), ..greedy(max_tokens) })
}

fn item(context: &str, text: &str) -> proto::ScoreItem {
    proto::ScoreItem { context: context.to_owned(), text: text.to_owned() }
}

fn spelled(tokens: &[proto::TokenLogprob]) -> Vec<u8> {
    tokens.iter().flat_map(|token| token.text.clone()).collect()
}

async fn generate(
    client: &mut Client,
    generation: Option<proto::GenerationConfig>,
) -> (String, proto::Completion) {
    let request = proto::GenerateRequest { prompt: PROMPT.into(), generation, ..Default::default() };
    let answer = client.generate(request).await.expect("it succeeds").into_inner();
    (answer.text, answer.completion.expect("there is an end"))
}

#[tokio::test]
async fn the_tokens_of_an_answer_are_told_with_the_likeliest_in_their_place() {
    let mut client = client().await;
    let (text, end) = generate(&mut client, asking(12, 5)).await;
    assert_eq!(end.tokens.len(), 12);
    assert_eq!(String::from_utf8_lossy(&spelled(&end.tokens)), text);
    for token in &end.tokens {
        assert_eq!(token.top.len(), 5);
        let likeliest = &token.top[0];
        assert_eq!((likeliest.token_id, likeliest.logprob), (token.token_id, token.logprob), "greedy");
        assert_eq!(likeliest.text, token.text);
        assert!(token.top.is_sorted_by(|one, other| one.logprob >= other.logprob));
        let sum: f64 = token.top.iter().map(|token| f64::from(token.logprob).exp()).sum();
        assert!(sum <= 1.0 + 1e-5, "{sum}");
    }
    // What is done to the logits afterwards does not show.
    let forced = proto::GenerationConfig {
        logit_bias: [(end.tokens[0].top[4].token_id, 100.0)].into(),
        ..asking(1, 5).expect("there is one")
    };
    let (_, other) = generate(&mut client, Some(forced)).await;
    assert_eq!(other.tokens[0].token_id, end.tokens[0].top[4].token_id);
    assert_eq!(other.tokens[0].logprob, end.tokens[0].top[4].logprob);
    assert_eq!(other.tokens[0].top, end.tokens[0].top);

    let (_, silent) = generate(&mut client, Some(greedy(12))).await;
    assert!(silent.tokens.is_empty());
    let (deltas, streamed) =
        stream_chat(&mut client, "Hello.", asking(6, 0).expect("there is one")).await.expect("it succeeds");
    let written = streamed.usage.expect("usage is reported").completion_tokens as usize;
    assert!(!deltas.is_empty() && streamed.tokens.len() == written);
    assert!(streamed.tokens.iter().all(|token| token.top.is_empty() && token.logprob <= 0.0));
    let request =
        proto::ChatRequest { messages: user("Hello."), generation: asking(6, 0), ..Default::default() };
    let whole = client.chat(request).await.expect("it succeeds").into_inner().completion;
    assert_eq!(whole.expect("there is an end").tokens, streamed.tokens);
}

#[tokio::test]
async fn a_text_scores_the_same_alone_and_in_a_batch() {
    let mut client = client().await;
    let text = " the lazy dog jumps over the quick brown fox";
    let mut items = vec![item(PROMPT, text)];
    items.extend((0..20).map(|n| item(&"over and ".repeat(n), text)));
    let mut ask = async |items: Vec<proto::ScoreItem>| {
        let request = proto::ScoreRequest { items, token_logprobs: true, ..Default::default() };
        client.score(request).await.expect("it succeeds").into_inner()
    };
    let batch = ask(items.clone()).await;
    assert_eq!(batch.scores.len(), items.len());
    for (item, score) in items.iter().zip(&batch.scores) {
        let sum: f64 = score.tokens.iter().map(|token| f64::from(token.logprob)).sum();
        assert!((score.logprob - sum).abs() < 1e-9);
        let count = score.scored_tokens;
        assert_eq!(count as usize, score.tokens.len());
        assert!((score.perplexity.expect("there are tokens").ln() + sum / f64::from(count)).abs() < 1e-9);
        assert!(item.text.as_bytes().ends_with(&spelled(&score.tokens)));
        let alone = ask(vec![item.clone()]).await;
        assert!((alone.scores[0].logprob - score.logprob).abs() < 1e-4, "{alone:?} {score:?}");
        let tokens = alone.usage.expect("usage is reported").prompt_tokens;
        assert!(tokens > 0 && tokens <= 256);
    }
}

#[tokio::test]
async fn what_stands_before_nothing_has_no_score() {
    let mut client = client().await;
    let text = "The quick brown fox";
    let request =
        proto::TokenizeRequest { text: text.into(), add_special_tokens: true, ..Default::default() };
    let tokens = client.tokenize(request).await.expect("it succeeds").into_inner().tokens;
    let items = vec![item("", text), item("", "a")];
    let request = proto::ScoreRequest { items, token_logprobs: true, ..Default::default() };
    let scores = client.score(request).await.expect("it succeeds").into_inner().scores;
    assert_eq!(scores[0].scored_tokens as usize, tokens.len() - 1, "the model has no start token");
    assert!(scores[0].tokens.iter().zip(&tokens[1..]).all(|(scored, token)| scored.token_id == token.id));
    assert_eq!((scores[1].scored_tokens, scores[1].logprob, scores[1].perplexity), (0, 0.0, None));
}

#[tokio::test]
async fn a_context_that_is_too_long_is_refused_or_cut_and_a_text_is_not() {
    let mut client = client().await;
    let long = "over and over again ".repeat(200);
    let mut ask = async |context: &str, text: &str, truncation: Truncation| {
        let items = vec![item("a", "b"), item(context, text)];
        let request = proto::ScoreRequest { items, truncation: truncation.into(), ..Default::default() };
        client.score(request).await.map(tonic::Response::into_inner)
    };
    let refused = ask(&long, " dog", Truncation::Unspecified).await.expect_err("it is too long");
    assert_eq!(fault_of(&refused).reason().as_str(), "CONTEXT_LENGTH_EXCEEDED");
    assert!(refused.message().contains("items[1].context"), "{refused}");
    for truncation in [Truncation::Start, Truncation::Middle, Truncation::End] {
        let answer = ask(&long, " dog", truncation).await.expect("it is cut");
        assert!(answer.scores[1].truncated_tokens > 100 && answer.scores[1].scored_tokens > 0);
        assert_eq!(answer.scores[0].truncated_tokens, 0);
        let refused = ask("a", &long, truncation).await.expect_err("texts are not cut");
        assert!(refused.message().contains("items[1].text"), "{refused}");
    }
    let refused = ask("a", "", Truncation::Start).await.expect_err("there is nothing to score");
    assert_eq!(fault_of(&refused).violations()[0].field, "items[1].text");
}
