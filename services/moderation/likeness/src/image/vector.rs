//! Embeddings of a model, in a byte per component.

use crate::LikenessError;

/// A vector of length 1, such as models make of pictures. Kept in 8 bits per component: cosines of two such are within
/// 0.01 of the exact ones unless a few components hold nearly all of the length.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitVector {
    pub(crate) scale: f32,
    pub(crate) components: Vec<i8>,
}

impl UnitVector {
    /// The most components a vector may have.
    pub const MAX_COMPONENTS: usize = 4_096;

    /// Takes what a model made.
    ///
    /// # Errors
    /// There are no components or more than 4096, one is not finite, or the length is not 1 to within 1%.
    pub fn new(components: &[f32]) -> Result<Self, LikenessError> {
        if components.is_empty() || components.len() > Self::MAX_COMPONENTS {
            return Err(LikenessError::NotAUnitVector("a vector has 1 to 4096 components"));
        }
        let length = components.iter().map(|value| value * value).sum::<f32>().sqrt();
        if !(0.99..=1.01).contains(&length) {
            return Err(LikenessError::NotAUnitVector("a vector is finite and has length 1"));
        }
        let largest = components.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        let scale = largest / 127.0;
        Ok(Self { scale, components: components.iter().map(|value| (value / scale).round() as i8).collect() })
    }

    /// How many components it has.
    #[must_use]
    pub fn components(&self) -> usize {
        self.components.len()
    }

    /// The cosine of the angle to a vector of as many components, -1 to 1.
    pub(crate) fn cosine(&self, scale: f32, components: &[i8]) -> f32 {
        // At most 4096 x 127 x 127: no overflow. Sums of integers are the same in any order on any machine.
        let product: i32 =
            self.components.iter().zip(components).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        (product as f32 * self.scale * scale).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(values: &[f32]) -> Vec<f32> {
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        values.iter().map(|value| value / length).collect()
    }

    #[test]
    fn what_is_no_unit_vector_is_refused() {
        let long = vec![1.0 / 64.01; 4_097];
        for broken in [&[][..], &[0.5, 0.5], &[f32::NAN, 1.0], &[f32::INFINITY], &[0.0; 8], &long] {
            assert!(UnitVector::new(broken).is_err());
        }
    }

    proptest! {
        #[test]
        fn cosines_are_near_the_exact_ones(
            pairs in proptest::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 32..600),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let (a, b) = (unit(&a), unit(&b));
            let exact: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            let [one, other] = [UnitVector::new(&a).unwrap(), UnitVector::new(&b).unwrap()];
            prop_assert!((one.cosine(other.scale, &other.components) - exact).abs() < 0.01);
            prop_assert!((one.cosine(one.scale, &one.components) - 1.0).abs() < 0.01);
        }
    }
}
