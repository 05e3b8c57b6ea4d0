//! Temperature, top-k, top-p, min-p and typical-p; all but the last without sorting the vocabulary.

use std::cmp::Ordering;

use super::{Sampling, exp};

/// Width of the blocks whose sums let a draw skip most of the vocabulary.
const BLOCK: usize = 512;
/// Logits that are compared together when the best are looked for.
const STRETCH: usize = 64;
/// Up to this many, a heap of the best is cheaper than a selection over a copy of all.
const SMALL_TOP_K: usize = 1024;

/// Buffers that one thread reuses for every call, and the distribution they hold.
#[derive(Debug, Default)]
pub struct Scratch {
    /// One weight for each token of the vocabulary, if all are kept.
    dense: Vec<f32>,
    /// Token and weight of those kept, otherwise.
    sparse: Vec<(u32, f32)>,
    is_dense: bool,
}

impl Scratch {
    /// Tokens and weights of those kept, by token where nothing has sorted them.
    pub(super) fn kept(&mut self) -> &mut Vec<(u32, f32)> {
        if self.is_dense {
            let kept = self.dense.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
            self.sparse.extend(kept.map(|(token, &weight)| (token as u32, weight)));
            self.is_dense = false;
        }
        &mut self.sparse
    }

    /// The token at `u` (0 up to 1) of the cumulative distribution.
    pub(super) fn draw(&self, u: f64) -> Option<u32> {
        if self.is_dense { self.draw_dense(u) } else { self.draw_sparse(u) }
    }

    fn draw_sparse(&self, u: f64) -> Option<u32> {
        let total: f64 = self.sparse.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let mut left = u * total;
        for &(token, weight) in &self.sparse {
            left -= f64::from(weight);
            if left < 0.0 {
                return Some(token);
            }
        }
        // Rounding may leave a remainder after the last token.
        self.sparse.last().map(|&(token, _)| token)
    }

    fn draw_dense(&self, u: f64) -> Option<u32> {
        let mut left = u * self.dense.chunks(BLOCK).map(exp::sum).sum::<f64>();
        for (index, block) in self.dense.chunks(BLOCK).enumerate() {
            let mass = exp::sum(block);
            if left >= mass {
                left -= mass;
                continue;
            }
            for (offset, &weight) in block.iter().enumerate() {
                left -= f64::from(weight);
                if left < 0.0 {
                    return u32::try_from(index * BLOCK + offset).ok();
                }
            }
        }
        let last = self.dense.iter().rposition(|&weight| weight > 0.0)?;
        u32::try_from(last).ok()
    }

    /// The distribution, normalised, by token.
    #[cfg(test)]
    pub(super) fn probabilities(&self) -> Vec<(u32, f64)> {
        let dense = self.dense.iter().enumerate().map(|(token, &weight)| (token as u32, weight));
        let mut kept: Vec<(u32, f64)> = if self.is_dense {
            dense
                .filter(|&(_, weight)| weight > 0.0)
                .map(|(token, weight)| (token, f64::from(weight)))
                .collect()
        } else {
            self.sparse.iter().map(|&(token, weight)| (token, f64::from(weight))).collect()
        };
        let total: f64 = kept.iter().map(|&(_, weight)| weight).sum();
        kept.iter_mut().for_each(|(_, weight)| *weight /= total);
        kept.sort_by_key(|&(token, _)| token);
        kept
    }
}

/// The largest logit; `None` if there is no finite one.
pub(super) fn max(logits: &[f32]) -> Option<f32> {
    let max = exp::max(logits);
    max.is_finite().then_some(max)
}

/// Leaves in `scratch` the tokens that are kept, each with a weight proportional to its probability (1 for the
/// likeliest). At least the likeliest token stays.
pub(super) fn warp(logits: &[f32], params: &Sampling, scratch: &mut Scratch) -> Option<()> {
    let max = max(logits)?;
    // By value: behind a reference it would have to be read anew for each token, and the loop would not use SIMD.
    let temperature = params.temperature;
    let weight = move |logit: f32| exp::exp((logit - max) / temperature);
    let limited = params.top_k > 0 && params.top_k < logits.len();
    scratch.is_dense = !limited && params.top_p >= 1.0;
    scratch.sparse.clear();
    if limited {
        let least = kth_largest(logits, params.top_k, &mut scratch.dense);
        let kept = logits.iter().enumerate().filter(|&(_, &logit)| logit >= least);
        scratch.sparse.extend(kept.map(|(token, &logit)| (token as u32, weight(logit))));
        top_p(&mut scratch.sparse, params.top_p);
    } else {
        scratch.dense.clear();
        scratch.dense.extend(logits.iter().map(|&logit| weight(logit)));
        if !scratch.is_dense {
            preselect(&scratch.dense, params.top_p, &mut scratch.sparse);
        }
    }
    // The weight of the likeliest token is 1, so a weight is its ratio to that one already.
    if params.min_p > 0.0 && scratch.is_dense {
        scratch
            .dense
            .iter_mut()
            .for_each(|weight| *weight = if *weight < params.min_p { 0.0 } else { *weight });
    } else if params.min_p > 0.0 {
        scratch.sparse.retain(|&(_, weight)| weight >= params.min_p);
    }
    if params.typical_p < 1.0 {
        typical(scratch.kept(), params.typical_p);
    }
    Some(())
}

