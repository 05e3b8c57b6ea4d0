//! Lists of blocked and allowed terms, found by Aho and Corasick's automaton in a double array (Kanda, Akabe and Oda, 2023,
//! "Engineering faster double-array Aho-Corasick automata").

use std::{cmp::Reverse, collections::HashMap, fmt, ops::Range};

use daachorse::CharwiseDoubleArrayAhoCorasick;

use crate::{RulesError, boundary::Boundaries, fold::Folded};

/// Terms in one list.
pub const MAX_TERMS: usize = 100_000;

/// Bytes of one term without its case.
pub const MAX_TERM_BYTES: usize = 256;

/// Bytes of all terms of a list. The automaton takes tens of bytes for each.
pub const MAX_LIST_BYTES: usize = 4 << 20;

/// Matches held before those that nothing later can change are settled: bounds the memory of a search.
const HELD: usize = 1 << 16;

/// What a term must be to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// Whole words: no letter, digit or mark touches it, and in scripts without spaces a dictionary ends words there.
    Word,
    /// Anywhere.
    Substring,
}

/// One term of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// What to find, in any case.
    pub text: String,
    /// What the caller makes of a match.
    pub tag: u32,
    /// Where it matches.
    pub matching: Matching,
    /// Not a match, but cancels matches of any tag that lie within it ("Scunthorpe").
    pub allow: bool,
}

/// A term found in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TermMatch {
    /// Bytes of the text, between characters.
    pub range: Range<usize>,
    /// Index of the term in the order of the list.
    pub term: usize,
    /// The term's tag.
    pub tag: u32,
}

/// What of a list stands in a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Terms, by where they start.
    pub matches: Vec<TermMatch>,
    /// Where allowed terms stand, by where they start: matches of other lists that lie within may be cancelled too.
    pub allowed: Vec<Range<usize>>,
}

/// A compiled list, immutable and shared between threads.
pub struct TermList {
    /// Steps by characters: over 100,000 terms half the time of the `aho-corasick` crate's smaller automaton, whose DFA
    /// is slower still and takes 200 MiB.
    automaton: CharwiseDoubleArrayAhoCorasick<u32>,
    rules: Vec<Rule>,
    longest: usize,
}

#[derive(Clone, Copy, Debug)]
struct Rule {
    tag: u32,
    matching: Matching,
    allow: bool,
}

/// A match in the folded text.
struct Candidate {
    range: Range<usize>,
    term: usize,
    rule: Rule,
}

impl fmt::Debug for TermList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TermList").field("terms", &self.rules.len()).finish_non_exhaustive()
    }
}

impl TermList {
    /// Compiles a list. The same text may stand in it with several tags.
    ///
    /// # Errors
    /// An empty or too long term, too many terms.
    pub fn build(terms: impl IntoIterator<Item = Term>) -> Result<Self, RulesError> {
        let mut texts = Vec::new();
        let mut rules = Vec::new();
        let mut total = 0;
        for (index, term) in terms.into_iter().enumerate() {
            if index >= MAX_TERMS {
                return Err(RulesError::TooMany { limit: MAX_TERMS });
            }
            // Before folding, which takes time and memory; folding adds a byte at most to two.
            if term.text.len() > 2 * MAX_TERM_BYTES {
                return Err(RulesError::TooLong { index, bytes: term.text.len(), limit: MAX_TERM_BYTES });
            }
            let text = Folded::new(term.text.trim()).into_text();
            match text.len() {
                0 => return Err(RulesError::Empty { index }),
                1..=MAX_TERM_BYTES => total += text.len(),
                bytes => return Err(RulesError::TooLong { index, bytes, limit: MAX_TERM_BYTES }),
            }
            if total > MAX_LIST_BYTES {
                return Err(RulesError::TooLarge { limit: MAX_LIST_BYTES });
            }
            texts.push(text);
            rules.push(Rule { tag: term.tag, matching: term.matching, allow: term.allow });
        }
        let automaton = CharwiseDoubleArrayAhoCorasick::new(&texts)
            .map_err(|error| RulesError::Terms { reason: error.to_string() })?;
        Ok(Self { automaton, rules, longest: texts.iter().map(String::len).max().unwrap_or(0) })
    }

    /// The terms in `text`. Of matches with one tag that overlap, the leftmost stays, of those that start together the
    /// longest; matches of other tags may overlap them. Takes time linear in the text and in the places where terms stand,
    /// and bounded memory beside the result.
    #[must_use]
    pub fn find(&self, text: &str) -> Found {
        self.find_by(text, |_| false, |_, _| true)
    }

    /// As [`TermList::find`], in a text that does not show all there is to know: `ends` tells of bytes, between characters,
    /// where words begin or end beside those where they visibly do, `fits` whether the term of this index may stand there.
    pub fn find_by(
        &self,
        text: &str,
        ends: impl Fn(usize) -> bool,
        fits: impl Fn(usize, &Range<usize>) -> bool,
    ) -> Found {
        let folded = Folded::new(text);
        let mut sweep = Sweep::default();
        let mut boundaries = Boundaries::new(text);
        let mut limit = HELD;
        for m in self.automaton.find_overlapping_iter(folded.as_str()) {
            let term = m.value() as usize;
            let Some(rule) = self.rules.get(term).copied() else { continue };
            let range = folded.original(m.start()..m.end());
            let anywhere = rule.matching == Matching::Substring;
            let mut bounded = |at| boundaries.at(at) || ends(at);
            if (anywhere || bounded(range.start) && bounded(range.end)) && fits(term, &range) {
                sweep.held.push(Candidate { range, term, rule });
            }
            if sweep.held.len() >= limit {
                let reach = m.end().saturating_sub(self.longest);
                let settled = folded.as_str().floor_char_boundary(reach);
                sweep.settle(folded.original(settled..settled).start);
                limit = HELD.max(2 * sweep.held.len());
            }
        }
        sweep.settle(usize::MAX);
        sweep.found
    }
}

/// Walks candidates from left to right and keeps those that stand.
#[derive(Default)]
struct Sweep {
    held: Vec<Candidate>,
    found: Found,
    /// End of the last match of each tag.
    ends: HashMap<u32, usize>,
    /// The furthest end of an allowed term so far: what starts later and ends before lies within it.
    allowed: usize,
}

impl Sweep {
    /// Decides on candidates that start before byte `settled`; nothing to come may start there, nor an allowed term.
    fn settle(&mut self, settled: usize) {
        self.held.sort_unstable_by_key(|c| (c.range.start, Reverse(c.range.end), !c.rule.allow, c.term));
        let ripe = self.held.partition_point(|c| c.range.start < settled);
        for Candidate { range, term, rule } in self.held.drain(..ripe) {
            if rule.allow {
                self.allowed = self.allowed.max(range.end);
                self.found.allowed.push(range);
                continue;
            }
            let end = self.ends.entry(rule.tag).or_default();
            if range.end > self.allowed && range.start >= *end {
                *end = range.end;
                self.found.matches.push(TermMatch { range, term, tag: rule.tag });
            }
        }
    }
}

#[cfg(test)]
#[path = "terms_tests.rs"]
mod tests;
