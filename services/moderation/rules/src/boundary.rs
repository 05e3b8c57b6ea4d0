//! Where words begin and end.
//!
//! In scripts with spaces, letters, digits and marks belong to the word they touch (after UAX #29, but without its rules
//! for punctuation inside words: `idiot.com` ends the word `idiot`). In scripts without spaces a segmenter with a
//! dictionary decides, that of ICU, which is compiled in: nothing to load, Japanese words too, and finer words than jieba's,
//! whose 中日关系 hides 中日. Hangul counts as a script with spaces: particles
//! hang on the word, so Korean terms are better matched as substrings.

use icu_segmenter::{WordSegmenter, options::WordBreakInvariantOptions};

/// Bytes that the segmenter reads on each side of a block: 8 Chinese characters. Over 174,000 places in posts of the COLD corpus it
/// decides as over the whole post; 6 characters are wrong about three of them.
const REACH: usize = 24;

/// Bytes that the segmenter is asked about at once. It takes 150 ns a byte: blocks are kept, so that no text with many
/// candidates is segmented more than a few times over.
const BLOCK: usize = 48;

/// Answers for one text.
pub(crate) struct Boundaries<'t> {
    text: &'t str,
    /// The blocks asked for last: a match may begin in one and end in the next.
    blocks: [Option<Block>; 2],
}

/// Where words end from byte `from` on, up to a bit for each byte of a block.
#[derive(Clone, Copy)]
struct Block {
    from: usize,
    ends: u64,
}

impl<'t> Boundaries<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, blocks: [None; 2] }
    }

    /// Whether no word reaches across byte `at`, which lies between two characters.
    pub(crate) fn at(&mut self, at: usize) -> bool {
        let (Some(before), Some(after)) = (self.text.get(..at), self.text.get(at..)) else {
            return false;
        };
        let (Some(left), Some(right)) = (before.chars().next_back(), after.chars().next()) else {
            return true;
        };
        if is_mark(right) {
            return false;
        }
        match (unspaced(left), unspaced(right)) {
            (true, true) => self.segmenter_ends(at),
            (false, false) => !(in_word(left) && in_word(right)),
            (true, false) | (false, true) => true,
        }
    }

    fn segmenter_ends(&mut self, at: usize) -> bool {
        let from = at - at % BLOCK;
        let block = match self.blocks.into_iter().flatten().find(|block| block.from == from) {
            Some(known) => known,
            None => {
                let block = Block { from, ends: word_ends(self.text, from) };
                self.blocks = [Some(block), self.blocks[0]];
                block
            }
        };
        block.ends & (1 << (at - from)) != 0
    }
}

/// Bit n tells whether a word ends at byte `from + n`.
fn word_ends(text: &str, from: usize) -> u64 {
    let start = text.floor_char_boundary(from.saturating_sub(REACH));
    let end = text.ceil_char_boundary(text.len().min(from + BLOCK + REACH));
    let segmenter = WordSegmenter::new_dictionary(WordBreakInvariantOptions::default());
    let ends = segmenter.segment_str(text.get(start..end).unwrap_or_default()).map(|end| start + end);
    ends.filter(|end| (from..from + BLOCK).contains(end)).fold(0, |bits, end| bits | 1 << (end - from))
}

/// Whether an ASCII letter or digit beside `c` would be one word with it.
pub(crate) fn in_word(c: char) -> bool {
    is_spaced(c) || is_mark(c)
}

/// Whether `c` is a letter, digit or mark of a script with spaces.
#[inline]
pub(crate) fn is_spaced(c: char) -> bool {
    match c {
        '\0'..='\x7f' => c.is_ascii_alphanumeric(),
        // Chinese texts skip the tables.
        '\u{3000}'..='\u{3020}' | '\u{4e00}'..='\u{9fff}' | '\u{ff00}'..='\u{ff0f}' => false,
        _ => !unspaced(c) && (c.is_alphanumeric() || is_mark(c)),
    }
}

/// Marks and joiners that belong to the character before them and that `char::is_alphanumeric` leaves out.
pub(crate) fn is_mark(c: char) -> bool {
    matches!(c,
        '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{591}'..='\u{5bd}' | '\u{610}'..='\u{61a}'
        | '\u{64b}'..='\u{65f}' | '\u{93c}' | '\u{94d}' | '\u{9bc}' | '\u{9cd}' | '\u{a4d}' | '\u{acd}' | '\u{bcd}'
        | '\u{c4d}' | '\u{ccd}' | '\u{d4d}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{200d}'
        | '\u{20d0}'..='\u{20ff}' | '\u{3099}' | '\u{309a}' | '\u{fe00}'..='\u{fe0f}' | '\u{fe20}'..='\u{fe2f}')
}

/// Letters of scripts that put no space between words: Thai, Lao, Myanmar, Khmer, kana, Han.
fn unspaced(c: char) -> bool {
    matches!(c,
        '\u{e01}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3005}'..='\u{3007}'
        | '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9f}' | '\u{20000}'..='\u{3ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks(left: &str, right: &str) -> bool {
        Boundaries::new(&[left, right].concat()).at(left.len())
    }

    #[test]
    fn words_with_spaces() {
        for (left, right) in
            [("", "a"), ("a", ""), ("a", " b"), ("an ", "ass"), ("idiot", ".com"), ("a", "_b"), ("x", "中")]
        {
            assert!(breaks(left, right), "{left}|{right}");
        }
        for (left, right) in
            [("sc", "unt"), ("ass", "9"), ("é", "a"), ("e", "\u{301}"), ("Ж", "ж"), ("ב", "א"), ("바", "보")]
        {
            assert!(!breaks(left, right), "{left}|{right}");
        }
    }

    #[test]
    fn words_without_spaces() {
        for (left, right) in
            [("在", "操场"), ("平台", "独立运行"), ("集中", "日期"), ("买", "鸡蛋"), ("体操", "比赛")]
        {
            assert!(breaks(left, right), "{left}|{right}");
        }
        for (left, right) in [
            ("登记将集", "中日期"),
            ("我们的平", "台独立运行"),
            ("他是个汉", "奸"),
            ("体", "操"),
            ("鸡", "蛋"),
        ] {
            assert!(!breaks(left, right), "{left}|{right}");
        }
    }

    #[test]
    fn spaced_letters_are_those_of_unicode() {
        let spaced = |c: char| !unspaced(c) && (c.is_alphanumeric() || is_mark(c));
        assert!(('\0'..=char::MAX).all(|c| is_spaced(c) == spaced(c)));
    }

    #[test]
    fn no_place_outside_the_text_or_inside_a_character() {
        assert!(!Boundaries::new("中").at(1));
        assert!(!Boundaries::new("a").at(2));
    }

    #[test]
    fn blocks_do_not_show() {
        for padding in 0..40 {
            let text = ["是".repeat(padding).as_str(), "。买鸡蛋在操场上"].concat();
            let mut boundaries = Boundaries::new(&text);
            let at = |word: &str| text.find(word).unwrap();
            for (place, ends) in [("鸡", true), ("蛋", false), ("操", true), ("场", false), ("买", true)]
            {
                assert_eq!(boundaries.at(at(place)), ends, "{padding} {place}");
            }
        }
    }
}
