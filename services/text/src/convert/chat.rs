//! Conversations and the tools that may be called in them.

use std::collections::{HashMap, HashSet};

use atelier_core::limits;
use atelier_proto::text::v1::{self as proto, generation_config::Format, tool_choice};
use serde_json::{Map, Value, json};

use super::text;
use crate::{
    TextError,
    generation::Chat,
    template::{Message, Reference, Role},
    tools::{Choice, Tool, ToolCall, Toolbox},
};

/// Checks all that a chat is told beside how to write; of `generation`, only what can't be together with tools.
pub(crate) fn chat(
    messages: Vec<proto::Message>,
    tools: Vec<proto::Tool>,
    choice: Option<proto::ToolChoice>,
    generation: Option<&proto::GenerationConfig>,
) -> Result<Chat, TextError> {
    let messages = conversation(messages)?;
    let toolbox = toolbox(tools, choice)?;
    if let (Some(toolbox), Some(generation)) = (&toolbox, generation) {
        compatible(toolbox, generation)?;
    }
    Ok(Chat { messages, toolbox })
}

pub(crate) fn conversation(messages: Vec<proto::Message>) -> Result<Vec<Message>, TextError> {
    if messages.is_empty() || messages.len() > limits::MAX_MESSAGES {
        return Err(TextError::invalid(
            "messages",
            format!("must have 1 to {} entries", limits::MAX_MESSAGES),
        ));
    }
    let mut issued = HashMap::new();
    messages.into_iter().enumerate().map(|(index, message)| turn(index, message, &mut issued)).collect()
}

/// `issued`: the ids of earlier calls and the names of their tools.
fn turn(
    index: usize,
    message: proto::Message,
    issued: &mut HashMap<String, String>,
) -> Result<Message, TextError> {
    let field = |name: &str| format!("messages[{index}].{name}");
    let role = match message.role() {
        proto::Role::System if index > 0 => {
            return Err(TextError::invalid(field("role"), "a system message may only come first"));
        }
        proto::Role::System => Role::System,
        proto::Role::User => Role::User,
        proto::Role::Assistant => Role::Assistant,
        proto::Role::Tool => Role::Tool,
        proto::Role::Unspecified => {
            return Err(TextError::invalid(
                field("role"),
                "must be ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT or ROLE_TOOL",
            ));
        }
    };
    text(&message.content, || field("content"))?;
    if role != Role::Assistant && !message.tool_calls.is_empty() {
        return Err(TextError::invalid(field("tool_calls"), "only an assistant's message has calls"));
    }
    let id = message.tool_call_id;
    let result_of = match (role, issued.get(&id)) {
        (Role::Tool, Some(name)) => Some(Reference { id, name: name.clone() }),
        (Role::Tool, None) => {
            return Err(TextError::invalid(field("tool_call_id"), "must be the id of an earlier call"));
        }
        (Role::System | Role::User | Role::Assistant, _) if !id.is_empty() => {
            return Err(TextError::invalid(field("tool_call_id"), "only a tool's message has one"));
        }
        (Role::System | Role::User | Role::Assistant, _) => None,
    };
    if message.tool_calls.len() > limits::MAX_TOOLS {
        let most = format!("must have at most {} entries", limits::MAX_TOOLS);
        return Err(TextError::invalid(field("tool_calls"), most));
    }
    let calls = message.tool_calls.into_iter().enumerate();
    let calls = calls.map(|(at, call)| earlier_call(call, &field(&format!("tool_calls[{at}]")), issued));
    Ok(Message { role, content: message.content, calls: calls.collect::<Result<_, _>>()?, result_of })
}

/// Checks a call that the model made before.
fn earlier_call(
    call: proto::ToolCall,
    path: &str,
    issued: &mut HashMap<String, String>,
) -> Result<ToolCall, TextError> {
    let proto::ToolCall { id, name, arguments_json } = call;
    let field = |name: &str| format!("{path}.{name}");
    identifier(&id, || field("id"))?;
    identifier(&name, || field("name"))?;
    text(&arguments_json, || field("arguments_json"))?;
    let arguments = object(&arguments_json, || field("arguments_json"))?;
    if issued.insert(id.clone(), name.clone()).is_some() {
        return Err(TextError::invalid(field("id"), "an earlier call has the same"));
    }
    Ok(ToolCall { id, name, arguments })
}

