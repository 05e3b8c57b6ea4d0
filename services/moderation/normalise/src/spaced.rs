//! Letters that were moved apart, and letters written too often.

use std::{ops::Range, sync::LazyLock};

use crate::{
    leet,
    letters::{is_han, is_letter, is_letter_or_digit},
    table::Table,
    view::Edits,
};

/// Fewer single letters in a row than this are initials, or an article.
const MIN_LETTERS: usize = 3;

/// The longest separator: one character, up to this many times.
const MAX_SEPARATOR: usize = 3;

fn separates(c: char) -> bool {
    if is_letter_or_digit(c) {
        return false;
    }
    c.is_whitespace()
        || matches!(
            c,
            '.' | ','
                | '_'
                | '-'
                | '*'
                | '/'
                | '\\'
                | '~'
                | '\''
                | '"'
                | '`'
                | ':'
                | ';'
                | '='
                | '#'
                | '^'
                | '&'
                | '+'
                | '·'
                | '•'
                | '‧'
                | '∙'
                | '・'
                | '‐'..='―' | '、' | '。' | '…' | '●' | '○' | '★' | '☆' | '♥' | '❤'
        )
}

/// What splits Chinese words and no ordinary text has between two Chinese characters.
fn splits_han(c: char) -> bool {
    matches!(
        c,
        '*' | '_'
            | '^'
            | '~'
            | '|'
            | '#'
            | '+'
            | '='
            | '\\'
            | '/'
            | '&'
            | '@'
            | '$'
            | '★'
            | '☆'
            | '●'
            | '○'
            | '♥'
            | '❤'
    )
}

/// A character that stands alone, or a run of one separator.
struct Token {
    c: char,
    range: Range<usize>,
    count: usize,
}

impl Token {
    /// The one that begins at a byte.
    fn at(text: &str, start: usize) -> Option<Self> {
        let rest = text.get(start..)?;
        let c = rest.chars().next()?;
        let count = if separates(c) { rest.chars().take_while(|next| *next == c).count() } else { 1 };
        Some(Self { c, range: start..start + count * c.len_utf8(), count })
    }
}

/// What a character is to the search for runs.
#[derive(Clone, Copy, Default)]
struct Class {
    continues: bool,
    /// May begin a run where it stands alone.
    begins: bool,
    is_han: bool,
    splits_han: bool,
}

static CLASSES: LazyLock<Table<Class>> = LazyLock::new(|| {
    Table::new(|c| Class {
        continues: continues(c),
        begins: continues(c) || leet::letter(c).is_some(),
        is_han: is_han(c),
        splits_han: splits_han(c) && !continues(c),
    })
});

/// Where, from a byte on, a character stands that may begin a run or splits a Chinese word. What lies between are words, and
/// what separates them.
fn next_place(text: &str, from: usize) -> Option<usize> {
    let classes = &*CLASSES;
    let mut before = text[..from].chars().next_back().map_or(Class::default(), |c| classes.get(c));
    // Whether the last character begins a run, unless a second one of its word comes.
    let (mut alone, mut last) = (false, from);
    for (at, c) in text[from..].char_indices() {
        let (class, at) = (classes.get(c), from + at);
        // Without branches that depend on where words end: those are hard to foresee.
        if (alone & !class.continues) | (before.is_han & class.splits_han) {
            return Some(if alone { last } else { at });
        }
        alone = class.begins & !before.continues;
        (before, last) = (class, at);
    }
    alone.then_some(last)
}

/// Single letters with the same separator between all of them.
#[derive(Default)]
struct Run {
    /// What to take out if this proves to be a word; and whether it splits a Chinese word, to be taken out in any case.
    separators: Vec<(Range<usize>, bool)>,
    separator: Option<(char, usize)>,
    letters: usize,
    /// All of its characters, digits and signs that stand for letters included.
    length: usize,
}

impl Run {
    fn end(&mut self, edits: &mut Edits) {
        let run = std::mem::take(self);
        let is_word = run.length >= MIN_LETTERS && run.letters >= 2;
        for (n, (range, splits)) in run.separators.into_iter().enumerate() {
            if splits || (is_word && n + 1 < run.length) {
                edits.remove(range);
            }
        }
    }
}

/// Whether a character beside a letter makes it part of a longer word.
fn continues(c: char) -> bool {
    is_letter_or_digit(c) || matches!(c, '@' | '$')
}

/// Whether one of the characters that words are made of starts here and stands alone.
fn is_single(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|c| is_letter(c) || leet::letter(c).is_some());
    first && !chars.next().is_some_and(continues)
}

/// Words of single letters without the separators between them, and Chinese words without signs within.
pub(crate) fn joined(text: &str) -> Edits {
    let mut edits = Edits::default();
    let mut run = Run::default();
    let mut before: Option<char> = None;
    let mut at = 0;
    loop {
        if run.length == 0 {
            let Some(next) = next_place(text, at) else { break };
            before = text[..next].chars().next_back();
            at = next;
        }
        let Some(Token { c, range, count }) = Token::at(text, at) else { break };
        at = range.end;
        let rest = &text[range.end..];
        let after = rest.chars().next();
        let splits = splits_han(c) && before.is_some_and(is_han) && after.is_some_and(is_han);
        if separates(c) && run.length > 0 {
            let this = (c, count);
            if count <= MAX_SEPARATOR && run.separator.is_none_or(|known| known == this) {
                run.separator = Some(this);
                run.separators.push((range, splits));
            } else if !c.is_whitespace()
                && run.separator.is_some_and(|(known, _)| known.is_whitespace())
                && is_single(rest)
            {
                // Spaces before and signs behind: the letter between begins another word.
                let letter = usize::from(before.is_some_and(is_letter));
                run.length -= 1;
                run.letters = run.letters.saturating_sub(letter);
                run.end(&mut edits);
                run = Run {
                    separators: vec![(range, splits)],
                    separator: Some(this),
                    letters: letter,
                    length: 1,
                };
            } else {
                run.end(&mut edits);
                if splits {
                    edits.remove(range);
                }
            }
        } else if !before.is_some_and(continues) && is_single(&text[range.start..]) {
            run.letters += usize::from(is_letter(c));
            run.length += 1;
        } else {
            run.end(&mut edits);
            if splits {
                edits.remove(range);
            }
        }
        before = Some(c);
    }
    run.end(&mut edits);
    edits
}

