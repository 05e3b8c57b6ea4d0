//! Shingles of a text, and which of them are kept.

use std::ops::Range;

use super::units::{Unit, units};

/// What the units of a shingle weigh together, at least: 5 words or 10 Chinese characters.
const SHINGLE: usize = 20;
/// Of this many shingles in a row one is kept: about 2 in 5 of all.
const WINDOW: usize = 4;

/// A shingle that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) hash: u64,
    /// In bytes of the text.
    pub(crate) range: Range<usize>,
}

/// The shingles of a text that are kept, in their order.
pub(crate) fn select(text: &str) -> Vec<Selected> {
    let units = units(text);
    let shingles = shingles(&units);
    let mut selected: Vec<Selected> = Vec::new();
    let mut last = None;
    // A text with fewer shingles than a window has one window.
    for (first, window) in shingles.windows(WINDOW.min(shingles.len()).max(1)).enumerate() {
        // The last of equals, as in the paper: it stays in most of the windows to come.
        let lowest = window.iter().enumerate().rev().min_by_key(|(_, shingle)| shingle.hash);
        if let Some((offset, shingle)) = lowest
            && last.replace(first + offset) != Some(first + offset)
        {
            selected.push(shingle.clone());
        }
    }
    selected
}

/// One for each unit from which on there is enough text.
fn shingles(units: &[Unit]) -> Vec<Selected> {
    let (mut end, mut weight) = (0, 0);
    let mut shingles = Vec::new();
    for (start, first) in units.iter().enumerate() {
        while weight < SHINGLE
            && let Some(unit) = units.get(end)
        {
            weight += unit.weight;
            end += 1;
        }
        if weight < SHINGLE {
            break;
        }
        let run = units.get(start..end).unwrap_or_default();
        let hash = run.iter().fold(0, |state, unit| mix(state ^ unit.hash));
        let last = run.last().unwrap_or(first);
        shingles.push(Selected { hash, range: first.range.start..last.range.end });
        weight -= first.weight;
    }
    shingles
}

/// One step of SplitMix64 (Steele, Lea, Flood 2014): each bit of the input changes about half of those of the output.
fn mix(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::vec, prelude::*, sample};

    use super::*;

    fn shared(one: &str, other: &str) -> bool {
        let hashes: BTreeSet<u64> = select(one).into_iter().map(|selected| selected.hash).collect();
        select(other).iter().any(|selected| hashes.contains(&selected.hash))
    }

    fn words(count: Range<usize>) -> impl Strategy<Value = String> {
        vec(sample::select(vec!["a", "to", "the", "cat", "sat", "on", "mat", "dog", "x"]), count)
            .prop_map(|words| words.join(" "))
    }

    fn characters(count: Range<usize>) -> impl Strategy<Value = String> {
        vec(sample::select("春眠不觉晓处闻啼鸟".chars().collect::<Vec<_>>()), count)
            .prop_map(|characters| characters.into_iter().collect())
    }

    #[test]
    fn short_texts_have_nothing_to_keep() {
        assert!(select("one two three four").is_empty());
        assert_eq!(select("one two three four five").len(), 1);
        assert!(select("春眠不觉晓处处闻啼").is_empty());
        assert_eq!(select("春眠不觉晓，处处闻啼鸟").len(), 1);
    }

    proptest! {
        #[test]
        fn eight_words_are_found(
            run in words(8..9), before in words(0..20), after in words(0..20),
            before_other in words(0..20), after_other in words(0..20),
        ) {
            let (one, other) = (format!("{before} {run}, {after}"), format!("{before_other} {run} {after_other}"));
            prop_assert!(shared(&one, &other));
        }

        #[test]
        fn thirteen_characters_are_found(
            run in characters(13..14), before in characters(0..30), after in characters(0..30),
            before_other in characters(0..30), after_other in characters(0..30),
        ) {
            let (one, other) = (format!("{before}{run}{after}"), format!("{before_other}{run}。{after_other}"));
            prop_assert!(shared(&one, &other));
        }

        #[test]
        fn mixed_runs_of_weight_35_are_found(
            run in vec(sample::select(vec!["cat ", "sat ", "春", "眠", "ก", "ท"]), 9..36),
            before in characters(0..9), after in words(0..9), before_other in words(0..9),
        ) {
            let weight = |part: &&str| if part.len() == 4 { 4 } else if part.starts_with(['春', '眠']) { 2 } else { 1 };
            prop_assume!(run.iter().map(weight).sum::<usize>() >= 35);
            let run = run.concat();
            let (one, other) = (format!("{before} {run} {after}"), format!("{before_other} {run}"));
            prop_assert!(shared(&one, &other));
        }

        #[test]
        fn neighbours_are_at_most_a_window_apart(text in words(0..200)) {
            let units = units(&text);
            let starts: Vec<usize> = select(&text)
                .iter()
                .map(|selected| units.iter().position(|unit| unit.range.start == selected.range.start).unwrap())
                .collect();
            prop_assert!(starts.windows(2).all(|pair| pair[0] < pair[1] && pair[1] - pair[0] <= WINDOW));
        }
    }
}
