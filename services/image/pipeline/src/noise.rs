//! Noise from seeds: the same numbers on every machine.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

/// What a seed's numbers are for. Draws for different purposes have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The latents that a picture begins as.
    Initial,
    /// What samplers put on top of the latents while they work.
    Steps,
    /// What a clip's frames draw anew.
    Drift,
}

/// Draws from the standard normal distribution.
///
/// The numbers of a seed are fixed for good: ChaCha with 12 rounds, whose 256-bit key is the seed (little endian) followed
/// by zeros, and whose stream is 0 for the initial latents, 1 for the steps, 2 for drift. Two 64-bit words give two numbers
/// between -1 and 1 (their upper 53 bits), until these lie within the unit circle; Marsaglia's polar method turns them into
/// two draws. Only operations that IEEE 754 rounds exactly are used, the logarithm included, so that no machine's library
/// makes a difference.
#[derive(Clone, Debug)]
pub struct Draws {
    rng: ChaCha12Rng,
    spare: Option<f32>,
}

impl Draws {
    /// The draws of a seed.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha12Rng::from_seed(key);
        rng.set_stream(match purpose {
            Purpose::Initial => 0,
            Purpose::Steps => 1,
            Purpose::Drift => 2,
        });
        Self { rng, spare: None }
    }

    /// Fills a slice with the next draws.
    pub fn fill(&mut self, values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = self.next());
    }

    fn next(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (self.uniform(), self.uniform());
            let square = x * x + y * y;
            if square > 0.0 && square < 1.0 {
                let scale = (-2.0 * ln(square) / square).sqrt();
                self.spare = Some((y * scale) as f32);
                return (x * scale) as f32;
            }
        }
    }

    /// From -1 up to, not including, 1.
    fn uniform(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1_u64 << 52) as f64;
        (self.rng.next_u64() >> 11) as f64 * STEP - 1.0
    }
}

/// The natural logarithm of a positive, normal number, to within 2 units in the last place.
fn ln(x: f64) -> f64 {
    const MANTISSA: u64 = (1 << 52) - 1;
    const BIAS: i64 = 1023;
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - BIAS;
    let mut mantissa = f64::from_bits((bits & MANTISSA) | (BIAS as u64) << 52);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln(m) = 2 artanh((m - 1) / (m + 1)); the argument is below 0.172, whose 23rd power is below the last place.
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let series = (0..11).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    2.0 * ratio * series + exponent as f64 * std::f64::consts::LN_2
}

/// A point between two draws on the great circle through them (Shoemake, 1985). Draws of high dimension are nearly at right
/// angles, and a straight line between them would be too short in the middle.
#[must_use]
pub fn slerp(from: &[f32], to: &[f32], weight: f32) -> Vec<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = (dot(from, to) / (dot(from, from) * dot(to, to)).sqrt()).clamp(-1.0, 1.0);
    let weight = f64::from(weight);
    // Where both point the same way or opposite ways there is no circle.
    let (a, b) = if cosine.is_nan() || cosine.abs() > 0.9995 {
        (1.0 - weight, weight)
    } else {
        let angle = cosine.acos();
        (((1.0 - weight) * angle).sin() / angle.sin(), (weight * angle).sin() / angle.sin())
    };
    from.iter().zip(to).map(|(x, y)| (a * f64::from(*x) + b * f64::from(*y)) as f32).collect()
}

/// Mixes fresh draws into draws: `share` of the variance is new, the sum of both is what it was.
pub(crate) fn refresh(draws: &mut [f32], fresh: &[f32], share: f32) {
    let (old, new) = ((1.0 - share).sqrt(), share.sqrt());
    draws.iter_mut().zip(fresh).for_each(|(draw, fresh)| *draw = old * *draw + new * fresh);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn draws(seed: u64, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        Draws::new(seed, Purpose::Initial).fill(&mut values);
        values
    }

    fn variance(values: &[f32]) -> f32 {
        values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32
    }

    #[test]
    fn draws_are_normal() {
        let values = draws(7, 100_000);
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let beyond = values.iter().filter(|value| value.abs() > 1.96).count() as f32 / values.len() as f32;
        assert!(mean.abs() < 0.01, "{mean}");
        assert!((variance(&values) - 1.0).abs() < 0.02);
        assert!((beyond - 0.05).abs() < 0.003, "{beyond}");
    }

    #[test]
    fn a_walk_keeps_its_length() {
        let (from, to) = (draws(1, 4096), draws(2, 4096));
        for n in 0..=8 {
            let point = slerp(&from, &to, n as f32 / 8.0);
            assert!((variance(&point) - 1.0).abs() < 0.08);
        }
        assert_eq!(slerp(&from, &to, 0.0), from);
        assert_eq!(slerp(&from, &from, 0.3).len(), from.len());
        let mut mixed = from.clone();
        refresh(&mut mixed, &to, 0.3);
        assert!((variance(&mixed) - 1.0).abs() < 0.08);
        refresh(&mut mixed, &to, 1.0);
        assert_eq!(mixed, to);
    }

    proptest! {
        #[test]
        fn the_logarithm_is_the_logarithm(x in 1e-30_f64..1.0) {
            prop_assert!((ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs().max(1.0));
        }

        #[test]
        fn seeds_and_purposes_differ(seed in any::<u64>()) {
            prop_assert_ne!(draws(seed, 8), draws(seed.wrapping_add(1), 8));
            let mut later = vec![0.0; 8];
            Draws::new(seed, Purpose::Steps).fill(&mut later);
            prop_assert_ne!(draws(seed, 8), later);
        }
    }
}
