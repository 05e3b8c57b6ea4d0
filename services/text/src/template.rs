//! Chat templates: the Jinja programs that model folders carry, as Hugging Face transformers runs them.
//!
//! What users write must not speak with the template's voice: `<|im_end|>` in a message stays plain text. Before a
//! message is rendered, a break mark goes into every spelling of a special token in it; after rendering, the prompt
//! falls apart at the marks and each part is tokenized by itself, so no special token can form across a mark. A
//! conversation without such spellings has no marks and is tokenized whole, exactly as transformers would. What tools give
//! back, descriptions, schemas and the arguments of calls are treated in the same way, and so are spellings by which a
//! template marks calls and results, special tokens or not.

use std::borrow::Cow;

use minijinja::{
    Environment, Error, ErrorKind,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde, Value},
};
use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::{
    clock,
    error::TextError,
    tokens::TextTokenizer,
    tools::{Probe, Syntax, Tool, ToolCall},
};

/// Instructions that one rendering may run. A conversation of 1,024 messages takes some ten thousand; a template that
/// loops without end is stopped after about a second.
const FUEL: u64 = 10_000_000;
const NAME: &str = "chat";
/// Where a model has a template of its own for conversations with tools.
const TOOL_USE: &str = "tool_use";

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Standing instructions.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// One turn of a conversation.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// What the model calls in it.
    pub calls: Vec<ToolCall>,
    /// Which call a tool answers.
    pub result_of: Option<Reference>,
}

impl Message {
    /// A turn without calls.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), calls: Vec::new(), result_of: None }
    }

    fn is_about_tools(&self) -> bool {
        !self.calls.is_empty() || self.result_of.is_some()
    }
}

/// A call that was made before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The call's id.
    pub id: String,
    /// The tool's name.
    pub name: String,
}

impl std::fmt::Debug for Message {
    // Content stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("role", &self.role).field("bytes", &self.content.len()).finish()
    }
}

/// Tokens that templates name.
#[derive(Clone, Debug, Default)]
pub struct NamedTokens {
    /// Start of a text.
    pub bos: Option<String>,
    /// End of a text.
    pub eos: Option<String>,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    named: NamedTokens,
    syntax: Option<Syntax>,
}

impl ChatTemplate {
    /// Compiles a template, and the one that takes its place where there are tools.
    ///
    /// # Errors
    /// It is not valid Jinja.
    pub fn new(source: String, tool_use: Option<String>, named: NamedTokens) -> Result<Self, TextError> {
        let mut environment = Environment::new();
        // As transformers' `_compile_jinja_template` sets up jinja2.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(TextError::template)?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |pattern: String| clock::strftime_now(&pattern));
        environment.add_filter("tojson", to_json);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        for (name, source) in [(NAME, Some(source)), (TOOL_USE, tool_use)] {
            let added = source.map_or(Ok(()), |source| environment.add_template_owned(name, source));
            added.map_err(|cause| TextError::model_file("chat template", cause))?;
        }
        let mut template = Self { environment, named, syntax: None };
        template.syntax = template.probe();
        Ok(template)
    }

    /// How the model spells calls; `None`: the template knows no tools, or a syntax that is not known here.
    #[must_use]
    pub fn syntax(&self) -> Option<Syntax> {
        self.syntax
    }

    /// Renders a conversation, ready for the model's answer, and tokenizes it.
    ///
    /// # Errors
    /// The template refuses the conversation (roles in an order it does not know, say) or runs too long.
    pub fn encode(
        &self,
        messages: &[Message],
        tools: &[Tool],
        tokenizer: &TextTokenizer,
    ) -> Result<Vec<u32>, TextError> {
        let marks = self.syntax.map_or(&[][..], Syntax::marks).iter().copied();
        let spellings = tokenizer.special_tokens().iter().map(String::as_str).chain(marks).collect();
        let voice = Voice { mark: BreakMark::absent_from(messages, tools)?, spellings };
        let prompt = self.render(messages, tools, &voice)?;
        let mark = voice.mark;
        let mut ids = Vec::new();
        for part in prompt.split(mark.0).filter(|part| !part.is_empty()) {
            ids.append(&mut tokenizer.encode(part, false)?);
        }
        Ok(ids)
    }

