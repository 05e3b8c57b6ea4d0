//! Digits that stand for bits: base64, base32, hexadecimal, binary, Ascii85.

use std::ops::Range;

use super::{Candidate, Encoding, Sink};
use crate::letters::runs;

/// Fewer digits than these stand for too few letters to tell them from chance.
const MIN_BASE64: usize = 8;
const MIN_BASE32: usize = 8;
const MIN_BYTES: usize = 4;

/// The least length of the lines that an encoding is broken into; 64 and 76 are usual.
const MIN_LINE: usize = 16;

pub(super) fn scan(text: &str, sink: Sink<'_>) {
    let more = digits(text, sink) && by_bytes(text, sink) && binary(text, sink);
    if more {
        ascii85(text, sink);
    }
}

fn candidate(encoding: Encoding, source: Range<usize>, bytes: Vec<u8>) -> Candidate {
    Candidate { encoding, source, bytes, certain: false }
}

/// The value of a base64 digit of either alphabet.
fn base64_digit(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

fn base32_digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'2'..=b'7' => Some(byte - b'2' + 26),
        _ => None,
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Bytes from digits of `width` bits, the first the highest. Bits that fill no byte are dropped.
fn bytes(text: &str, width: u32, digit: fn(u8) -> Option<u8>) -> Vec<u8> {
    let (mut bits, mut count) = (0_u32, 0);
    let mut made = Vec::with_capacity(text.len());
    for value in text.bytes().filter_map(digit) {
        bits = (bits << width | u32::from(value)) & 0xffff;
        count += width;
        if count >= 8 {
            count -= 8;
            made.push((bits >> count & 0xff) as u8);
        }
    }
    made
}

/// Runs of base64 digits, first as lines of one, then each, then what is between `/`, `-` and `_`.
fn digits(text: &str, sink: Sink<'_>) -> bool {
    let of_token = |c: char| u8::try_from(c).is_ok_and(|byte| base64_digit(byte).is_some() || byte == b'=');
    let mut lines: Vec<Range<usize>> = Vec::new();
    for (range, _) in runs(text, of_token) {
        let goes_on = lines.last().is_some_and(|last| {
            let between = &text[last.end..range.start];
            let full = lines.first().map_or(0, Range::len);
            matches!(between, "\n" | "\r\n") && last.len() == full && full >= MIN_LINE && range.len() <= full
        });
        if !goes_on && !block(text, &std::mem::take(&mut lines), sink) {
            return false;
        }
        lines.push(range);
    }
    block(text, &lines, sink)
}

fn block(text: &str, lines: &[Range<usize>], sink: Sink<'_>) -> bool {
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else { return true };
    if lines.len() > 1 && looks_encoded(&text[first.clone()]) {
        let whole = first.start..last.end;
        return sink(candidate(Encoding::Base64, whole.clone(), bytes(&text[whole], 6, base64_digit)));
    }
    lines.iter().all(|line| {
        // What stands before "=" is a name.
        let mut start = line.start;
        let token = &text[line.clone()];
        let data = token.trim_end_matches('=');
        if let Some(at) = data.rfind('=') {
            start += at + 1;
        }
        one(text, start..line.end, sink)
    })
}

/// English words of one case are base64 digits as well; encoded text has both cases, or digits.
fn looks_encoded(token: &str) -> bool {
    let digit = token.bytes().any(|byte| byte.is_ascii_digit());
    let (upper, lower) =
        (token.bytes().any(|b| b.is_ascii_uppercase()), token.bytes().any(|b| b.is_ascii_lowercase()));
    (upper && lower) || (digit && (upper || lower))
}

fn one(text: &str, range: Range<usize>, sink: Sink<'_>) -> bool {
    let token = &text[range.clone()];
    if token.len() >= MIN_BASE32
        && token.bytes().all(|byte| base32_digit(byte).is_some() || byte == b'=')
        && !sink(candidate(Encoding::Base32, range.clone(), bytes(token, 5, base32_digit)))
    {
        return false;
    }
    if token.len() < MIN_BASE64 || !looks_encoded(token) {
        return true;
    }
    let data = token.trim_end_matches('=');
    if data.len() % 4 != 1 && !sink(candidate(Encoding::Base64, range.clone(), bytes(data, 6, base64_digit)))
    {
        return false;
    }
    if !data.contains(['/', '-', '_']) {
        return true;
    }
    runs(token, |c| !matches!(c, '/' | '-' | '_')).all(|(part, digits)| {
        let data = digits.trim_end_matches('=');
        let whole = digits.len() < MIN_BASE64 || !looks_encoded(digits) || data.len() % 4 == 1;
        whole
            || sink(candidate(
                Encoding::Base64,
                range.start + part.start..range.start + part.end,
                bytes(data, 6, base64_digit),
            ))
    })
}

/// Pairs of hexadecimal digits.
fn by_bytes(text: &str, sink: Sink<'_>) -> bool {
    let all = text.as_bytes();
    let mut at = 0;
    while at < all.len() {
        let starts_word = at == 0 || !all.get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
        let Some(first) = Pair::at(all, at).filter(|_| starts_word) else {
            at += 1;
            continue;
        };
        let (mut end, mut made) = (first.end, vec![first.byte]);
        loop {
            let separator = all[end..]
                .iter()
                .take(2)
                .take_while(|byte| matches!(byte, b' ' | b',' | b':' | b';' | b'-' | b'\n'));
            let Some(pair) = Pair::at(all, end + separator.count()) else { break };
            made.push(pair.byte);
            end = pair.end;
        }
        // A digit or letter behind: the run was part of a word.
        let ends_word = !all.get(end).is_some_and(u8::is_ascii_alphanumeric);
        if ends_word && made.len() >= MIN_BYTES && !sink(candidate(Encoding::Hex, at..end, made)) {
            return false;
        }
        at = end;
    }
    true
}

struct Pair {
    byte: u8,
    end: usize,
}

impl Pair {
    /// Two digits, after `0x` or `\x` if there is one.
    fn at(all: &[u8], at: usize) -> Option<Self> {
        let prefix = match all.get(at..at + 2) {
            Some(b"0x" | b"0X" | b"\\x" | b"\\X") => 2,
            _ => 0,
        };
        let [high, low] = *all.get(at + prefix..)?.first_chunk::<2>()?;
        Some(Self { byte: hex_digit(high)? << 4 | hex_digit(low)?, end: at + prefix + 2 })
    }
}

/// Eight binary digits a byte, with or without spaces between bytes.
fn binary(text: &str, sink: Sink<'_>) -> bool {
    runs(text, |c| matches!(c, '0' | '1' | ' ' | '\n' | ',')).all(|(range, run)| {
        let inner = run.trim_matches([' ', '\n', ',']);
        let start = range.start + run.find(inner).unwrap_or(0);
        let whole = inner.split([' ', '\n', ',']).all(|group| group.len() % 8 == 0);
        let one_bit = |byte: u8| matches!(byte, b'0' | b'1').then(|| byte - b'0');
        let made = if whole { bytes(inner, 1, one_bit) } else { Vec::new() };
        made.len() < 3 || sink(candidate(Encoding::Binary, start..start + inner.len(), made))
    })
}

fn ascii85(text: &str, sink: Sink<'_>) -> bool {
    let mut at = 0;
    while let Some(open) = text[at..].find("<~").map(|offset| at + offset) {
        let Some(close) = text[open..].find("~>").map(|offset| open + offset) else { return true };
        at = close + 2;
        // An opening within: the last one counts.
        let open = text[open..close].rfind("<~").map_or(open, |offset| open + offset);
        if let Some(bytes) = text.get(open + 2..close).and_then(ascii85_bytes)
            && !sink(Candidate { encoding: Encoding::Ascii85, source: open..at, bytes, certain: true })
        {
            return false;
        }
    }
    true
}

/// Five digits of base 85 are four bytes; a last group of n digits is n - 1 bytes; `z` is four zeros.
fn ascii85_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if digits.is_empty() || !digits.iter().all(|byte| (b'!'..=b'u').contains(byte)) {
        return None;
    }
    let mut made = Vec::with_capacity(digits.len());
    for group in digits.chunks(5) {
        let padded = (0..5).map(|n| u64::from(group.get(n).map_or(84, |byte| byte - b'!')));
        let value = u32::try_from(padded.fold(0, |value, digit| value * 85 + digit)).ok()?;
        made.extend(value.to_be_bytes().iter().take(group.len() - 1));
    }
    Some(made)
}
