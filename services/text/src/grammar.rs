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

use crate::{TextError, tokens::TextTokenizer};

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
                let mut schema =
                    serde_json::from_str(&schema).map_err(|error| format!("is not JSON: {error}"))?;
                // A model may write white space without end.
                if let serde_json::Value::Object(schema) = &mut schema {
                    let spacing = || serde_json::json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "});
                    schema.entry("x-guidance").or_insert_with(spacing);
                }
                Ok(TopLevelGrammar::from_json_schema(schema))
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
        let wrong = |problem: String| {
            TextError::invalid(field, problem.chars().take(MAX_PROBLEM_CHARS).collect::<String>())
        };
        let compile = || {
            let parser = self.factory.create_parser(format.grammar()?).map_err(|error| error.to_string())?;
            let matcher = Matcher::new(Ok(parser));
            matcher.get_error().map_or(Ok(matcher), Err)
        };
        let compiled = thread::scope(|scope| {
            let thread = thread::Builder::new().name("grammar".into()).stack_size(STACK_BYTES);
            let compiling = thread.spawn_scoped(scope, compile).map_err(TextError::Thread)?;
            compiling.join().unwrap_or_else(|_| Err("cannot be compiled".into())).map_err(wrong)
        })?;
        Ok(Grammar { matcher: compiled, field })
    }
}

/// A grammar and what has been written of a sentence of it.
pub struct Grammar {
    matcher: Matcher,
    field: &'static str,
}

impl Grammar {
    /// Another answer's, from the same place.
    pub(crate) fn copy(&self) -> Self {
        Self { matcher: self.matcher.deep_clone(), field: self.field }
    }

    /// Makes tokens impossible that may not come next.
    ///
    /// # Errors
    /// The grammar is too intricate for a step.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), TextError> {
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
        self.matcher.consume_token(token).map_err(|_| self.too_intricate())
    }

    /// Nothing may follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.matcher.is_stopped()
    }

    /// The matcher's own messages quote the grammar.
    fn too_intricate(&self) -> TextError {
        TextError::invalid(self.field, "is too intricate: its parser went beyond the limits of a step")
    }
}
