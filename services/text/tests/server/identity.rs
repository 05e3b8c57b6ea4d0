//! On the f32 model, what a call writes does not depend on who else is served.

use std::{net::SocketAddr, sync::OnceLock};

use crate::common::{Client, connect, greedy, model, start, user};
use atelier_proto::text::v1::{self as proto, stream_chat_response::Event};
use atelier_rpc::fault_of;
use futures::future::join_all;
use tonic::Request;

/// A service of the f32 model, with fewer slots than calls: slots are reused and calls are moved between them.
async fn exact_client() -> Client {
    static ADDRESS: OnceLock<SocketAddr> = OnceLock::new();
    connect(*ADDRESS.get_or_init(|| start(vec![model("smollm2-135m-instruct-f32", 6)]))).await
}

/// Sixteen calls of different lengths, settings, priorities and manners of reading.
fn calls() -> Vec<proto::ChatRequest> {
    let topics =
        ["the sea", "bread", "prime numbers", "Chinese tea", "the moon", "bicycles", "ants", "chess"];
    (0..16_usize)
        .map(|n| {
            let padding = "I am curious and have read a lot already. ".repeat(n * 3 % 17);
            let content = format!("{padding}Tell me about {}.", topics[n % topics.len()]);
            let sampled = proto::GenerationConfig {
                temperature: Some(0.9),
                top_p: Some(0.95),
                top_k: Some(if n % 4 == 1 { 40 } else { 0 }),
                repetition_penalty: Some(1.1),
                seed: Some(n as u64),
                ..Default::default()
            };
            let greedy =
                proto::GenerationConfig { temperature: Some(0.0), seed: Some(0), ..Default::default() };
            let mut generation = if n % 2 == 0 { greedy } else { sampled };
            generation.max_tokens = Some(8 + n as u32 * 5 % 23);
            // Where all come at once, some lose their slots midway.
            generation.priority = n as i32 % 3 + 1;
            proto::ChatRequest {
                messages: user(&content),
                generation: Some(generation),
                ..Default::default()
            }
        })
        .collect()
}

async fn whole(mut client: Client, request: proto::ChatRequest) -> (String, u32) {
    let answer = client.chat(request).await.expect("it succeeds").into_inner();
    let usage = answer.completion.expect("it ends").usage.expect("usage is reported");
    (answer.message.expect("there is a message").content, usage.completion_tokens)
}

