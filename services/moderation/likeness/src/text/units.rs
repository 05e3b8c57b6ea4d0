//! A text as words and characters.

use std::ops::Range;

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// A word, or a character of a script that is written without spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// FNV-1a in 64 bits over the folded characters in UTF-8.
    pub(super) hash: u64,
    /// 4 for a word, 2 for a Chinese or Japanese character, 1 for a letter of another script without spaces.
    pub(super) weight: usize,
    /// Where it stands in the text, in bytes.
    pub(super) range: Range<usize>,
}

const WORD: usize = 4;

/// Fowler, Noll, Vo: draft-eastlake-fnv, 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The units of a text in their order.
pub(super) fn units(text: &str) -> Vec<Unit> {
    let mut units = Units::default();
    for (start, c) in text.char_indices() {
        let range = start..start + c.len_utf8();
        if c.is_ascii() {
            units.push(c.to_ascii_lowercase(), range);
        } else {
            // Case is folded by way of capitals: `ß` and `ς` become `ss` and `σ`.
            decompose_compatible(c, |part| {
                let capitals = part.to_uppercase();
                capitals.flat_map(char::to_lowercase).for_each(|folded| units.push(folded, range.clone()));
            });
        }
    }
    units.end_word();
    units.done
}

#[derive(Default)]
struct Units {
    done: Vec<Unit>,
    word: Option<Unit>,
}

impl Units {
    fn push(&mut self, c: char, range: Range<usize>) {
        if is_joiner(c) {
            return;
        }
        match spaceless_weight(c) {
            Some(weight) if c.is_alphanumeric() => {
                self.end_word();
                self.done.push(Unit { hash: hash(FNV_OFFSET, c), weight, range });
            }
            None if c.is_alphanumeric() => {
                let fresh = Unit { hash: FNV_OFFSET, weight: WORD, range: range.clone() };
                let word = self.word.get_or_insert(fresh);
                word.hash = hash(word.hash, c);
                word.range.end = range.end;
            }
            _ => self.end_word(),
        }
    }

    fn end_word(&mut self) {
        self.done.extend(self.word.take());
    }
}

fn hash(state: u64, c: char) -> u64 {
    let mut bytes = [0; 4];
    c.encode_utf8(&mut bytes)
        .bytes()
        .fold(state, |state, byte| (state ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// What may stand within a word without parting it: apostrophes, marks (accents, vowel signs) and what is not seen.
fn is_joiner(c: char) -> bool {
    match c {
        '\'' | '\u{2019}' | '\u{2bc}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => true,
        _ => !c.is_ascii() && is_combining_mark(c),
    }
}

/// The weight of a character of a script that puts no spaces between words, from the blocks of Unicode 16.
fn spaceless_weight(c: char) -> Option<usize> {
    match c {
        // Kana and bopomofo; ideographs, their extensions and compatibility forms.
        '\u{3005}'..='\u{3007}'
        | '\u{3040}'..='\u{312f}'
        | '\u{31a0}'..='\u{31bf}'
        | '\u{31f0}'..='\u{31ff}' => Some(2),
        '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' => Some(2),
        '\u{20000}'..='\u{3ffff}' => Some(2),
        // Thai, Lao, Tibetan; Burmese; Khmer.
        '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> Vec<&str> {
        units(text).into_iter().map(|unit| &text[unit.range]).collect()
    }

    fn hashes(text: &str) -> Vec<u64> {
        units(text).into_iter().map(|unit| unit.hash).collect()
    }

    #[test]
    fn texts_fall_into_words_and_characters() {
        assert_eq!(parts("Don't stop -- 42 times!"), ["Don't", "stop", "42", "times"]);
        assert_eq!(parts("春眠不觉晓 (Meng)"), ["春", "眠", "不", "觉", "晓", "Meng"]);
        assert_eq!(parts("カタカナABC語"), ["カ", "タ", "カ", "ナ", "ABC", "語"]);
        assert_eq!(parts("서울 사람"), ["서울", "사람"]);
        assert_eq!(parts("ไทย!"), ["ไ", "ท", "ย"]);
        assert!(parts(" ...\u{301}— ").is_empty());
        assert_eq!(units("a")[0].hash, 0xaf63_dc4c_8601_ec8c); // The published test vector.
    }

    #[test]
    fn ways_of_writing_are_one() {
        for (one, other) in [
            ("Café", "cafe\u{301}"),
            ("DON’T", "don't"),
            ("ＦＵＬＬ　width", "full WIDTH"),
            ("ﾊﾝｶｸ", "ハンカク"),
            ("co\u{ad}oper\u{200b}ate", "cooperate"),
            ("STRASSE ΟΔΟΣ", "straße οδος"),
            ("㍿", "株式会社"),
        ] {
            assert_eq!(hashes(one), hashes(other), "{one} {other}");
        }
        assert_ne!(hashes("cats"), hashes("cat s"));
    }

    proptest! {
        #[test]
        fn units_stand_in_order_within_the_text(text: String) {
            let units = units(&text);
            for unit in &units {
                prop_assert!(text.get(unit.range.clone()).is_some_and(|part| !part.is_empty()));
            }
            prop_assert!(units.windows(2).all(|pair| pair[0].range.start <= pair[1].range.start));
        }
    }
}