/// `None`: the model calls nothing.
fn toolbox(tools: Vec<proto::Tool>, choice: Option<proto::ToolChoice>) -> Result<Option<Toolbox>, TextError> {
    if tools.len() > limits::MAX_TOOLS {
        let most = format!("must have at most {} entries", limits::MAX_TOOLS);
        return Err(TextError::invalid("tools", most));
    }
    let bytes =
        |tool: &proto::Tool| tool.name.len() + tool.description.len() + tool.parameters_json_schema.len();
    if tools.iter().map(bytes).sum::<usize>() > limits::MAX_TOOLS_BYTES {
        let most = format!("must have at most {} bytes together", limits::MAX_TOOLS_BYTES);
        return Err(TextError::invalid("tools", most));
    }
    let mut names = HashSet::new();
    let tools = tools.into_iter().enumerate().map(|(index, of)| tool(index, of, &mut names));
    let tools = tools.collect::<Result<Vec<_>, _>>()?;
    let choice = match choice.and_then(|choice| choice.choice) {
        None => Choice::Auto,
        Some(tool_choice::Choice::Name(name)) if names.contains(&name) => Choice::Named(name),
        Some(tool_choice::Choice::Name(_)) => {
            return Err(TextError::invalid("tool_choice.name", "must be the name of one of the tools"));
        }
        Some(tool_choice::Choice::Mode(mode)) => match proto::ToolMode::try_from(mode) {
            Ok(proto::ToolMode::Unspecified | proto::ToolMode::Auto) => Choice::Auto,
            Ok(proto::ToolMode::None) => return Ok(None),
            Ok(proto::ToolMode::Required) if tools.is_empty() => {
                return Err(TextError::invalid("tool_choice.mode", "needs tools"));
            }
            Ok(proto::ToolMode::Required) => Choice::Required,
            Err(_) => {
                let modes = "must be TOOL_MODE_AUTO, TOOL_MODE_NONE or TOOL_MODE_REQUIRED";
                return Err(TextError::invalid("tool_choice.mode", modes));
            }
        },
    };
    Ok((!tools.is_empty()).then(|| Toolbox { tools: tools.into(), choice }))
}

fn tool(index: usize, tool: proto::Tool, names: &mut HashSet<String>) -> Result<Tool, TextError> {
    let proto::Tool { name, description, parameters_json_schema: schema } = tool;
    let field = |name: &str| format!("tools[{index}].{name}");
    identifier(&name, || field("name"))?;
    if !names.insert(name.clone()) {
        return Err(TextError::invalid(field("name"), "an earlier tool has the same"));
    }
    if description.len() > limits::MAX_TOOL_DESCRIPTION_BYTES {
        let most = format!("must have at most {} bytes", limits::MAX_TOOL_DESCRIPTION_BYTES);
        return Err(TextError::invalid(field("description"), most));
    }
    if schema.len() > limits::MAX_GRAMMAR_BYTES {
        let most = format!("must have at most {} bytes", limits::MAX_GRAMMAR_BYTES);
        return Err(TextError::invalid(field("parameters_json_schema"), most));
    }
    let parameters = if schema.is_empty() {
        let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
        none.as_object().cloned().unwrap_or_default()
    } else {
        object(&schema, || field("parameters_json_schema"))?
    };
    if parameters.get("type") != Some(&Value::from("object")) {
        let problem = "must be the schema of an object: {\"type\": \"object\", …}";
        return Err(TextError::invalid(field("parameters_json_schema"), problem));
    }
    Ok(Tool { name, description, parameters })
}

/// Checks that nothing else is asked of an answer that its calls could not keep.
fn compatible(toolbox: &Toolbox, generation: &proto::GenerationConfig) -> Result<(), TextError> {
    let set = |name: &str, problem: &str| Err(TextError::invalid(format!("generation.{name}"), problem));
    match &generation.format {
        Some(Format::JsonSchema(_)) => return set("json_schema", "must not be set with tools"),
        Some(Format::Regex(_)) => return set("regex", "must not be set with tools"),
        Some(Format::LarkGrammar(_)) => return set("lark_grammar", "must not be set with tools"),
        None => {}
    }
    let dead_ends = [
        ("min_tokens", generation.min_tokens.is_some_and(|tokens| tokens > 0)),
        ("ignore_eos", generation.ignore_eos),
        ("no_repeat_ngram_size", generation.no_repeat_ngram_size.is_some_and(|size| size > 0)),
    ];
    match (&toolbox.choice, dead_ends.into_iter().find(|(_, set)| *set)) {
        (Choice::Required | Choice::Named(_), Some((name, _))) => {
            set(name, "must not be set where a call is required")
        }
        (Choice::Required | Choice::Named(_), None) | (Choice::Auto, _) => Ok(()),
    }
}