/// How many bytes are looked at together for whether any stands three times in a row.
const BLOCK: usize = 128;

/// The bytes from the start on, in blocks, that are ASCII and none of which stands three times in a row from there.
fn varied(bytes: &[u8]) -> usize {
    let thrice = |block: &[u8]| block.array_windows().fold(false, |any, [a, b, c]| any | (a == b) & (b == c));
    let mut at = 0;
    while bytes.get(at..at + BLOCK + 2).is_some_and(|block| block.is_ascii() && !thrice(block)) {
        at += BLOCK;
    }
    at
}

/// Letters that stand three times and more in a row, each with its place.
pub(crate) fn stretched(text: &str) -> Vec<(char, Range<usize>)> {
    let mut found = Vec::new();
    let mut from = 0;
    while from < text.len() {
        from += varied(&text.as_bytes()[from..]);
        let mut end = text.ceil_char_boundary(from + BLOCK);
        let last = text[..end].chars().next_back();
        end += text[end..].chars().take_while(|c| Some(*c) == last).map(char::len_utf8).sum::<usize>();
        let mut end_run = |c: char, count: usize, end: usize| {
            if count > 2 && is_letter(c) {
                found.push((c, end - count * c.len_utf8()..end));
            }
        };
        let (mut before, mut count) = ('\0', 0);
        for (at, c) in text[from..end].char_indices() {
            if c != before {
                end_run(before, count, from + at);
                (before, count) = (c, 0);
            }
            count += 1;
        }
        end_run(before, count, end);
        from = end;
    }
    found
}

/// [`stretched`] letters stand `keep` times instead.
pub(crate) fn squeezed(stretched: &[(char, Range<usize>)], keep: usize) -> Edits {
    let mut edits = Edits::default();
    for (c, run) in stretched {
        edits.replace_chars(run.clone(), std::iter::repeat_n(*c, keep));
    }
    edits
}

/// A word that was written letter by letter.
pub(crate) struct Split {
    /// Its letters, digits and signs.
    pub(crate) word: String,
    /// What stood between them.
    pub(crate) separator: char,
}

/// The words that [`joined`] puts together by these edits of a text.
pub(crate) fn splits(text: &str, joined: &Edits) -> Vec<Split> {
    let first = |text: &str| text.chars().next();
    let mut splits: Vec<Split> = Vec::new();
    let mut end = None;
    for range in joined.ranges() {
        let letter = text[..range.start].chars().next_back();
        let goes_on = end.is_some_and(|end| end + letter.map_or(0, char::len_utf8) == range.start);
        match splits.last_mut().filter(|_| goes_on) {
            Some(split) => split.word.extend(first(&text[range.end..])),
            None => splits.push(Split {
                word: letter.into_iter().chain(first(&text[range.end..])).collect(),
                separator: first(&text[range.clone()]).unwrap_or(' '),
            }),
        }
        end = Some(range.end);
    }
    splits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As [`next_place`], by each character and its neighbours.
    fn next_place_plainly(text: &str, from: usize) -> Option<usize> {
        let is_place = |(at, c): &(usize, char)| {
            let before = text[..*at].chars().next_back();
            let after = text[at + c.len_utf8()..].chars().next();
            let begins = continues(*c) || leet::letter(*c).is_some();
            let alone = begins && !before.is_some_and(continues) && !after.is_some_and(continues);
            alone || !continues(*c) && splits_han(*c) && before.is_some_and(is_han)
        };
        text.char_indices().find(|place| place.0 >= from && is_place(place)).map(|(at, _)| at)
    }

    /// As [`stretched`], by runs of equal characters.
    fn stretched_plainly(text: &str) -> Vec<(char, Range<usize>)> {
        let chars: Vec<(usize, char)> = text.char_indices().collect();
        let runs = chars.chunk_by(|(_, c), (_, next)| c == next).map(|run| {
            let (start, c) = run[0];
            (run.len(), c, start..start + run.len() * c.len_utf8())
        });
        runs.filter(|(count, c, _)| *count > 2 && c.is_alphabetic()).map(|(_, c, run)| (c, run)).collect()
    }

    /// Stretches of ASCII, longer ones than a block, and others.
    fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            3 => "[a-c ]{1,40}",
            1 => "[aA1.@+*| -]{1,8}",
            1 => "a{1,300}|中{1,100}|\\.{1,9}",
            1 => "[中文萬亻尔é\u{301}\u{200b}\u{20000}*_+@，]{1,12}",
        ];
        proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn places_are_found_from_everywhere(text in text()) {
            for (from, _) in text.char_indices().take(60) {
                prop_assert_eq!(next_place(&text, from), next_place_plainly(&text, from), "{}", from);
            }
        }

        #[test]
        fn stretched_letters_are_found_across_blocks(text in text()) {
            prop_assert_eq!(stretched(&text), stretched_plainly(&text));
        }
    }
}
