//! A conversation as it is asked about, and what of it is judged.

use atelier_core::{
    Fault,
    limits::{MAX_MESSAGES, MAX_TEXT_BYTES, MAX_TOOLS, MAX_TOOLS_BYTES},
};
use atelier_proto::text::v1 as text;

use crate::{request_filter::Turn, tools};

/// A conversation and the tools that may be called in it.
pub(super) struct Chat {
    pub(super) messages: Vec<text::Message>,
    pub(super) tools: Vec<text::Tool>,
    pub(super) tool_choice: Option<text::ToolChoice>,
}

impl Chat {
    /// What is said, and by whom. Tools are told of as standing instructions.
    pub(super) fn turns(&self) -> Vec<Turn<'_>> {
        let system = text::Role::System.into();
        let described = |tool: &text::Tool| {
            let text::Tool { name, description, parameters_json_schema } = tool;
            (system, tools::described(name, description, parameters_json_schema).into())
        };
        let mut turns: Vec<Turn<'_>> = self.tools.iter().map(described).collect();
        for message in &self.messages {
            if message.role() == text::Role::Tool {
                let readings = tools::result(&message.content).into_iter();
                turns.extend(readings.map(|reading| (message.role, reading.into())));
            } else {
                turns.push((message.role, message.content.as_str().into()));
            }
            for call in &message.tool_calls {
                turns.push((message.role, tools::call(&call.name, &call.arguments_json).into()));
            }
        }
        turns
    }

    /// What moderation is to read is not too much for it; the rest is the text service's to check.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let Self { messages, tools, .. } = self;
        if !(1..=MAX_MESSAGES).contains(&messages.len()) {
            return Err(Fault::invalid("messages", format!("must be 1 to {MAX_MESSAGES}")));
        }
        let bytes =
            |tool: &text::Tool| tool.name.len() + tool.description.len() + tool.parameters_json_schema.len();
        if tools.len() > MAX_TOOLS || tools.iter().map(bytes).sum::<usize>() > MAX_TOOLS_BYTES {
            let most = format!("must be at most {MAX_TOOLS}, of {MAX_TOOLS_BYTES} bytes together");
            return Err(Fault::invalid("tools", most));
        }
        messages.iter().enumerate().try_for_each(|(n, message)| check_message(n, message))
    }
}

fn check_message(n: usize, message: &text::Message) -> Result<(), Fault> {
    let field = |name: &str| format!("messages[{n}].{name}");
    if message.content.len() > MAX_TEXT_BYTES {
        return Err(Fault::invalid(field("content"), format!("must be at most {MAX_TEXT_BYTES} bytes")));
    }
    if message.tool_calls.len() > MAX_TOOLS {
        return Err(Fault::invalid(field("tool_calls"), format!("must be at most {MAX_TOOLS}")));
    }
    let long = |call: &text::ToolCall| call.name.len() + call.arguments_json.len() >= MAX_TEXT_BYTES;
    if let Some(at) = message.tool_calls.iter().position(long) {
        let field = field(&format!("tool_calls[{at}].arguments_json"));
        return Err(Fault::invalid(field, format!("must be less than {MAX_TEXT_BYTES} bytes with the name")));
    }
    Ok(())
}
