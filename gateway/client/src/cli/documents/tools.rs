//! Calls of tools.

use atelier_client::proto::text::v1::ToolCall as WireToolCall;
use serde::Serialize;
use serde_json::Value;

#[derive(Debug, Serialize)]
pub(crate) struct ToolCall {
    id: String,
    name: String,
    /// An object; a string where the gateway sent no JSON.
    arguments: Value,
}

impl From<WireToolCall> for ToolCall {
    fn from(call: WireToolCall) -> Self {
        let WireToolCall { id, name, arguments_json } = call;
        let arguments = serde_json::from_str(&arguments_json).unwrap_or(Value::String(arguments_json));
        Self { id, name, arguments }
    }
}
