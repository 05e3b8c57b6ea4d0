//! Answers that keep to a grammar: a JSON schema, a regular expression or a Lark grammar, by `llguidance`.
//!
//! Before each token the grammar says which tokens may come next; the others are made impossible. Grammars are callers' texts: their
//! size, the work of compiling them and the work of each step are bounded.

use std::{sync::Arc, thread};

use llguidance::{
    Matcher, ParserFactory,
    api::{ParserLimits, TopLevelGrammar},
    toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::Value;

use crate::{
    TextError,
    tokens::TextTokenizer,
    tools::{Choice, MAX_REQUIRED_CALLS, Syntax, Tool, Toolbox, Within, spaced},
};

/// Most states of a grammar's lexer, some 2 KB each.
const MAX_LEXER_STATES: usize = 20_000;

/// Most lines of a Lark grammar: rules that lead from one to the next take the compiler the cube of their number, a minute for 4,000.
const MAX_LARK_LINES: usize = 400;

/// Stack of the thread that compiles: the compiler goes one call deeper for each level of a grammar, which has fewer levels than
/// bytes. Untouched pages cost nothing.
const STACK_BYTES: usize = 512 << 20;

/// Most of what the compiler says that a caller is told: it may quote the whole grammar, and errors travel in headers.
const MAX_PROBLEM_CHARS: usize = 400;

/// What an answer keeps to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON value that a JSON Schema admits.
    JsonSchema(String),
    /// A text that a regular expression matches as a whole, in the syntax of the `regex` crate.
    Regex(String),
    /// A sentence of a Lark grammar.
    Lark(String),
}

impl Format {
    /// The request's field that holds it.
    pub(crate) fn field(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "generation.json_schema",
            Self::Regex(_) => "generation.regex",
            Self::Lark(_) => "generation.lark_grammar",
        }
    }

    fn grammar(self) -> Result<TopLevelGrammar, String> {
        match self {
            Self::JsonSchema(schema) => {
                let schema =
                    serde_json::from_str(&schema).map_err(|error| format!("is not JSON: {error}"))?;
                Ok(TopLevelGrammar::from_json_schema(match schema {
                    Value::Object(schema) => Value::Object(spaced(schema)),
                    other => other,
                }))
            }
            Self::Regex(regex) => Ok(TopLevelGrammar::from_regex(&regex)),
            Self::Lark(grammar) if grammar.lines().count() > MAX_LARK_LINES => {
                Err(format!("must have at most {MAX_LARK_LINES} lines"))
            }
            Self::Lark(grammar) => Ok(TopLevelGrammar::from_lark(grammar)),
        }
    }
}

/// Compiles grammars for one model's vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
}

