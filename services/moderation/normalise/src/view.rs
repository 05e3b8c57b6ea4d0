//! A text that was made from another one, and the way back.

use std::ops::Range;

/// What was made of a text, with each of its bytes mapped back to the bytes it was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    text: String,
    /// In the order of the view and of the original, without gaps in the view.
    pieces: Vec<Piece>,
}

/// Neighbouring characters of a view that came about in one way.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    /// Where it starts in the view.
    start: usize,
    /// What it was made of.
    source: Range<usize>,
    /// Its characters are as many and as long as those of its source, one made of one. Otherwise all of it was made of
    /// all of its source.
    in_step: bool,
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
        let whole = Piece { start: 0, source: 0..text.len(), in_step: true };
        Self { text: text.to_owned(), pieces: if text.is_empty() { Vec::new() } else { vec![whole] } }
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
        let from = match self.piece_at(start) {
            Some(piece) if start == self.text.len() => piece.source.end,
            Some(piece) if piece.in_step => piece.source.start + (start - piece.start),
            Some(piece) => piece.source.start,
            None => 0,
        };
        if end <= start {
            return from..from;
        }
        let to = match self.piece_at(end - 1) {
            Some(piece) if piece.in_step => piece.source.start + (end - piece.start),
            Some(piece) => piece.source.end,
            None => from,
        };
        from..to
    }

    /// Whether the view can be cut at this byte with no character of the original on both sides, as it cannot between
    /// the letters of a syllable that one Chinese character became.
    #[must_use]
    pub fn is_boundary(&self, at: usize) -> bool {
        if !self.text.is_char_boundary(at) || at == 0 || at == self.text.len() {
            return self.text.is_char_boundary(at);
        }
        let (Some(before), Some(behind)) = (self.piece_at(at - 1), self.piece_at(at)) else { return true };
        match before.start == behind.start {
            true => behind.in_step,
            false => before.source.end <= behind.source.start,
        }
    }

    /// The piece that holds the byte, or the last one.
    fn piece_at(&self, at: usize) -> Option<&Piece> {
        self.pieces[..self.pieces.partition_point(|piece| piece.start <= at)].last()
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
                pieces: Vec::with_capacity(self.pieces.len() + 2 * edits.list.len()),
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

/// A view in the making. It moves over the pieces of the one it is made from once.
struct Made<'a> {
    from: &'a View,
    /// The first piece of `from` that is not wholly behind.
    next: usize,
    view: View,
}

impl Made<'_> {
    /// The parts of pieces that lie in `range`, each with whether it is in step.
    fn parts(&mut self, range: Range<usize>, mut take: impl FnMut(&mut View, Piece)) {
        let mut at = range.start;
        while at < range.end {
            let Some(piece) = self.from.pieces.get(self.next) else { return };
            let piece_end = self.from.pieces.get(self.next + 1).map_or(self.from.text.len(), |p| p.start);
            let end = piece_end.min(range.end);
            if at < end {
                let source = match piece.in_step {
                    true => piece.source.start + (at - piece.start)..piece.source.start + (end - piece.start),
                    false => piece.source.clone(),
                };
                take(&mut self.view, Piece { start: at, source, in_step: piece.in_step });
                at = end;
            }
            self.next += usize::from(piece_end <= range.end);
        }
    }

    fn keep(&mut self, range: Range<usize>) {
        let offset = self.view.text.len();
        let start = range.start;
        self.parts(range.clone(), |view, part| {
            view.push(Piece { start: offset + (part.start - start), ..part });
        });
        self.view.text.push_str(&self.from.text[range]);
    }

    fn replace(&mut self, range: Range<usize>, with: &str) {
        let start = self.view.text.len();
        let mut whole: Option<Range<usize>> = None;
        self.parts(range, |_, Piece { source, .. }| {
            let known = whole.get_or_insert(source.clone());
            *known = known.start.min(source.start)..known.end.max(source.end);
        });
        if let Some(source) = whole.filter(|_| !with.is_empty()) {
            self.view.push(Piece { start, source, in_step: false });
            self.view.text.push_str(with);
        }
    }
}

impl View {
    fn push(&mut self, piece: Piece) {
        match self.pieces.last_mut() {
            // The rest of a piece that goes on, or the same source again: one piece.
            Some(last) if last.in_step && piece.in_step && last.source.end == piece.source.start => {
                last.source.end = piece.source.end;
            }
            Some(last) if !last.in_step && !piece.in_step && last.source == piece.source => {}
            _ => self.pieces.push(piece),
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

    /// What is replaced, in order, but for swaps.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = &Range<usize>> {
        self.list.iter().map(|(range, _)| range)
    }
}
