//! Texts without their case, and the way back to bytes of the original.
//!
//! Folding is simple: one character becomes one character, so that a match in the folded text has exact ends in the
//! original. It follows lower case, with the final sigma as any other and the dotted capital I as `i`.

use std::ops::Range;

/// A text without its case.
pub(crate) struct Folded {
    text: String,
    /// Where lengths part: (byte in the folded text, byte in the original), from there on equally long.
    steps: Vec<(usize, usize)>,
}

impl Folded {
    pub(crate) fn new(original: &str) -> Self {
        if original.is_ascii() {
            return Self { text: original.to_ascii_lowercase(), steps: Vec::new() };
        }
        let mut text = String::with_capacity(original.len());
        let mut steps = Vec::new();
        let mut done = 0;
        let changes = original.char_indices().map(|(at, c)| (at, c, fold(c)));
        for (at, c, folded) in changes.filter(|(_, c, folded)| c != folded) {
            text.push_str(&original[done..at]);
            text.push(folded);
            done = at + c.len_utf8();
            if folded.len_utf8() != c.len_utf8() {
                steps.push((text.len(), done));
            }
        }
        text.push_str(&original[done..]);
        Self { text, steps }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The bytes of the original that became `range`, whose ends lie between characters.
    pub(crate) fn original(&self, range: Range<usize>) -> Range<usize> {
        self.original_at(range.start)..self.original_at(range.end)
    }

    fn original_at(&self, folded: usize) -> usize {
        let next = self.steps.partition_point(|(at, _)| *at <= folded);
        match next.checked_sub(1).and_then(|last| self.steps.get(last)) {
            Some((at, original)) => original + (folded - at),
            None => folded,
        }
    }
}

/// One character without its case.
#[inline]
pub(crate) fn fold(c: char) -> char {
    match c {
        '\0'..='\x7f' => c.to_ascii_lowercase(),
        // Kana, Han, Hangul and what lies between have no case, nor has punctuation: a Chinese text skips the tables.
        '\u{2010}'..='\u{206f}'
        | '\u{2e80}'..='\u{a63f}'
        | '\u{ac00}'..='\u{d7ff}'
        | '\u{ff00}'..='\u{ff20}' => c,
        'ς' => 'σ',
        _ => c.to_lowercase().next().unwrap_or(c),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::terms::MOST_FOLDED;

    #[test]
    fn lengths_that_change_find_their_way_back() {
        // Kelvin sign 3 bytes -> 1, dotted I 2 -> 1, Ⱥ 2 -> 3.
        let original = "\u{212a}aİbȺc";
        let folded = Folded::new(original);
        assert_eq!(folded.as_str(), "kaibⱥc");
        for c in ["a", "b", "c"] {
            let at = folded.as_str().find(c).unwrap();
            assert_eq!(&original[folded.original(at..at + 1)], c);
        }
    }

    #[test]
    fn no_character_shrinks_by_more() {
        assert!(('\0'..=char::MAX).all(|c| c.len_utf8() <= MOST_FOLDED * fold(c).len_utf8()));
    }

    #[test]
    fn what_skips_the_tables_has_no_case() {
        let slow = |c: char| if c == 'ς' { 'σ' } else { c.to_lowercase().next().unwrap_or(c) };
        assert!(('\0'..=char::MAX).all(|c| fold(c) == slow(c)));
    }

    proptest! {
        #[test]
        fn every_character_maps_to_its_own(original in "\\PC{0,40}") {
            let folded = Folded::new(&original);
            let pairs = folded.as_str().char_indices().zip(original.char_indices());
            for ((at, c), (from, o)) in pairs {
                prop_assert_eq!(fold(o), c);
                prop_assert_eq!(folded.original(at..at + c.len_utf8()), from..from + o.len_utf8());
            }
            prop_assert_eq!(folded.as_str().chars().count(), original.chars().count());
        }
    }
}