impl Grammars {
    /// For a vocabulary in which these tokens end an answer.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn new(tokenizer: &TextTokenizer, end_tokens: &[u32]) -> Result<Self, TextError> {
        let failed =
            |problem: &dyn std::fmt::Display| TextError::Configuration(format!("no grammars: {problem}"));
        let (size, first) = (tokenizer.vocabulary_size() as u32, end_tokens.first());
        let first = first.ok_or_else(|| failed(&"the model has no token that ends an answer"))?;
        let spellings: Vec<_> =
            (0..size).map(|id| tokenizer.token_bytes(id, Some(TokTrie::SPECIAL_TOKEN_MARKER))).collect();
        let trie = TokTrie::from(&TokRxInfo::new(size, *first), &spellings).with_eos_tokens(end_tokens);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &[])
            .map_err(|error| failed(&error))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            max_lexer_states: MAX_LEXER_STATES,
            verbose_errors: false,
            ..ParserLimits::default()
        };
        Ok(Self { factory })
    }

    /// Takes up to tens of milliseconds: not for async workers.
    ///
    /// # Errors
    /// The grammar is none, or too large; the error names the request's field.
    pub(crate) fn compile(&self, format: Format) -> Result<Grammar, TextError> {
        let field = format.field();
        let matcher = self.matcher(|| format.grammar())?.map_err(|problem| wrong(field, &problem))?;
        Ok(Grammar { matcher, field, holds: Holds::Always })
    }

    /// The grammar of an answer's calls: of all of the answer where it must call, else of each call once it is opened; `None`
    /// where nothing opens a call. `mark` spells marks for grammars. Takes up to tens of milliseconds a tool.
    ///
    /// # Errors
    /// A tool's schema is none, or too large; the error names the request's field.
    pub(crate) fn compile_calls(
        &self,
        syntax: Syntax,
        toolbox: &Toolbox,
        mark: impl Fn(&str) -> String,
    ) -> Result<Option<Grammar>, TextError> {
        let (within, holds) = match &toolbox.choice {
            Choice::Auto => (Within::Call, Holds::InCalls { now: false }),
            Choice::Required => (Within::Answer { calls: MAX_REQUIRED_CALLS }, Holds::Always),
            Choice::Named(_) => (Within::Answer { calls: 1 }, Holds::Always),
        };
        let grammar = syntax.grammar(&toolbox.offered(), within, mark);
        let field = "tools";
        let matcher = match self.matcher(|| Ok(TopLevelGrammar::from_lark(grammar)))? {
            Ok(matcher) => matcher,
            Err(problem) => return Err(self.culprit(&toolbox.tools)?.unwrap_or(wrong(field, &problem))),
        };
        if toolbox.offered().len() < toolbox.tools.len()
            && let Some(error) = self.culprit(&toolbox.tools)?
        {
            return Err(error);
        }
        let opens = within != Within::Call || !syntax.opener().is_empty();
        Ok(opens.then_some(Grammar { matcher, field, holds }))
    }

    /// The first tool whose schema can't be compiled.
    fn culprit(&self, tools: &[Tool]) -> Result<Option<TextError>, TextError> {
        for (index, tool) in tools.iter().enumerate() {
            let schema = Value::Object(spaced(tool.parameters.clone()));
            if let Err(problem) = self.matcher(|| Ok(TopLevelGrammar::from_json_schema(schema)))? {
                return Ok(Some(wrong(&format!("tools[{index}].parameters_json_schema"), &problem)));
            }
        }
        Ok(None)
    }

    /// The inner error says what is wrong with the grammar.
    fn matcher(
        &self,
        grammar: impl FnOnce() -> Result<TopLevelGrammar, String> + Send,
    ) -> Result<Result<Matcher, String>, TextError> {
        let compile = || {
            let parser = self.factory.create_parser(grammar()?).map_err(|error| error.to_string())?;
            let matcher = Matcher::new(Ok(parser));
            matcher.get_error().map_or(Ok(matcher), Err)
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("grammar".into()).stack_size(STACK_BYTES);
            let compiling = thread.spawn_scoped(scope, compile).map_err(TextError::Thread)?;
            Ok(compiling.join().unwrap_or_else(|_| Err("cannot be compiled".into())))
        })
    }
}

fn wrong(field: &str, problem: &str) -> TextError {
    TextError::invalid(field, problem.chars().take(MAX_PROBLEM_CHARS).collect::<String>())
}

/// A grammar and what has been written of a sentence of it.
pub struct Grammar {
    matcher: Matcher,
    field: &'static str,
    holds: Holds,
}

/// Where an answer keeps to its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// All of it is one sentence.
    Always,
    /// In calls, each of which is one; elsewhere it is free.
    InCalls { now: bool },
}

impl Grammar {
    /// Another answer's, from the same place.
    pub(crate) fn copy(&self) -> Self {
        Self { matcher: self.matcher.deep_clone(), field: self.field, holds: self.holds }
    }

