//! DRY ("don't repeat yourself", by p-e-w): tokens that would go on repeating what stood before lose from their logits, the more the
//! longer the repeat already is.

use std::{collections::HashMap, sync::Arc};

use super::history::BOUND;

/// Texts that a repeat does not reach over, as in llama.cpp; each token with one of them in it is a breaker.
const BREAKERS: [u8; 4] = [b'\n', b':', b'"', b'*'];

/// How repeats are penalised.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// The penalty of the shortest repeat that has one; above 0.
    pub multiplier: f32,
    /// By how much each further token multiplies it; 1 or more.
    pub base: f32,
    /// Tokens of the shortest repeat that has a penalty; 1 or more.
    pub allowed_length: usize,
    /// The model's breakers, ascending.
    pub breakers: Arc<[u32]>,
}

/// Whether a token with these bytes is a breaker.
pub(crate) fn is_breaker(token: &[u8]) -> bool {
    token.iter().any(|byte| BREAKERS.contains(byte))
}

impl Dry {
    fn breaks(&self, token: u32) -> bool {
        self.breakers.binary_search(&token).is_ok()
    }

    /// Penalises what may come after these tokens. Takes time linear in their number.
    pub(super) fn penalise(&self, tokens: &[u32], logits: &mut [f32]) {
        let reach = tokens.iter().rev().take_while(|&&token| !self.breaks(token)).count();
        if reach < self.allowed_length {
            return;
        }
        let mut longest: HashMap<u32, usize> = HashMap::new();
        for (end, length) in repeats(tokens).into_iter().enumerate() {
            let length = length.min(reach);
            if length >= self.allowed_length && !self.breaks(tokens[end]) {
                let known = longest.entry(tokens[end]).or_default();
                *known = length.max(*known);
            }
        }
        for (token, length) in longest {
            if let Some(logit) = logits.get_mut(token as usize) {
                let exponent = (length - self.allowed_length) as f32;
                *logit -= (self.multiplier * self.base.powf(exponent)).min(BOUND);
            }
        }
    }
}

/// For each token, how many of those before it are the last ones of all: the Z function (Gusfield, 1997) of the reversed tokens, read
/// backwards.
fn repeats(tokens: &[u32]) -> Vec<usize> {
    let count = tokens.len();
    let back = |index: usize| tokens[count - 1 - index];
    let mut repeats = vec![0; count];
    // What follows, read forwards, the tokens from this one on, read backwards.
    let place = |start: usize| count - start;
    // The match that reaches furthest: `left..right` equals `0..right - left`.
    let (mut left, mut right) = (0_usize, 0_usize);
    for start in 1..count {
        let mut length =
            right.checked_sub(start).map_or(0, |inside| inside.min(repeats[place(start - left)]));
        while start + length < count && back(start + length) == back(length) {
            length += 1;
        }
        if start + length > right {
            (left, right) = (start, start + length);
        }
        repeats[place(start)] = length;
    }
    repeats
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn repeats_are_those_by_the_definition(tokens in prop::collection::vec(0_u32..3, 0..60)) {
            let found = repeats(&tokens);
            for (end, length) in found.into_iter().enumerate() {
                let alike = tokens[..end].iter().rev().zip(tokens.iter().rev()).take_while(|(one, other)| one == other);
                prop_assert_eq!(length, alike.count(), "before {} of {:?}", end, tokens);
            }
        }

        #[test]
        fn a_breaker_ends_a_repeat_and_is_not_penalised(
            tokens in prop::collection::vec(0_u32..4, 0..60), allowed_length in 1_usize..5,
        ) {
            let dry = Dry { multiplier: 2.0, base: 1.5, allowed_length, breakers: Arc::from([3]) };
            let mut logits = [0.0; 4];
            dry.penalise(&tokens, &mut logits);
            prop_assert_eq!(logits[3], 0.0);
            let tail = tokens.iter().rev().take_while(|&&token| token != 3).count();
            let most = (tail >= allowed_length).then(|| 2.0 * 1.5_f32.powf((tail - allowed_length) as f32));
            prop_assert!(logits.iter().all(|&logit| logit >= -most.unwrap_or(0.0) * 1.0001));
        }
    }

    #[test]
    fn the_longest_repeats_keep_logits_finite() {
        let dry = Dry { multiplier: 100.0, base: 8.0, allowed_length: 1, breakers: Arc::from([]) };
        let mut logits = [1.0, 2.0];
        dry.penalise(&[0; 5000], &mut logits);
        assert_eq!(logits, [-1e30, 2.0]);
    }
}
