//! Words and alphabets.

use std::ops::Range;

/// Maximal runs of characters that pass the test, each with its place.
pub(crate) fn runs(text: &str, test: impl Fn(char) -> bool) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let start = done + text[done..].find(&test)?;
        done = text[start..].find(|c| !test(c)).map_or(text.len(), |len| start + len);
        Some((start..done, &text[start..done]))
    })
}

/// `char::is_alphabetic`, without its search for the letters that most text is made of.
pub(crate) fn is_letter(c: char) -> bool {
    match c {
        c if c.is_ascii() => c.is_ascii_alphabetic(),
        '\u{f8}'..='\u{2c1}'
        | '\u{400}'..='\u{481}'
        | '\u{3041}'..='\u{3096}'
        | '\u{30a1}'..='\u{30fa}'
        | '\u{4e00}'..='\u{9fff}'
        | '\u{ac00}'..='\u{d7a3}' => true,
        '\u{80}'..='\u{a9}'
        | '\u{300}'..='\u{344}'
        | '\u{2000}'..='\u{206f}'
        | '\u{3000}'..='\u{3004}'
        | '\u{3008}'..='\u{3020}'
        | '\u{ff00}'..='\u{ff20}'
        | '\u{1f000}'..='\u{1f12f}'
        | '\u{1f1e6}'..='\u{1faff}' => false,
        c => c.is_alphabetic(),
    }
}

/// Whether a character is a letter or a digit.
pub(crate) fn is_letter_or_digit(c: char) -> bool {
    is_letter(c) || if c.is_ascii() { c.is_ascii_digit() } else { c.is_numeric() }
}

/// Whether a character belongs to a word, marks included.
pub(crate) fn in_word(c: char) -> bool {
    is_letter(c)
        || match c {
            c if c.is_ascii() => c.is_ascii_digit(),
            '\u{2000}'..='\u{206f}' | '\u{3000}'..='\u{3004}' => false,
            c => is_common_mark(c) || c.is_numeric() || unicode_normalization::char::is_combining_mark(c),
        }
}

/// Chinese characters, those outside the first plane included.
pub(crate) fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Marks that go with letters of any script, as accents do.
pub(crate) fn is_common_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}'
        | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// Alphabets whose letters are mistaken for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Alphabet {
    Latin,
    Cyrillic,
    Greek,
    /// Latin letters that hardly any orthography has: phonetic and medieval ones.
    RareLatin,
    /// Alphabets that few texts are written in and whose letters serve as Latin ones: Cherokee, Lisu, Armenian, ...
    Lookalike,
}

impl Alphabet {
    /// `None`: no letter, or of a script without letters that pass for Latin ones, or one that is written without spaces
    /// beside Latin.
    pub(crate) fn of(c: char) -> Option<Self> {
        Some(match c {
            // Punctuation, kana and Chinese: most of the texts in which these letters are looked for in vain.
            '\u{2000}'..='\u{2bff}' | '\u{2e00}'..='\u{a48f}' => return None,
            'a'..='z'
            | 'A'..='Z'
            | '\u{c0}'..='\u{d6}'
            | '\u{d8}'..='\u{f6}'
            | '\u{f8}'..='\u{24f}'
            | '\u{1e00}'..='\u{1eff}' => Self::Latin,
            '\u{250}'..='\u{2af}'
            | '\u{1d00}'..='\u{1dbf}'
            | '\u{2c60}'..='\u{2c7f}'
            | '\u{a720}'..='\u{a7ff}'
            | '\u{ab30}'..='\u{ab6f}' => Self::RareLatin,
            '\u{400}'..='\u{482}'
            | '\u{48a}'..='\u{52f}'
            | '\u{1c80}'..='\u{1c8f}'
            | '\u{a640}'..='\u{a66e}'
            | '\u{a680}'..='\u{a69d}' => Self::Cyrillic,
            '\u{370}'..='\u{373}'
            | '\u{376}'..='\u{37d}'
            | '\u{37f}'..='\u{3ff}'
            | '\u{1f00}'..='\u{1fff}' => Self::Greek,
            // Armenian, Cherokee, Canadian, Runic, Coptic, Tifinagh, Lisu, Vai, and the historic ones of plane 1.
            '\u{530}'..='\u{58f}'
            | '\u{13a0}'..='\u{167f}'
            | '\u{16a0}'..='\u{16ff}'
            | '\u{2c80}'..='\u{2cff}'
            | '\u{2d30}'..='\u{2d7f}'
            | '\u{a4d0}'..='\u{a4ff}'
            | '\u{a500}'..='\u{a63f}'
            | '\u{ab70}'..='\u{abbf}'
            | '\u{10280}'..='\u{104ff}'
            | '\u{118a0}'..='\u{118ff}' => Self::Lookalike,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_those_of_unicode() {
        assert!(('\0'..=char::MAX).all(|c| is_letter(c) == c.is_alphabetic()));
        assert!(('\0'..=char::MAX).all(|c| is_letter_or_digit(c) == c.is_alphanumeric()));
    }
}
