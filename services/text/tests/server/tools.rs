//! Tools: what the model is told of them, and its calls in typed form.

use std::{fs, os::unix::fs::symlink, path::Path, sync::OnceLock};

use atelier_core::{ModelId, Reason};
use atelier_inference::ModelStore;
use atelier_proto::{
    common::v1::FinishReason,
    text::v1::{self as proto, Role, ToolMode, stream_chat_response::Event, tool_choice::Choice},
};
use atelier_rpc::fault_of;
use atelier_text::config::Task;
use serde_json::Value;
use tonic::{Code, Status};

use crate::common::{Client, connect, default_client, greedy, model, start, user};

const WEATHER: &str = r##"{
    "type": "object",
    "properties": {"place": {"$ref": "#/$defs/place"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["place", "days"],
    "additionalProperties": false,
    "$defs": {"place": {"type": "string", "minLength": 2, "maxLength": 20}}
}"##;

/// The default model with a template that knows tools.
async fn tool_client() -> Client {
    static ADDRESS: OnceLock<std::net::SocketAddr> = OnceLock::new();
    let served = || {
        let folder = tempfile::tempdir().expect("a folder can be made").keep();
        let store = ModelStore::default();
        let original = store.open("smollm2-135m-instruct").expect("the model is in the store");
        for name in
            ["model.onnx", "model.onnx.data", "config.json", "generation_config.json", "tokenizer.json"]
        {
            let file = original.file(name).expect("it is whole");
            symlink(fs::canonicalize(file).expect("it is there"), folder.join(name))
                .expect("it can be linked");
        }
        let template =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/text/tools/tagged.jinja");
        fs::copy(template, folder.join("chat_template.jinja")).expect("it can be copied");
        let mut config = model("smollm2-135m-instruct", 2);
        config.id = ModelId::new("with-tools").expect("the name is valid");
        config.path = Some(folder);
        config.task = Some(Task::TextGeneration);
        start(vec![config])
    };
    connect(*ADDRESS.get_or_init(served)).await
}

fn tools() -> Vec<proto::Tool> {
    let tool = |name: &str, description: &str, schema: &str| proto::Tool {
        name: name.into(),
        description: description.into(),
        parameters_json_schema: schema.into(),
    };
    vec![
        tool("get_weather", "Says how the weather will be.", WEATHER),
        tool("now", "Says what time it is.", ""),
    ]
}

fn asking(choice: Choice, generation: proto::GenerationConfig) -> proto::StreamChatRequest {
    proto::StreamChatRequest {
        messages: user("How will the weather be in Paris tomorrow?"),
        generation: Some(generation),
        tools: tools(),
        tool_choice: Some(proto::ToolChoice { choice: Some(choice) }),
        ..Default::default()
    }
}

/// Text, calls and how the answer ended.
type Answer = (String, Vec<proto::ToolCall>, FinishReason);

async fn stream(client: &mut Client, request: proto::StreamChatRequest) -> Result<Answer, Status> {
    let mut stream = client.stream_chat(request).await?.into_inner();
    let (mut text, mut calls) = (String::new(), Vec::new());
    while let Some(answer) = stream.message().await? {
        match answer.event.expect("an answer has an event") {
            Event::Delta(delta) => text += &delta.text,
            Event::ToolCall(call) => calls.push(call),
            Event::Completion(end) => return Ok((text, calls, end.finish_reason())),
        }
    }
    panic!("the stream ends without an end");
}

async fn whole(client: &mut Client, request: proto::StreamChatRequest) -> Answer {
    let proto::StreamChatRequest { model, messages, generation, tools, tool_choice } = request;
    let request = proto::ChatRequest { model, messages, generation, tools, tool_choice };
    let answer = client.chat(request).await.expect("it succeeds").into_inner();
    let message = answer.message.expect("there is a message");
    (message.content, message.tool_calls, answer.completion.expect("it ends").finish_reason())
}

/// A call keeps to the schema of its tool.
fn check(call: &proto::ToolCall) {
    let arguments: Value = serde_json::from_str(&call.arguments_json).expect("it is JSON");
    let arguments = arguments.as_object().expect("it is an object");
    match call.name.as_str() {
        "get_weather" => {
            assert_eq!(arguments.keys().collect::<Vec<_>>(), ["place", "days"]);
            let place = arguments["place"].as_str().expect("a place is a string");
            assert!((2..=20).contains(&place.chars().count()), "{call:?}");
            assert!(arguments["days"].as_u64().is_some_and(|days| (1..=7).contains(&days)), "{call:?}");
        }
        "now" => assert!(arguments.is_empty(), "{call:?}"),
        other => panic!("no tool is named {other}"),
    }
    assert!(call.id.len() == 9 && call.id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{call:?}");
}

fn hot(seed: u64) -> proto::GenerationConfig {
    proto::GenerationConfig { temperature: Some(1.5), seed: Some(seed), ..greedy(100) }
}

#[tokio::test]
async fn required_calls_come_typed_and_keep_to_their_schemas() {
    let mut client = tool_client().await;
    for seed in 0..2 {
        let request = asking(Choice::Mode(ToolMode::Required.into()), hot(seed));
        let (text, calls, reason) = stream(&mut client, request.clone()).await.expect("it succeeds");
        assert!(!calls.is_empty());
        calls.iter().for_each(check);
        match reason {
            FinishReason::ToolCalls => assert_eq!(text, "", "seed {seed}"),
            // The call that was cut off is text.
            reason => assert_eq!(reason, FinishReason::Length),
        }
        assert_eq!(whole(&mut client, request).await, (text, calls, reason), "seed {seed}");
    }
    let request = asking(Choice::Name("get_weather".into()), hot(9));
    let (text, calls, reason) = stream(&mut client, request).await.expect("it succeeds");
    assert_eq!((text.as_str(), calls.len(), reason), ("", 1, FinishReason::ToolCalls));
    assert_eq!(calls[0].name, "get_weather");
    check(&calls[0]);
}

#[tokio::test]
async fn each_of_several_answers_has_its_own_calls() {
    let mut client = tool_client().await;
    let several = proto::GenerationConfig { n: Some(2), ..hot(0) };
    let request = asking(Choice::Mode(ToolMode::Required.into()), several);
    let mut stream = client.stream_chat(request.clone()).await.expect("it is taken").into_inner();
    let mut streamed: Vec<Answer> = vec![Default::default(); 2];
    while let Some(message) = stream.message().await.expect("it goes on") {
        let (text, calls, reason) = &mut streamed[message.choice as usize];
        match message.event.expect("an answer has an event") {
            Event::Delta(delta) => {
                assert_eq!(delta.choice, message.choice);
                *text += &delta.text;
            }
            Event::ToolCall(call) => calls.push(call),
            Event::Completion(end) => {
                assert_eq!(end.choice, message.choice);
                *reason = end.finish_reason();
            }
        }
    }
    let proto::StreamChatRequest { model, messages, generation, tools, tool_choice } = request.clone();
    let all = proto::ChatRequest { model, messages, generation, tools, tool_choice };
    let all = client.chat(all).await.expect("it succeeds").into_inner().choices;
    for (seed, (streamed, given)) in (0..).zip(streamed.into_iter().zip(all)) {
        let reason = given.completion.expect("it ends").finish_reason();
        assert_eq!(streamed, (given.text, given.tool_calls, reason), "seed {seed}");
        let alone = proto::StreamChatRequest { generation: Some(hot(seed)), ..request.clone() };
        assert_eq!(whole(&mut client, alone).await, streamed, "seed {seed}");
        assert!(!streamed.1.is_empty());
        streamed.1.iter().for_each(check);
    }
}

#[tokio::test]
async fn a_model_that_sees_fit_calls_by_the_schema_and_is_told_the_results() {
    let mut client = tool_client().await;
    // Models do as was done before.
    let mut request =
        asking(Choice::Mode(ToolMode::Auto.into()), proto::GenerationConfig { seed: Some(3), ..greedy(80) });
    let places = ["Rome", "Oslo", "Lima", "Cairo"];
    let talk = places.iter().enumerate().flat_map(|(n, place)| {
        let id = format!("call{n}");
        let arguments_json = format!("{{\"place\": \"{place}\", \"days\": {}}}", n + 1);
        let call = proto::ToolCall { id: id.clone(), name: "get_weather".into(), arguments_json };
        let ask = user(&format!("How will the weather be in {place}?"));
        let called =
            proto::Message { role: Role::Assistant.into(), tool_calls: vec![call], ..Default::default() };
        let result = proto::Message {
            role: Role::Tool.into(),
            content: "{\"sky\": \"sunny\"}".into(),
            tool_call_id: id,
            ..Default::default()
        };
        let answer =
            proto::Message { role: Role::Assistant.into(), content: "Sunny.".into(), ..Default::default() };
        [ask, vec![called, result, answer]].concat()
    });
    request.messages = talk.chain(user("How will the weather be in Paris?")).collect();
    let (text, calls, reason) = stream(&mut client, request.clone()).await.expect("it succeeds");
    assert_eq!((calls.len(), reason), (1, FinishReason::ToolCalls), "{text}");
    check(&calls[0]);
    assert_eq!(whole(&mut client, request.clone()).await, (text, calls.clone(), reason));

    // Cut off within the call: text, as it was written.
    let short = proto::StreamChatRequest { generation: Some(greedy(16)), ..request.clone() };
    let (text, none, reason) = stream(&mut client, short).await.expect("it succeeds");
    assert!(text.starts_with("<tool_call>") && none.is_empty(), "{text}");
    assert_eq!(reason, FinishReason::Length);

    // The result is part of the next prompt.
    let mut prompts = Vec::new();
    for content in ["rain", "rain and wind, then snow, then sun"] {
        let called =
            proto::Message { role: Role::Assistant.into(), tool_calls: calls.clone(), ..Default::default() };
        let result = proto::Message {
            role: Role::Tool.into(),
            content: content.into(),
            tool_call_id: calls[0].id.clone(),
            ..Default::default()
        };
        let proto::StreamChatRequest { messages, tools, generation, .. } = request.clone();
        let messages = [messages, vec![called, result]].concat();
        let next = proto::ChatRequest { messages, tools, generation, ..Default::default() };
        let answer = client.chat(next).await.expect("it succeeds").into_inner();
        let message = answer.message.expect("there is a message");
        assert!(message.tool_calls.is_empty() && !message.content.is_empty(), "{message:?}");
        prompts.push(answer.completion.expect("it ends").usage.expect("it is told").prompt_tokens);
    }
    assert_eq!(prompts[1] - prompts[0], 8, "the words and commas of the longer result");
}

#[tokio::test]
async fn a_model_that_must_not_call_is_not_told_of_tools() {
    let mut client = tool_client().await;
    let request = asking(Choice::Mode(ToolMode::None.into()), greedy(24));
    let without = proto::StreamChatRequest { tools: Vec::new(), tool_choice: None, ..request.clone() };
    let (text, calls, _) = stream(&mut client, request).await.expect("it succeeds");
    assert!(calls.is_empty());
    assert_eq!(stream(&mut client, without).await.expect("it succeeds").0, text);
}

#[tokio::test]
async fn what_is_wrong_with_tools_is_told_by_field() {
    let mut client = tool_client().await;
    let auto = || asking(Choice::Mode(ToolMode::Auto.into()), greedy(4));
    let mut vague = auto();
    vague.tools[1].parameters_json_schema =
        r##"{"type": "object", "properties": {"a": {"$ref": "#/none"}}}"##.into();
    let mut twice = auto();
    twice.tools[1].name = "get_weather".into();
    let mut orphan = auto();
    orphan.messages.push(proto::Message {
        role: Role::Tool.into(),
        tool_call_id: "nobody".into(),
        ..Default::default()
    });
    let format = proto::generation_config::Format::Regex("a".into());
    let formed = asking(
        Choice::Mode(ToolMode::Auto.into()),
        proto::GenerationConfig { format: Some(format), ..greedy(4) },
    );
    for (request, field) in [
        (vague, "tools[1].parameters_json_schema"),
        (twice, "tools[1].name"),
        (orphan, "messages[1].tool_call_id"),
        (formed, "generation.regex"),
        (asking(Choice::Name("none".into()), greedy(4)), "tool_choice.name"),
    ] {
        let status = stream(&mut client, request).await.expect_err(field);
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
        assert_eq!(fault_of(&status).violations()[0].field, field, "{status}");
    }
    // The default model's template knows no tools.
    let status = stream(&mut default_client().await, auto()).await.expect_err("it can't");
    assert_eq!(
        (status.code(), fault_of(&status).reason()),
        (Code::FailedPrecondition, Reason::TaskUnsupported)
    );
}
