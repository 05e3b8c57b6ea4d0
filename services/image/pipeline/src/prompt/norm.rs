//! The final layer norm of a text encoder, for layers that its graph gives without one.

/// Largest error of a fit, for outputs around 1.
const TOLERANCE: f64 = 1e-3;

/// `y = gain * (x - mean) / sqrt(variance + epsilon) + bias`, by channel. Its weights are inside the graph; but the graph
/// gives what goes into it and what comes out, and each channel is a straight line through as many points as there are
/// tokens.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FinalNorm {
    gain: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f64,
}

impl FinalNorm {
    /// Finds the weights; `None` where no layer norm makes these outputs of these inputs.
    pub(super) fn fit(before: &[f32], after: &[f32], width: usize, epsilon: f64) -> Option<Self> {
        if width == 0 || before.len() != after.len() || before.len() < 2 * width {
            return None;
        }
        let normal: Vec<f64> = before.chunks_exact(width).flat_map(|row| normalised(row, epsilon)).collect();
        let (mut gain, mut bias) = (Vec::with_capacity(width), Vec::with_capacity(width));
        for channel in 0..width {
            let points = || (channel..normal.len()).step_by(width).map(|n| (normal[n], f64::from(after[n])));
            let count = (normal.len() / width) as f64;
            let (x, y) = points().fold((0.0, 0.0), |(a, b), (x, y)| (a + x / count, b + y / count));
            let (spread, product) =
                points().fold((0.0, 0.0), |(a, b), (u, v)| (a + (u - x) * (u - x), b + (u - x) * (v - y)));
            let slope = product / spread;
            let start = y - slope * x;
            if !points().all(|(u, v)| (slope * u + start - v).abs() <= TOLERANCE * v.abs().max(1.0)) {
                return None;
            }
            gain.push(slope as f32);
            bias.push(start as f32);
        }
        Some(Self { gain, bias, epsilon })
    }

    pub(super) fn apply(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.gain.len()) {
            let normal: Vec<f64> = normalised(row, self.epsilon).collect();
            for (n, value) in row.iter_mut().enumerate() {
                *value = normal[n] as f32 * self.gain[n] + self.bias[n];
            }
        }
    }
}

fn normalised(row: &[f32], epsilon: f64) -> impl Iterator<Item = f64> {
    let count = row.len() as f64;
    let mean = row.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
    let variance = row.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
    row.iter().map(move |x| (f64::from(*x) - mean) / (variance + epsilon).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Draws, Purpose};

    #[test]
    fn a_layer_norm_is_found() {
        let mut before = vec![0.0; 77 * 8];
        Draws::new(3, Purpose::Initial).fill(&mut before);
        let norm =
            FinalNorm { gain: (0..8).map(|n| 0.5 + n as f32).collect(), bias: vec![-0.25; 8], epsilon: 1e-5 };
        let mut after = before.clone();
        norm.apply(&mut after);
        let found = FinalNorm::fit(&before, &after, 8, 1e-5).unwrap();
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&found.gain, &norm.gain) && close(&found.bias, &norm.bias), "{found:?}");
        after[5] += 0.5;
        assert_eq!(FinalNorm::fit(&before, &after, 8, 1e-5), None);
    }
}
