//! Texts hidden in encodings.

mod bits;
mod escapes;
mod morse;
mod plausible;
mod turned;

use std::{collections::VecDeque, ops::Range};

/// How far to look. What lies beyond is not decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Encodings within encodings: 1 is the text itself alone.
    pub depth: usize,
    /// The most hidden texts to tell of, and the most to look into.
    pub texts: usize,
    /// The most bytes to decode, all hidden texts together.
    pub bytes: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { depth: 3, texts: 16, bytes: 256 * 1024 }
    }
}

/// A way to write a text that hides it from who does not undo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// RFC 4648, standard or URL-safe, with or without padding, in lines or not.
    Base64,
    /// RFC 4648, capitals, with or without padding.
    Base32,
    /// Pairs of hexadecimal digits, alone, with `0x` or `\x`, or with separators.
    Hex,
    /// Eight binary digits a byte.
    Binary,
    /// Adobe's Ascii85 between `<~` and `~>`.
    Ascii85,
    /// `%66` as in URLs (RFC 3986, section 2.1).
    Percent,
    /// `&#102;`, `&#x66;` and the named characters of XML.
    HtmlEntities,
    /// `\u0066`, `\u{66}`, `U+0066`.
    UnicodeEscapes,
    /// Each letter half an alphabet further.
    Rot13,
    /// From the end to the start.
    Reversed,
    /// International Morse code (ITU-R M.1677-1).
    Morse,
}

/// A hidden text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// How it was written; for one hidden in another, how the inner one was.
    pub encoding: Encoding,
    /// The bytes of the given text that hold it, on character boundaries; for one hidden in another, those of the outer one.
    pub source: Range<usize>,
    /// What it says.
    pub text: String,
}

/// Something that may be a hidden text.
struct Candidate {
    encoding: Encoding,
    source: Range<usize>,
    bytes: Vec<u8>,
    /// The encoding is too peculiar to be met by chance: what it decodes to need not be in a known language.
    certain: bool,
}

/// Takes candidates until the limits are reached.
struct Search<'a> {
    limits: &'a DecodeLimits,
    bytes_left: usize,
    found: Vec<Decoded>,
    within: VecDeque<Within>,
    /// How many were put into `within`.
    seen: usize,
}

/// A decoded text in which others may be hidden.
struct Within {
    text: String,
    source: Range<usize>,
    depth: usize,
}

/// Finds texts that are hidden in encodings, also several deep, in the order of their depth.
///
/// A candidate counts if it decodes to UTF-8 that is printable and reads like words: of English by its pairs of letters, or
/// of any other script. For rot13 and reversed text what is given must also read much worse than what it decodes to; both
/// are found for English alone. Never more than the `limits` allow.
#[must_use]
pub fn decoded(text: &str, limits: &DecodeLimits) -> Vec<Decoded> {
    let mut search =
        Search { limits, bytes_left: limits.bytes, found: Vec::new(), within: VecDeque::new(), seen: 0 };
    if limits.depth > 0 {
        search.look_into(text, None, 1);
    }
    while let Some(Within { text, source, depth }) = search.within.pop_front() {
        search.look_into(&text, Some(source), depth);
    }
    search.found
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.bytes_left == 0 || self.found.len() >= self.limits.texts
    }

    fn look_into(&mut self, text: &str, outer: Option<Range<usize>>, depth: usize) {
        for scan in [escapes::scan, bits::scan, morse::scan, turned::scan] {
            scan(text, &mut |candidate| self.consider(candidate, outer.as_ref(), depth));
        }
    }

    /// Returns whether to go on.
    fn consider(&mut self, candidate: Candidate, outer: Option<&Range<usize>>, depth: usize) -> bool {
        if self.is_over() {
            return false;
        }
        let Candidate { encoding, source, mut bytes, certain } = candidate;
        let cut = bytes.len() > self.bytes_left;
        bytes.truncate(self.bytes_left);
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            // The limit fell into a character.
            Err(error) if cut && error.utf8_error().error_len().is_none() => {
                let valid = error.utf8_error().valid_up_to();
                let mut bytes = error.into_bytes();
                bytes.truncate(valid);
                String::from_utf8(bytes).unwrap_or_default()
            }
            Err(_) => return true,
        };
        if !plausible::is_printable(&text) {
            return true;
        }
        self.bytes_left -= text.len().min(self.bytes_left);
        let source = outer.cloned().unwrap_or(source);
        if depth < self.limits.depth && self.seen < self.limits.texts {
            self.seen += 1;
            self.within.push_back(Within { text: text.clone(), source: source.clone(), depth: depth + 1 });
        }
        if certain || plausible::reads_well(&text) {
            self.found.push(Decoded { encoding, source, text });
        }
        true
    }
}

/// What scanners hand their candidates to; `false` ends the scan.
type Sink<'a> = &'a mut dyn FnMut(Candidate) -> bool;

#[cfg(test)]
mod tests;
