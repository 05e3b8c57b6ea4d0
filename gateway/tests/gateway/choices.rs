//! Several answers to one prompt: each is judged on its own.

use std::time::Duration;

use atelier_proto::{
    common::v1::FinishReason,
    gateway::v1::{Action, ChatRequest, GenerateRequest, StreamChatRequest},
    text::v1::GenerationConfig,
};
use atelier_rpc::fault_of;

use crate::sandbox::{Sandbox, WINDOW, policy, user};

fn several(n: u32) -> Option<GenerationConfig> {
    Some(GenerationConfig { n: Some(n), ..GenerationConfig::default() })
}

#[tokio::test]
async fn an_answer_is_withheld_and_the_others_are_given() {
    for mode in ["windowed", "buffer", "stream_first"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        sandbox.text.write("calm sea|BLOCKME at once|more calm sea", Duration::ZERO);
        let messages = user("hello");
        let request = ChatRequest { messages, generation: several(3), ..ChatRequest::default() };
        let answer = sandbox.client.clone().chat(request).await.unwrap().into_inner();
        let texts: Vec<_> = answer.choices.iter().map(|choice| choice.text.as_str()).collect();
        assert_eq!(texts, ["calm sea", "", "more calm sea"], "{mode}");
        for (number, choice) in (0..).zip(&answer.choices) {
            let end = choice.completion.as_ref().unwrap();
            assert_eq!((end.choice, end.seed), (number, 7 + u64::from(number)));
            let verdict = end.output_verdict.as_ref().unwrap().action();
            let expected = match number {
                1 => (FinishReason::ContentFilter, Action::Block, 0),
                _ => (FinishReason::Stop, Action::Allow, 1),
            };
            assert_eq!((end.finish_reason(), verdict, end.tokens.len()), expected, "{mode}");
        }
        assert_eq!(answer.message.unwrap().content, "calm sea");
        let usage = answer.completion.unwrap().usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 30), "that of the whole call");
    }
}

#[tokio::test]
async fn an_echo_is_judged_with_its_answer() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("ME twice|calm sea", Duration::ZERO);
    let prompt = "BLOCK".to_owned();
    let request =
        GenerateRequest { prompt, echo: true, generation: several(2), ..GenerateRequest::default() };
    let answer = sandbox.client.clone().generate(request).await.unwrap().into_inner();
    let texts: Vec<_> = answer.choices.iter().map(|choice| choice.text.as_str()).collect();
    assert_eq!(texts, ["", "BLOCKcalm sea"], "the prompt and the answer pass, but not as one text");
}

#[tokio::test]
async fn in_a_stream_there_is_one() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("calm sea", Duration::ZERO);
    let stream = |n| {
        let messages = user("hello");
        let request = StreamChatRequest { messages, generation: several(n), ..StreamChatRequest::default() };
        let mut client = sandbox.client.clone();
        async move { client.stream_chat(request).await }
    };
    assert!(stream(1).await.is_ok());
    let refused = stream(2).await.map(|_| ()).unwrap_err();
    assert_eq!(fault_of(&refused).violations()[0].field, "generation.n");
}
