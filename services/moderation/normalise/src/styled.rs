//! Letters in a style that form KC does not know: enclosed in a filled shape, small capitals, upside-down, halves of flags.

use crate::{
    letters::{is_letter, runs},
    view::Edits,
};

/// The two-letter codes that have a flag (emoji-sequences.txt, 16.0), run together.
const FLAGS: &str = "ACADAEAFAGAIALAMAOAQARASATAUAWAXAZBABBBDBEBFBGBHBIBJBLBMBNBOBQBRBSBTBVBWBYBZCACCCDCFCGCHCICKCLCMCNCO\
CPCQCRCUCVCWCXCYCZDEDGDJDKDMDODZEAECEEEGEHERESETEUFIFJFKFMFOFRGAGBGDGEGFGGGHGIGLGMGNGPGQGRGSGTGUGWGYHKHMHNHRHTHUICIDIEIL\
IMINIOIQIRISITJEJMJOJPKEKGKHKIKMKNKPKRKWKYKZLALBLCLILKLRLSLTLULVLYMAMCMDMEMFMGMHMKMLMMMNMOMPMQMRMSMTMUMVMWMXMYMZNANCNENF\
NGNINLNONPNRNUNZOMPAPEPFPGPHPKPLPMPNPRPSPTPWPYQARERORSRURWSASBSCSDSESGSHSISJSKSLSMSNSOSRSSSTSVSXSYSZTATCTDTFTGTHTJTKTLTM\
TNTOTRTTTVTWTZUAUGUMUNUSUYUZVAVCVEVGVIVNVUWFWSXKYEYTZAZMZW";

/// Small capitals and the letters they are, by code point.
const SMALL_CAPITALS: [(char, char); 25] = [
    ('\u{262}', 'g'),
    ('\u{26a}', 'i'),
    ('\u{274}', 'n'),
    ('\u{280}', 'r'),
    ('\u{28f}', 'y'),
    ('\u{299}', 'b'),
    ('\u{29c}', 'h'),
    ('\u{29f}', 'l'),
    ('\u{1d00}', 'a'),
    ('\u{1d04}', 'c'),
    ('\u{1d05}', 'd'),
    ('\u{1d07}', 'e'),
    ('\u{1d0a}', 'j'),
    ('\u{1d0b}', 'k'),
    ('\u{1d0d}', 'm'),
    ('\u{1d0f}', 'o'),
    ('\u{1d18}', 'p'),
    ('\u{1d1b}', 't'),
    ('\u{1d1c}', 'u'),
    ('\u{1d20}', 'v'),
    ('\u{1d21}', 'w'),
    ('\u{1d22}', 'z'),
    ('\u{a730}', 'f'),
    ('\u{a731}', 's'),
    ('\u{a7af}', 'q'),
];

/// Letters that look upside-down like others.
const TURNED: [(char, char); 24] = [
    ('\u{250}', 'a'),
    ('\u{254}', 'c'),
    ('\u{1dd}', 'e'),
    ('\u{258}', 'e'),
    ('\u{25f}', 'f'),
    ('\u{183}', 'g'),
    ('\u{1d77}', 'g'),
    ('\u{265}', 'h'),
    ('\u{1d09}', 'i'),
    ('\u{131}', 'i'),
    ('\u{27e}', 'j'),
    ('\u{2d9}', '.'),
    ('\u{29e}', 'k'),
    ('\u{a781}', 'l'),
    ('\u{26f}', 'm'),
    ('\u{279}', 'r'),
    ('\u{287}', 't'),
    ('\u{28c}', 'v'),
    ('\u{28d}', 'w'),
    ('\u{28e}', 'y'),
    ('\u{1d1a}', 'r'),
    ('\u{2c7b}', 'e'),
    ('\u{a7b0}', 'k'),
    ('\u{a7b1}', 't'),
];

/// Ordinary letters that are the same or others upside-down.
const TURNS: [(char, char); 16] = [
    ('b', 'q'),
    ('d', 'p'),
    ('l', 'l'),
    ('n', 'u'),
    ('o', 'o'),
    ('p', 'd'),
    ('q', 'b'),
    ('s', 's'),
    ('u', 'n'),
    ('x', 'x'),
    ('z', 'z'),
    ('i', 'i'),
    ('\u{a1}', '!'),
    ('\u{bf}', '?'),
    ('\'', ','),
    (',', '\''),
];

fn lookup(table: &[(char, char)], c: char) -> Option<char> {
    table.iter().find(|(known, _)| *known == c).map(|(_, letter)| *letter)
}

/// Where the letters of both tables are: most text has none.
pub(crate) fn is_rare(c: char) -> bool {
    matches!(c, '\u{131}' | '\u{180}'..='\u{2af}' | '\u{1d00}'..='\u{1dff}' | '\u{2c60}'..='\u{2c7f}'
        | '\u{a720}'..='\u{a7ff}')
}

/// The letter in a filled circle or square, or in parentheses.
pub(crate) fn enclosed_letter(c: char) -> Option<char> {
    let (first, letter) = match c {
        '\u{1f150}'..='\u{1f169}' => ('\u{1f150}', b'A'),
        '\u{1f170}'..='\u{1f189}' => ('\u{1f170}', b'A'),
        '\u{1f110}'..='\u{1f129}' => ('\u{1f110}', b'A'),
        '\u{249c}'..='\u{24b5}' => ('\u{249c}', b'a'),
        _ => return None,
    };
    u8::try_from(u32::from(c) - u32::from(first)).ok().map(|n| char::from(letter + n))
}

