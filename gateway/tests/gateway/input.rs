//! What callers send.

use atelier_core::Reason;
use atelier_proto::{
    gateway::v1::{Action, ChatRequest, GenerateRequest, Stage},
    text::v1::{Message, Role},
};
use atelier_rpc::fault_of;
use tonic::Code;

use crate::sandbox::{Sandbox, WINDOW, policy, user};
use std::time::Duration;

#[tokio::test]
async fn a_prompt_passes_is_flagged_or_is_refused() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("all is well", Duration::ZERO);

    let (text, completion) = sandbox.chat("hello").await.unwrap();
    assert_eq!(text, "all is well");
    let verdict = completion.input_verdict.unwrap();
    assert_eq!((verdict.action(), verdict.stage()), (Action::Allow, Stage::Input));
    assert_eq!(verdict.unsupported_categories, ["illicit"], "what nobody measures is said");

    let (text, completion) = sandbox.chat("hello FLAGME").await.unwrap();
    assert_eq!(text, "all is well");
    let verdict = completion.input_verdict.unwrap();
    assert_eq!(verdict.action(), Action::Flag);
    let finding = &verdict.findings[0];
    assert_eq!((finding.category.as_str(), finding.score, finding.threshold), ("hate", 0.6, 0.5));

    let written = sandbox.text.0.written.load(std::sync::atomic::Ordering::SeqCst);
    let refused = sandbox.chat("hello BLOCKME").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let fault = fault_of(&refused);
    assert_eq!(fault.reason(), Reason::ContentBlocked);
    let metadata: Vec<_> = fault.metadata().iter().map(|(k, v)| (k.as_ref(), v.as_str())).collect();
    assert!(metadata.contains(&("categories", "hate")), "{metadata:?}");
    assert!(metadata.contains(&("stage", "input")) && metadata.contains(&("policy", "p")), "{metadata:?}");
    assert!(
        metadata.iter().any(|(key, value)| *key == "policy_version" && value.len() == 12),
        "{metadata:?}"
    );
    assert_eq!(sandbox.stream("hello BLOCKME").await.err().unwrap().code(), Code::PermissionDenied);
    let now = sandbox.text.0.written.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(now, written, "a refused prompt reaches no model");
}

#[tokio::test]
async fn every_turn_is_judged_and_turns_of_one_speaker_together() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("fine", Duration::ZERO);
    let turn = |role: Role, content: &str| Message {
        role: role.into(),
        content: content.to_owned(),
        ..Default::default()
    };
    for messages in [
        vec![turn(Role::System, "BLOCKME"), turn(Role::User, "hello")],
        vec![turn(Role::User, "a"), turn(Role::Assistant, "BLOCKME"), turn(Role::User, "b")],
        vec![turn(Role::User, "SPLIT"), turn(Role::User, "ME")],
    ] {
        let request = ChatRequest { messages, ..Default::default() };
        let refused = sandbox.client.clone().chat(request).await.unwrap_err();
        assert_eq!(fault_of(&refused).reason(), Reason::ContentBlocked);
    }
    let request = GenerateRequest { prompt: "BLOCKME".to_owned(), ..Default::default() };
    let refused = sandbox.client.clone().generate(request).await.unwrap_err();
    assert_eq!(fault_of(&refused).reason(), Reason::ContentBlocked);
}

#[tokio::test]
async fn prompts_out_of_range_name_the_field() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let long = "x".repeat((1 << 20) + 1);
    for (messages, field) in [(Vec::new(), "messages"), (user(&long), "messages[0].content")] {
        let request = ChatRequest { messages, ..Default::default() };
        let fault = fault_of(&sandbox.client.clone().chat(request).await.unwrap_err());
        assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), (Reason::InvalidArgument, field));
    }
    let fault = fault_of(&sandbox.client.clone().generate(GenerateRequest::default()).await.unwrap_err());
    assert_eq!(fault.violations()[0].field, "prompt");
    assert!(sandbox.moderation.0.texts.lock().unwrap().is_empty(), "what is not read is not measured");
}

#[tokio::test]
async fn when_moderation_is_down_the_failure_mode_decides() {
    let closed = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    closed.text.write("fine", Duration::ZERO);
    closed.moderation.switch_off(true);
    let refused = closed.chat("hello").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(fault_of(&refused).reason(), Reason::ModerationUnavailable);
    assert!(fault_of(&refused).retry_after().is_some());

    let open = Sandbox::start(&policy("fail_open", "windowed", WINDOW)).await;
    open.text.write("fine", Duration::ZERO);
    open.moderation.switch_off(true);
    let (text, completion) = open.chat("hello").await.unwrap();
    assert_eq!(text, "fine");
    assert!(completion.input_verdict.unwrap().unmeasured && completion.output_verdict.unwrap().unmeasured);
}
