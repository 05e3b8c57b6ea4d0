//! Prompts that are too long, refused or cut where the caller asked for it.

use atelier_proto::text::v1::{self as proto, Role, Truncation};
use atelier_rpc::fault_of;

use crate::common::{default_client, greedy, user};

/// The context of the service that tests share.
const CONTEXT: u32 = 1024;

fn cut(truncation: Truncation, max_tokens: u32) -> Option<proto::GenerationConfig> {
    Some(proto::GenerationConfig { truncation: truncation.into(), ..greedy(max_tokens) })
}

fn said(role: Role, content: &str) -> proto::Message {
    proto::Message { role: role.into(), content: content.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_long_prompt_is_cut_where_the_caller_says() {
    let mut client = default_client().await;
    let filler = "red green blue ".repeat(600);
    let prompt = format!("apple {filler} pear {filler} The list goes on: one, two, three,");
    let mut ask = async |truncation, max_tokens| {
        let request = proto::GenerateRequest {
            prompt: prompt.clone(),
            generation: cut(truncation, max_tokens),
            ..Default::default()
        };
        let answer = client.generate(request).await?.into_inner();
        let usage = answer.completion.and_then(|end| end.usage).expect("usage is reported");
        Ok::<_, tonic::Status>((answer.text, usage))
    };
    for refused in [Truncation::Unspecified, Truncation::Refuse] {
        let fault = fault_of(&ask(refused, 8).await.expect_err("it is too long"));
        assert_eq!(fault.reason().as_str(), "CONTEXT_LENGTH_EXCEEDED");
    }
    let mut answers = Vec::new();
    for truncation in [Truncation::Start, Truncation::Middle, Truncation::End] {
        let (text, usage) = ask(truncation, 8).await.expect("it is cut");
        assert_eq!(usage.prompt_tokens, CONTEXT - 8, "{truncation:?}");
        assert!(usage.truncated_tokens > 2_000, "{usage:?}");
        answers.push(text);
    }
    let [start, middle, end] = answers.try_into().expect("there are three");
    assert!(
        start.trim_start().starts_with("four") && middle.trim_start().starts_with("four"),
        "{start} {middle}"
    );
    assert!(end.contains("red") || end.contains("green") || end.contains("blue"), "{end}");
    let (_, usage) = ask(Truncation::Start, 2_000).await.expect("it is cut");
    assert_eq!(usage.prompt_tokens, CONTEXT / 2, "a prompt keeps half of the context");
}

#[tokio::test]
async fn a_prompt_that_fits_is_left_alone() {
    let mut client = default_client().await;
    let request = proto::ChatRequest {
        messages: user("Say hello."),
        generation: cut(Truncation::Middle, 8),
        ..Default::default()
    };
    let usage =
        client.chat(request).await.expect("it succeeds").into_inner().completion.and_then(|end| end.usage);
    assert_eq!(usage.expect("usage is reported").truncated_tokens, 0);
}

#[tokio::test]
async fn a_conversation_loses_its_oldest_turns() {
    let mut client = default_client().await;
    let mut chat = async |messages, truncation| {
        let request = proto::ChatRequest { messages, generation: cut(truncation, 24), ..Default::default() };
        let answer = client.chat(request).await?.into_inner();
        let usage = answer.completion.and_then(|end| end.usage).expect("usage is reported");
        Ok::<_, tonic::Status>((answer.message.expect("there is a message").content, usage))
    };
    let system = said(Role::System, "You answer briefly.");
    let question = said(Role::User, "What is the capital of France?");
    let long = "and then we walked on along the river ".repeat(60);
    let mut messages = vec![system.clone()];
    for _ in 0..4 {
        messages.extend([said(Role::User, &long), said(Role::Assistant, "I see.")]);
    }
    messages.push(question.clone());
    chat(messages.clone(), Truncation::Refuse).await.expect_err("it is too long");
    let (cut, usage) = chat(messages.clone(), Truncation::Start).await.expect("it is cut");
    // One turn of a long text and an answer fits beside the question.
    let kept: Vec<_> = [&messages[..1], &messages[7..]].concat();
    let (same, whole) = chat(kept, Truncation::Refuse).await.expect("it fits");
    assert_eq!((cut, usage.prompt_tokens), (same, whole.prompt_tokens));
    assert!(usage.truncated_tokens > 1_400, "{usage:?}");

    // A single turn has no older ones.
    let alone = vec![said(Role::User, &long.repeat(4))];
    let fault = fault_of(&chat(alone.clone(), Truncation::Start).await.expect_err("it is too long"));
    assert_eq!(fault.reason().as_str(), "CONTEXT_LENGTH_EXCEEDED");
    for truncation in [Truncation::Middle, Truncation::End] {
        let (_, usage) = chat(alone.clone(), truncation).await.expect("it is cut");
        assert!((CONTEXT - 24 - 8..=CONTEXT - 24).contains(&usage.prompt_tokens), "{usage:?}");
    }
}
