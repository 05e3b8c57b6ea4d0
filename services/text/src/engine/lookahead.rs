//! Guesses at what an answer says next, from what prompt and answer say already: prompt lookup decoding (Saxena 2023). The
//! model checks all guesses in one run, which costs little more than a run for one token, and only those that it would have
//! chosen itself stay.

/// Most tokens at the end that a place must share to be taken for what goes on there.
const LONGEST: usize = 4;
/// Fewest of them: single tokens recur everywhere.
const SHORTEST: usize = 2;

/// What followed the last place that shares most of the ending of prompt and answer, at most so many tokens of it.
pub(super) fn guess<'a>(
    prompt: &'a [u32],
    answer: &'a [u32],
    most: usize,
) -> impl Iterator<Item = u32> + use<'a> {
    let length = prompt.len() + answer.len();
    let token = move |at: usize| match at.checked_sub(prompt.len()) {
        None => prompt[at],
        Some(at) => answer[at],
    };
    // How many tokens before `end` are those at the very end.
    let shared = |end: usize| {
        (1..=LONGEST.min(end)).take_while(|back| token(end - back) == token(length - back)).count()
    };
    let best = (SHORTEST..length).rev().fold((SHORTEST - 1, length), |best, end| match shared(end) {
        longer if best.0 < LONGEST && longer > best.0 => (longer, end),
        _ => best,
    });
    (best.1..length.min(best.1 + most)).map(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guessed(prompt: &[u32], answer: &[u32], most: usize) -> Vec<u32> {
        guess(prompt, answer, most).collect()
    }

    #[test]
    fn what_came_before_comes_again() {
        assert_eq!(guessed(&[1, 2, 3, 4, 5], &[9, 2, 3], 2), [4, 5]);
        assert_eq!(guessed(&[1, 2, 3, 4], &[2, 3], 8), [4, 2, 3]);
        // The last of equals, and the longer before it.
        assert_eq!(guessed(&[2, 3, 7, 2, 3, 8], &[2, 3], 1), [8]);
        assert_eq!(guessed(&[1, 2, 3, 7, 2, 3, 8], &[1, 2, 3], 1), [7]);
        // Across the border of prompt and answer, and into what is being repeated.
        assert_eq!(guessed(&[1, 2], &[3, 2, 3], 9), [2, 3]);
        assert_eq!(guessed(&[5], &[5, 5], 9), [5]);
        assert_eq!(guessed(&[1, 2, 3], &[4, 3], 4), [0; 0]);
        assert_eq!(guessed(&[1, 2, 3, 1, 2], &[], 0), [0; 0]);
    }

    proptest! {
        #[test]
        fn it_is_found_by_the_book(
            tokens in prop::collection::vec(0_u32..4, 1..60),
            at in any::<prop::sample::Index>(),
            most in 0_usize..9,
        ) {
            let (prompt, answer) = tokens.split_at(1 + at.index(tokens.len()));
            let found = (SHORTEST..=LONGEST).rev().find_map(|length| {
                let end = tokens.len().checked_sub(length)?;
                (0..end).rev().find(|&start| tokens[start..start + length] == tokens[end..]).map(|start| start + length)
            });
            let expected = found.map_or(&[][..], |end| &tokens[end..tokens.len().min(end + most)]);
            prop_assert_eq!(guessed(prompt, answer, most), expected);
        }
    }
}
