//! Terms that are one word of a script with spaces: looked up word by word, which reads a text once however many there are.

use std::{collections::HashMap, ops::Range};

use foldhash::fast::FixedState;

use crate::boundary::{is_mark, is_spaced};

/// Words, and which terms each is.
#[derive(Default)]
pub(crate) struct Words {
    /// Terms by their text; of the same text several may stand in a list.
    terms: HashMap<Box<str>, Vec<u32>, FixedState>,
    /// Bytes of the shortest and the longest.
    lengths: Range<usize>,
}

impl Words {
    /// Whether a term, folded, can be looked up so: it is a run of characters that words are made of, and where a word is bounded, so
    /// is such a run.
    pub(crate) fn can_hold(text: &str) -> bool {
        text.chars().all(is_spaced) && !text.starts_with(is_mark)
    }

    pub(crate) fn insert(&mut self, text: &str, term: u32) {
        self.terms.entry(text.into()).or_default().push(term);
        self.lengths = match self.lengths.is_empty() {
            true => text.len()..text.len() + 1,
            false => self.lengths.start.min(text.len())..self.lengths.end.max(text.len() + 1),
        };
    }

    /// Runs of a folded text that are terms, in their order. Whether they are bounded is left to ask.
    pub(crate) fn find(&self, text: &str) -> impl Iterator<Item = (Range<usize>, &[u32])> {
        let runs = (!self.terms.is_empty()).then_some(Runs { text, at: 0 });
        let likely = runs.into_iter().flatten().filter(|run| self.lengths.contains(&run.len()));
        likely.filter_map(|run| Some((run.clone(), self.terms.get(&text[run])?.as_slice())))
    }
}

/// Maximal runs of the characters that words of scripts with spaces are made of.
struct Runs<'t> {
    text: &'t str,
    at: usize,
}

impl Runs<'_> {
    /// Where the next character that passes, or does not, starts; or the end.
    #[inline]
    fn next_place(&self, from: usize, passes: bool) -> usize {
        let mut at = from;
        // Most characters are ASCII, which needs no tables.
        while let Some(byte) = self.text.as_bytes().get(at) {
            if byte.is_ascii() {
                if byte.is_ascii_alphanumeric() == passes {
                    break;
                }
                at += 1;
            } else {
                match self.text[at..].chars().next() {
                    Some(c) if is_spaced(c) != passes => at += c.len_utf8(),
                    _ => break,
                }
            }
        }
        at
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.next_place(self.at, true);
        self.at = self.next_place(start, false);
        (start < self.at).then_some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;

    #[test]
    fn folding_leaves_words_words() {
        assert!(('\0'..=char::MAX).all(|c| is_spaced(c) == is_spaced(fold(c))));
    }

    #[test]
    fn runs_end_where_characters_of_words_do() {
        let text = "an ass, e\u{301}té中ab９ブlock";
        let runs: Vec<_> = Runs { text, at: 0 }.map(|run| &text[run]).collect();
        assert_eq!(runs, ["an", "ass", "e\u{301}té", "ab９", "lock"]);
    }
}
