//! Several answers to one prompt, answers that begin with their prompt, and the samplers that need one more word than a number.

use std::{collections::BTreeMap, net::SocketAddr, sync::OnceLock};

use atelier_proto::text::v1::{self as proto, Truncation, stream_generate_response::Event};
use atelier_rpc::fault_of;
use tonic::Status;

use crate::{
    common::{Client, connect, greedy, start},
    hub::served,
};

const PROMPT: &str = "The quick brown fox jumps over the lazy dog and the lazy dog jumps over the quick";

async fn client() -> Client {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    connect(*ADDRESS.get_or_init(|| start(vec![served("llama")]))).await
}

/// Wild, so that seeds show.
fn drawn(seed: u64) -> proto::GenerationConfig {
    proto::GenerationConfig {
        temperature: Some(1.5),
        top_k: Some(0),
        top_p: Some(1.0),
        seed: Some(seed),
        ignore_eos: true,
        ..greedy(24)
    }
}

fn request(generation: proto::GenerationConfig) -> proto::GenerateRequest {
    proto::GenerateRequest {
        prompt: PROMPT.into(),
        generation: Some(generation),
        ..proto::GenerateRequest::default()
    }
}

async fn generate(client: &mut Client, request: proto::GenerateRequest) -> proto::GenerateResponse {
    client.generate(request).await.expect("it succeeds").into_inner()
}

/// The texts and ends of a stream's answers, and its first delta.
async fn stream(
    client: &mut Client,
    request: proto::GenerateRequest,
) -> Result<(BTreeMap<u32, String>, BTreeMap<u32, proto::Completion>, Option<proto::Delta>), Status> {
    let proto::GenerateRequest { model, prompt, generation, echo } = request;
    let request = proto::StreamGenerateRequest { model, prompt, generation, echo };
    let mut stream = client.stream_generate(request).await?.into_inner();
    let (mut texts, mut ends, mut first) = (BTreeMap::<u32, String>::new(), BTreeMap::new(), None);
    while let Some(message) = stream.message().await? {
        match message.event.expect("there is an event") {
            Event::Delta(delta) => {
                assert!(!ends.contains_key(&delta.choice), "an end is a choice's last word");
                *texts.entry(delta.choice).or_default() += &delta.text;
                first.get_or_insert(delta);
            }
            Event::Completion(end) => assert!(ends.insert(end.choice, end).is_none(), "there is one end"),
        }
    }
    Ok((texts, ends, first))
}

fn end(completion: &Option<proto::Completion>) -> &proto::Completion {
    completion.as_ref().expect("there is an end")
}