/// Has a meaning of its own: the emoji of blood types and parking, and "(a)" in a list.
fn stands_alone(c: char) -> bool {
    matches!(c, '\u{1f170}' | '\u{1f171}' | '\u{1f17e}' | '\u{1f17f}' | '\u{1f110}'..='\u{1f129}' | '\u{249c}'..='\u{24b5}')
}

/// Enclosed letters as plain ones; those with a meaning of their own only beside another letter.
pub(crate) fn enclosed(text: &str) -> Edits {
    let mut edits = Edits::default();
    let of_word = |c: char| c.is_ascii_alphabetic() || enclosed_letter(c).is_some();
    let mut before = None;
    let mut chars = text.chars();
    let mut at = 0;
    while let Some(c) = chars.next() {
        if let Some(letter) = (!c.is_ascii()).then(|| enclosed_letter(c)).flatten() {
            let after = chars.clone().find(|c| *c != '\u{fe0f}');
            if !stands_alone(c) || before.is_some_and(of_word) || after.is_some_and(of_word) {
                edits.swap(at, c, letter);
            }
        }
        at += c.len_utf8();
        if c != '\u{fe0f}' {
            before = Some(c);
        }
    }
    edits
}

/// The letter of half a flag.
pub(crate) fn flag_letter(c: char) -> Option<u8> {
    let n = u32::from(c).checked_sub(0x1f1e6).filter(|n| *n < 26)?;
    u8::try_from(n).ok().map(|n| b'A' + n)
}

fn spelt_by_flags(text: &str, spells: impl Fn(&[u8]) -> bool) -> Edits {
    let mut edits = Edits::default();
    for (range, run) in runs(text, |c| !c.is_ascii() && flag_letter(c).is_some()) {
        let letters: Vec<u8> = run.chars().filter_map(flag_letter).collect();
        if spells(&letters) {
            for ((at, c), letter) in run.char_indices().zip(letters) {
                edits.swap(range.start + at, c, char::from(letter));
            }
        }
    }
    edits
}

/// Halves of flags that do not pair up to flags: a word spelt with them.
pub(crate) fn halves_of_flags(text: &str) -> Edits {
    spelt_by_flags(text, |letters| {
        letters.chunks(2).any(|pair| !FLAGS.as_bytes().chunks(2).any(|known| known == pair))
    })
}

/// All flags as their letters: words that happen to be made of real ones.
pub(crate) fn flags(text: &str) -> Edits {
    spelt_by_flags(text, |_| true)
}

/// Words in small capitals as plain letters. A phonetic transcription has other letters between them.
pub(crate) fn small_capitals(text: &str) -> Edits {
    let mut edits = Edits::default();
    for (range, word) in runs(text, is_letter) {
        let small = word.chars().filter(|c| is_rare(*c) && lookup(&SMALL_CAPITALS, *c).is_some()).count();
        let plain = word.chars().filter(char::is_ascii).count();
        if small >= 2 && small >= plain && small + plain == word.chars().count() {
            for (at, c) in word.char_indices() {
                if let Some(letter) = lookup(&SMALL_CAPITALS, c) {
                    edits.swap(range.start + at, c, letter);
                }
            }
        }
    }
    edits
}

/// What a character is upside-down.
fn turned(c: char) -> Option<char> {
    lookup(&TURNS, c).or_else(|| lookup(&TURNED, c))
}

/// Upside-down words, turned round together with their order.
pub(crate) fn upside_down(text: &str) -> Edits {
    let mut edits = Edits::default();
    let mut found = Turned::default();
    for (range, word) in runs(text, |c| !c.is_whitespace()) {
        let only_turned = word.chars().filter(|c| is_rare(*c) && lookup(&TURNED, *c).is_some()).count();
        if only_turned == 0 || !word.chars().all(|c| turned(c).is_some()) {
            found.end(text, &mut edits);
            continue;
        }
        if found.letters > 0 && range.start != found.range.end + 1 {
            found.end(text, &mut edits);
        }
        let start = if found.letters == 0 { range.start } else { found.range.start };
        found.range = start..range.end;
        found.letters += word.chars().count();
        found.only_turned += only_turned;
        // Letters that English phonetics does without.
        let odd = |c| {
            matches!(
                c,
                '\u{1dd}'
                    | '\u{183}'
                    | '\u{1d09}'
                    | '\u{25f}'
                    | '\u{265}'
                    | '\u{26f}'
                    | '\u{29e}'
                    | '\u{287}'
                    | '\u{28e}'
            )
        };
        found.odd |= word.contains(odd);
    }
    found.end(text, &mut edits);
    edits
}

/// Words side by side that may all be upside-down.
#[derive(Default)]
struct Turned {
    range: std::ops::Range<usize>,
    letters: usize,
    /// Letters that are nothing but another one upside-down.
    only_turned: usize,
    odd: bool,
}

impl Turned {
    fn end(&mut self, text: &str, edits: &mut Edits) {
        let found = std::mem::take(self);
        if found.odd && found.only_turned >= 2 && found.only_turned * 3 >= found.letters {
            let letters = text[found.range.clone()].chars().rev().map(|c| turned(c).unwrap_or(c));
            edits.replace_chars(found.range, letters);
        }
    }
}
