//! What breaks, and what callers see of it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use atelier_proto::{
    gateway::v1::{StreamChatRequest, stream_chat_response::Event},
    text::v1::{GenerationConfig, StreamGenerateRequest, text_service_client::TextServiceClient},
};
use atelier_tests::{Running, Sandbox};
use tonic::{Code, Request};
use tonic_health::pb::health_check_response::ServingStatus;

use crate::support::{Streamed, chat, greedy, read, reason};

const STORY: &str = "Tell me a long story about a lighthouse keeper.";

fn rules(on_failure: &str) -> String {
    format!(
        "version: 1\ndefault_policy: test\npolicies:\n  test:\n    on_moderation_failure: {on_failure}\n    \
         input: {{categories: {{}}}}\n    output:\n      mode: windowed\n      window: {{characters: 60, overlap: 20}}\n      categories:\n        \
         toxicity: {{block: 0.999}}\n"
    )
}

/// Starts a stream, kills moderation after its first delta, reads on.
async fn kill_moderation_mid_stream(
    on_failure: &str,
) -> (Sandbox, Result<Streamed, (tonic::Status, Streamed)>) {
    let moderation = Running::moderation(atelier_moderation::Config::default()).await.unwrap();
    let builder = Sandbox::builder().policy(&rules(on_failure)).moderation(moderation.endpoint());
    let mut sandbox = builder.start().await.unwrap();
    let mut stream = sandbox.clients.gateway.stream_chat(chat(STORY, 300)).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert!(matches!(first.event, Some(Event::Delta(_))));
    moderation.kill().await;
    let rest = read(stream).await;
    (sandbox, rest)
}

#[tokio::test(flavor = "multi_thread")]
async fn moderation_killed_mid_stream_fails_closed() {
    let (mut sandbox, rest) = kill_moderation_mid_stream("fail_closed").await;
    let (status, _) = rest.expect_err("nothing unjudged leaves");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason(&status), "MODERATION_UNAVAILABLE");
    let status = sandbox.clients.gateway.stream_chat(chat(STORY, 16)).await;
    let status = match status {
        Err(status) => status,
        Ok(answer) => read(answer.into_inner()).await.expect_err("still down").0,
    };
    assert_eq!(reason(&status), "MODERATION_UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread")]
async fn moderation_killed_mid_stream_fails_open_and_says_so() {
    let (sandbox, rest) = kill_moderation_mid_stream("fail_open").await;
    let streamed = rest.expect("the stream goes on");
    assert!(streamed.completion().output_verdict.as_ref().unwrap().unmeasured);
    sandbox.audit(|lines| lines.iter().any(|line| line["unmeasured"] == true)).await.expect("on the trail");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_stream() {
    let mut sandbox = Sandbox::start().await.unwrap();
    let mut request = Request::new(chat(STORY, 1500));
    request.set_timeout(Duration::from_millis(1500));
    let status = match sandbox.clients.gateway.stream_chat(request).await {
        Err(status) => status,
        Ok(answer) => read(answer.into_inner()).await.expect_err("the deadline comes first").0,
    };
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
}

/// Value of a metric without labels (or summed over them) at a service's admin port.
async fn metric(running: &Running, name: &str) -> f64 {
    let text = atelier_tests::http_get(running.admin, "/metrics").await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_frees_its_slot() {
    let text = Running::text(atelier_text::Config::default()).await.unwrap();
    let mut client = TextServiceClient::new(text.channel());
    let request = StreamGenerateRequest {
        prompt: "Once upon a time".to_owned(),
        generation: Some(greedy(1500)),
        ..Default::default()
    };
    let mut stream = client.stream_generate(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert!(metric(&text, "atelier_text_slots_in_use").await >= 1.0);
    // The whole connection goes, as when the caller's machine does.
    drop((stream, client));
    let freed = async {
        while metric(&text, "atelier_text_slots_in_use").await > 0.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed)
        .await
        .expect("the slot is freed long before 1500 tokens");
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_the_gateway_stops_all_of_several_answers() {
    let text = Running::text(atelier_text::Config::default()).await.unwrap();
    let mut sandbox =
        Sandbox::builder().policy(&rules("fail_closed")).text(text.endpoint()).start().await.unwrap();
    let generation = GenerationConfig { n: Some(4), ignore_eos: true, ..greedy(1500) };
    let request = StreamChatRequest { generation: Some(generation), ..chat(STORY, 1500) };
    let mut stream = sandbox.clients.gateway.stream_chat(request).await.unwrap().into_inner();
    let mut speaking = BTreeSet::new();
    while speaking.len() < 4 {
        let message = stream.message().await.unwrap().unwrap();
        assert!(matches!(message.event, Some(Event::Delta(_))));
        speaking.insert(message.choice);
    }
    assert_eq!(metric(&text, "atelier_text_slots_in_use").await, 4.0);
    drop(stream);
    let freed = async {
        while metric(&text, "atelier_text_slots_in_use").await > 0.0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed)
        .await
        .expect("the slots are freed long before 1500 tokens");
    let ended = |lines: &[serde_json::Value]| {
        lines.iter().filter(|line| line["finish_reason"] == "cancelled").count() == 4
    };
    sandbox.audit(ended).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_streams_in_flight_and_takes_no_more() {
    let text = Running::text(atelier_text::Config::default()).await.unwrap();
    let mut client = TextServiceClient::new(text.channel());
    let request = || StreamGenerateRequest {
        prompt: "Once upon a time".to_owned(),
        generation: Some(greedy(60)),
        ..Default::default()
    };
    let mut stream = client.stream_generate(request()).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert_eq!(text.health("atelier.text.v1.TextService").await.unwrap(), Some(ServingStatus::Serving));
    text.drain();
    let start = Instant::now();
    loop {
        match text.health("").await.unwrap() {
            Some(ServingStatus::Serving) => {
                assert!(start.elapsed() < Duration::from_secs(5), "still SERVING")
            }
            Some(ServingStatus::NotServing) | None => break,
            other => panic!("{other:?}"),
        }
    }
    let mut completed = false;
    while let Some(event) = stream.message().await.expect("the stream in flight is finished") {
        use atelier_proto::text::v1::stream_generate_response::Event;
        completed = matches!(event.event, Some(Event::Completion(_)));
    }
    assert!(completed);
    text.ended().await.unwrap();
}
