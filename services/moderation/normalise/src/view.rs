//! A text that was made from another one, and the way back.

use std::ops::Range;

/// What was made of a text, with each of its bytes mapped back to the bytes it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    text: String,
    /// In the order of the view and of the original. What lies between is made of as many and as long characters, one of one.
    changes: Vec<Change>,
}

/// A part of a view, all of which was made of all of a part of the original; an empty one where that was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    view: Range<usize>,
    source: Range<usize>,
}

/// Replacements in a text, apart from each other, none empty.
#[derive(Default)]
pub(crate) struct Edits {
    /// Characters to put in place of others as long, which leaves everything where it is.
    swaps: Vec<(usize, char)>,
    /// What else to replace, in order, and the end of its replacement in `text`.
    list: Vec<(Range<usize>, usize)>,
    text: String,
}

impl View {
    /// The text itself, unchanged.
    pub(crate) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), changes: Vec::new() }
    }

    /// The view as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// The smallest byte range of the original that `range`, in bytes of the view, was made of.
    ///
    /// It lies on the original's character boundaries. A range that cuts characters of the view counts as holding
    /// them; what lies beyond the end is ignored; an empty range gives an empty one. Neither end ever moves back as
    /// the matching end of `range` moves on.
    #[must_use]
    pub fn original(&self, range: Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(range.start.min(self.text.len()));
        let end = self.text.ceil_char_boundary(range.end.min(self.text.len()));
        let from = if start < self.text.len() { self.source_from(start) } else { self.source_to(start) };
        from..if start < end { self.source_to(end) } else { from }
    }

    /// Whether the view can be cut at this byte with no character of the original on both sides, as it cannot between
    /// the letters of a syllable that one Chinese character became.
    #[must_use]
    pub fn is_boundary(&self, at: usize) -> bool {
        let is_end = at == 0 || at == self.text.len();
        self.text.is_char_boundary(at) && (is_end || self.source_to(at) <= self.source_from(at))
    }

    /// Where in the original starts what the byte of the view was made of.
    fn source_from(&self, byte: usize) -> usize {
        source_from(self.change_at(byte), byte)
    }

    /// Where in the original ends what the bytes of the view before `end` were made of.
    fn source_to(&self, end: usize) -> usize {
        end.checked_sub(1).map_or(0, |last| source_to(self.change_at(last), end))
    }

    /// The last change that starts at the byte or before.
    fn change_at(&self, byte: usize) -> Option<&Change> {
        self.changes[..self.changes.partition_point(|change| change.view.start <= byte)].last()
    }

    /// The view with `edits` made in it.
    pub(crate) fn edit(mut self, edits: &Edits) -> Self {
        for (at, c) in &edits.swaps {
            self.text.replace_range(*at..at + c.len_utf8(), c.encode_utf8(&mut [0; 4]));
        }
        if edits.list.is_empty() { self } else { self.replaced(edits) }
    }

    /// The view with `edits`, but for swaps, made in it.
    pub(crate) fn replaced(&self, edits: &Edits) -> Self {
        let mut made = Made {
            from: self,
            next: 0,
            view: Self {
                text: String::with_capacity(self.text.len()),
                changes: Vec::with_capacity(self.changes.len() + edits.list.len()),
            },
        };
        let (mut done, mut text_start) = (0, 0);
        for (range, text_end) in &edits.list {
            made.keep(done..range.start);
            made.replace(range.clone(), &edits.text[text_start..*text_end]);
            (done, text_start) = (range.end, *text_end);
        }
        made.keep(done..self.text.len());
        made.view
    }
}

/// [`View::source_from`] by the last change that starts at the byte or before.
fn source_from(change: Option<&Change>, byte: usize) -> usize {
    match change {
        Some(Change { view, source }) if byte < view.end => source.start,
        Some(Change { view, source }) => source.end + (byte - view.end),
        None => byte,
    }
}

/// [`View::source_to`] by the last change that starts before.
fn source_to(change: Option<&Change>, end: usize) -> usize {
    match change {
        Some(Change { view, source }) => source.end + end.saturating_sub(view.end),
        None => end,
    }
}

/// A view in the making. It moves over the changes of the one it is made from once.
struct Made<'a> {
    from: &'a View,
    /// The first change of `from` that is not wholly behind.
    next: usize,
    view: View,
}

impl<'a> Made<'a> {
    fn keep(&mut self, range: Range<usize>) {
        let offset = self.view.text.len();
        while let Some(Change { view, source }) = self.from.changes.get(self.next)
            && view.start < range.end
        {
            let part = view.start.max(range.start)..view.end.min(range.end);
            // What is left of others was replaced.
            if !part.is_empty() || part.start == view.start {
                let view = offset + (part.start - range.start)..offset + (part.end - range.start);
                self.view.push(Change { view, source: source.clone() });
            }
            if view.end > range.end {
                break;
            }
            self.next += 1;
        }
        self.view.text.push_str(&self.from.text[range]);
    }

    fn replace(&mut self, range: Range<usize>, with: &str) {
        let first = self.last_change(range.start);
        let source = source_from(first, range.start)..source_to(self.last_change(range.end - 1), range.end);
        let start = self.view.text.len();
        self.view.push(Change { view: start..start + with.len(), source });
        self.view.text.push_str(with);
    }

    /// The last change of `from` that starts at the byte or before, looked for from the next one on.
    fn last_change(&self, byte: usize) -> Option<&'a Change> {
        let changes = &self.from.changes;
        let next = changes.get(self.next..)?.iter().take_while(|change| change.view.start <= byte);
        next.last().or_else(|| changes.get(self.next.checked_sub(1)?))
    }
}

