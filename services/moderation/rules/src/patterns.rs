//! Sets of regular expressions, searched in time linear in the text.

use std::ops::Range;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::RulesError;

/// Patterns in one set.
pub const MAX_PATTERNS: usize = 500;

/// Bytes of one pattern.
pub const MAX_PATTERN_BYTES: usize = 1_000;

/// Bytes of one pattern's program.
const MAX_PROGRAM_BYTES: usize = 256 << 10;

/// Bytes of the program that finds out which patterns match at all.
const MAX_SET_BYTES: usize = 16 << 20;

/// Depth of groups in a pattern: its parser recurses.
const MAX_DEPTH: u32 = 50;

/// Matches reported of one pattern. A search may read to the end of the text and match only once, so the time for all
/// matches is quadratic without this bound.
pub const MAX_MATCHES: usize = 100;

/// One regular expression in the syntax of the `regex` crate: no look-around, no back-references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The expression; `(?i)` in front makes it ignore case.
    pub regex: String,
    /// What the caller makes of a match.
    pub tag: u32,
}

/// A pattern found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternMatch {
    /// Bytes of the text, between characters; never empty.
    pub range: Range<usize>,
    /// The pattern's tag.
    pub tag: u32,
}

/// A compiled set, immutable and shared between threads.
#[derive(Debug)]
pub struct Patterns {
    /// One pass over the text says which patterns are worth a search.
    any: RegexSet,
    each: Vec<(Regex, u32)>,
}

impl Patterns {
    /// Compiles a set.
    ///
    /// # Errors
    /// Names the first pattern that is too long, no regular expression, too large once compiled, or that matches the
    /// empty text; or the set's limit that is passed.
    pub fn build(patterns: &[Pattern]) -> Result<Self, RulesError> {
        if patterns.len() > MAX_PATTERNS {
            return Err(RulesError::TooMany { limit: MAX_PATTERNS });
        }
        let each = patterns.iter().enumerate().map(|(index, pattern)| compile(index, pattern));
        let each = each.collect::<Result<Vec<_>, _>>()?;
        let any = RegexSetBuilder::new(patterns.iter().map(|pattern| &pattern.regex))
            .size_limit(MAX_SET_BYTES)
            .nest_limit(MAX_DEPTH)
            .build()
            .map_err(|error| RulesError::Patterns { reason: error.to_string() })?;
        Ok(Self { any, each })
    }

    /// The matches in `text`, pattern by pattern, of each the leftmost ones that do not overlap, [`MAX_MATCHES`] at most.
    pub fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = PatternMatch> + 'a {
        let matching = self.any.matches(text).into_iter();
        matching.filter_map(|index| self.each.get(index)).flat_map(move |(regex, tag)| {
            let found = regex.find_iter(text).take(MAX_MATCHES).filter(|m| !m.is_empty());
            found.map(move |m| PatternMatch { range: m.range(), tag: *tag })
        })
    }
}

fn compile(index: usize, pattern: &Pattern) -> Result<(Regex, u32), RulesError> {
    match pattern.regex.len() {
        0 => return Err(RulesError::Empty { index }),
        1..=MAX_PATTERN_BYTES => {}
        bytes => return Err(RulesError::TooLong { index, bytes, limit: MAX_PATTERN_BYTES }),
    }
    let regex = RegexBuilder::new(&pattern.regex)
        .size_limit(MAX_PROGRAM_BYTES)
        .nest_limit(MAX_DEPTH)
        .build()
        .map_err(|error| RulesError::Pattern { index, reason: error.to_string() })?;
    if regex.is_match("") { Err(RulesError::MatchesEmpty { index }) } else { Ok((regex, pattern.tag)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(patterns: &[&str]) -> Result<Patterns, RulesError> {
        let patterns: Vec<_> =
            patterns.iter().zip(7..).map(|(r, tag)| Pattern { regex: (*r).to_owned(), tag }).collect();
        Patterns::build(&patterns)
    }

    #[test]
    fn matches_have_their_pattern_and_tag() {
        let patterns = build(&["a+b", r"(?i)order \d+", "nothing"]).unwrap();
        let found: Vec<_> = patterns.find("Order 12, aab, ab").map(|m| (m.range, m.tag)).collect();
        assert_eq!(found, [(10..13, 7), (15..17, 7), (0..8, 8)]);
        assert_eq!(build(&[]).unwrap().find("text").count(), 0);
    }

    #[test]
    fn bad_patterns_are_named() {
        assert!(matches!(build(&["a", "("]), Err(RulesError::Pattern { index: 1, .. })));
        assert!(matches!(build(&[r"\w{1000}"]), Err(RulesError::Pattern { index: 0, .. })));
        assert!(matches!(build(&["a", "x*"]), Err(RulesError::MatchesEmpty { index: 1 })));
        assert!(matches!(build(&[""]), Err(RulesError::Empty { index: 0 })));
        assert!(matches!(build(&[&"a".repeat(1_001)]), Err(RulesError::TooLong { bytes: 1_001, .. })));
        assert!(matches!(build(&vec!["a"; 501]), Err(RulesError::TooMany { limit: 500 })));
        assert!(build(&[&["(".repeat(60), "a".to_owned(), ")".repeat(60)].concat()]).is_err());
        assert!(build(&["(a)\\1"]).is_err());
    }

    #[test]
    fn matches_are_bounded_and_never_empty() {
        let patterns = build(&["a", r"\b"]).unwrap();
        assert_eq!(patterns.find(&"a ".repeat(500)).count(), MAX_MATCHES);
    }
}
