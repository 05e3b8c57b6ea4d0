//! How models spell calls.

use serde_json::{Map, Value, json};

use super::{MAX_REQUIRED_CALLS, Tool, ToolCall};

/// How a model spells calls. It is told of its earlier calls in the same way, so that its chat template shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`, among text and as often as it likes: Hermes, Qwen.
    Tagged,
    /// `[TOOL_CALLS][{"name": …, "arguments": …}, …]`: Mistral.
    Listed,
    /// `{"name": …, "parameters": …}` and nothing before it: Llama 3.
    Bare,
}

/// What stands before the part of an answer that a grammar is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    /// Nothing: the answer is so many calls at most.
    Answer { calls: usize },
    /// What opens a call.
    Call,
}

/// A conversation with a call in it, which tells by its rendering how a template spells calls.
pub struct Probe {
    /// What may be called.
    pub tool: Tool,
    /// A call of it.
    pub call: ToolCall,
}

impl Probe {
    pub(crate) fn new() -> Self {
        let name = "look_up_word";
        let parameters = json!({"type": "object", "properties": {"word": {"type": "string", "description": "The word."}}, "required": ["word"]});
        let object = |value: Value| value.as_object().cloned().unwrap_or_default();
        Self {
            tool: Tool {
                name: name.into(),
                description: "Looks up a word.".into(),
                parameters: object(parameters),
            },
            call: ToolCall {
                id: "a1B2c3D4e".into(),
                name: name.into(),
                arguments: object(json!({"word": "harbour"})),
            },
        }
    }

    /// The call as a bare message would have it.
    pub(crate) fn bare(&self) -> String {
        let Self { call: ToolCall { name, arguments, .. }, .. } = self;
        json!({"name": name, "parameters": arguments}).to_string()
    }

    /// What the rendering of the call says; `bare` is the rendering of a message that is the bare call's text.
    pub(crate) fn syntax(&self, rendered: &str, bare: &str) -> Option<Syntax> {
        let unspaced = |text: &str| text.replace(char::is_whitespace, "");
        let (rendered, bare) = (unspaced(rendered), unspaced(bare));
        let ToolCall { name, arguments, .. } = &self.call;
        let object = json!({"name": name, "arguments": arguments}).to_string();
        let tagged = format!("<tool_call>{object}</tool_call>");
        // An id may follow in the object.
        let listed = format!("[TOOL_CALLS][{}", object.trim_end_matches('}'));
        if rendered.contains(&tagged) {
            return Some(Syntax::Tagged);
        }
        if rendered.contains(&listed) {
            return Some(Syntax::Listed);
        }
        let at = rendered.find(&self.bare())?;
        bare.starts_with(&rendered[..at]).then_some(Syntax::Bare)
    }
}

impl Syntax {
    /// What opens a call; empty: nothing does.
    pub(crate) fn opener(self) -> &'static str {
        match self {
            Self::Tagged => "<tool_call>",
            Self::Listed => "[TOOL_CALLS]",
            Self::Bare => "",
        }
    }

    /// What closes one, if anything does.
    pub(crate) fn closer(self) -> &'static str {
        match self {
            Self::Tagged => "</tool_call>",
            Self::Listed | Self::Bare => "",
        }
    }

    /// Spellings by which templates of this kind tell their own words from those of others.
    pub(crate) fn marks(self) -> &'static [&'static str] {
        match self {
            Self::Tagged => {
                &["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>"]
            }
            Self::Listed => &[
                "[TOOL_CALLS]",
                "[TOOL_RESULTS]",
                "[/TOOL_RESULTS]",
                "[AVAILABLE_TOOLS]",
                "[/AVAILABLE_TOOLS]",
            ],
            Self::Bare => &[],
        }
    }

    /// The calls that a body spells; `None`: it spells anything else.
    pub(crate) fn calls(self, body: &str, names: &[String]) -> Option<Vec<(String, Map<String, Value>)>> {
        let call = |value: Value| {
            let Value::Object(mut call) = value else { return None };
            let Some(Value::String(name)) = call.remove("name") else { return None };
            // Models take one for the other.
            let arguments = call.remove("arguments").or_else(|| call.remove("parameters"));
            let Some(Value::Object(arguments)) = arguments else { return None };
            names.contains(&name).then_some((name, arguments))
        };
        let value: Value = serde_json::from_str(body).ok()?;
        match (self, value) {
            (Self::Listed, Value::Array(calls)) if !calls.is_empty() => calls.into_iter().map(call).collect(),
            (Self::Listed, _) => None,
            (Self::Tagged | Self::Bare, value) => Some(vec![call(value)?]),
        }
    }

    /// Lark grammar of calls of these tools. `mark` spells a marker, which may be a special token.
    pub(crate) fn grammar(self, tools: &[&Tool], within: Within, mark: impl Fn(&str) -> String) -> String {
        let (open, close) = (mark(self.opener()), mark(self.closer()));
        let repeated = |separator: &str, calls: usize, one: &str| match calls.saturating_sub(1) {
            0 => one.to_owned(),
            more => format!("{one} (\"{separator}\" {one}){{0,{more}}}"),
        };
        let start = match (self, within) {
            (Self::Bare, _) => "start: call".to_owned(),
            (Self::Tagged, Within::Call) => format!("start: (\"\\n\" | \" \")? call \"\\n\" {close}"),
            (Self::Tagged, Within::Answer { calls }) => {
                format!("start: {}\none: {open} \"\\n\" call \"\\n\" {close}", repeated("\\n", calls, "one"))
            }
            (Self::Listed, Within::Call) => {
                format!("start: \" \"? \"[\" {} \"]\"", repeated(", ", MAX_REQUIRED_CALLS, "call"))
            }
            (Self::Listed, Within::Answer { calls }) => {
                format!("start: {open} \" \"? \"[\" {} \"]\"", repeated(", ", calls, "call"))
            }
        };
        let key = match self {
            Self::Tagged | Self::Listed => "arguments",
            Self::Bare => "parameters",
        };
        let each: Vec<String> = (0..tools.len()).map(|index| format!("call_{index}")).collect();
        let mut grammar = format!("{start}\ncall: {}\n", each.join(" | "));
        for (rule, tool) in each.iter().zip(tools) {
            let arguments = Value::Object(spaced(tool.parameters.clone()));
            // Names hold nothing that Lark or JSON would have escaped.
            let head = format!("{{\\\"name\\\": \\\"{}\\\", \\\"{key}\\\": ", tool.name);
            grammar +=
                &format!("{rule}: \"{head}\" arguments_{rule} \"}}\"\narguments_{rule}: %json {arguments}\n");
        }
        grammar
    }
}

/// A schema whose JSON has one space after commas and colons and no other white space: a model may write it without end.
pub(crate) fn spaced(mut schema: Map<String, Value>) -> Map<String, Value> {
    let spacing = || json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
    schema.entry("x-guidance").or_insert_with(spacing);
    schema
}
