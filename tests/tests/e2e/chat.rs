//! Text through the gateway.

use atelier_core::ContentHash;
use atelier_proto::{
    common::v1::{FinishReason, Usage},
    gateway::v1::{
        Action, ChatRequest, DetokenizeRequest, EmbedRequest, GenerateRequest, RerankRequest,
        StreamChatRequest, TokenizeRequest,
    },
    text::v1::{GenerationConfig, Truncation},
};
use atelier_rpc::fault_of;
use atelier_tests::Sandbox;

use crate::support::{Streamed, chat, greedy, read, user};

const POEM: &str = "Write a short poem about the sea and the moon.";

#[tokio::test(flavor = "multi_thread")]
async fn streamed_text_is_judged_and_says_where_it_comes_from() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let answer = sandbox.clients.gateway.stream_chat(chat(POEM, 96)).await.unwrap();
    let request_id =
        answer.metadata().get("x-request-id").expect("a request id").to_str().unwrap().to_owned();
    let streamed = read(answer.into_inner()).await.unwrap();

    assert!(streamed.text.len() > 100, "a poem, not {:?}", streamed.text);
    assert!(streamed.deltas > 1, "streamed, not sent whole");
    let completion = streamed.completion();
    let model = completion.model.as_ref().unwrap();
    assert_eq!(model.id, "smollm2-135m-instruct");
    assert_eq!(model.revision.len(), 12);
    let usage = completion.usage.as_ref().unwrap();
    assert!(usage.prompt_tokens > 20 && usage.completion_tokens > 20 && usage.completion_tokens <= 96);
    assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    assert!(completion.timings.as_ref().unwrap().total.is_some());
    assert_eq!(completion.input_verdict.as_ref().unwrap().action(), Action::Allow);
    assert_eq!(completion.output_verdict.as_ref().unwrap().action(), Action::Allow);
    let provenance = completion.provenance.as_ref().unwrap();
    assert_eq!(provenance.request_id, request_id);
    assert_eq!(provenance.content_sha256, ContentHash::of(streamed.text.as_bytes()).to_string());
    assert_eq!(provenance.policy_version.len(), 12);
    assert!(!provenance.detectors.is_empty() && provenance.generators.len() == 1);

    let ended = |lines: &[serde_json::Value]| lines.iter().any(|line| line["event"] == "completion");
    let audit = sandbox.audit(ended).await.unwrap();
    let stages: Vec<_> = audit.iter().map(|line| line["stage"].as_str().unwrap()).collect();
    assert!(stages.contains(&"input") && stages.contains(&"output"), "{audit:?}");
    let trail = serde_json::to_string(&audit).unwrap();
    assert!(trail.contains(&request_id) && trail.contains(&provenance.policy_version));
    assert!(!trail.contains("poem") && !trail.contains("moon"), "content in the audit trail");
}

#[tokio::test(flavor = "multi_thread")]
async fn unary_and_streamed_answers_are_the_same_text() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let whole = ChatRequest { messages: user(POEM), generation: Some(greedy(40)), ..Default::default() };
    let whole = sandbox.clients.gateway.chat(whole).await.unwrap().into_inner();
    let streamed =
        read(sandbox.clients.gateway.stream_chat(chat(POEM, 40)).await.unwrap().into_inner()).await.unwrap();
    assert_eq!(whole.message.unwrap().content, streamed.text);
    // Whichever comes second finds the prompt's rows.
    let usage = |usage: Option<Usage>| usage.map(|usage| Usage { cached_tokens: 0, ..usage });
    assert_eq!(usage(whole.completion.unwrap().usage), usage(streamed.completion().usage));
}

