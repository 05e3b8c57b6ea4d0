//! Calls of tools.

use atelier_client::proto::text::v1::{Tool, ToolCall, ToolChoice, tool_choice::Choice};

/// A call of each tool, with the tool's schema for arguments and the choice for an id.
pub(super) fn calls(tools: Vec<Tool>, choice: Option<ToolChoice>) -> Vec<ToolCall> {
    let id = match choice.and_then(|choice| choice.choice) {
        None => "left-to-it".to_owned(),
        Some(Choice::Mode(mode)) => mode.to_string(),
        Some(Choice::Name(name)) => name,
    };
    let call = |tool: Tool| ToolCall {
        id: id.clone(),
        name: tool.name,
        arguments_json: tool.parameters_json_schema,
    };
    tools.into_iter().map(call).collect()
}
