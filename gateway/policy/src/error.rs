//! Why a policy file is refused.

use std::fmt;

/// A policy file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not YAML, or its keys and types are not those of a ruleset.
    #[error("{0}")]
    Structure(Violation),
    /// It reads well and contradicts itself; everything that was found.
    #[error("{}", list(.0))]
    Rules(Vec<Violation>),
}

impl PolicyError {
    /// All that is wrong, in the order of the file.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Structure(violation) => std::slice::from_ref(violation),
            Self::Rules(violations) => violations,
        }
    }
}

/// One thing that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Line in the file, from 1; 0 where the whole file is meant.
    pub line: u64,
    /// Column in the line, in characters, from 1; 0 where the whole file is meant.
    pub column: u64,
    /// Path of the key, e.g. `policies.standard.input.categories.hate.flag`; empty where the message names it.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: ", self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(Violation::to_string).collect::<Vec<_>>().join("; ")
}