    fn render(&self, messages: &[Message], tools: &[Tool], voice: &Voice<'_>) -> Result<String, TextError> {
        let turns: Vec<Turn<'_>> = messages.iter().map(|message| Turn::of(message, voice)).collect();
        let offered: Vec<_> = tools.iter().map(|tool| Entry::of_tool(tool, voice)).collect();
        let context = minijinja::context! {
            messages => Serde(turns),
            add_generation_prompt => true,
            bos_token => self.named.bos.as_deref(),
            eos_token => self.named.eos.as_deref(),
            tools => (!offered.is_empty()).then_some(Serde(offered)),
            documents => (),
        };
        let about_tools = !tools.is_empty() || messages.iter().any(Message::is_about_tools);
        let own = about_tools.then(|| self.environment.get_template(TOOL_USE).ok()).flatten();
        let template = own.map_or_else(|| self.environment.get_template(NAME), Ok);
        let template = template.map_err(TextError::template)?;
        template.render(context).map_err(|error| match raised(&error) {
            Some(message) => TextError::ConversationRefused(message),
            None if error.kind() == ErrorKind::OutOfFuel => {
                TextError::ConversationRefused("it takes the model's chat template too long".into())
            }
            None => TextError::template(error),
        })
    }
}

impl ChatTemplate {
    /// What the template makes of a conversation with a call in it.
    fn probe(&self) -> Option<Syntax> {
        let probe = Probe::new();
        let voice = Voice { mark: BreakMark('\u{FDD0}'), spellings: Vec::new() };
        let render = |tools: &[Tool], answer: Message| {
            let Probe { call: ToolCall { id, name, .. }, .. } = &probe;
            let mut talk = vec![Message::new(Role::User, "What is it?"), answer];
            if talk[1].is_about_tools() {
                let result_of = Some(Reference { id: id.clone(), name: name.clone() });
                talk.push(Message { result_of, ..Message::new(Role::Tool, "A place.") });
            }
            self.render(&talk, tools, &voice).ok()
        };
        let called = Message { calls: vec![probe.call.clone()], ..Message::new(Role::Assistant, "") };
        let bare = Message::new(Role::Assistant, probe.bare());
        let tools = std::slice::from_ref(&probe.tool);
        let (told, untold) = (render(tools, called.clone())?, render(&[], called));
        if untold.as_ref() == Some(&told) {
            return None;
        }
        probe.syntax(&told, &render(tools, bare).unwrap_or_default())
    }
}

/// A message as templates know it.
#[derive(Serialize)]
struct Turn<'a> {
    role: Role,
    content: Cow<'a, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Entry<'a, Called>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

/// A tool or a call of one as templates know them.
#[derive(Serialize)]
struct Entry<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    r#type: &'static str,
    function: T,
}

#[derive(Serialize)]
struct Described<'a> {
    name: &'a str,
    description: Cow<'a, str>,
    parameters: Json,
}

#[derive(Serialize)]
struct Called {
    name: String,
    arguments: Json,
}

impl<'a> Turn<'a> {
    fn of(message: &'a Message, voice: &Voice<'_>) -> Self {
        let Message { role, content, calls, result_of } = message;
        Self {
            role: *role,
            content: voice.spare(content),
            tool_calls: calls.iter().map(|call| Entry::of_call(call, voice)).collect(),
            tool_call_id: result_of.as_ref().map(|call| call.id.as_str()),
            name: result_of.as_ref().map(|call| call.name.as_str()),
        }
    }
}

impl<'a> Entry<'a, Described<'a>> {
    fn of_tool(tool: &'a Tool, voice: &Voice<'_>) -> Self {
        let function = Described {
            name: &tool.name,
            description: voice.spare(&tool.description),
            parameters: voice.spare_object(&tool.parameters),
        };
        Self { id: None, r#type: "function", function }
    }
}

impl<'a> Entry<'a, Called> {
    fn of_call(call: &'a ToolCall, voice: &Voice<'_>) -> Self {
        let function = Called { name: call.name.clone(), arguments: voice.spare_object(&call.arguments) };
        Self { id: Some(&call.id), r#type: "function", function }
    }
}

/// What only the template may say.
struct Voice<'a> {
    spellings: Vec<&'a str>,
    mark: BreakMark,
}

