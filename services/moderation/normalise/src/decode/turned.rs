//! English in rot13 or written backwards: what reads badly as it is and well when turned.

use std::ops::Range;

use super::{Candidate, Encoding, Sink, plausible::cost};
use crate::letters::{is_letter_or_digit, runs};

/// Half bits a letter that the turned text must be better by.
const MARGIN: i64 = 1;

/// Half bits that a text must be better by in all. Words of other languages and abbreviations stay below.
const MIN_GAIN: i64 = 24;

/// Half bits a letter from which on a text does not read as English; English has 8 in the mean.
const BAD: i64 = 12;

/// Half bits a letter up to which the turned text does. Abbreviations get better by turning, but not good.
const GOOD: i64 = 11;

/// Shorter ones are abbreviations.
const MIN_LETTERS: i64 = 4;

/// Fewer different letters are a pattern such as YYYY.
const MIN_DIFFERENT: usize = 3;

/// Whether this is found between words of a sentence: white space with at most a sign, an apostrophe or a hyphen.
fn is_gap(between: &str) -> bool {
    matches!(between, "'" | "-") || (between.len() <= 2 && between.contains(char::is_whitespace))
}

pub(super) fn scan(text: &str, sink: Sink<'_>) {
    if !text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return;
    }
    if search(text, Encoding::Rot13, |word| cost(word.bytes().map(rot13)), rot13_text, sink) {
        search(
            text,
            Encoding::Reversed,
            |word| cost(word.bytes().rev()),
            |text| text.chars().rev().collect(),
            sink,
        );
    }
}

fn rot13(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => (byte - b'a' + 13) % 26 + b'a',
        b'A'..=b'Z' => (byte - b'A' + 13) % 26 + b'A',
        _ => byte,
    }
}

fn rot13_text(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { char::from(rot13(c as u8)) } else { c }).collect()
}

fn has_different(text: &str) -> bool {
    let mut letters: Vec<u8> =
        text.bytes().filter(u8::is_ascii_alphabetic).map(|byte| byte.to_ascii_lowercase()).collect();
    letters.sort_unstable();
    letters.dedup();
    letters.len() >= MIN_DIFFERENT
}

/// The words so far whose gains add up to more than nothing, and the part of them with the most.
#[derive(Default)]
struct Stretch {
    start: usize,
    end: usize,
    gain: i64,
    given: i64,
    letters: i64,
    best: Best,
}

#[derive(Clone, Default)]
struct Best {
    range: Range<usize>,
    gain: i64,
    given: i64,
    letters: i64,
}

/// Finds stretches of words that gain by turning (Kadane's maximum subarray).
fn search(
    text: &str,
    encoding: Encoding,
    turned_cost: impl Fn(&str) -> u32,
    turn: impl Fn(&str) -> String,
    sink: Sink<'_>,
) -> bool {
    let mut stretch = Stretch::default();
    let mut close = |stretch: &mut Stretch| {
        let best = std::mem::take(stretch).best;
        // What it costs when turned.
        let turned = best.given - best.gain - MARGIN * best.letters;
        let found = best.gain >= MIN_GAIN
            && best.letters >= MIN_LETTERS
            && has_different(&text[best.range.clone()])
            && best.given >= BAD * best.letters
            && turned <= GOOD * best.letters;
        let bytes = || turn(&text[best.range.clone()]).into_bytes();
        !found || sink(Candidate { encoding, source: best.range.clone(), bytes: bytes(), certain: false })
    };
    for (range, token) in
        runs(text, |c| is_letter_or_digit(c) || matches!(c, '+' | '/' | '=' | '_' | '%' | '@' | '\\'))
    {
        let is_word = token.bytes().all(|byte| byte.is_ascii_alphabetic());
        let far = stretch.letters > 0 && !is_gap(&text[stretch.end..range.start]);
        if (!is_word || far) && !close(&mut stretch) {
            return false;
        }
        if !is_word {
            continue;
        }
        let letters = i64::try_from(token.len()).unwrap_or(i64::MAX);
        let given = i64::from(cost(token.bytes()));
        let gain = given - i64::from(turned_cost(token)) - MARGIN * letters;
        if stretch.letters == 0 {
            stretch.start = range.start;
        }
        stretch.end = range.end;
        stretch.gain += gain;
        stretch.given += given;
        stretch.letters += letters;
        if stretch.gain > stretch.best.gain {
            let Stretch { start, end, gain, given, letters, .. } = stretch;
            stretch.best = Best { range: start..end, gain, given, letters };
        }
        if stretch.gain <= 0 && !close(&mut stretch) {
            return false;
        }
    }
    close(&mut stretch)
}
