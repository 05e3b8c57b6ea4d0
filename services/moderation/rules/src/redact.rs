//! Texts without what was found in them.

use std::ops::Range;

use crate::Finding;

/// Puts the kind in brackets, `[EMAIL]`, in place of each finding. They may come in any order and overlap; ends outside the
/// text or within a character are widened to characters and cut at the text's end, so that nothing that was found stays.
#[must_use]
pub fn redact(text: &str, findings: &[Finding]) -> String {
    replaced(text, findings.iter().map(|finding| (finding.range.clone(), finding.kind.mark())))
}

/// The same of parts that come with marks of their own; of parts that overlap, the mark of the one that begins first stands
/// for them all, of those that begin and end together that of the first given.
#[must_use]
pub fn replaced(text: &str, parts: impl IntoIterator<Item = (Range<usize>, &'static str)>) -> String {
    let widen = |(range, mark): (Range<usize>, &'static str)| {
        (text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end.min(text.len())), mark)
    };
    let mut parts: Vec<_> = parts.into_iter().map(widen).collect();
    parts.retain(|(range, _)| range.start < range.end);
    parts.sort_by_key(|(range, _)| (range.start, range.end));
    parts.dedup_by(|(next, _), (last, _)| {
        let overlaps = next.start < last.end;
        last.end = if overlaps { last.end.max(next.end) } else { last.end };
        overlaps
    });
    let mut redacted = String::with_capacity(text.len());
    let mut from = 0;
    for (range, mark) in parts {
        redacted.push_str(text.get(from..range.start).unwrap_or_default());
        redacted.extend(["[", mark, "]"]);
        from = range.end;
    }
    redacted.push_str(text.get(from..).unwrap_or_default());
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn finding(kind: Kind, range: Range<usize>) -> Finding {
        Finding { kind, range, confidence: 1.0 }
    }

    #[test]
    fn marks_stand_in_for_what_was_found() {
        let text = "a@b.cd pays 4111 1111 1111 1111.";
        let found = [finding(Kind::Card, 12..31), finding(Kind::Email, 0..6)];
        assert_eq!(redact(text, &found), "[EMAIL] pays [CARD].");
        assert_eq!(redact(text, &[]), text);
        let overlapping =
            [finding(Kind::Card, 12..31), finding(Kind::Password, 20..32), finding(Kind::Card, 12..31)];
        assert_eq!(redact(text, &overlapping), "a@b.cd pays [CARD]");
    }

    #[test]
    fn any_ranges_are_taken() {
        let text = "中文ab";
        let found = [finding(Kind::Email, 1..4), finding(Kind::Phone, 5..7), finding(Kind::Ssn, 90..99)];
        assert_eq!(redact(text, &found), "[EMAIL]b");
        let upside_down = Range { start: 5, end: 2 };
        assert_eq!(redact(text, &[finding(Kind::Ssn, upside_down)]), text);
        assert_eq!(redact(text, &[finding(Kind::Ssn, 3..usize::MAX)]), "中[SSN]");
    }
}
