//! Lists of blocked and allowed terms.

use std::{cmp::Reverse, collections::HashMap, fmt, iter, ops::Range};

use crate::{RulesError, boundary::Boundaries, fold::Folded, prefixes::Prefixes, words::Words};

/// Terms in one list.
pub const MAX_TERMS: usize = 100_000;

/// Bytes of one term without its case.
pub const MAX_TERM_BYTES: usize = 256;

/// Bytes of all terms of a list.
pub const MAX_LIST_BYTES: usize = 4 << 20;

/// No character has more times the bytes of what it is without its case: the Kelvin sign has 3, `k` has 1.
pub(crate) const MOST_FOLDED: usize = 3;

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
    /// Terms that only stand where a word begins and ends, and are one.
    words: Words,
    /// All others.
    anywhere: Prefixes,
    rules: Vec<Rule>,
    /// The most bytes of a text that a term takes.
    reach: usize,
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
        Self::compile(terms, |rule, text| rule.matching == Matching::Word && Words::can_hold(text))
    }

    /// As [`TermList::build`], for [`TermList::find_by`]: words may end where nothing shows it.
    ///
    /// # Errors
    /// As there.
    pub fn build_for_hidden_ends(terms: impl IntoIterator<Item = Term>) -> Result<Self, RulesError> {
        Self::compile(terms, |_, _| false)
    }

    fn compile(
        terms: impl IntoIterator<Item = Term>,
        is_word: impl Fn(&Rule, &str) -> bool,
    ) -> Result<Self, RulesError> {
        let (mut words, mut others) = (Vec::new(), Vec::new());
        let mut rules = Vec::new();
        let (mut total, mut longest) = (0, 0);
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
                1..=MAX_TERM_BYTES => (total, longest) = (total + text.len(), longest.max(text.len())),
                bytes => return Err(RulesError::TooLong { index, bytes, limit: MAX_TERM_BYTES }),
            }
            if total > MAX_LIST_BYTES {
                return Err(RulesError::TooLarge { limit: MAX_LIST_BYTES });
            }
            let rule = Rule { tag: term.tag, matching: term.matching, allow: term.allow };
            let kin = if is_word(&rule, &text) { &mut words } else { &mut others };
            kin.push((text, index as u32));
            rules.push(rule);
        }
        Ok(Self {
            words: Words::of(words),
            anywhere: Prefixes::of(others),
            rules,
            reach: longest * MOST_FOLDED,
        })
    }

    /// The terms in `text`. Of matches with one tag that overlap, the leftmost stays, of those that start together the
    /// longest; matches of other tags may overlap them. Takes time linear in the text, in the places where terms stand, and in those
    /// where one seems to begin with the logarithm of the terms that begin so; and bounded memory beside the result.
    #[must_use]
    pub fn find(&self, text: &str) -> Found {
        self.search(text, iter::once(0..text.len()), |_| false, |_, _| true)
    }

    /// As [`TermList::find`], in a text that does not show all there is to know: `ends` tells of bytes, between characters,
    /// where words begin or end beside those where they visibly do, for which the list must be one of
    /// [`TermList::build_for_hidden_ends`]; `fits` tells whether the term of this index may stand there.
    pub fn find_by(
        &self,
        text: &str,
        ends: impl Fn(usize) -> bool,
        fits: impl Fn(usize, &Range<usize>) -> bool,
    ) -> Found {
        self.search(text, iter::once(0..text.len()), ends, fits)
    }

    /// As [`TermList::find`], of terms that hold some of the given places, which come in order: `fits` tells whether what stands
    /// at a range does. No more of the text is read than such terms may take.
    pub fn find_around(
        &self,
        text: &str,
        places: impl IntoIterator<Item = Range<usize>>,
        fits: impl Fn(&Range<usize>) -> bool,
    ) -> Found {
        let mut parts = Vec::<Range<usize>>::new();
        for place in places {
            let start = text.floor_char_boundary(place.start.saturating_sub(self.reach));
            let end = text.ceil_char_boundary(text.len().min(place.end + self.reach));
            match parts.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(end),
                _ => parts.push(start..end),
            }
        }
        self.search(text, parts, |_| false, |_, range| fits(range))
    }

    /// In parts of a text, which come in order and lie apart.
    fn search(
        &self,
        text: &str,
        parts: impl IntoIterator<Item = Range<usize>>,
        ends: impl Fn(usize) -> bool,
        fits: impl Fn(usize, &Range<usize>) -> bool,
    ) -> Found {
        let mut sweep = Sweep::default();
        let mut boundaries = Boundaries::new(text);
        for part in parts {
            let folded = Folded::new(&text[part.clone()]);
            self.places(folded.as_str(), |place, term| {
                let Some(rule) = self.rules.get(term).copied() else { return };
                let place = folded.original(place);
                let range = part.start + place.start..part.start + place.end;
                let anywhere = rule.matching == Matching::Substring;
                let mut bounded = |at| boundaries.at(at) || ends(at);
                // Words of scripts without spaces take longest to tell.
                if fits(term, &range) && (anywhere || bounded(range.start) && bounded(range.end)) {
                    sweep.add(Candidate { range, term, rule });
                }
            });
        }
        sweep.settle();
        sweep.found
    }

    /// Visits where terms stand in a folded text, whether or not they are whole words, by where they start.
    fn places(&self, text: &str, mut visit: impl FnMut(Range<usize>, usize)) {
        let mut visit = |place, term: u32| visit(place, term as usize);
        let mut done = 0;
        for (word, terms) in self.words.find(text) {
            self.anywhere.find(text, done..word.start, &mut visit);
            done = word.start;
            terms.iter().for_each(|term| visit(word.clone(), *term));
        }
        self.anywhere.find(text, done..text.len(), &mut visit);
    }
}

/// Walks candidates from left to right and keeps those that stand.
#[derive(Default)]
struct Sweep {
    /// Candidates that start at one place.
    held: Vec<Candidate>,
    found: Found,
    /// End of the last match of each tag.
    ends: HashMap<u32, usize>,
    /// The furthest end of an allowed term so far: what starts later and ends before lies within it.
    allowed: usize,
}

impl Sweep {
    /// Takes a candidate, which starts where the one before it does or later.
    fn add(&mut self, candidate: Candidate) {
        if self.held.first().is_some_and(|first| first.range.start < candidate.range.start) {
            self.settle();
        }
        self.held.push(candidate);
    }

    /// Decides on the candidates held: none to come starts there.
    fn settle(&mut self) {
        self.held.sort_unstable_by_key(|c| (Reverse(c.range.end), !c.rule.allow, c.term));
        for Candidate { range, term, rule } in self.held.drain(..) {
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