fn usage(completion: &proto::Completion) -> (u32, u32, u32) {
    let usage = completion.usage.as_ref().expect("usage is reported");
    (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
}

#[tokio::test]
async fn each_choice_is_what_its_seed_writes_alone() {
    let mut client = client().await;
    let seed = u64::MAX - 1;
    let mut alone = Vec::new();
    for number in 0..5 {
        let answer = generate(&mut client, request(drawn(seed.wrapping_add(number)))).await;
        assert!(answer.choices.is_empty());
        alone.push(answer);
    }
    let several = proto::GenerationConfig { n: Some(5), ..drawn(seed) };
    let answer = generate(&mut client, request(several.clone())).await;
    assert_eq!(answer.choices.len(), 5, "more than there are slots");
    for (number, (choice, alone)) in answer.choices.iter().zip(&alone).enumerate() {
        assert_eq!(choice.text, alone.text, "choice {number}");
        let (one, other) = (end(&choice.completion), end(&alone.completion));
        assert_eq!((one.choice, one.seed), (number as u32, other.seed));
        assert_eq!(usage(one), usage(other));
        assert!(number == 0 || one.usage.expect("usage is reported").cached_tokens >= 10, "{one:?}");
    }
    let texts: Vec<_> = answer.choices.iter().map(|choice| &choice.text).collect();
    assert!(texts.iter().any(|text| *text != texts[0]), "the seeds differ: {texts:?}");
    assert_eq!(answer.text, answer.choices[0].text);
    let whole = end(&answer.completion);
    let (prompt, written, total) = usage(whole);
    assert_eq!(prompt, usage(end(&alone[0].completion)).0, "the prompt is counted once");
    assert_eq!((written, total), (5 * 24, prompt + 5 * 24));

    let (streamed, ends, _) = stream(&mut client, request(several)).await.expect("it succeeds");
    assert_eq!((streamed.len(), ends.len()), (5, 5));
    for (number, text) in &streamed {
        assert_eq!(text, &alone[*number as usize].text);
        assert_eq!(ends[number].seed, seed.wrapping_add(u64::from(*number)));
    }
    let sum = ends.values().map(usage).fold((0, 0), |sum, usage| (sum.0 + usage.0, sum.1 + usage.2));
    assert_eq!(sum, (prompt, total), "the usages of a stream add up to the call's");
}

#[tokio::test]
async fn the_best_of_several_are_the_likeliest() {
    let mut client = client().await;
    let all = proto::GenerationConfig { n: Some(6), logprobs: true, ..drawn(3) };
    let all = generate(&mut client, request(all)).await.choices;
    let mean = |choice: &proto::Choice| {
        let tokens = &end(&choice.completion).tokens;
        tokens.iter().map(|token| f64::from(token.logprob)).sum::<f64>() / tokens.len() as f64
    };
    let mut expected: Vec<_> = all.iter().collect();
    expected.sort_by(|one, other| mean(other).total_cmp(&mean(one)));
    let best = proto::GenerationConfig { n: Some(2), best_of: Some(6), ..drawn(3) };
    let answer = generate(&mut client, request(best)).await;
    assert_eq!(answer.choices.len(), 2);
    for (choice, expected) in answer.choices.iter().zip(expected) {
        assert_eq!(choice.text, expected.text);
        assert_eq!(end(&choice.completion).choice, end(&expected.completion).choice);
        assert!(end(&choice.completion).tokens.is_empty(), "they were not asked for");
    }
    assert_eq!(answer.text, answer.choices[0].text);
    assert_eq!(usage(end(&answer.completion)).1, 6 * 24, "what was thrown away was written too");
    let one = proto::GenerationConfig { best_of: Some(6), ..drawn(3) };
    let one = generate(&mut client, request(one)).await.choices;
    assert_eq!((one.len(), &one[0].text), (1, &answer.choices[0].text));
}

#[tokio::test]
async fn every_choice_keeps_to_the_format() {
    let format = proto::generation_config::Format::Regex("(yes|no){3}".into());
    let generation =
        proto::GenerationConfig { n: Some(4), format: Some(format), ignore_eos: false, ..drawn(1) };
    let answer = generate(&mut client().await, request(generation)).await;
    for choice in &answer.choices {
        let rest = choice.text.replace("yes", "").replace("no", "");
        assert!(rest.is_empty() && !choice.text.is_empty(), "{choice:?}");
    }
}

#[tokio::test]
async fn numbers_of_choices_are_checked_and_a_full_queue_ends_the_call() {
    let mut client = client().await;
    for (n, best_of, field) in [
        (Some(0), None, "generation.n"),
        (Some(9), None, "generation.n"),
        (Some(3), Some(2), "generation.best_of"),
        (None, Some(9), "generation.best_of"),
    ] {
        let refused = client.generate(request(proto::GenerationConfig { n, best_of, ..drawn(1) })).await;
        let refused = refused.expect_err("it is refused");
        assert_eq!(fault_of(&refused).violations()[0].field, field);
    }
    let best = proto::GenerationConfig { n: Some(2), best_of: Some(3), ..drawn(1) };
    let refused = stream(&mut client, request(best)).await.expect_err("nothing is best before the end");
    assert_eq!(fault_of(&refused).violations()[0].field, "generation.best_of");

    let mut model = served("llama");
    model.generation.slots = 1;
    model.generation.engine.max_queue = 2;
    let mut client = connect(start(vec![model])).await;
    let many = |n| proto::GenerationConfig { n: Some(n), ..drawn(1) };
    let refused = client.generate(request(many(8))).await.expect_err("they do not fit the queue");
    assert_eq!(fault_of(&refused).reason().as_str(), "QUEUE_FULL");
    let refused = stream(&mut client, request(many(8))).await.expect_err("nor in a stream");
    assert_eq!(fault_of(&refused).reason().as_str(), "QUEUE_FULL");
    assert_eq!(generate(&mut client, request(many(3))).await.choices.len(), 3, "their places are free again");
}

#[tokio::test]
async fn an_echo_is_the_prompt_with_its_scores() {
    let mut client = client().await;
    let asked = proto::GenerationConfig { logprobs: true, top_logprobs: Some(2), ..greedy(8) };
    let plain = generate(&mut client, request(asked.clone())).await;
    let echo = |generation| proto::GenerateRequest { echo: true, ..request(generation) };
    let answer = generate(&mut client, echo(asked.clone())).await;
    assert_eq!(answer.text, format!("{PROMPT}{}", plain.text));
    let (told, written) = (&end(&answer.completion).tokens, &end(&plain.completion).tokens);
    assert_eq!(usage(end(&answer.completion)), usage(end(&plain.completion)));
    let (prompt, rest) = told.split_at(told.len() - written.len());
    let ids = |tokens: &[proto::TokenLogprob]| tokens.iter().map(|token| token.token_id).collect::<Vec<_>>();
    assert_eq!(ids(rest), ids(written));
    // Sums over runs of another width differ in their last bits.
    assert!(rest.iter().zip(written).all(|(one, other)| (one.logprob - other.logprob).abs() < 1e-4));
    assert!(prompt.iter().all(|token| token.top.len() == 2));
    let item = proto::ScoreItem { context: String::new(), text: PROMPT.into() };
    let score = proto::ScoreRequest { items: vec![item], token_logprobs: true, ..Default::default() };
    let scored = client.score(score).await.expect("it succeeds").into_inner().scores.remove(0).tokens;
    assert_eq!(prompt.len(), scored.len());
    for (token, scored) in prompt.iter().zip(&scored) {
        assert_eq!((token.token_id, &token.text), (scored.token_id, &scored.text));
        assert!((token.logprob - scored.logprob).abs() < 1e-4, "{token:?} {scored:?}");
    }

    let several = proto::GenerationConfig { n: Some(2), ..drawn(4) };
    let (plain, ..) = stream(&mut client, request(several.clone())).await.expect("it succeeds");
    let (texts, ends, first) = stream(&mut client, echo(several)).await.expect("it succeeds");
    assert_eq!(first.expect("there is one").text, PROMPT);
    assert!(ends.values().all(|end| end.tokens.is_empty()));
    for (number, text) in texts {
        assert_eq!(text, format!("{PROMPT}{}", plain[&number]));
    }
    let cut = proto::GenerationConfig { truncation: Truncation::Start.into(), ..asked };
    let refused = client.generate(echo(cut)).await.expect_err("what is cut is no echo");
    assert_eq!(fault_of(&refused).violations()[0].field, "echo");
}

#[tokio::test]
async fn samplers_change_what_is_written_and_seeds_reproduce_it() {
    let mut client = client().await;
    let plain = generate(&mut client, request(drawn(5))).await.text;
    let off = proto::GenerationConfig { xtc_probability: Some(0.0), dry_multiplier: Some(0.0), ..drawn(5) };
    assert_eq!(generate(&mut client, request(off)).await.text, plain, "what is off draws nothing");
    let samplers = [
        proto::GenerationConfig { xtc_probability: Some(1.0), xtc_threshold: Some(0.01), ..drawn(5) },
        proto::GenerationConfig { mirostat_tau: Some(1.0), mirostat_eta: Some(0.5), ..drawn(5) },
    ];
    for sampler in samplers {
        let text = generate(&mut client, request(sampler.clone())).await.text;
        assert_ne!(text, plain, "{sampler:?}");
        assert_eq!(generate(&mut client, request(sampler)).await.text, text);
    }
    // The tiny model says one thing over and over; no two tokens that stood before are followed by the same one again.
    let dry = proto::GenerationConfig {
        dry_multiplier: Some(100.0),
        dry_allowed_length: Some(1),
        ignore_eos: true,
        logprobs: true,
        ..greedy(60)
    };
    let repeats = |answer: proto::GenerateResponse| {
        let tokens: Vec<_> = end(&answer.completion).tokens.iter().map(|token| token.token_id).collect();
        let pairs: std::collections::HashSet<_> = tokens.windows(2).collect();
        tokens.len() - 1 - pairs.len()
    };
    let repeating = proto::GenerationConfig { dry_multiplier: None, dry_allowed_length: None, ..dry.clone() };
    let plain = repeats(generate(&mut client, request(repeating)).await);
    let dry = repeats(generate(&mut client, request(dry)).await);
    assert!(dry < plain / 2, "{dry} of {plain} repeats are left");
}
