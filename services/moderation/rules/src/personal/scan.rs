//! Reading around a place in a text. All rules look through this, at a bounded number of bytes.

use std::ops::Range;

use super::{Finding, Kind};
use crate::boundary::in_word;

/// Bytes before a place in which a word makes a number mean something: a short clause.
const CONTEXT: usize = 48;

/// Signs that may join a word to something redacted.
const SIGNS: usize = 8;

/// Stars of something redacted.
const STARS: &str = "****";

/// Bytes of the longest mark of a kind, and more.
const LONGEST_MARK: usize = 24;

fn is_mark(name: &str) -> bool {
    Kind::ALL.iter().any(|kind| kind.mark() == name)
}

/// A text and its bytes. Places outside the text read as 0.
#[derive(Clone, Copy)]
pub(super) struct Scan<'t> {
    pub(super) text: &'t str,
    /// The same bytes with ASCII letters in lower case: for names and words.
    pub(super) lower: &'t str,
}

impl<'t> Scan<'t> {
    pub(super) fn byte(self, at: usize) -> u8 {
        self.text.as_bytes().get(at).copied().unwrap_or(0)
    }

    pub(super) fn before(self, at: usize) -> u8 {
        at.checked_sub(1).map_or(0, |at| self.byte(at))
    }

    /// Empty where `range` cuts a character.
    pub(super) fn slice(self, range: Range<usize>) -> &'t str {
        self.text.get(range).unwrap_or_default()
    }

    /// End of the bytes from `from` that are `of`, `limit` at most.
    pub(super) fn run(self, from: usize, limit: usize, of: impl Fn(u8) -> bool) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        from + rest.iter().take(limit).take_while(|byte| of(**byte)).count()
    }

    /// Start of the bytes up to `to` that are `of`, `limit` at most.
    pub(super) fn run_back(self, to: usize, limit: usize, of: impl Fn(u8) -> bool) -> usize {
        let head = self.text.as_bytes().get(..to).unwrap_or_default();
        to - head.iter().rev().take(limit).take_while(|byte| of(**byte)).count()
    }

    /// No letter or digit stands before `at`; Chinese and Japanese do not count, they stand beside numbers. What was
    /// redacted, and a few signs between, is a part of words, so that redacting again finds nothing new.
    pub(super) fn starts(self, at: usize) -> bool {
        let free = match self.before(at) {
            byte @ 0..=0x7f => !(byte.is_ascii_alphanumeric() || byte == b'_'),
            _ => !self.text.get(..at).and_then(|text| text.chars().next_back()).is_some_and(in_word),
        };
        free && !self
            .mark_ends(self.run_back(at, SIGNS, |byte| byte.is_ascii_punctuation() && !b"]*".contains(&byte)))
    }

    /// No letter or digit stands at `at`.
    pub(super) fn ends(self, at: usize) -> bool {
        let free = match self.byte(at) {
            byte @ 0..=0x7f => !(byte.is_ascii_alphanumeric() || byte == b'_'),
            _ => !self.text.get(at..).and_then(|text| text.chars().next()).is_some_and(in_word),
        };
        free && !self
            .mark_starts(self.run(at, SIGNS, |byte| byte.is_ascii_punctuation() && !b"[*".contains(&byte)))
    }

    /// A number starts here that no id, version, path or longer number goes on with.
    pub(super) fn starts_number(self, at: usize) -> bool {
        let sign = self.before(at);
        let joined = matches!(sign, b'-' | b'.' | b'/' | b'+' | b'=' | b'%' | b'#' | b'@' | b'$' | b'\\');
        let before = self.before(at.saturating_sub(1));
        let hangs = before.is_ascii_alphanumeric() || matches!(before, b'_' | b')');
        // `key=4111...` and `...#4111` are written so.
        let sets = matches!(sign, b'=' | b'#') && !before.is_ascii_digit();
        self.starts(at) && !(joined && hangs && !sets)
    }

    /// A number ends here.
    pub(super) fn ends_number(self, at: usize) -> bool {
        let next = self.byte(at + 1);
        let joined = match self.byte(at) {
            b'-' | b'/' | b'@' => next.is_ascii_alphanumeric(),
            b'.' | b',' | b':' => next.is_ascii_digit(),
            b'%' => true,
            _ => false,
        };
        self.ends(at) && !joined
    }

    /// Whether something redacted starts at `at`. Fewer than four stars may be emphasis.
    fn mark_starts(self, at: usize) -> bool {
        let end = self.run(at + 1, LONGEST_MARK, |byte| {
            byte.is_ascii_uppercase() || matches!(byte, b'_' | b'0'..=b'9')
        });
        match self.byte(at) {
            b'[' => self.byte(end) == b']' && is_mark(self.slice(at + 1..end)),
            _ => self.slice(at..at + STARS.len()) == STARS,
        }
    }

    /// Whether something redacted ends at `at`.
    pub(super) fn mark_ends(self, at: usize) -> bool {
        match self.before(at) {
            b']' => {
                let end = at - 1;
                let start = self.run_back(end, LONGEST_MARK, |byte| {
                    byte.is_ascii_uppercase() || matches!(byte, b'_' | b'0'..=b'9')
                });
                self.before(start) == b'[' && is_mark(self.slice(start..end))
            }
            b'*' => self.slice(at.saturating_sub(STARS.len())..at) == STARS,
            _ => false,
        }
    }

    /// Whether one of `words` (in lower case) stands shortly before `at`, with nothing redacted between: that moves words
    /// closer.
    pub(super) fn follows(self, at: usize, words: &[&str]) -> bool {
        let from = self.text.floor_char_boundary(at.saturating_sub(CONTEXT));
        let near = self.lower.get(from..at).unwrap_or_default();
        let mut marks = near.rmatch_indices([']', '*']).map(|(n, _)| n + 1);
        let cut = marks.find(|n| self.mark_ends(from + n)).unwrap_or(0);
        let near = near.get(cut..).unwrap_or_default();
        words.iter().any(|word| stands_in(near, word))
    }

    pub(super) fn found(self, kind: Kind, range: Range<usize>, confidence: f32) -> Option<Finding> {
        Some(Finding { kind, range, confidence })
    }
}

/// Whether `word` stands in `near`, and not inside another word if it is written in ASCII.
fn stands_in(near: &str, word: &str) -> bool {
    let letter =
        |at: Option<usize>| at.and_then(|at| near.as_bytes().get(at)).is_some_and(u8::is_ascii_alphabetic);
    let inside = |at: usize| letter(at.checked_sub(1)) || letter(Some(at + word.len()));
    near.match_indices(word).any(|(at, _)| !word.is_ascii() || !inside(at))
}

/// Shannon's entropy of the bytes of `text`, in bits for each.
pub(super) fn entropy(text: &str) -> f32 {
    let mut counts = [0_u16; 256];
    for byte in text.bytes().take(usize::from(u16::MAX)) {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let total: f32 = counts.iter().map(|count| f32::from(*count)).sum();
    let part = |count: &u16| f32::from(*count) / total;
    counts.iter().filter(|count| **count > 0).map(|count| -part(count) * part(count).log2()).sum()
}