/// Keeps the tokens whose information is nearest to the distribution's entropy, until their probabilities reach `mass`; and those
/// that are as near as the last of them.
fn typical(kept: &mut Vec<(u32, f32)>, mass: f32) {
    let total: f64 = kept.iter().map(|&(_, weight)| f64::from(weight)).sum();
    let probability = |weight: f32| f64::from(weight) / total;
    let information = |weight: f32| match weight {
        0.0 => 0.0,
        _ => -probability(weight).ln(),
    };
    let entropy: f64 = kept.iter().map(|&(_, weight)| probability(weight) * information(weight)).sum();
    let distance = |weight: f32| (information(weight) - entropy).abs();
    let mut nearest = kept.clone();
    nearest.sort_unstable_by(|a, b| distance(a.1).total_cmp(&distance(b.1)).then(a.0.cmp(&b.0)));
    let mut reached = 0.0;
    let last = nearest.iter().position(|&(_, weight)| {
        reached += probability(weight);
        reached >= f64::from(mass)
    });
    let last = last.or(nearest.len().checked_sub(1)).and_then(|last| nearest.get(last));
    if let Some(&(_, last)) = last {
        kept.retain(|&(_, weight)| distance(weight) <= distance(last));
    }
}

/// The value of the k-th largest logit, 0 < k < n.
fn kth_largest(logits: &[f32], k: usize, buffer: &mut Vec<f32>) -> f32 {
    buffer.clear();
    if k > SMALL_TOP_K {
        buffer.extend(logits.iter().map(|&logit| if logit.is_nan() { f32::NEG_INFINITY } else { logit }));
        return *buffer.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a)).1;
    }
    // A sorted window of the k best. Nearly every stretch of logits lies below its end and is passed by as a whole.
    let mut least = f32::NEG_INFINITY;
    for stretch in logits.chunks(STRETCH) {
        if buffer.len() == k && exp::max(stretch) <= least {
            continue;
        }
        for &logit in stretch {
            if logit > least || (buffer.len() < k && !logit.is_nan()) {
                let at = buffer.partition_point(|&better| better >= logit);
                buffer.insert(at, logit);
                buffer.truncate(k);
                if buffer.len() == k {
                    least = buffer[k - 1];
                }
            }
        }
    }
    buffer.last().copied().unwrap_or(f32::NEG_INFINITY)
}

/// Top-p over a whole vocabulary. Tokens below `(1 - p) * total / n` together weigh less than `1 - p`, so each has more
/// than `p` above it and goes; what is left is short.
fn preselect(dense: &[f32], p: f32, kept: &mut Vec<(u32, f32)>) {
    let total: f64 = dense.chunks(BLOCK).map(exp::sum).sum();
    // Half of the bound leaves room for the rounding of the sums.
    let least = (0.5 * (1.0 - f64::from(p)) * total / dense.len() as f64) as f32;
    let enough = dense.iter().enumerate().filter(|&(_, &weight)| weight > least || weight == 1.0);
    kept.extend(enough.map(|(token, &weight)| (token as u32, weight)));
    nucleus(kept, f64::from(p) * total);
}

/// Top-p over what top-k left.
fn top_p(kept: &mut Vec<(u32, f32)>, p: f32) {
    if p < 1.0 {
        let total: f64 = kept.iter().map(|&(_, weight)| f64::from(weight)).sum();
        nucleus(kept, f64::from(p) * total);
    }
}

/// Likeliest first, equal ones by id.
pub(super) fn order(one: &(u32, f32), other: &(u32, f32)) -> Ordering {
    other.1.total_cmp(&one.1).then(one.0.cmp(&other.0))
}

/// Keeps, likeliest first (equal ones by id), the tokens before which less than `mass` has gone by; at least one.
fn nucleus(kept: &mut Vec<(u32, f32)>, mass: f64) {
    let mut sorted = kept.len().min(256);
    loop {
        if sorted < kept.len() {
            kept.select_nth_unstable_by(sorted, order);
        }
        kept[..sorted].sort_unstable_by(order);
        let mut before = 0.0;
        for (index, &(_, weight)) in kept[..sorted].iter().enumerate() {
            if index > 0 && before >= mass {
                kept.truncate(index);
                return;
            }
            before += f64::from(weight);
        }
        if sorted == kept.len() {
            return;
        }
        sorted = (sorted * 8).min(kept.len());
    }
}
