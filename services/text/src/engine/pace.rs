//! How much prompt a step takes in. Beside calls that decode it is as much as the step's time allows, so that they go on
//! writing at a steady rate however long the prompts of others are. A short prompt is taken in by whole chunks all the same:
//! they wait once or twice, and its caller does not wait for many of their steps. So is any with nobody to hold up.

use std::time::Duration;

/// Chunks of a short prompt.
const SHORT_CHUNKS: usize = 2;

/// Fewest tokens that a step has room for: of three with room for two, neither a piece nor its rest may be a single one.
const LEAST: usize = 3;

/// Measures what steps cost, and cuts prompts by it.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// Most prompt tokens of one call in a step.
    chunk: usize,
    /// Most prompt tokens of a step; at least `chunk`.
    per_step: usize,
    /// How long a step may take in prompts, in times of what its decoding calls take.
    share: f64,
    /// What the decoding calls of the last two steps took, in seconds. The shorter counts: whatever else may have held up one of
    /// them, a step that is long already is no reason for a longer one.
    decode: [f64; 2],
    /// What a token of a prompt takes of late, in seconds.
    per_token: f64,
}

impl Pace {
    pub(super) fn new(chunk: usize, per_step: usize, share: f64) -> Self {
        let chunk = chunk.max(LEAST);
        // Nothing is measured yet: the first pieces are small.
        Self { chunk, per_step: per_step.max(chunk), share, decode: [0.0; 2], per_token: 1.0 }
    }

    /// Most prompt tokens of one call in a step.
    pub(super) fn chunk(&self) -> usize {
        self.chunk
    }

    /// Most prompt tokens of a step.
    pub(super) fn per_step(&self) -> usize {
        self.per_step
    }

    /// Prompt tokens of the next step that its decoding calls can afford.
    pub(super) fn affordable(&self) -> usize {
        let decode = self.decode[0].min(self.decode[1]);
        let affordable = (self.share * decode / self.per_token) as usize;
        affordable.clamp(LEAST, self.per_step)
    }

    /// Whether so much of a prompt is over so soon that calls that decode can wait.
    pub(super) fn is_short(&self, tokens: usize) -> bool {
        tokens <= SHORT_CHUNKS * self.chunk
    }

    /// How many of the tokens that are left of a prompt go into a step that has room for so many. A piece is no single token,
    /// nor is what it leaves, unless the prompt is: see [`takes_any_piece`](atelier_inference::Decoder::takes_any_piece).
    pub(super) fn piece(&self, left: usize, budget: usize) -> Option<usize> {
        let most = left.min(self.chunk).min(budget);
        let piece = if left - most == 1 { most.saturating_sub(1) } else { most };
        (piece > 1 || piece > 0 && piece == left).then_some(piece)
    }

    /// How many go into it of a prompt that is cut alike whatever else runs. The first one always fits.
    pub(super) fn whole_chunk(&self, left: usize, budget: usize, is_first: bool) -> Option<usize> {
        Some(left.min(self.chunk)).filter(|&chunk| is_first || chunk <= budget)
    }

    /// So many prompt tokens took so long.
    pub(super) fn prefilled(&mut self, tokens: usize, time: Duration) {
        let now = time.as_secs_f64() / tokens.max(1) as f64;
        // Tokens get dearer as prompts grow, and the pace must follow.
        self.per_token = f64::midpoint(self.per_token, now);
    }

    /// The decoding calls of a step took so long.
    pub(super) fn decoded(&mut self, time: Duration) {
        self.decode = [self.decode[1], time.as_secs_f64()];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn beside_calls_that_decode_a_step_takes_what_its_time_allows() {
        let mut pace = Pace::new(128, 256, 2.0);
        assert_eq!(pace.affordable(), LEAST, "nothing is measured yet");
        for _ in 0..40 {
            pace.prefilled(100, Duration::from_millis(300));
        }
        let decoded = |pace: &mut Pace, milliseconds: [u64; 2]| {
            milliseconds.into_iter().for_each(|time| pace.decoded(Duration::from_millis(time)));
            pace.affordable()
        };
        assert_eq!(decoded(&mut pace, [46, 46]), 30);
        assert_eq!(decoded(&mut pace, [46, 500]), 30, "once is no reason");
        assert_eq!(decoded(&mut pace, [46, 5]), LEAST);
        assert_eq!(decoded(&mut pace, [5000, 5000]), 256);
    }

    proptest! {
        #[test]
        fn prompts_are_taken_in_whole_without_single_tokens(
            prompt in 1_usize..500,
            chunk in 0_usize..130,
            budgets in prop::collection::vec(0_usize..40, 1..60),
        ) {
            let pace = Pace::new(chunk, 0, 2.0);
            let mut left = prompt;
            let mut refused = 0;
            for budget in budgets.iter().cycle() {
                match pace.piece(left, *budget) {
                    Some(piece) => {
                        prop_assert!(piece <= *budget && piece <= left && piece <= chunk.max(LEAST));
                        prop_assert!(piece > 1 || prompt == 1);
                        left -= piece;
                        refused = 0;
                    }
                    None => {
                        prop_assert!(*budget < LEAST, "{left} left, {budget} to spend");
                        refused += 1;
                    }
                }
                if left == 0 || refused > budgets.len() {
                    break;
                }
            }
            prop_assert!(left == 0 || budgets.iter().all(|&budget| budget < LEAST));
        }
    }
}
