//! Tools: functions that a model may ask the caller to run.

mod reader;
mod syntax;

use std::sync::Arc;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

pub use reader::{CallReader, Piece};
pub use syntax::{Probe, Syntax};
pub(crate) use syntax::{Within, spaced};

/// Most calls of an answer that must call tools.
pub(crate) const MAX_REQUIRED_CALLS: usize = 16;

/// A function that the model may call.
#[derive(Clone, PartialEq)]
pub struct Tool {
    /// Letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model to read.
    pub description: String,
    /// JSON Schema of its arguments, an object.
    pub parameters: Map<String, Value>,
}

/// What the model asks the caller to run.
#[derive(Clone, PartialEq)]
pub struct ToolCall {
    /// Names the call in its conversation.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// By the names of the tool's parameters.
    pub arguments: Map<String, Value>,
}

impl std::fmt::Debug for ToolCall {
    // Content stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ToolCall").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Whether the model calls tools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// As it sees fit.
    Auto,
    /// The answer is calls.
    Required,
    /// The answer is one call of this tool.
    Named(String),
}

/// What a model may call in an answer.
#[derive(Clone)]
pub(crate) struct Toolbox {
    /// At least one; names differ.
    pub tools: Arc<[Tool]>,
    pub choice: Choice,
}

impl Toolbox {
    /// The tools that the answer may call.
    pub(crate) fn offered(&self) -> Vec<&Tool> {
        let named = |tool: &&Tool| match &self.choice {
            Choice::Auto | Choice::Required => true,
            Choice::Named(name) => tool.name == *name,
        };
        self.tools.iter().filter(named).collect()
    }
}

/// The id of a conversation's call: nine letters and digits, since Mistral's templates refuse any other. It follows from the
/// answer's seed and the number of calls before it.
pub(crate) fn call_id(seed: u64, before: usize) -> String {
    const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hash = Sha256::new().chain_update(seed.to_le_bytes()).chain_update((before as u64).to_le_bytes());
    let digit = |&byte: &u8| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()]);
    hash.finalize().iter().take(9).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_seed_and_place() {
        let ids: Vec<_> = [(1, 0), (1, 1), (2, 0)].map(|(seed, before)| call_id(seed, before)).into();
        assert!(ids.iter().all(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())));
        assert!(ids[0] != ids[1] && ids[0] != ids[2]);
        assert_eq!(call_id(1, 0), ids[0]);
    }
}
