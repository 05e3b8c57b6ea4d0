//! Unicode's form KC, and towers of marks.

use unicode_normalization::{
    IsNormalized, UnicodeNormalization,
    char::{canonical_combining_class, decompose_compatible},
    is_nfkc_quick,
};

use crate::{
    letters::{is_common_mark, is_letter_or_digit},
    view::Edits,
};

/// The most marks on one letter that an orthography asks for: polytonic Greek has three.
const MAX_MARKS: usize = 3;

/// Is in form KC whatever stands beside it, unless a mark follows. Not complete, but most text is made of these.
fn is_plain(c: char) -> bool {
    matches!(c, '\0'..='\u{9f}' | '\u{400}'..='\u{482}' | '\u{48a}'..='\u{52f}' | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7a3}')
}

/// Whether form KC never looks across the place before this character.
fn starts_anew(c: char) -> bool {
    if is_plain(c) {
        return true;
    }
    let mut first = None;
    decompose_compatible(c, |part| first = first.or(Some(part)));
    let first = first.unwrap_or(c);
    canonical_combining_class(first) == 0 && is_nfkc_quick(std::iter::once(first)) != IsNormalized::Maybe
}

/// Whether [`form_kc`] may change something at this character.
pub(crate) fn may_compose(c: char) -> bool {
    !is_plain(c) && (!starts_anew(c) || !is_composed(c))
}

/// Whether form KC leaves the character as it is where nothing follows that it looks at.
fn is_composed(c: char) -> bool {
    is_nfkc_quick(std::iter::once(c)) == IsNormalized::Yes && !is_common_mark(c)
}

/// Marks that cross a letter out or draw something round it. No orthography writes them.
fn is_overlay(c: char) -> bool {
    matches!(c, '\u{334}'..='\u{338}' | '\u{488}' | '\u{489}' | '\u{20d2}' | '\u{20d3}' | '\u{20d8}'..='\u{20da}'
        | '\u{20dd}'..='\u{20e0}' | '\u{20e2}' | '\u{20e4}'..='\u{20e6}' | '\u{20ea}' | '\u{20eb}')
}

/// The ASCII character of a wide one. Form KC has the same; these are common in Chinese texts.
fn narrow(c: char) -> Option<char> {
    matches!(c, '\u{ff01}'..='\u{ff5e}').then(|| char::from_u32(c as u32 - 0xfee0)).flatten()
}

/// Form KC of what stands between two places that it does not look across.
fn composed(segment: &str, into: &mut String) {
    let (mut marks, mut on_letter) = (0, false);
    let bearable = |c: &char| {
        if !is_common_mark(*c) {
            (marks, on_letter) = (0, is_letter_or_digit(*c));
            return true;
        }
        marks += 1;
        marks <= MAX_MARKS && !(on_letter && is_overlay(*c))
    };
    into.clear();
    into.extend(segment.nfkd().filter(bearable).nfc());
}

/// Brings a text into form KC and takes away marks past the third on a letter.
pub(crate) fn form_kc(text: &str) -> Edits {
    let mut edits = Edits::default();
    let mut made = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        let mut alone = true;
        while chars.next_if(|(_, c)| !starts_anew(*c)).is_some() {
            alone = false;
        }
        if alone && is_plain(first) {
            continue;
        }
        let range = start..chars.peek().map_or(text.len(), |(at, _)| *at);
        let segment = &text[range.clone()];
        if alone && is_composed(first) {
            continue;
        }
        if alone && let Some(narrow) = narrow(first) {
            edits.swap(start, first, narrow);
            continue;
        }
        composed(segment, &mut made);
        if made != segment {
            edits.replace(range, &made);
        }
    }
    edits
}