    /// Makes tokens impossible that may not come next.
    ///
    /// # Errors
    /// The grammar is too intricate for a step.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), TextError> {
        if !self.holds_now() {
            return Ok(());
        }
        let allowed = self.matcher.compute_mask_or_eos().map_err(|_| self.too_intricate())?;
        for (token, logit) in (0..).zip(logits) {
            if token >= allowed.len() || !allowed.get(token) {
                *logit = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }

    /// Takes the token that was chosen.
    ///
    /// # Errors
    /// As [`Grammar::mask`].
    pub(crate) fn take(&mut self, token: u32) -> Result<(), TextError> {
        if !self.holds_now() {
            return Ok(());
        }
        self.matcher.consume_token(token).map_err(|_| self.too_intricate())?;
        if let Holds::InCalls { now } = &mut self.holds
            && self.matcher.is_stopped()
        {
            *now = false;
            self.matcher.reset().map_err(|_| self.too_intricate())?;
        }
        Ok(())
    }

    /// A call has been opened.
    pub(crate) fn wake(&mut self) {
        if let Holds::InCalls { now } = &mut self.holds {
            *now = true;
        }
    }

    fn holds_now(&self) -> bool {
        self.holds != Holds::InCalls { now: false }
    }

    /// Nothing may follow in the answer.
    pub(crate) fn is_complete(&self) -> bool {
        self.holds == Holds::Always && self.matcher.is_stopped()
    }

    /// The matcher's own messages quote the grammar.
    fn too_intricate(&self) -> TextError {
        TextError::invalid(self.field, "is too intricate: its parser went beyond the limits of a step")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokens::byte_tokenizer;

    fn tool(name: &str, parameters: Value) -> Tool {
        let parameters = parameters.as_object().cloned().expect("it is an object");
        Tool { name: name.into(), description: String::new(), parameters }
    }

    fn toolbox(choice: Choice) -> Toolbox {
        // References are within each tool's own schema.
        let word = json!({"type": "object", "properties": {"w": {"$ref": "#/$defs/w"}}, "required": ["w"],
            "additionalProperties": false, "$defs": {"w": {"enum": ["a", "é\"", 7]}}});
        let none = json!({"type": "object", "properties": {}, "additionalProperties": false});
        Toolbox { tools: [tool("say", word), tool("now", none)].into(), choice }
    }

    /// How much of a text a grammar lets a model write, and whether it is complete then.
    fn allowed(syntax: Syntax, choice: Choice, special: &[&str], text: &str) -> (usize, bool) {
        let tokenizer = byte_tokenizer(&[&["<end>"], special].concat());
        let grammars = Grammars::new(&tokenizer, &[256]).expect("they can be had");
        let mark = |text: &str| match tokenizer.special_id(text) {
            Some(id) => format!("<[{id}]>"),
            None => format!("\"{text}\""),
        };
        let grammar = grammars.compile_calls(syntax, &toolbox(choice), mark).expect("it compiles");
        let mut grammar = grammar.expect("something opens a call");
        grammar.wake();
        let tokens = tokenizer.encode(text, false).expect("it encodes");
        for (written, &token) in tokens.iter().enumerate() {
            let mut logits = vec![0.0; tokenizer.vocabulary_size()];
            grammar.mask(&mut logits).expect("it is simple");
            if grammar.is_complete() || !grammar.holds_now() || logits[token as usize] != 0.0 {
                return (written, grammar.is_complete() || !grammar.holds_now());
            }
            grammar.take(token).expect("it is allowed");
        }
        (tokens.len(), grammar.is_complete() || !grammar.holds_now())
    }

    #[test]
    fn a_call_that_is_opened_is_written_to_its_end() {
        let say = "\n{\"name\": \"say\", \"arguments\": {\"w\": \"é\\\"\"}}\n</tool_call>";
        assert_eq!(allowed(Syntax::Tagged, Choice::Auto, &[], say), (say.len(), true));
        assert_eq!(allowed(Syntax::Tagged, Choice::Auto, &[], &format!("{say} and")), (say.len(), true));
        let closing = ["</tool_call>"];
        assert_eq!(allowed(Syntax::Tagged, Choice::Auto, &closing, say), (say.len() - 11, true));
        let other = "{\"name\": \"shout\"";
        assert_eq!(allowed(Syntax::Tagged, Choice::Auto, &[], other).0, "{\"name\": \"s".len());
        let wrong = "{\"name\": \"say\", \"arguments\": {\"w\": 8";
        assert_eq!(allowed(Syntax::Tagged, Choice::Auto, &[], wrong).0, wrong.len() - 1);
        let list = "[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"say\", \"arguments\": {\"w\": 7}}]";
        assert_eq!(allowed(Syntax::Listed, Choice::Auto, &[], list), (list.len(), true));
    }

    #[test]
    fn an_answer_that_must_call_is_calls() {
        let now = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
        let two = format!("{now}\n{now}");
        assert_eq!(allowed(Syntax::Tagged, Choice::Required, &[], &two), (two.len(), false), "more may come");
        let marks = ["<tool_call>", "</tool_call>"];
        assert_eq!(allowed(Syntax::Tagged, Choice::Required, &marks, &two).0, two.len() - 42);
        let named = || Choice::Named("now".into());
        assert_eq!(allowed(Syntax::Tagged, named(), &[], &two), (now.len(), true));
        assert_eq!(allowed(Syntax::Tagged, named(), &[], "I").0, 0);
        let bare = "{\"name\": \"now\", \"parameters\": {}}";
        assert_eq!(allowed(Syntax::Bare, Choice::Required, &[], bare), (bare.len(), true));
        let list = "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": {}}]";
        assert_eq!(allowed(Syntax::Listed, named(), &["[TOOL_CALLS]"], list), (list.len() - 11, true));
    }

    #[test]
    fn a_schema_that_cant_be_kept_is_named() {
        let tokenizer = byte_tokenizer(&["<end>"]);
        let grammars = Grammars::new(&tokenizer, &[256]).expect("they can be had");
        let bad = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}});
        let tools = [tool("good", json!({"type": "object"})), tool("bad", bad)];
        for choice in [Choice::Auto, Choice::Named("good".into())] {
            let toolbox = Toolbox { tools: tools.to_vec().into(), choice };
            for syntax in [Syntax::Tagged, Syntax::Listed, Syntax::Bare] {
                let mark = |text: &str| format!("\"{text}\"");
                let error = grammars.compile_calls(syntax, &toolbox, mark).err().expect("it is refused");
                assert!(
                    matches!(&error, TextError::Invalid { field, .. } if field == "tools[1].parameters_json_schema"),
                    "{error}"
                );
            }
        }
    }
}
