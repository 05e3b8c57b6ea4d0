//! Several answers to one prompt.

use atelier_client::{
    Client, ClientError, ClientOptions, Event,
    proto::{gateway::v1::ChatRequest, text::v1::GenerationConfig},
    user,
};
use futures::StreamExt;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::{documents, fake::Gateway, run, text};

#[test]
fn several_answers_are_numbered() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["chat", "--n", "2", "one two"]);
    assert_eq!(text(&output.stdout), "[0]\nONE TWO 0\n[1]\nONE TWO 1\n");
    let output = run(&gateway, &["--json", "chat", "--n", "2", "one two"]);
    let answers = documents(&output.stdout);
    let shown: Vec<_> = answers.iter().map(|answer| (&answer["choice"], &answer["text"])).collect();
    assert_eq!(shown, [(&json!(0), &json!("ONE TWO 0")), (&json!(1), &json!("ONE TWO 1"))]);
    assert_eq!(answers[1]["completion"]["finish_reason"], "stop");
}

/// All that a stream of so many answers brings.
fn streamed(gateway: &Gateway, n: u32, prompt: &str) -> Vec<Result<Event, ClientError>> {
    Runtime::new().unwrap().block_on(async {
        let options = ClientOptions::new(format!("http://{}", gateway.address));
        let generation = Some(GenerationConfig { n: Some(n), ..GenerationConfig::default() });
        let request = ChatRequest { messages: vec![user(prompt)], generation, ..ChatRequest::default() };
        let client = Client::connect(options).await.unwrap();
        client.stream_chat(request).await.unwrap().collect().await
    })
}

#[test]
fn a_stream_of_several_ends_with_the_last_of_them() {
    let gateway = Gateway::start();
    let events = streamed(&gateway, 2, "turns evil").into_iter().map(|event| match event.unwrap() {
        Event::Delta(delta) => (delta.choice, delta.text),
        Event::ToolCall { choice, call } => (choice, call.name),
        Event::Verdict { choice, verdict } => (choice, verdict.action().as_str_name().to_owned()),
        Event::Completion(end) => (end.choice, end.finish_reason().as_str_name().to_owned()),
    });
    let expected = ["So ", "far", "ACTION_BLOCK", "FINISH_REASON_CONTENT_FILTER"];
    let expected = expected.iter().flat_map(|what| [0, 1].map(|choice| (choice, (*what).to_owned())));
    assert!(events.eq(expected));
    for n in [1, 3] {
        let events = streamed(&gateway, n, "stops short");
        assert_eq!(events.len(), 2 * n as usize + 1);
        assert!(matches!(events.last().unwrap(), Err(ClientError::Protocol(_))), "{n}: an end is missing");
    }
}
