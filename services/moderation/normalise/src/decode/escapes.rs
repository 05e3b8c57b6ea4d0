//! Characters written as their codes between others: percent-encoding, HTML entities, Unicode escapes.

use super::{Candidate, Encoding, Sink};
use crate::letters::{is_letter, runs};

/// Letters that must have been written as codes before the text counts. Chinese in a URL is always encoded; Latin letters
/// never need to be, but "%4d" is also a format.
const MIN_LETTERS: usize = 2;

pub(super) fn scan(text: &str, sink: Sink<'_>) {
    let percent = Kind { encoding: Encoding::Percent, sign: b'%', read: percent, gap: true };
    let entities = Kind { encoding: Encoding::HtmlEntities, sign: b'&', read: entity, gap: true };
    let unicode = Kind { encoding: Encoding::UnicodeEscapes, sign: b'\\', read: unicode, gap: true };
    let points = Kind { encoding: Encoding::UnicodeEscapes, sign: b'U', read: code_point, gap: false };
    for kind in [percent, entities, unicode, points] {
        if text.as_bytes().contains(&kind.sign) && !kind.scan(text, sink) {
            return;
        }
    }
}

/// A way of writing codes.
struct Kind {
    encoding: Encoding,
    /// What a code starts with.
    sign: u8,
    /// Reads the code at the start: its length and what it stands for.
    read: fn(&str) -> Option<(usize, Code)>,
    /// Whether a space between two words with codes is one.
    gap: bool,
}

enum Code {
    Byte(u8),
    Char(char),
}

impl Kind {
    /// Looks at words with codes, those side by side together.
    fn scan(&self, text: &str, sink: Sink<'_>) -> bool {
        let mut open: Option<Candidate> = None;
        for (range, word) in runs(text, |c| !c.is_whitespace()) {
            let mut made = Vec::new();
            let codes = self.undo(word, &mut made);
            match open.as_mut().filter(|open| codes && text[open.source.end..range.start].len() == 1) {
                Some(open) => {
                    open.bytes.extend(self.gap.then_some(b' '));
                    open.bytes.extend(made);
                    open.source.end = range.end;
                }
                None => {
                    if !self.close(text, open.take(), sink) {
                        return false;
                    }
                    open = codes.then_some(Candidate {
                        encoding: self.encoding,
                        source: range,
                        bytes: made,
                        certain: true,
                    });
                }
            }
        }
        self.close(text, open, sink)
    }

    /// Hands over what holds enough letters that were codes.
    fn close(&self, text: &str, open: Option<Candidate>, sink: Sink<'_>) -> bool {
        let Some(candidate) = open else { return true };
        let letters = |text: &str| text.chars().filter(|c| is_letter(*c)).count();
        let Ok(decoded) = std::str::from_utf8(&candidate.bytes) else { return true };
        // Letters that stand in the source themselves, in codes or between them, were not hidden.
        let mut codes = Vec::new();
        let mut rest = &text[candidate.source.clone()];
        while let Some(at) = rest.bytes().position(|byte| byte == self.sign) {
            rest = &rest[at..];
            let (length, code) = (self.read)(rest).map_or((1, None), |(length, code)| (length, Some(code)));
            code.into_iter().for_each(|code| code.put(&mut codes));
            rest = &rest[length..];
        }
        let hidden = String::from_utf8_lossy(&codes);
        letters(&hidden) < MIN_LETTERS || decoded.is_empty() || sink(candidate)
    }

    /// Writes a word with its codes undone; whether it had any.
    fn undo(&self, word: &str, made: &mut Vec<u8>) -> bool {
        let mut any = false;
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let code = if rest.as_bytes().first() == Some(&self.sign) { (self.read)(rest) } else { None };
            let length = match code {
                Some((length, code)) => {
                    any = true;
                    code.put(made);
                    length
                }
                None => {
                    made.extend(first.encode_utf8(&mut [0; 4]).bytes());
                    first.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        any
    }
}

impl Code {
    fn put(self, into: &mut Vec<u8>) {
        match self {
            Self::Byte(byte) => into.push(byte),
            Self::Char(c) => into.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}

fn percent(text: &str) -> Option<(usize, Code)> {
    let byte = u8::from_str_radix(text.get(1..3).filter(|digits| !digits.starts_with('+'))?, 16).ok()?;
    Some((3, Code::Byte(byte)))
}

/// A number of up to eight digits at the start, and how long it is.
fn number(text: &str, radix: u32) -> Option<(usize, u32)> {
    let length = text.bytes().take(8).take_while(|byte| char::from(*byte).is_digit(radix)).count();
    Some((length, u32::from_str_radix(text.get(..length)?, radix).ok()?))
}

fn entity(text: &str) -> Option<(usize, Code)> {
    const NAMED: [(&str, char); 6] =
        [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&apos;", '\''), ("&nbsp;", ' ')];
    if let Some((name, c)) = NAMED.iter().find(|(name, _)| text.starts_with(name)) {
        return Some((name.len(), Code::Char(*c)));
    }
    let (prefix, radix) = if text.starts_with("&#x") || text.starts_with("&#X") { (3, 16) } else { (2, 10) };
    let digits = text.strip_prefix("&#").and_then(|_| text.get(prefix..))?;
    let (length, code) = number(digits, radix)?;
    // The semicolon may be left out.
    let end = prefix + length + usize::from(digits.as_bytes().get(length) == Some(&b';'));
    Some((end, Code::Char(char::from_u32(code)?)))
}

fn unicode(text: &str) -> Option<(usize, Code)> {
    if let Some(digits) = text.strip_prefix("\\u{") {
        let (length, code) = number(digits, 16)?;
        return (digits.as_bytes().get(length) == Some(&b'}'))
            .then_some((4 + length, Code::Char(char::from_u32(code)?)));
    }
    let unit = |text: &str| {
        let digits = text.strip_prefix("\\u")?.get(..4)?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).ok())?
    };
    let first = unit(text)?;
    let second = text.get(6..).and_then(unit).filter(|_| (0xd800..0xdc00).contains(&first));
    let length = if second.is_some() { 12 } else { 6 };
    let c = char::decode_utf16([first].into_iter().chain(second)).next()?.ok()?;
    Some((length, Code::Char(c)))
}

fn code_point(text: &str) -> Option<(usize, Code)> {
    let (length, code) =
        number(text.strip_prefix("U+")?, 16).filter(|(length, _)| (4..=6).contains(length))?;
    Some((2 + length, Code::Char(char::from_u32(code)?)))
}
