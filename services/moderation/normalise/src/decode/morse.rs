//! International Morse code.

use super::{Candidate, Encoding, Sink};
use crate::letters::runs;

/// Fewer letters, or fewer different ones, are a row of dots or dashes.
const MIN_LETTERS: usize = 3;

/// A letter's code is short; longer rows are rules.
const MAX_CODE: usize = 5;

/// The letters of ITU-R M.1677-1 as a heap: from a node n, a dot leads to 2n + 1 and a dash to 2n + 2.
const TREE: &[u8; 63] = b" etianmsurwdkgohvf l pjbxcyzq  54 3   2       16       7   8 90";

fn is_dash(c: char) -> bool {
    matches!(c, '-' | '_' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn is_dot(c: char) -> bool {
    matches!(c, '.' | '\u{b7}' | '\u{2022}' | '\u{2219}' | '\u{30fb}')
}

fn letter(code: &str) -> Option<u8> {
    if code.chars().nth(MAX_CODE).is_some() {
        return None;
    }
    let node = code.chars().fold(0, |node, c| 2 * node + if is_dash(c) { 2 } else { 1 });
    TREE.get(node).copied().filter(|letter| *letter != b' ')
}

pub(super) fn scan(text: &str, sink: Sink<'_>) {
    let of_code = |c: char| is_dot(c) || is_dash(c) || matches!(c, ' ' | '/' | '|' | '\n');
    for (range, run) in runs(text, of_code) {
        let code = run.trim();
        let start = range.start + run.find(code).unwrap_or(0);
        let mut made = Vec::new();
        let mut whole = true;
        for word in code
            .split(['/', '|', '\n'])
            .flat_map(|part| part.split("   "))
            .filter(|word| !word.trim().is_empty())
        {
            made.extend((!made.is_empty()).then_some(b' '));
            for code in word.split_whitespace() {
                let letter = letter(code);
                whole &= letter.is_some();
                made.extend(letter);
            }
        }
        let mut different = made.clone();
        different.retain(|letter| *letter != b' ');
        let letters = different.len();
        different.sort_unstable();
        different.dedup();
        let enough = letters >= MIN_LETTERS && different.len() >= MIN_LETTERS;
        let source = start..start + code.len();
        let candidate = Candidate { encoding: Encoding::Morse, source, bytes: made, certain: false };
        if whole && enough && !sink(candidate) {
            return;
        }
    }
}
