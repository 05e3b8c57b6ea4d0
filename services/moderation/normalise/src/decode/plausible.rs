//! Whether bytes that were decoded are a text.

use std::sync::LazyLock;

use crate::letters::{in_word, is_letter, runs};

/// Half bits that a letter of English costs after another, made by `data/bigrams.py`; 0 is the end of a word.
static COSTS: LazyLock<Vec<[u8; 27]>> = LazyLock::new(|| {
    let rows = include_str!("../../data/bigrams.txt").lines();
    rows.filter_map(|row| <[u8; 27]>::try_from(row.as_bytes()).ok())
        .map(|row| row.map(|cell| cell - b'A'))
        .collect()
});

/// Half bits a letter above which a text is no English. English has 8 in the mean, letters drawn at random 16.
const MAX_COST: f32 = 11.5;

/// The most for texts of a few letters, where chance does more.
const MAX_SHORT_COST: f32 = 11.0;
const SHORT: usize = 12;

/// The least letters of a text that is worth telling of.
const MIN_LETTERS: usize = 3;

/// What the letters of a word cost one after another, its ends included. The word is ASCII letters.
pub(crate) fn cost(letters: impl Iterator<Item = u8>) -> u32 {
    let mut before = 0;
    let mut sum = 0;
    for next in
        letters.map(|letter| usize::from(letter.to_ascii_lowercase().saturating_sub(b'a' - 1))).chain([0])
    {
        sum += COSTS.get(before).and_then(|row| row.get(next)).map_or(25, |cost| u32::from(*cost));
        before = next;
    }
    sum
}

/// No control character but white space, nothing private or unassigned at the ends of planes, no replacement character.
pub(super) fn is_printable(text: &str) -> bool {
    let odd = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
            || matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}' | '\u{30000}'..)
    };
    !text.is_empty() && !text.contains(odd)
}

/// Mostly words, and where they are ASCII, words with English pairs of letters.
pub(super) fn reads_well(text: &str) -> bool {
    let (mut letters, mut others, mut ascii, mut costs) = (0_usize, 0_usize, 0_usize, 0_u32);
    for c in text.chars() {
        match c {
            c if is_letter(c) => letters += 1,
            ' ' | '\n' | '\r' => {}
            _ => others += 1,
        }
    }
    for (_, word) in runs(text, |c| c.is_ascii_alphabetic()) {
        ascii += word.len();
        costs += cost(word.bytes());
    }
    let foreign = letters - ascii;
    // A few letters of another script among bytes drawn at random are of several scripts.
    let enough = letters >= MIN_LETTERS || foreign >= 2;
    let mostly_words = letters >= 3 * others;
    let limit = if ascii < SHORT { MAX_SHORT_COST } else { MAX_COST };
    #[expect(clippy::cast_precision_loss, reason = "counts of letters are small")]
    let english = ascii == 0 || costs as f32 <= limit * ascii as f32;
    enough && mostly_words && english && (foreign == 0 || is_of_one_script(text))
}

/// Whether neighbouring letters outside ASCII are of neighbouring blocks: chance mixes scripts.
fn is_of_one_script(text: &str) -> bool {
    let (mut pairs, mut apart) = (0_usize, 0_usize);
    for (_, word) in runs(text, |c| !c.is_ascii() && in_word(c)) {
        let han = |c: char| (u32::from(c) >= 0x3040 && u32::from(c) < 0xd7b0) || u32::from(c) >= 0x20000;
        for (a, b) in word.chars().zip(word.chars().skip(1)) {
            pairs += 1;
            apart += usize::from(if han(a) || han(b) {
                han(a) != han(b)
            } else {
                u32::from(a).abs_diff(u32::from(b)) > 0x180
            });
        }
    }
    apart * 8 <= pairs
}
