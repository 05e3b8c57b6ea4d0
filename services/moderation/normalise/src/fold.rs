//! Letters without what tells variants apart: case, accents, traditional forms.

use unicode_normalization::char::decompose_canonical;

use crate::{
    han,
    letters::{is_common_mark, is_han},
    view::Edits,
};

/// What Latin letters without a decomposition are written as in plain ASCII.
const PLAIN: [(char, &str); 16] = [
    ('ß', "ss"),
    ('æ', "ae"),
    ('œ', "oe"),
    ('ø', "o"),
    ('ł', "l"),
    ('đ', "d"),
    ('ð', "d"),
    ('þ', "th"),
    ('ı', "i"),
    ('ħ', "h"),
    ('ŧ', "t"),
    ('ŋ', "n"),
    ('ɑ', "a"),
    ('ɡ', "g"),
    ('ə', "e"),
    ('ƒ', "f"),
];

/// Small letters, Latin ones without accents; the last form of a Greek sigma as any other; simplified Chinese.
pub(crate) fn folded(text: &str) -> Edits {
    let simplified = &*han::SIMPLIFIED;
    let mut edits = Edits::default();
    let mut after_latin = false;
    for (at, c) in text.char_indices() {
        if c.is_ascii() {
            if c.is_ascii_uppercase() {
                edits.swap(at, c, c.to_ascii_lowercase());
            }
            after_latin = c.is_ascii_alphabetic();
            continue;
        }
        if is_han(c) {
            if let Some(simplified) = simplified.get(c) {
                edits.swap(at, c, simplified);
            }
            after_latin = false;
            continue;
        }
        let range = at..at + c.len_utf8();
        if is_common_mark(c) {
            // `after_latin` stays: there may be more marks.
            if after_latin {
                edits.remove(range);
            }
            continue;
        }
        let mut base = c;
        let mut parts = 0;
        decompose_canonical(c, |part| {
            base = if parts == 0 { part } else { base };
            parts += 1;
        });
        let lower = if base.is_ascii_alphabetic() { base.to_ascii_lowercase() } else { lowercase(c) };
        after_latin = lower.is_ascii_alphabetic();
        if let Some((_, plain)) = PLAIN.iter().find(|(known, _)| *known == lower) {
            edits.replace(range, plain);
            after_latin = true;
        } else if lower != c {
            edits.swap(at, c, lower);
        }
    }
    edits
}

/// Whether [`folded`] may change something at this character.
pub(crate) fn may_fold(c: char) -> bool {
    match c {
        '\0'..='\x7f' => c.is_ascii_uppercase(),
        c if is_han(c) => han::SIMPLIFIED.get(c).is_some(),
        c => is_common_mark(c) || !folded(c.encode_utf8(&mut [0; 4])).is_empty(),
    }
}

/// The small letter. The one letter whose small form is two characters is İ, an i with an accent.
fn lowercase(c: char) -> char {
    match c {
        'ς' => 'σ',
        'ẞ' => 'ß',
        c => c.to_lowercase().next().unwrap_or(c),
    }
}
