//! Digits and signs that stand for letters.

use std::ops::Range;

use crate::{letters::runs, view::Edits};

/// Signs of several characters, the longest first.
const SIGNS: [(&str, &str); 11] = [
    ("\\/\\/", "w"),
    ("|\\/|", "m"),
    ("|_|", "u"),
    ("|-|", "h"),
    ("|\\|", "n"),
    ("\\/", "v"),
    ("/\\", "a"),
    ("|<", "k"),
    ("|)", "d"),
    ("|3", "b"),
    ("()", "o"),
];

/// The letter that a digit or sign stands for.
pub(crate) fn letter(c: char) -> Option<char> {
    Some(match c {
        '4' | '@' => 'a',
        '8' => 'b',
        '(' | '¢' => 'c',
        '3' | '€' => 'e',
        '6' | '9' => 'g',
        '1' | '!' | '|' => 'i',
        '£' => 'l',
        '0' => 'o',
        '5' | '$' => 's',
        '7' | '+' => 't',
        '¥' => 'y',
        _ => return None,
    })
}

fn in_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || may_read(c)
}

/// Whether [`letters`] may change something at this character.
pub(crate) fn may_read(c: char) -> bool {
    letter(c).is_some() || matches!(c, '|' | '\\' | '/' | '_' | '-' | '<' | ')')
}

/// Whether a sign that is also punctuation is meant as a letter: with letters on both sides, and no parenthesis that the word
/// closes.
fn is_meant(c: char, before: Option<char>, after: Option<char>, closed: bool) -> bool {
    let reads = |c: char| c.is_ascii_alphanumeric() || matches!(c, '@' | '$' | '!' | '|' | '(');
    match c {
        '(' => !closed && after.is_some_and(reads),
        '!' | '|' | '+' => before.is_some_and(reads) && after.is_some_and(reads),
        '£' | '€' | '¥' => before.is_some_and(reads),
        _ => true,
    }
}

/// Words that hold letters and what may stand for some, each with its place.
pub(crate) fn tokens(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    runs(text, in_token).filter(|(_, token)| {
        let plain = token.bytes().all(|byte| byte.is_ascii_alphabetic());
        !plain && token.bytes().any(|byte| byte.is_ascii_alphabetic())
    })
}

/// Letters in place of what stands for them, in words that hold a letter.
pub(crate) fn letters(text: &str) -> Edits {
    let mut edits = Edits::default();
    for (range, token) in tokens(text) {
        let closed = token.contains(')');
        let (mut at, mut before) = (0, None);
        while let Some(c) = token[at..].chars().next() {
            let rest = &token[at..];
            if let Some((sign, letter)) =
                SIGNS.iter().find(|(sign, _)| !c.is_ascii_alphanumeric() && rest.starts_with(sign))
            {
                edits.replace(range.start + at..range.start + at + sign.len(), letter);
                at += sign.len();
                before = letter.chars().next();
                continue;
            }
            if let Some(letter) = letter(c)
                && is_meant(c, before, rest[c.len_utf8()..].chars().next(), closed)
            {
                edits.swap(range.start + at, c, letter);
            }
            before = Some(c);
            at += c.len_utf8();
        }
    }
    edits
}