/// A name that neither grammars nor JSON nor templates would write otherwise.
fn identifier(name: &str, field: impl FnOnce() -> String) -> Result<(), TextError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=limits::MAX_TOOL_NAME_BYTES).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let most = limits::MAX_TOOL_NAME_BYTES;
    Err(TextError::invalid(field(), format!("must be 1 to {most} of a-z, A-Z, 0-9, _ and -")))
}

fn object(json: &str, field: impl FnOnce() -> String) -> Result<Map<String, Value>, TextError> {
    match serde_json::from_str(json) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(TextError::invalid(field(), "must be a JSON object")),
        Err(error) => Err(TextError::invalid(field(), format!("is not JSON: {error}"))),
    }
}

/// A call as the caller gets it.
pub(crate) fn tool_call(call: ToolCall) -> proto::ToolCall {
    let ToolCall { id, name, arguments } = call;
    proto::ToolCall { id, name, arguments_json: Value::Object(arguments).to_string() }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use proto::Role::{Assistant, System, Tool as Gave, User};

    use super::*;

    fn field<T>(result: Result<T, TextError>) -> String {
        match result.err().expect("it is refused") {
            TextError::Invalid { field, .. } => field,
            other => panic!("{other}"),
        }
    }

    fn say(role: proto::Role, content: &str) -> proto::Message {
        proto::Message { role: role.into(), content: content.to_owned(), ..Default::default() }
    }

    fn call(id: &str, name: &str, arguments: &str) -> proto::ToolCall {
        proto::ToolCall { id: id.into(), name: name.into(), arguments_json: arguments.into() }
    }

    fn calling(calls: &[proto::ToolCall]) -> proto::Message {
        proto::Message { tool_calls: calls.to_vec(), ..say(Assistant, "") }
    }

    fn result_of(id: &str) -> proto::Message {
        proto::Message { tool_call_id: id.into(), ..say(Gave, "12") }
    }

    #[test]
    fn conversations_are_checked_turn_by_turn() {
        assert!(conversation(vec![say(System, ""), say(User, "hi")]).is_ok());
        assert_eq!(field(conversation(vec![])), "messages");
        assert_eq!(field(conversation(vec![say(User, ""); 1025])), "messages");
        assert_eq!(field(conversation(vec![say(User, ""), say(System, "")])), "messages[1].role");
        assert_eq!(field(conversation(vec![say(proto::Role::Unspecified, "")])), "messages[0].role");
        let unknown = proto::Message { role: 17, ..Default::default() };
        assert_eq!(field(conversation(vec![unknown])), "messages[0].role");
        let long = "x".repeat(limits::MAX_TEXT_BYTES + 1);
        assert_eq!(field(conversation(vec![say(User, &long)])), "messages[0].content");
    }

    #[test]
    fn results_follow_calls() {
        let good = call("c1", "add", "{\"a\": 1}");
        let talk =
            conversation(vec![say(User, "?"), calling(from_ref(&good)), result_of("c1")]).expect("it is one");
        let reference = talk[2].result_of.clone().expect("it answers a call");
        assert_eq!((reference.id.as_str(), reference.name.as_str()), ("c1", "add"));
        assert_eq!(talk[1].calls[0].arguments["a"], 1);

        let told = |second: proto::Message| field(conversation(vec![say(User, "?"), second]));
        assert_eq!(told(result_of("c1")), "messages[1].tool_call_id");
        assert_eq!(told(result_of("")), "messages[1].tool_call_id");
        let role = |role: proto::Role| proto::Message { role: role.into(), ..calling(from_ref(&good)) };
        assert_eq!(told(role(User)), "messages[1].tool_calls");
        let role = |role: proto::Role| proto::Message { role: role.into(), ..result_of("c1") };
        assert_eq!(told(role(Assistant)), "messages[1].tool_call_id");
        let with = |second: proto::ToolCall| told(calling(&[good.clone(), second]));
        assert_eq!(with(good.clone()), "messages[1].tool_calls[1].id");
        assert_eq!(with(call("", "add", "{}")), "messages[1].tool_calls[1].id");
        assert_eq!(with(call("c2", "a b", "{}")), "messages[1].tool_calls[1].name");
        for broken in ["", "[]", "{", "{\"a\": 1} x"] {
            assert_eq!(with(call("c2", "add", broken)), "messages[1].tool_calls[1].arguments_json");
        }
        assert_eq!(told(calling(&vec![good.clone(); 129])), "messages[1].tool_calls");
    }

    fn offer(name: &str, schema: &str) -> proto::Tool {
        proto::Tool { name: name.into(), description: String::new(), parameters_json_schema: schema.into() }
    }

    #[test]
    fn tools_are_checked_one_by_one() {
        let told = |tools: Vec<proto::Tool>| field(toolbox(tools, None));
        let good = offer("add", "{\"type\": \"object\"}");
        for name in ["", "a b", "é", &"x".repeat(65)] {
            assert_eq!(told(vec![good.clone(), offer(name, "")]), "tools[1].name");
        }
        assert_eq!(told(vec![good.clone(), good.clone()]), "tools[1].name");
        for schema in ["{", "[]", "{}", "{\"type\": \"string\"}", &" ".repeat((64 << 10) + 1)] {
            assert_eq!(told(vec![offer("add", schema)]), "tools[0].parameters_json_schema");
        }
        let wordy = proto::Tool { description: "x".repeat((16 << 10) + 1), ..good.clone() };
        assert_eq!(told(vec![wordy]), "tools[0].description");
        let many = (0..129).map(|n| offer(&format!("t{n}"), "")).collect();
        assert_eq!(told(many), "tools");
        let large =
            (0..5).map(|n| offer(&format!("t{n}"), &format!("{{{}}}", " ".repeat(60 << 10)))).collect();
        assert_eq!(told(large), "tools");
        let none = toolbox(vec![offer("now", "")], None).expect("it is in range").expect("there is one");
        assert_eq!(none.tools[0].parameters["additionalProperties"], false);
    }

    #[test]
    fn a_choice_is_among_the_tools() {
        let choose = |tools: Vec<proto::Tool>, choice: tool_choice::Choice| {
            toolbox(tools, Some(proto::ToolChoice { choice: Some(choice) }))
        };
        let mode = |mode: proto::ToolMode| tool_choice::Choice::Mode(mode.into());
        let tools = || vec![offer("add", ""), offer("now", "")];
        let chosen = |choice| choose(tools(), choice).expect("it is one").map(|toolbox| toolbox.choice);
        assert_eq!(chosen(mode(proto::ToolMode::None)), None);
        assert_eq!(chosen(mode(proto::ToolMode::Auto)), Some(Choice::Auto));
        assert_eq!(chosen(mode(proto::ToolMode::Required)), Some(Choice::Required));
        assert_eq!(chosen(tool_choice::Choice::Name("now".into())), Some(Choice::Named("now".into())));
        assert_eq!(field(choose(tools(), tool_choice::Choice::Name("no".into()))), "tool_choice.name");
        assert_eq!(field(choose(tools(), tool_choice::Choice::Mode(9))), "tool_choice.mode");
        assert_eq!(field(choose(vec![], mode(proto::ToolMode::Required))), "tool_choice.mode");
        assert!(choose(vec![], mode(proto::ToolMode::Auto)).expect("it is one").is_none());
    }

    #[test]
    fn what_calls_could_not_keep_is_refused_with_them() {
        let told = |choice: tool_choice::Choice, generation: proto::GenerationConfig| {
            let choice = Some(proto::ToolChoice { choice: Some(choice) });
            chat(vec![say(User, "?")], vec![offer("now", "")], choice, Some(&generation))
        };
        let now = || tool_choice::Choice::Name("now".into());
        let auto = || tool_choice::Choice::Mode(0);
        let format =
            proto::GenerationConfig { format: Some(Format::Regex("a".into())), ..Default::default() };
        assert_eq!(field(told(auto(), format.clone())), "generation.regex");
        assert!(told(tool_choice::Choice::Mode(proto::ToolMode::None.into()), format).is_ok());
        let long = proto::GenerationConfig { min_tokens: Some(3), ..Default::default() };
        assert!(told(auto(), long.clone()).is_ok());
        assert_eq!(field(told(now(), long)), "generation.min_tokens");
    }
}
