//! Unicode's form KC, and towers of marks.

use std::{ops::Range, sync::LazyLock};

use unicode_normalization::{
    IsNormalized, UnicodeNormalization,
    char::{canonical_combining_class, decompose_compatible},
    is_nfkc_quick,
};

use crate::{
    letters::{is_common_mark, is_letter_or_digit},
    table::Table,
    view::Edits,
};

/// The most marks on one letter that an orthography asks for: polytonic Greek has three.
const MAX_MARKS: usize = 3;

/// What form KC does at a character.
#[derive(Clone, Copy)]
struct Kind {
    /// It never looks across the place before.
    starts_anew: bool,
    /// It leaves the character as it is where nothing follows that it looks at.
    is_composed: bool,
}

static KINDS: LazyLock<Table<Kind>> =
    LazyLock::new(|| Table::new(|c| Kind { starts_anew: starts_anew(c), is_composed: is_composed(c) }));

fn starts_anew(c: char) -> bool {
    let mut first = None;
    decompose_compatible(c, |part| first = first.or(Some(part)));
    let first = first.unwrap_or(c);
    canonical_combining_class(first) == 0 && is_nfkc_quick(std::iter::once(first)) != IsNormalized::Maybe
}

/// Whether [`form_kc`] may change something at this character.
pub(crate) fn may_compose(c: char) -> bool {
    let kind = KINDS.get(c);
    !kind.starts_anew || !kind.is_composed
}

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
    let kinds = &*KINDS;
    let mut edits = Edits::default();
    let mut made = String::new();
    let mut compose = |range: Range<usize>| {
        let segment = &text[range.clone()];
        let mut chars = segment.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) if let Some(narrow) = narrow(c) => edits.swap(range.start, c, narrow),
            _ => {
                composed(segment, &mut made);
                if made != segment {
                    edits.replace(range, &made);
                }
            }
        }
    };
    // Where the last character stands that starts anew, and whether there is anything to do from there on.
    let (mut start, mut pending) = (0, false);
    for (at, c) in text.char_indices() {
        let kind = kinds.get(c);
        if kind.starts_anew {
            if pending {
                compose(start..at);
            }
            start = at;
        }
        pending = !(kind.starts_anew && kind.is_composed);
    }
    if pending {
        compose(start..text.len());
    }
    edits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::view::View;

    proptest! {
        #[test]
        fn segments_are_composed(text in "([a-cé中萬，Ａｆﾊかㄱ가각\u{300}-\u{308}\u{335}\u{5b0}ﾞ\u{3099}ᆨﷺ½\u{2126}]|\\PC){0,12}") {
            let mut plain = String::new();
            let mut rest = &text[..];
            while let Some(first) = rest.chars().next() {
                let from = first.len_utf8();
                let end = rest[from..].find(starts_anew).map_or(rest.len(), |at| from + at);
                let mut made = String::new();
                composed(&rest[..end], &mut made);
                plain += &made;
                rest = &rest[end..];
            }
            let view = View::of(&text).edit(&form_kc(&text));
            prop_assert_eq!(view.text(), plain);
        }
    }
}
