//! How likely a model finds tokens: the log-softmax of its logits, before anything is done to them.

use super::{exp, warp};

/// Weights that are summed together, so that each sum is short enough for f32.
const BLOCK: usize = 512;

/// The natural-log probability of a token, and the likeliest ones in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: u32,
    /// At most 0; minus infinity for a token that is impossible.
    pub logprob: f32,
    /// Tokens and their log-probabilities, likeliest first; of equals the one of the lower id.
    pub top: Vec<(u32, f32)>,
}

impl TokenLogprob {
    /// Of a token by these logits, with so many others. `None` where the logits are no distribution, or the token has none.
    pub(crate) fn of(logits: &[f32], token: u32, top: usize) -> Option<Self> {
        let log_total = log_total(logits)?;
        let logprob = |logit: f32| (f64::from(logit) - log_total).min(0.0) as f32;
        let logit = *logits.get(token as usize).filter(|logit| !logit.is_nan())?;
        let top = likeliest(logits, top).into_iter().map(|(token, logit)| (token, logprob(logit))).collect();
        Some(Self { token, logprob: logprob(logit), top })
    }
}

/// The logarithm of the sum of all tokens' `exp(logit)`, without overflow; NaN counts as absent. `None` if there is no finite
/// logit. The error is that of [`exp::exp`], below 1e-6.
fn log_total(logits: &[f32]) -> Option<f64> {
    let max = warp::max(logits)?;
    let mut weights = [0.0; BLOCK];
    let total: f64 = logits
        .chunks(BLOCK)
        .map(|block| {
            let weights = &mut weights[..block.len()];
            weights.iter_mut().zip(block).for_each(|(weight, logit)| *weight = exp::exp(logit - max));
            exp::sum(weights)
        })
        .sum();
    Some(f64::from(max) + total.ln())
}

/// Makes log-probabilities of logits. `None` if there is no finite one.
pub(crate) fn log_softmax(logits: &mut [f32]) -> Option<()> {
    let log_total = log_total(logits)?;
    logits.iter_mut().for_each(|logit| *logit = (f64::from(*logit) - log_total) as f32);
    Some(())
}

/// The tokens with the largest logits, largest first, without those that are impossible. One pass: hardly any token is among
/// the few that are asked for.
pub(crate) fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(count + 1);
    let mut least = if count == 0 { f32::INFINITY } else { f32::NEG_INFINITY };
    for (token, &logit) in (0..).zip(logits) {
        if logit > least {
            best.insert(best.partition_point(|&(_, other)| other >= logit), (token, logit));
            best.truncate(count);
            if best.len() == count {
                least = best[count - 1].1;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_log_softmax_by_the_book(
            logits in prop::collection::vec(-60_f32..60.0, 1..2000),
            token in any::<prop::sample::Index>(),
            count in 0_usize..=20,
        ) {
            let token = token.index(logits.len());
            let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            let expected = |token: usize| f64::from(logits[token]) - total.ln();
            let close = |logprob: f32, token: usize| {
                (f64::from(logprob) - expected(token)).abs() <= 1e-6 * (1.0 + expected(token).abs())
            };
            let found = TokenLogprob::of(&logits, token as u32, count).expect("they are finite");
            prop_assert!(found.logprob <= 0.0 && close(found.logprob, token));
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|&one, &other| logits[other].total_cmp(&logits[one]));
            order.truncate(count);
            prop_assert_eq!(found.top.iter().map(|&(token, _)| token as usize).collect::<Vec<_>>(), order);
            prop_assert!(found.top.iter().all(|&(token, logprob)| close(logprob, token as usize)));
            prop_assert!(found.top.iter().map(|&(_, logprob)| f64::from(logprob).exp()).sum::<f64>() <= 1.0 + 1e-5);
        }
    }

    #[test]
    fn what_is_no_number_is_absent() {
        let logits = [f32::NAN, 1.0, f32::NEG_INFINITY, 1.0];
        let found = TokenLogprob::of(&logits, 3, 20).expect("two are finite");
        assert!((found.logprob - 0.5_f32.ln()).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|&(token, _)| token).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(TokenLogprob::of(&logits, 2, 0).map(|found| found.logprob), Some(f32::NEG_INFINITY));
        assert_eq!(TokenLogprob::of(&logits, 0, 0), None);
        assert_eq!(TokenLogprob::of(&logits, 4, 0), None);
        assert_eq!(TokenLogprob::of(&[f32::NEG_INFINITY; 3], 0, 0), None);
    }
}