impl Voice<'_> {
    fn spare<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.mark.protect(text, &self.spellings)
    }

    fn spare_object(&self, object: &Map<String, Json>) -> Json {
        let entry = |(key, value): (&String, &Json)| (self.spare(key).into_owned(), self.spare_json(value));
        Json::Object(object.iter().map(entry).collect())
    }

    fn spare_json(&self, value: &Json) -> Json {
        match value {
            Json::String(text) => Json::String(self.spare(text).into_owned()),
            Json::Array(items) => items.iter().map(|item| self.spare_json(item)).collect(),
            Json::Object(object) => self.spare_object(object),
            Json::Null | Json::Bool(_) | Json::Number(_) => value.clone(),
        }
    }
}

/// A character that occurs nowhere in the conversation.
#[derive(Clone, Copy)]
struct BreakMark(char);

impl BreakMark {
    /// Unicode's noncharacters U+FDD0 to U+FDEF are set aside for such internal use; no text should hold them, and one
    /// that holds all of them is refused.
    fn absent_from(messages: &[Message], tools: &[Tool]) -> Result<Self, TextError> {
        // JSON is written without escapes of such characters.
        let json = |object: &Map<String, Json>| serde_json::to_string(object).map_err(TextError::template);
        let calls = messages.iter().flat_map(|message| &message.calls).map(|call| json(&call.arguments));
        let schemas = tools.iter().map(|tool| json(&tool.parameters));
        let written = calls.chain(schemas).collect::<Result<Vec<_>, _>>()?;
        let plain = messages.iter().map(|message| &message.content);
        let described = tools.iter().map(|tool| &tool.description);
        let texts: Vec<&String> = plain.chain(described).chain(&written).collect();
        let mark = ('\u{FDD0}'..='\u{FDEF}').find(|mark| !texts.iter().any(|text| text.contains(*mark)));
        mark.map(Self)
            .ok_or_else(|| TextError::ConversationRefused("it holds every Unicode noncharacter".into()))
    }

    /// Puts a mark after the first character of each spelling of a special token, overlapping ones included.
    fn protect<'a>(self, content: &'a str, spellings: &[&str]) -> Cow<'a, str> {
        let mut breaks = Vec::new();
        for token in spellings {
            let first = token.chars().next().map_or(0, char::len_utf8);
            let mut from = 0;
            while let Some(at) = content[from..].find(token) {
                from += at + first;
                breaks.push(from);
            }
        }
        if breaks.is_empty() {
            return Cow::Borrowed(content);
        }
        breaks.sort_unstable();
        breaks.dedup();
        let mut protected = String::with_capacity(content.len() + breaks.len() * self.0.len_utf8());
        let mut from = 0;
        for at in breaks {
            protected.push_str(&content[from..at]);
            protected.push(self.0);
            from = at;
        }
        protected.push_str(&content[from..]);
        Cow::Owned(protected)
    }
}

/// What a template itself has to say about the conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "raised by the template").with_source(Raised(message)))
}

fn raised(error: &Error) -> Option<String> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref() {
            return Some(message.chars().take(256).collect());
        }
        source = cause.source();
    }
    None
}

/// As transformers' `tojson`: Python's `json.dumps(value, ensure_ascii=False, indent=indent)`, without HTML escapes.
fn to_json(value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let failed =
        |cause| Error::new(ErrorKind::BadSerialization, "cannot be written as JSON").with_source(cause);
    let mut json = Vec::new();
    if let Some(width) = indent {
        let spaces = " ".repeat(width.min(16));
        let pretty = serde_json::ser::PrettyFormatter::with_indent(spaces.as_bytes());
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, pretty)).map_err(failed)?;
    } else {
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, Python)).map_err(failed)?;
    }
    String::from_utf8(json)
        .map_err(|cause| Error::new(ErrorKind::BadSerialization, "not UTF-8").with_source(cause))
}

/// Python's default separators, `", "` and `": "`.
struct Python;

impl serde_json::ser::Formatter for Python {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests;
