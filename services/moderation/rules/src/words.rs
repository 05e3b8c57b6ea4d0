//! Terms that are one word of a script with spaces: looked up word by word, which reads a text once however many there are.

use std::{collections::HashMap, ops::Range};

use foldhash::fast::FixedState;

use crate::{
    boundary::{is_mark, is_spaced},
    filter::Filter,
};

/// Words, and which terms each is.
#[derive(Default)]
pub(crate) struct Words {
    /// Terms by their text; of the same text several may stand in a list.
    terms: HashMap<Box<str>, Vec<u32>, FixedState>,
    /// Absent where there are no terms.
    filter: Option<Filter>,
}

impl Words {
    /// Whether a term, folded, can be looked up so: it is a run of characters that words are made of, and where a word is bounded, so
    /// is such a run.
    pub(crate) fn can_hold(text: &str) -> bool {
        text.chars().all(is_spaced) && !text.starts_with(is_mark)
    }

    /// Of terms that it [can hold](Self::can_hold), with their numbers.
    pub(crate) fn of(words: Vec<(String, u32)>) -> Self {
        let mut filter = (!words.is_empty()).then(|| Filter::of(words.len()));
        let mut terms =
            HashMap::<_, Vec<u32>, _>::with_capacity_and_hasher(words.len(), FixedState::default());
        for (text, term) in words {
            filter.iter_mut().for_each(|filter| filter.insert(ends(&text, 0..text.len())));
            terms.entry(text.into_boxed_str()).or_default().push(term);
        }
        Self { terms, filter }
    }

    /// Runs of a folded text that are terms, in their order. Whether they are bounded is left to ask.
    pub(crate) fn find(&self, text: &str) -> impl Iterator<Item = (Range<usize>, &[u32])> {
        let searched = self.filter.as_ref().map(|filter| (Runs { text, at: 0 }, filter));
        let likely = searched
            .into_iter()
            .flat_map(move |(runs, filter)| runs.filter(move |run| filter.may_have(ends(text, run.clone()))));
        likely.filter_map(|run| Some((run.clone(), self.terms.get(&text[run])?.as_slice())))
    }
}

/// The first eight bytes of a run in a text and the last eight, which overlap in a short one: they tell most words apart.
#[inline]
fn ends(text: &str, run: Range<usize>) -> u128 {
    const BYTES: usize = size_of::<u64>();
    let bytes = text.as_bytes();
    let first = match bytes.get(run.start..run.start + BYTES).and_then(|bytes| bytes.first_chunk()) {
        // What follows on a shorter run is cut off.
        Some(bytes) => u64::from_le_bytes(*bytes) & (u64::MAX >> (8 * BYTES.saturating_sub(run.len()))),
        None => bytes[run.clone()].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)),
    };
    let last = match bytes[run].last_chunk() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => 0,
    };
    u128::from(last) << 64 | u128::from(first)
}

/// Whether a byte is an ASCII letter or digit; none for the others, which are parts of characters.
static KINDS: [Option<bool>; 256] = {
    let mut kinds = [None; 256];
    let mut byte = 0;
    while byte < 128 {
        kinds[byte] = Some((byte as u8).is_ascii_alphanumeric());
        byte += 1;
    }
    kinds
};

/// Maximal runs of the characters that words of scripts with spaces are made of.
struct Runs<'t> {
    text: &'t str,
    at: usize,
}

impl Runs<'_> {
    /// Where the next character that passes, or does not, starts; or the end.
    #[inline]
    fn next_place(&self, from: usize, passes: bool) -> usize {
        let bytes = self.text.as_bytes();
        let mut at = from;
        while let Some(byte) = bytes.get(at) {
            // Most characters are ASCII, which needs no tables of Unicode's.
            match KINDS[usize::from(*byte)] {
                Some(spaced) if spaced == passes => break,
                Some(_) => at += 1,
                None => match self.text[at..].chars().next() {
                    Some(c) if is_spaced(c) != passes => at += c.len_utf8(),
                    _ => break,
                },
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
