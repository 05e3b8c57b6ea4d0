//! Tools, calls and results pass under policy like what people and models say.

use std::time::Duration;

use atelier_core::{ContentHash, Reason};
use atelier_proto::{
    common::v1::FinishReason,
    gateway::v1::{Action, ChatRequest, StreamChatRequest},
    text::v1::{Message, Role, Tool, ToolCall, ToolChoice, tool_choice::Choice},
};
use atelier_rpc::fault_of;

use crate::{
    choices::{Several, several},
    sandbox::{Sandbox, WINDOW, policy, user},
};

fn call(id: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.into(), name: "send_note".into(), arguments_json: arguments.into() }
}

fn tool(description: &str, schema: &str) -> Tool {
    Tool { name: "send_note".into(), description: description.into(), parameters_json_schema: schema.into() }
}

#[tokio::test]
async fn calls_that_pass_arrive_whole_and_apart_from_text() {
    for mode in ["windowed", "buffer", "stream_first"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        sandbox.text.write("I shall send two notes.", Duration::ZERO);
        let calls = vec![
            call("a", "{\"text\": \"calm sea\"}"),
            call("b", "{\"text\": \"more text, and more of it\"}"),
        ];
        *sandbox.text.0.calls.lock().unwrap() = vec![(calls.clone(), " Done.".into())];
        let (answer, end) = sandbox.stream("hello").await.unwrap().finish().await;
        end.unwrap();
        assert_eq!(
            (answer.text.as_str(), &answer.calls),
            ("I shall send two notes. Done.", &calls),
            "{mode}"
        );
        let completion = answer.completion.unwrap();
        assert_eq!(completion.finish_reason(), FinishReason::ToolCalls);
        let left: String = calls.iter().flat_map(|call| [call.name.as_str(), &call.arguments_json]).collect();
        let hash = ContentHash::of((answer.text + &left).as_bytes()).to_string();
        assert_eq!(completion.provenance.unwrap().content_sha256, hash);
        let request = ChatRequest { messages: user("hello"), ..Default::default() };
        let message = sandbox.client.clone().chat(request).await.unwrap().into_inner().message.unwrap();
        assert_eq!((message.content.as_str(), message.tool_calls), ("I shall send two notes. Done.", calls));
    }
}

#[tokio::test]
async fn a_call_that_says_what_may_not_be_said_is_withheld() {
    for mode in ["windowed", "buffer"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        sandbox.text.write("I shall send a note.", Duration::ZERO);
        // However it is spelled, in a value or in a key, and across lines.
        for arguments in [
            "{\"text\": \"BLOCKME\"}",
            "{\"text\": \"BLO\\u0043KME\"}",
            "{\"BLOCKME\": 1}",
            "{\"text\": [\"SPLIT\\nME\"]}",
        ] {
            let good = call("a", "{\"text\": \"calm sea, calm sea, calm sea, calm sea\"}");
            *sandbox.text.0.calls.lock().unwrap() = vec![(vec![call("b", arguments), good], " Done.".into())];
            let (answer, end) = sandbox.stream("hello").await.unwrap().finish().await;
            end.unwrap();
            assert!(answer.calls.is_empty() && !answer.text.contains("Done"), "{mode} {arguments}");
            assert_eq!(answer.verdicts[0].action(), Action::Block);
            let completion = answer.completion.unwrap();
            assert_eq!(completion.finish_reason(), FinishReason::ContentFilter);
            let hash = ContentHash::of(answer.text.as_bytes()).to_string();
            assert_eq!(completion.provenance.unwrap().content_sha256, hash);
            let request = ChatRequest { messages: user("hello"), ..Default::default() };
            let whole = sandbox.client.clone().chat(request).await.unwrap().into_inner();
            assert!(whole.message.unwrap().tool_calls.is_empty());
            assert_eq!(whole.completion.unwrap().finish_reason(), FinishReason::ContentFilter);
        }
        let (_, trail) = sandbox.finish().await;
        assert!(!trail.contains("calm") && !trail.contains("send_note") && !trail.contains("BLOCK"));
    }
}