/// Reads a few deltas and leaves.
async fn leave(mut client: Client, request: proto::ChatRequest, after: usize) {
    let request = proto::StreamChatRequest {
        messages: request.messages,
        generation: request.generation,
        ..Default::default()
    };
    let mut stream = client.stream_chat(request).await.expect("it starts").into_inner();
    for _ in 0..after {
        if let Some(Some(Event::Completion(_))) | None =
            stream.message().await.expect("it writes").map(|a| a.event)
        {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_mixed_calls_write_what_each_writes_alone() {
    let client = exact_client().await;
    let mut alone = Vec::new();
    for request in calls() {
        alone.push(whole(client.clone(), request).await);
    }
    let leaving =
        calls().into_iter().step_by(5).enumerate().map(|(n, call)| leave(client.clone(), call, n * 3));
    let together = calls().into_iter().map(|call| whole(client.clone(), call));
    let (_, together) = futures::join!(join_all(leaving), join_all(together));
    for (n, (alone, together)) in alone.iter().zip(&together).enumerate() {
        assert_eq!(alone, together, "call {n}");
    }
}

/// A tenant's question after a long preface: the answer, the prompt's tokens and how many of them were not run again.
async fn ask(client: &mut Client, tenant: &str, question: &str) -> (String, u32, u32) {
    let preface =
        "The keeper of the lighthouse wrote down every ship that passed, and the weather. ".repeat(18);
    let mut request = Request::new(proto::ChatRequest {
        messages: user(&format!("{preface}{question}")),
        generation: Some(greedy(24)),
        ..Default::default()
    });
    request.metadata_mut().insert("atelier-tenant", tenant.parse().expect("the name is a value"));
    let answer = client.chat(request).await.expect("it succeeds").into_inner();
    let usage = answer.completion.expect("it ends").usage.expect("usage is reported");
    (answer.message.expect("there is a message").content, usage.prompt_tokens, usage.cached_tokens)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_prefix_is_run_once_for_each_tenant_and_changes_no_answer() {
    let mut client = exact_client().await;
    let (what, who) = ("What did the keeper write down?", "Who wrote down every ship?");
    let (_, tokens, cached) = ask(&mut client, "first", what).await;
    assert!(tokens > 256 && cached == 0, "{cached} of {tokens}");
    let (answer, tokens, cached) = ask(&mut client, "first", who).await;
    assert!((256..tokens).contains(&cached), "{cached} of {tokens}");
    // Another tenant learns nothing of it, not even by the time it takes.
    assert_eq!(ask(&mut client, "second", who).await, (answer.clone(), tokens, 0));
    let (again, _, cached) = ask(&mut client, "second", who).await;
    assert_eq!(again, answer);
    assert!((256..tokens).contains(&cached), "{cached} of {tokens}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_ahead_changes_no_answer() {
    let mut client = exact_client().await;
    let content = "Repeat these words: the red fox, the blue fox, the red fox, the blue fox, the red fox, the blue fox.";
    let answer = |lookahead_tokens, temperature, seed| proto::ChatRequest {
        messages: user(content),
        generation: Some(proto::GenerationConfig {
            lookahead_tokens,
            temperature: Some(temperature),
            seed: Some(seed),
            stop_sequences: vec!["zebra".into()],
            ..greedy(48)
        }),
        ..Default::default()
    };
    for (temperature, seed) in [(0.0, 0), (0.6, 1), (0.6, 2)] {
        let plain = whole(client.clone(), answer(None, temperature, seed)).await;
        assert_eq!(whole(client.clone(), answer(Some(8), temperature, seed)).await, plain, "seed {seed}");
    }
    let refused = client.chat(answer(Some(17), 0.0, 0)).await.expect_err("it is too many");
    assert_eq!(fault_of(&refused).violations()[0].field, "generation.lookahead_tokens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deterministic_call_of_a_quantised_model_writes_the_same_among_others() {
    let client = connect(start(vec![model("smollm2-135m-instruct", 6)])).await;
    let calls: Vec<_> = calls()
        .into_iter()
        .take(4)
        .map(|mut call| {
            call.generation.get_or_insert_default().deterministic = true;
            call
        })
        .collect();
    let mut alone = Vec::new();
    for request in &calls {
        alone.push(whole(client.clone(), request.clone()).await);
    }
    let together = join_all(calls.into_iter().map(|call| whole(client.clone(), call))).await;
    for (n, (alone, together)) in alone.iter().zip(&together).enumerate() {
        assert_eq!(alone, together, "call {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_gives_one_text_under_any_load() {
    let client = exact_client().await;
    let asked = |seed| {
        let generation = proto::GenerationConfig {
            temperature: Some(1.2),
            seed,
            max_tokens: Some(24),
            xtc_probability: Some(0.5),
            dry_multiplier: Some(0.8),
            ..proto::GenerationConfig::default()
        };
        proto::ChatRequest {
            messages: user("Write about a river."),
            generation: Some(generation),
            ..proto::ChatRequest::default()
        }
    };
    let alone = whole(client.clone(), asked(Some(11))).await;
    let others = calls().into_iter().map(|call| whole(client.clone(), call));
    let same = (0..4).map(|_| whole(client.clone(), asked(Some(11))));
    let (_, same) = futures::join!(join_all(others), join_all(same));
    for text in same {
        assert_eq!(text, alone);
    }
    // Temperature 0 draws nothing: whichever seed a call is given, its text is the same.
    let mut greedy = asked(None);
    greedy.generation.get_or_insert_default().temperature = Some(0.0);
    let one = whole(client.clone(), greedy.clone()).await;
    assert_eq!(whole(client, greedy).await, one);
}