#[tokio::test(flavor = "multi_thread")]
async fn seeds_reproduce_and_are_reported() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let mut sampled = async |seed: Option<u64>| {
        let generation = GenerationConfig {
            max_tokens: Some(24),
            temperature: Some(1.0),
            top_p: Some(0.95),
            seed,
            ..Default::default()
        };
        let request =
            StreamChatRequest { messages: user(POEM), generation: Some(generation), ..Default::default() };
        let streamed =
            read(sandbox.clients.gateway.stream_chat(request).await.unwrap().into_inner()).await.unwrap();
        (streamed.completion().seed, streamed.text)
    };
    let (seed, text) = sampled(None).await;
    assert_eq!(sampled(Some(seed)).await, (seed, text.clone()));
    assert_ne!(sampled(Some(seed.wrapping_add(1))).await.1, text);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_answers_are_streamed_as_they_are_given_whole() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let generation = |n, seed| GenerationConfig {
        max_tokens: Some(24),
        temperature: Some(1.0),
        top_p: Some(0.95),
        seed: Some(seed),
        n: Some(n),
        deterministic: true,
        ..Default::default()
    };
    let asked = |n, seed| StreamChatRequest {
        messages: user(POEM),
        generation: Some(generation(n, seed)),
        ..Default::default()
    };
    let mut stream = sandbox.clients.gateway.stream_chat(asked(3, 5)).await.unwrap().into_inner();
    let mut streamed = [(); 3].map(|()| Streamed::default());
    while let Some(message) = stream.message().await.unwrap() {
        streamed[message.choice as usize].add(message).unwrap();
    }
    let whole =
        ChatRequest { messages: user(POEM), generation: Some(generation(3, 5)), ..Default::default() };
    let whole = sandbox.clients.gateway.chat(whole).await.unwrap().into_inner();
    let (mut prompt, mut written) = (0, 0);
    for (choice, (streamed, whole)) in (0..).zip(streamed.iter().zip(&whole.choices)) {
        assert_eq!(streamed.text, whole.text, "{choice}");
        let end = streamed.completion();
        assert_eq!((end.choice, end.seed), (choice, 5 + u64::from(choice)));
        assert_eq!(end.output_verdict.as_ref().unwrap().action(), Action::Allow);
        let hash = ContentHash::of(streamed.text.as_bytes()).to_string();
        assert_eq!(end.provenance.as_ref().unwrap().content_sha256, hash);
        let usage = end.usage.as_ref().unwrap();
        (prompt, written) = (prompt + usage.prompt_tokens, written + usage.completion_tokens);
    }
    assert_ne!(streamed[0].text, streamed[1].text, "their seeds differ");
    let usage = whole.completion.unwrap().usage.unwrap();
    assert_eq!((prompt, written), (usage.prompt_tokens, usage.completion_tokens));
    let alone = sandbox.clients.gateway.stream_chat(asked(1, 6)).await.unwrap().into_inner();
    assert_eq!(read(alone).await.unwrap().text, streamed[1].text);
}

#[tokio::test(flavor = "multi_thread")]
async fn finish_reasons_tell_length_from_stop() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let gateway = &mut sandbox.clients.gateway;
    let short = read(gateway.stream_chat(chat(POEM, 5)).await.unwrap().into_inner()).await.unwrap();
    assert_eq!(short.completion().finish_reason(), FinishReason::Length);
    assert_eq!(short.completion().usage.as_ref().unwrap().completion_tokens, 5);

    let generation = GenerationConfig { stop_sequences: vec!["7".to_owned()], ..greedy(64) };
    let prompt = "1, 2, 3, 4,".to_owned();
    let request = GenerateRequest { prompt, generation: Some(generation), ..Default::default() };
    let counted = gateway.generate(request).await.unwrap().into_inner();
    let completion = counted.completion.unwrap();
    assert_eq!(completion.finish_reason(), FinishReason::Stop);
    assert_eq!(completion.stop_sequence, "7");
    assert!(counted.text.contains('6') && !counted.text.contains('7'), "{:?}", counted.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_round_trip_in_any_script() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let gateway = &mut sandbox.clients.gateway;
    for text in
        ["Hello, world", "你好，世界 👩‍👩‍👧‍👦", " leading  and   inner spaces\n\ttab", "<|im_start|> is text"]
    {
        let request =
            TokenizeRequest { model: String::new(), text: text.to_owned(), add_special_tokens: false };
        let tokens = gateway.tokenize(request).await.unwrap().into_inner().tokens;
        let token_ids = tokens.iter().map(|token| token.id).collect();
        let request = DetokenizeRequest { model: String::new(), token_ids, skip_special_tokens: false };
        assert_eq!(gateway.detokenize(request).await.unwrap().into_inner().text, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_bring_the_same_meaning_together_across_languages() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let texts = ["The stock market crashed today.", "股票市场今天暴跌。", "I like to eat apples."];
    let request = EmbedRequest {
        model: String::new(),
        texts: texts.map(str::to_owned).to_vec(),
        truncation: Truncation::Refuse.into(),
    };
    let answer = sandbox.clients.gateway.embed(request).await.unwrap().into_inner();
    let [crash, crash_zh, apples] = answer.embeddings.as_slice() else { panic!("three vectors") };
    let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    assert!((cosine(&crash.values, &crash.values) - 1.0).abs() < 1e-3);
    assert!(cosine(&crash.values, &crash_zh.values) > cosine(&crash.values, &apples.values) + 0.05);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_ranked_by_what_a_query_asks() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let documents = ["I like to eat apples.", "The stock market crashed today.", "股票市场今天暴跌。"];
    let request = RerankRequest {
        query: "What happened to share prices?".to_owned(),
        documents: documents.map(str::to_owned).to_vec(),
        top_n: Some(2),
        ..Default::default()
    };
    let answer = sandbox.clients.gateway.rerank(request.clone()).await.unwrap().into_inner();
    let mut first: Vec<_> = answer.results.iter().map(|ranked| ranked.index).collect();
    first.sort_unstable();
    assert_eq!(first, [1, 2], "{answer:?}");
    assert_eq!(answer.model.unwrap().id, "multilingual-e5-small");
    assert!(answer.usage.unwrap().prompt_tokens > 20);

    let bad = RerankRequest { top_n: Some(0), ..request };
    let refused = sandbox.clients.gateway.rerank(bad).await.unwrap_err();
    assert_eq!(fault_of(&refused).violations()[0].field, "top_n");
}
