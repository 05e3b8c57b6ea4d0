//! The rules of moderation beside its models: lists of terms, regular expressions, personal data and secrets.
//!
//! [`TermList`] and [`Patterns`] are compiled once and shared; what a match means is the caller's business, who gives each
//! rule a tag. [`personal_data`] needs no set-up. All ranges are bytes of the text that was given, between characters, so
//! that [`redact`] can cut them out. Every search takes time linear in the text and never fails.
//!
//! ```
//! use atelier_rules::{KindSet, personal_data, redact};
//!
//! let text = "Write to jane@example.org or call +41 44 668 18 00.";
//! let found = personal_data(text, KindSet::ALL);
//! assert_eq!(redact(text, &found), "Write to [EMAIL] or call [PHONE].");
//! ```

mod boundary;
mod error;
mod filter;
mod fold;
mod patterns;
mod personal;
mod prefixes;
mod profanity;
mod redact;
mod terms;
mod words;

pub use self::{
    error::RulesError,
    patterns::{MAX_MATCHES, MAX_PATTERN_BYTES, MAX_PATTERNS, Pattern, PatternMatch, Patterns},
    personal::{Finding, Kind, KindSet, personal_data},
    profanity::profanity,
    redact::{redact, replaced},
    terms::{Found, MAX_LIST_BYTES, MAX_TERM_BYTES, MAX_TERMS, Matching, Term, TermList, TermMatch},
};