impl View {
    fn push(&mut self, change: Change) {
        match self.changes.last_mut() {
            // More of the same, or nothing before it: one change.
            Some(last) if last.source == change.source => last.view.end = change.view.end,
            Some(last) if last.view.is_empty() && last.view.end == change.view.start => *last = change,
            _ => self.changes.push(change),
        }
    }
}

impl Edits {
    pub(crate) fn replace(&mut self, range: Range<usize>, with: &str) {
        self.replace_chars(range, with.chars());
    }

    pub(crate) fn replace_chars(&mut self, range: Range<usize>, with: impl IntoIterator<Item = char>) {
        debug_assert!(self.list.last().is_none_or(|(last, _)| last.end <= range.start) && !range.is_empty());
        self.text.extend(with);
        self.list.push((range, self.text.len()));
    }

    /// Puts one character in place of the one at a byte.
    pub(crate) fn swap(&mut self, at: usize, old: char, new: char) {
        match old.len_utf8() == new.len_utf8() {
            true => self.swaps.push((at, new)),
            false => self.replace_chars(at..at + old.len_utf8(), [new]),
        }
    }

    pub(crate) fn remove(&mut self, range: Range<usize>) {
        self.replace_chars(range, []);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.swaps.is_empty() && self.list.is_empty()
    }

    /// The characters that are put in.
    pub(crate) fn chars(&self) -> impl Iterator<Item = char> {
        self.swaps.iter().map(|(_, c)| *c).chain(self.text.chars())
    }

    /// Where replacements stand in the result, in order, but for swaps.
    pub(crate) fn results(&self) -> impl Iterator<Item = Range<usize>> {
        let (mut put_in, mut taken_out) = (0, 0);
        self.list.iter().map(move |(range, text_end)| {
            let start = range.start + put_in - taken_out;
            let result = start..start + (text_end - put_in);
            (put_in, taken_out) = (*text_end, taken_out + range.len());
            result
        })
    }

    /// What is replaced, in order, but for swaps.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = &Range<usize>> {
        self.list.iter().map(|(range, _)| range)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;

    /// Each character of a view with what it was made of.
    #[derive(Clone)]
    struct Plain(Vec<(char, Range<usize>)>);

    impl Plain {
        fn of(text: &str) -> Self {
            Self(text.char_indices().map(|(at, c)| (c, at..at + c.len_utf8())).collect())
        }

        /// Where the characters start, and where the last one ends.
        fn places(&self) -> Vec<usize> {
            let lens = self.0.iter().map(|(c, _)| c.len_utf8());
            std::iter::once(0).chain(lens.scan(0, |at, len| Some((*at += len, *at).1))).collect()
        }

        fn replace(&mut self, chars: Range<usize>, with: &str) {
            let source = self.0[chars.start].1.start..self.0[chars.end - 1].1.end;
            self.0.splice(chars, with.chars().map(|c| (c, source.clone())));
        }

        fn original(&self, chars: Range<usize>) -> Range<usize> {
            let end = |at: usize| at.checked_sub(1).map_or(0, |last| self.0[last].1.end);
            let from = self.0.get(chars.start).map_or_else(|| end(chars.start), |(_, source)| source.start);
            from..if chars.is_empty() { from } else { end(chars.end) }
        }

        fn is_boundary(&self, at: usize) -> bool {
            at == 0 || at == self.0.len() || self.0[at - 1].1.end <= self.0[at].1.start
        }
    }

    /// Up to four cuts of a text, and what to put between each first and second.
    fn round() -> impl Strategy<Value = Vec<(Index, &'static str)>> {
        let with = prop::sample::select(vec!["", "a", "bc", "，", "中文", "é", "\u{1f600}"]);
        proptest::collection::vec((any::<Index>(), with), 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn edits_of_edits_lead_back(text in "[a-cé，中文😀]{0,12}", rounds in proptest::collection::vec(round(), 0..5)) {
            let (mut view, mut plain) = (View::of(&text), Plain::of(&text));
            for round in rounds {
                let (places, before) = (plain.places(), plain.clone());
                let mut cuts: Vec<_> = round.iter().map(|(at, with)| (at.index(places.len()), *with)).collect();
                cuts.sort_by_key(|(at, _)| *at);
                cuts.dedup_by_key(|(at, _)| *at);
                let mut edits = Edits::default();
                for cut in cuts.windows(2) {
                    let [(start, with), (end, _)] = [cut[0], cut[1]];
                    let (old, mut new) = (before.0[start].0, with.chars());
                    match (new.next(), new.next()) {
                        (Some(new), None) if end == start + 1 => edits.swap(places[start], old, new),
                        _ => edits.replace(places[start]..places[end], with),
                    }
                }
                for cut in cuts.windows(2).rev() {
                    plain.replace(cut[0].0..cut[1].0, cut[0].1);
                }
                view = view.edit(&edits);
            }
            let places = plain.places();
            prop_assert!(view.text().chars().eq(plain.0.iter().map(|(c, _)| *c)));
            for (from, start) in places.iter().enumerate() {
                prop_assert_eq!(view.is_boundary(*start), plain.is_boundary(from));
                for (to, end) in places.iter().enumerate().skip(from) {
                    prop_assert_eq!(view.original(*start..*end), plain.original(from..to));
                }
            }
        }
    }
}
