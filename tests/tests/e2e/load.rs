//! Many calls at once.

use std::time::Duration;

use atelier_proto::text::v1::{GenerateRequest, text_service_client::TextServiceClient};
use atelier_tests::{Running, Sandbox};
use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{chat, greedy, read, reason};

const PROMPTS: [&str; 4] = [
    "List three fruits.",
    "Write a short poem about the sea and the moon.",
    "Explain why the sky is blue.",
    "What is the capital of France?",
];

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_streams_with_cancels_all_end_and_survivors_are_undisturbed() {
    let sandbox = Sandbox::start().await.unwrap();
    let calls = (0..16).map(|n| {
        let mut gateway = sandbox.clients.gateway.clone();
        async move {
            let mut stream = gateway.stream_chat(chat(PROMPTS[n % 4], 48)).await.unwrap().into_inner();
            if n % 3 == 1 {
                // Leaves in the middle.
                stream.message().await.unwrap().unwrap();
                return None;
            }
            Some((n % 4, read(stream).await.unwrap()))
        }
    });
    let ended: Vec<_> = join_all(calls).await.into_iter().flatten().collect();
    assert_eq!(ended.len(), 11);
    for (prompt, streamed) in &ended {
        assert!(streamed.completion().usage.as_ref().unwrap().completion_tokens > 0, "{}", PROMPTS[*prompt]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_against_a_queue_of_64_are_served_or_refused() {
    let mut config = atelier_text::Config::default();
    config.server.max_concurrent_requests = 2000;
    config.models[0].generation.engine.max_queue = 64;
    let text = Running::text(config).await.unwrap();
    let client = TextServiceClient::new(text.channel());
    let mut calls: FuturesUnordered<_> = (0..1000)
        .map(|_| {
            let mut client = client.clone();
            async move {
                let request = GenerateRequest {
                    prompt: "1, 2, 3,".to_owned(),
                    generation: Some(greedy(4)),
                    ..Default::default()
                };
                client.generate(request).await
            }
        })
        .collect();
    let (mut served, mut refused) = (0, 0);
    while let Some(outcome) = calls.next().await {
        match outcome {
            Ok(answer) => {
                assert_eq!(answer.into_inner().completion.unwrap().usage.unwrap().completion_tokens, 4);
                served += 1;
            }
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                assert_eq!(reason(&status), "QUEUE_FULL");
                let delay = status.get_details_retry_info().expect("when to come back").retry_delay;
                assert!(delay.is_some_and(|delay| delay > Duration::ZERO));
                refused += 1;
            }
        }
    }
    assert_eq!(served + refused, 1000, "every call ends once");
    assert!(served >= 64 && refused > 0, "{served} served, {refused} refused");
}
