//! Chat templates: the Jinja programs that model folders carry, as Hugging Face transformers runs them.
//!
//! What users write must not speak with the template's voice: `<|im_end|>` in a message stays plain text. Before a
//! message is rendered, a break mark goes into every spelling of a special token in it; after rendering, the prompt
//! falls apart at the marks and each part is tokenized by itself, so no special token can form across a mark. A
//! conversation without such spellings has no marks and is tokenized whole, exactly as transformers would.

use std::borrow::Cow;

use minijinja::{
    Environment, Error, ErrorKind,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde, Value},
};
use serde::Serialize;

use crate::{clock, error::TextError, tokens::TextTokenizer};

/// Instructions that one rendering may run. A conversation of 1,024 messages takes some ten thousand; a template that
/// loops without end is stopped after about a second.
const FUEL: u64 = 10_000_000;
const NAME: &str = "chat";

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
}

/// One turn of a conversation.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
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
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// It is not valid Jinja.
    pub fn new(source: String, named: NamedTokens) -> Result<Self, TextError> {
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
        environment
            .add_template_owned(NAME, source)
            .map_err(|cause| TextError::model_file("chat template", cause))?;
        Ok(Self { environment, named })
    }

    /// Renders a conversation, ready for the model's answer, and tokenizes it.
    ///
    /// # Errors
    /// The template refuses the conversation (roles in an order it does not know, say) or runs too long.
    pub fn encode(&self, messages: &[Message], tokenizer: &TextTokenizer) -> Result<Vec<u32>, TextError> {
        let special = tokenizer.special_tokens();
        let mark = BreakMark::for_conversation(messages)?;
        let broken: Vec<_> = messages
            .iter()
            .map(|message| Turn { role: message.role, content: mark.protect(&message.content, special) })
            .collect();
        let prompt = self.render(&broken)?;
        let mut ids = Vec::new();
        for part in prompt.split(mark.0).filter(|part| !part.is_empty()) {
            ids.append(&mut tokenizer.encode(part, false)?);
        }
        Ok(ids)
    }

    fn render(&self, messages: &[Turn<'_>]) -> Result<String, TextError> {
        let context = minijinja::context! {
            messages => Serde(messages),
            add_generation_prompt => true,
            bos_token => self.named.bos.as_deref(),
            eos_token => self.named.eos.as_deref(),
            tools => (),
            documents => (),
        };
        let template = self.environment.get_template(NAME).map_err(TextError::template)?;
        template.render(context).map_err(|error| match raised(&error) {
            Some(message) => TextError::ConversationRefused(message),
            None if error.kind() == ErrorKind::OutOfFuel => {
                TextError::ConversationRefused("it takes the model's chat template too long".into())
            }
            None => TextError::template(error),
        })
    }
}

#[derive(Serialize)]
struct Turn<'a> {
    role: Role,
    content: Cow<'a, str>,
}

/// A character that occurs nowhere in the conversation.
#[derive(Clone, Copy)]
struct BreakMark(char);

impl BreakMark {
    /// Unicode's noncharacters U+FDD0 to U+FDEF are set aside for such internal use; no text should hold them, and one
    /// that holds all of them is refused.
    fn for_conversation(messages: &[Message]) -> Result<Self, TextError> {
        let absent = |mark: &char| messages.iter().all(|message| !message.content.contains(*mark));
        let mark = ('\u{FDD0}'..='\u{FDEF}').find(absent);
        mark.map(Self)
            .ok_or_else(|| TextError::ConversationRefused("it holds every Unicode noncharacter".into()))
    }

    /// Puts a mark after the first character of each spelling of a special token, overlapping ones included.
    fn protect<'a>(self, content: &'a str, special: &[String]) -> Cow<'a, str> {
        let mut breaks = Vec::new();
        for token in special {
            let first = token.chars().next().map_or(0, char::len_utf8);
            let mut from = 0;
            while let Some(at) = content[from..].find(token.as_str()) {
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
