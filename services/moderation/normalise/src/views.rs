//! The views: which steps make each.

use std::ops::Range;

use crate::{
    han, spaced,
    steps::{READABLE, Stage, UNDRAWN},
    view::View,
};

/// Folding a letter can put it beside a mark that it composes with, and so on. Two rounds do for all but texts made to
/// need more; the bound keeps those linear as well.
const MAX_ROUNDS: usize = 8;

/// What a reader sees.
///
/// Unicode's form KC ([UAX #15](https://www.unicode.org/reports/tr15/)) without characters that show nothing, with at most
/// three marks on a letter, styled letters (mathematical, enclosed, small capitals, upside-down, flags that spell) as plain
/// ones, and letters that merely look like those of their word's alphabet
/// ([UTS #39](https://www.unicode.org/reports/tr39/)) as what they look like. White space is spaces and line feeds, as many
/// as there were.
///
/// Ordinary text of any script comes out as form KC has it: Cyrillic words stay Cyrillic, accents, emoji, flags, and the
/// joiners that Persian and Indic spelling needs stay. A word that is wholly made of letters that look Latin becomes Latin
/// only in a text with Latin words and none that is certainly of that word's script.
#[must_use]
pub fn readable(text: &str) -> View {
    read(text).view
}

fn read(text: &str) -> Stage {
    let mut stage = Stage::of(View::of(text));
    for _ in 0..MAX_ROUNDS {
        let (next, changed) = stage.take(&READABLE);
        if !changed {
            return next;
        }
        stage = Stage::of(next.view);
    }
    stage
}

/// What is left of words when the ways to disguise them are undone, for comparison with terms that went through the same.
///
/// The [`readable`] text in lower case and without accents on Latin letters, simplified Chinese, characters that were
/// written as two halves joined, separators taken out of spaced-out words (three single letters and more), digits and signs
/// that stand for letters (only in words that hold letters, so that 2024 stays), and no letter more than twice in a row.
#[must_use]
pub fn skeleton(text: &str) -> View {
    let view = undrawn(text);
    let edits = spaced::squeezed(&spaced::stretched(view.text()), 2);
    view.edit(&edits)
}

/// A skeleton in which letters that were written three times and more in a row stand once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Squeezed {
    /// The skeleton.
    pub view: View,
    /// Where in it those letters stand, in order.
    pub letters: Vec<Range<usize>>,
}

/// The [`skeleton`], and, where letters stand three times and more in a row, a second one in which those stand once: "fuuuck"
/// is "fuuck" and "fuck".
#[must_use]
pub fn skeletons(text: &str) -> (View, Option<Squeezed>) {
    let view = undrawn(text);
    let stretched = spaced::stretched(view.text());
    if stretched.is_empty() {
        return (view, None);
    }
    let [once, twice] = [1, 2].map(|keep| spaced::squeezed(&stretched, keep));
    (view.replaced(&twice), Some(Squeezed { view: view.replaced(&once), letters: once.results().collect() }))
}

/// The skeleton with letters as often as they were written.
fn undrawn(text: &str) -> View {
    read(text).take(&UNDRAWN).0.view
}

/// The [`skeleton`] with each Chinese character as its most frequent reading: pinyin without tones and without spaces,
/// `v` for `ü`. What is not Chinese stays. [`Sound`](crate::Sound) tells syllables apart.
#[must_use]
pub fn pinyin(text: &str) -> View {
    let view = skeleton(text);
    let edits = han::syllables(view.text());
    view.edit(&edits)
}
