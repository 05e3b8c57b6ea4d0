//! What tools, their calls and their results say, as moderation reads it: JSON spells words with escapes.

use serde_json::Value;

/// A model's call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments_json: String,
}

impl ToolCall {
    /// What is judged, apart from the text on both sides of it.
    pub(crate) fn reading(&self) -> String {
        format!("\n{}\n", call(&self.name, &self.arguments_json))
    }
}

/// What a call says.
pub(crate) fn call(name: &str, arguments_json: &str) -> String {
    format!("{name}\n{}", spelled(arguments_json))
}

/// What a model is told of a tool.
pub(crate) fn described(name: &str, description: &str, json_schema: &str) -> String {
    format!("{name}\n{description}\n{}", spelled(json_schema))
}

/// What a tool gave back, which the model reads as it is; where there may be escapes in it, also without them.
pub(crate) fn result(content: &str) -> Vec<String> {
    let mut readings = vec![content.to_owned()];
    if content.contains('\\') {
        readings.push(spelled(content));
    }
    readings
}

/// All keys and values of a JSON text, line by line; the text itself where it is no JSON. Never longer than the text.
fn spelled(json: &str) -> String {
    let Ok(value) = serde_json::from_str(json) else { return json.to_owned() };
    let mut lines = String::new();
    spell(&value, true, &mut lines);
    if lines.len() > json.len() {
        // 1e15 and its like: nothing else becomes longer.
        lines.clear();
        spell(&value, false, &mut lines);
    }
    lines.truncate(lines.trim_end().len());
    lines
}

/// `fractions`: numbers that are no integers count too.
fn spell(value: &Value, fractions: bool, lines: &mut String) {
    let mut line = |text: &str| {
        lines.push_str(text);
        lines.push('\n');
    };
    match value {
        Value::Null => {}
        Value::Bool(value) => line(&value.to_string()),
        Value::Number(value) if fractions || !value.is_f64() => line(&value.to_string()),
        Value::Number(_) => {}
        Value::String(value) => line(value),
        Value::Array(items) => items.iter().for_each(|item| spell(item, fractions, lines)),
        Value::Object(entries) => {
            for (key, value) in entries {
                lines.push_str(key);
                lines.push_str(": ");
                spell(value, fractions, lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_without_its_escapes() {
        let json = r#"{"to": "Ann\u0065", "lines": ["k\u0069ll\nit", {"n": 4111, "ok": true, "x": null}], "none": {}}"#;
        assert_eq!(spelled(json), "to: Anne\nlines: kill\nit\nn: 4111\nok: true\nx: none:");
        assert_eq!(spelled("no {json"), "no {json");
        assert_eq!(spelled("[1.5, 7, \"a\"]"), "1.5\n7\na");
        assert_eq!(spelled("[1e15,1e15,7,\"a\"]"), "7\na");
        assert_eq!(result("plain {}"), ["plain {}"]);
        assert_eq!(result(r#"["k\u0069ll"]"#), [r#"["k\u0069ll"]"#, "kill"]);
        let call =
            ToolCall { id: "1".into(), name: "send".into(), arguments_json: "{\"a\": \"\\u0062\"}".into() };
        assert_eq!(call.reading(), "\nsend\na: b\n");
    }
}
