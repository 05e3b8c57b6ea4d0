//! What can be wrong with rules when they are compiled. Searching never fails.

/// Rules that can't be compiled. Indices count from 0 in the order the rules were given in.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// More rules than one set may hold.
    #[error("more than {limit} rules in one set")]
    TooMany {
        /// The most that a set holds.
        limit: usize,
    },
    /// A rule without text.
    #[error("rule {index} is empty")]
    Empty {
        /// Which rule.
        index: usize,
    },
    /// A rule longer than the limit.
    #[error("rule {index} has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Which rule.
        index: usize,
        /// Its length.
        bytes: usize,
        /// The most that a rule may have.
        limit: usize,
    },
    /// All terms together are longer than the limit.
    #[error("all terms together have more than {limit} bytes")]
    TooLarge {
        /// The most bytes that all terms of a list may have.
        limit: usize,
    },
    /// No regular expression of the `regex` crate, or one whose program is too large.
    #[error("pattern {index}: {reason}")]
    Pattern {
        /// Which pattern.
        index: usize,
        /// What its compiler said.
        reason: String,
    },
    /// A pattern that matches the empty text would match everywhere.
    #[error("pattern {index} matches the empty text")]
    MatchesEmpty {
        /// Which pattern.
        index: usize,
    },
    /// Patterns that compile one by one but are too large together.
    #[error("the patterns are too large together: {reason}")]
    Patterns {
        /// What the compiler said.
        reason: String,
    },
}
