//! Swear words.

/// Swear words of English and Chinese, to be matched as whole words, each with how certain it is one, 0 to 1. Slurs against
/// groups are no part of them.
pub fn profanity() -> impl Iterator<Item = (f32, &'static str)> {
    let lines = include_str!("../data/profanity.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).flat_map(|(score, words)| {
        let score = score.parse().ok();
        words.split_whitespace().filter_map(move |word| Some((score?, word)))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_line_is_read_and_no_word_is_given_twice() {
        let file = include_str!("../data/profanity.txt");
        let fields: usize =
            file.lines().filter(|l| !l.starts_with('#')).map(|l| l.split_whitespace().count() - 1).sum();
        let words: HashSet<_> = profanity().map(|(_, word)| word).collect();
        assert_eq!(words.len(), fields);
        assert!(profanity().all(|(score, _)| (0.5..=1.0).contains(&score)));
    }
}
