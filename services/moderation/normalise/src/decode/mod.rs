//! Texts hidden in encodings.

mod bits;
mod escapes;
mod morse;
pub(crate) mod plausible;
mod turned;

use std::{collections::VecDeque, fmt, ops::Range};

use crate::readable;

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Encodings within encodings: 1 is the text itself alone. What lies deeper is not decoded.
    pub depth: usize,
    /// The most bytes to decode, all that may be hidden texts together. Of a text that holds more, nothing is told: no part of
    /// it is passed over in silence.
    pub bytes: usize,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self { depth: 3, bytes: 1 << 20 }
    }
}

/// A text that hides more than the limits allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuchHidden {
    /// The most bytes that all hidden texts may have.
    pub limit: usize,
}

impl fmt::Display for TooMuchHidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} bytes are hidden in encodings", self.limit)
    }
}

impl std::error::Error for TooMuchHidden {}

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
    /// What it says, as a reader sees it.
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

/// Takes candidates until the limit is passed.
struct Search<'a> {
    limits: &'a DecodeLimits,
    bytes: usize,
    found: Vec<Decoded>,
    within: VecDeque<Within>,
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
/// are found for English alone. Disguises outside are for the caller to undo ([`readable`]); those within a hidden text are
/// undone here.
///
/// # Errors
/// There is more to decode than the limits allow.
pub fn decoded(text: &str, limits: &DecodeLimits) -> Result<Vec<Decoded>, TooMuchHidden> {
    let mut search = Search { limits, bytes: 0, found: Vec::new(), within: VecDeque::new() };
    if limits.depth > 0 {
        search.look_into(text, None, 1);
    }
    while let Some(Within { text, source, depth }) = search.within.pop_front() {
        search.look_into(&text, Some(source), depth);
    }
    if search.is_over() { Err(TooMuchHidden { limit: limits.bytes }) } else { Ok(search.found) }
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.bytes > self.limits.bytes
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
        let Candidate { encoding, source, bytes, certain } = candidate;
        let Ok(text) = String::from_utf8(bytes) else { return true };
        if !plausible::is_printable(&text) {
            return true;
        }
        let text = readable(&text).into_text();
        self.bytes += text.len();
        if text.is_empty() || self.is_over() {
            return !self.is_over();
        }
        let source = outer.cloned().unwrap_or(source);
        if depth < self.limits.depth {
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
