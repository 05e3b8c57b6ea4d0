//! Arithmetic on points of a latent space.

use atelier_pipeline::slerp;

/// A point: as many numbers as the space has dimensions.
pub(crate) type Point = Vec<f32>;

/// How points between two points are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// Along a great circle.
    Spherical,
    /// Along a line.
    Linear,
}

/// The point at `t`, 0 at `from` and 1 at `to`.
pub(crate) fn between(from: &[f32], to: &[f32], t: f32, interpolation: Interpolation) -> Point {
    match interpolation {
        Interpolation::Linear => from.iter().zip(to).map(|(from, to)| (1.0 - t) * from + t * to).collect(),
        Interpolation::Spherical => slerp(from, to, t),
    }
}

/// Where on a walk through `points` the picture `n` of `pictures` lies: the point before it and the share of the way
/// to the next one. A loop has one more leg, back to the first point, and no picture at its end.
pub(crate) fn place(n: usize, pictures: usize, points: usize, is_loop: bool) -> (usize, f32) {
    let legs = if is_loop { points } else { points.saturating_sub(1) };
    let last = if is_loop { pictures } else { pictures.saturating_sub(1) };
    if legs == 0 || last == 0 {
        return (0, 0.0);
    }
    // In whole numbers, so that points themselves are met exactly.
    let at = n * legs;
    let (leg, rest) = (at / last, at % last);
    if leg >= legs { (legs - 1, 1.0) } else { (leg, rest as f32 / last as f32) }
}

/// The sum of weighted points.
pub(crate) fn sum<'a>(terms: impl IntoIterator<Item = (&'a [f32], f32)>, dimensions: usize) -> Point {
    let mut total = vec![0.0; dimensions];
    for (point, weight) in terms {
        for (total, x) in total.iter_mut().zip(point) {
            *total += weight * x;
        }
    }
    total
}

/// Eases the way between two keyframes, so that a clip does not jerk at them: slow at both ends (3t^2 - 2t^3).
pub(crate) fn eased(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn length(point: &[f32]) -> f32 {
        point.iter().map(|x| x * x).sum::<f32>().sqrt()
    }

    #[test]
    fn a_great_circle_between_two_axes() {
        let middle = between(&[1.0, 0.0], &[0.0, 1.0], 0.5, Interpolation::Spherical);
        let expected = std::f32::consts::FRAC_PI_4.cos();
        assert!(middle.iter().all(|x| (x - expected).abs() < 1e-6), "{middle:?}");
        assert_eq!(between(&[1.0, 0.0], &[0.0, 1.0], 0.5, Interpolation::Linear), [0.5, 0.5]);
    }

    #[test]
    fn walks_meet_their_points() {
        let walk = |pictures, points, is_loop| {
            (0..pictures).map(|n| place(n, pictures, points, is_loop)).collect::<Vec<_>>()
        };
        assert_eq!(walk(5, 3, false), [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5), (1, 1.0)]);
        assert_eq!(walk(4, 2, true), [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5)]);
        assert_eq!(walk(2, 1, false), [(0, 0.0), (0, 0.0)]);
    }

    #[test]
    fn king_minus_man_plus_woman() {
        let (king, man, woman) = ([3.0, 1.0], [1.0, 1.0], [1.0, 2.0]);
        let queen = sum([(&king[..], 1.0), (&man[..], -1.0), (&woman[..], 1.0)], 2);
        assert_eq!(queen, [3.0, 2.0]);
    }

    proptest! {
        #[test]
        fn interpolation_ends_where_it_should(
            from in prop::collection::vec(-3.0_f32..3.0, 8),
            to in prop::collection::vec(-3.0_f32..3.0, 8),
            spherical in any::<bool>(),
        ) {
            let way = if spherical { Interpolation::Spherical } else { Interpolation::Linear };
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
            prop_assert!(near(&between(&from, &to, 0.0, way), &from));
            prop_assert!(near(&between(&from, &to, 1.0, way), &to));
            let opposed = from.iter().zip(&to).map(|(a, b)| a * b).sum::<f32>() < -0.99 * length(&from) * length(&to);
            if spherical && !opposed {
                let half = length(&between(&from, &to, 0.5, way));
                let least = length(&from).min(length(&to)) * 0.1;
                prop_assert!(half.is_finite() && half >= least * 0.5, "{half}");
            }
        }

        #[test]
        fn a_walk_only_goes_forward(pictures in 1_usize..60, points in 1_usize..9, is_loop in any::<bool>()) {
            let places: Vec<_> = (0..pictures).map(|n| place(n, pictures, points, is_loop)).collect();
            prop_assert!(places.is_sorted_by(|a, b| a <= b));
            prop_assert!(places.iter().all(|&(leg, t)| leg < points && (0.0..=1.0).contains(&t)));
        }
    }
}