#[tokio::test]
async fn tools_and_results_and_earlier_calls_are_judged_as_input() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("fine", Duration::ZERO);
    let talk = |arguments: &str, result: &str| {
        let called = Message {
            role: Role::Assistant.into(),
            tool_calls: vec![call("a", arguments)],
            ..Default::default()
        };
        let result = Message {
            role: Role::Tool.into(),
            content: result.into(),
            tool_call_id: "a".into(),
            ..Default::default()
        };
        [user("hello"), vec![called, result]].concat()
    };
    let schema = "{\"type\": \"object\"}";
    let choice = Some(ToolChoice { choice: Some(Choice::Name("send_note".into())) });
    let request = |tool: Tool, messages: Vec<Message>| StreamChatRequest {
        messages,
        tools: vec![tool],
        tool_choice: choice.clone(),
        ..Default::default()
    };
    for bad in [
        request(tool("Sends BLOCKME.", schema), user("hello")),
        request(tool("", "{\"type\": \"object\", \"title\": \"BLOCK\\u004dE\"}"), user("hello")),
        request(tool("", schema), talk("{\"text\": \"\\u0042LOCKME\"}", "sent")),
        request(tool("", schema), talk("{}", "not sent: BLOCKME")),
        request(tool("", schema), talk("{}", "{\"error\": \"\\u0042LOCKME\"}")),
    ] {
        let refused = sandbox.client.clone().stream_chat(bad).await.err().unwrap();
        assert_eq!(fault_of(&refused).reason(), Reason::ContentBlocked);
    }
    // What passes reaches the model as it came.
    let good = request(tool("Sends a note.", schema), talk("{\"text\": \"x\"}", "sent"));
    sandbox.client.clone().stream_chat(good.clone()).await.unwrap().into_inner().message().await.unwrap();
    let seen = sandbox.text.0.chat.lock().unwrap().take().unwrap();
    assert_eq!((seen.messages, seen.tools, seen.tool_choice), (good.messages, good.tools, good.tool_choice));
    // What is too much to be judged is refused by its field.
    let long = talk(&"x".repeat((1 << 20) + 1), "");
    let many = StreamChatRequest { tools: vec![tool("", ""); 129], ..request(tool("", ""), user("hello")) };
    for (request, field) in [
        (request(tool("", schema), long), "messages[1].tool_calls[0].arguments_json"),
        (request(tool(&"x".repeat(300 << 10), ""), user("hello")), "tools"),
        (many, "tools"),
    ] {
        let fault = fault_of(&sandbox.client.clone().stream_chat(request).await.err().unwrap());
        assert_eq!((fault.reason(), fault.violations()[0].field.as_str()), (Reason::InvalidArgument, field));
    }
}

#[tokio::test]
async fn each_of_several_answers_has_its_own_calls() {
    for mode in ["windowed", "buffer"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        sandbox.text.write("I shall send a note.|I shall send two of them.", Duration::ZERO);
        let note = |id: &str, text: &str| call(id, &format!("{{\"text\": \"{text}\"}}"));
        let two = vec![note("b", "calm sea"), note("c", "more text, and more of it")];
        for (text, withheld) in [("quiet", false), ("BLOCKME", true)] {
            let calls = [vec![note("a", text)], two.clone()];
            *sandbox.text.0.calls.lock().unwrap() =
                calls.clone().map(|calls| (calls, String::new())).to_vec();
            let expected = if withheld { [Vec::new(), two.clone()] } else { calls };
            let reason = if withheld { FinishReason::ContentFilter } else { FinishReason::ToolCalls };

            let (streamed, end) = Several::open(&sandbox, 2).await.unwrap().finish().await;
            end.unwrap();
            let request =
                ChatRequest { messages: user("hello"), generation: several(2), ..Default::default() };
            let whole = sandbox.client.clone().chat(request).await.unwrap().into_inner();
            assert_eq!(whole.message.unwrap().tool_calls, expected[0]);
            for (number, calls) in expected.iter().enumerate() {
                let (streamed, whole) = (&streamed.answers[number], &whole.choices[number]);
                assert_eq!((&streamed.calls, &whole.tool_calls), (calls, calls), "{mode} {text} {number}");
                let reason = if number == 0 { reason } else { FinishReason::ToolCalls };
                let whole = whole.completion.as_ref().unwrap().finish_reason();
                assert_eq!((streamed.finish_reason(), whole), (reason, reason), "{mode} {text} {number}");
            }
        }
    }
}
