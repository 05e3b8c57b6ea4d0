//! Texts without what was found in them.

use std::ops::Range;

use crate::{Finding, Kind};

/// Digits of a card's number that stay readable, as on receipts (PCI DSS 4.0, requirement 3.4.1, lets show them).
const CARD_DIGITS: usize = 4;

/// What stands in place of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The kind in brackets: `[EMAIL]`.
    Marks,
    /// An asterisk for each character; of a card's number the last four digits and the separators stay.
    Stars,
}

/// A text without what was found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// What is left, and what stands in for the rest.
    pub text: String,
    /// Where in `text` something stands in, in order.
    pub replaced: Vec<Range<usize>>,
}

/// Replaces all findings. They may come in any order and overlap; ends outside the text or within a character are
/// widened to characters and cut at the text's end, so that nothing that was found stays.
#[must_use]
pub fn redact(text: &str, findings: &[Finding], style: Style) -> Redacted {
    let widen = |range: &Range<usize>| {
        text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end.min(text.len()))
    };
    let mut parts: Vec<_> = findings.iter().map(|finding| (widen(&finding.range), finding.kind)).collect();
    parts.retain(|(range, _)| range.start < range.end);
    parts.sort_by_key(|(range, kind)| (range.start, range.end, *kind));
    parts.dedup_by(|(next, _), (last, kind)| {
        let overlaps = next.start < last.end;
        // Two in one can't keep the digits of a card apart from what else is there.
        if overlaps && *next != *last && *kind == Kind::Card {
            *kind = Kind::Password;
        }
        last.end = if overlaps { last.end.max(next.end) } else { last.end };
        overlaps
    });
    let mut redacted =
        Redacted { text: String::with_capacity(text.len()), replaced: Vec::with_capacity(parts.len()) };
    let mut from = 0;
    for (range, kind) in parts {
        redacted.text.push_str(text.get(from..range.start).unwrap_or_default());
        from = range.end;
        let start = redacted.text.len();
        match style {
            Style::Marks => redacted.text.extend(["[", kind.mark(), "]"]),
            Style::Stars => stars(text.get(range).unwrap_or_default(), kind, &mut redacted.text),
        }
        redacted.replaced.push(start..redacted.text.len());
    }
    redacted.text.push_str(text.get(from..).unwrap_or_default());
    redacted
}

fn stars(found: &str, kind: Kind, out: &mut String) {
    if kind != Kind::Card {
        out.extend(found.chars().map(|_| '*'));
        return;
    }
    let digits = found.bytes().filter(u8::is_ascii_digit).count();
    let mut hidden = digits.saturating_sub(CARD_DIGITS);
    for c in found.chars() {
        let hide = c.is_ascii_digit() && hidden > 0;
        hidden -= usize::from(hide);
        out.push(if hide { '*' } else { c });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: Kind, range: Range<usize>) -> Finding {
        Finding { kind, range, confidence: 1.0 }
    }

    #[test]
    fn marks_and_stars() {
        let text = "a@b.cd pays 4111 1111 1111 1111.";
        let found = [finding(Kind::Card, 12..31), finding(Kind::Email, 0..6)];
        let marks = redact(text, &found, Style::Marks);
        assert_eq!(marks.text, "[EMAIL] pays [CARD].");
        assert_eq!(marks.replaced, [0..7, 13..19]);
        assert_eq!(redact(text, &found, Style::Stars).text, "****** pays **** **** **** 1111.");
        assert_eq!(redact(text, &[], Style::Stars).text, text);
    }

    #[test]
    fn any_ranges_are_taken() {
        let text = "中文ab";
        let found = [finding(Kind::Email, 1..4), finding(Kind::Phone, 5..7), finding(Kind::Ssn, 90..99)];
        assert_eq!(redact(text, &found, Style::Stars).text, "***b");
        let upside_down = Range { start: 5, end: 2 };
        assert_eq!(redact(text, &[finding(Kind::Ssn, upside_down)], Style::Marks).text, text);
        assert_eq!(redact(text, &[finding(Kind::Ssn, 3..usize::MAX)], Style::Marks).text, "中[SSN]");
    }

    #[test]
    fn a_card_within_something_else_keeps_no_digits() {
        let found = [finding(Kind::Card, 0..16), finding(Kind::Password, 0..20)];
        assert_eq!(redact("4111111111111111abcd", &found, Style::Stars).text, "*".repeat(20));
    }
}
