//! The quantile function of the beta distribution, for sigmas laid out after it.

/// Shape parameters of the layout (Lee et al., 2024, "Beta Sampling is All You Need").
const SHAPE: f64 = 0.6;

/// The value below which a Beta(0.6, 0.6) variable falls with this probability.
pub(crate) fn quantile(probability: f64) -> f64 {
    if probability <= 0.0 {
        return 0.0;
    }
    if probability >= 1.0 {
        return 1.0;
    }
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    // Halving to the last bit of an f64.
    while high - low > f64::EPSILON * high {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if distribution(middle) < probability {
            low = middle;
        } else {
            high = middle;
        }
    }
    0.5 * (low + high)
}

/// The regularised incomplete beta function at `x` for equal shape parameters.
fn distribution(x: f64) -> f64 {
    // The continued fraction converges fast below the mean; above it the function is symmetric.
    if x > 0.5 {
        return 1.0 - distribution(1.0 - x);
    }
    let front = (SHAPE * x.ln() + SHAPE * (1.0 - x).ln()).exp() / (SHAPE * beta_function());
    front * continued_fraction(x)
}

/// B(0.6, 0.6) = gamma(0.6)^2 / gamma(1.2).
fn beta_function() -> f64 {
    const GAMMA_0_6: f64 = 1.489_192_248_812_817_2;
    const GAMMA_1_2: f64 = 0.918_168_742_399_760_6;
    GAMMA_0_6 * GAMMA_0_6 / GAMMA_1_2
}

/// DLMF 8.17.22 by Lentz's method.
fn continued_fraction(x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    const TERMS: usize = 200;
    let (a, b) = (SHAPE, SHAPE);
    let away_from_zero = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..TERMS {
        let m = m as f64;
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            fraction *= c * d;
        }
        if (fraction - before).abs() <= f64::EPSILON * fraction.abs() {
            break;
        }
    }
    fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.beta.ppf(p, 0.6, 0.6)` of SciPy 1.
    const SCIPY: [(f64, f64); 7] = [
        (0.001, 1.855873851745199e-05),
        (0.1, 0.03958440558878085),
        (0.25, 0.17568037865269498),
        (0.5, 0.5),
        (0.7, 0.7659829961247643),
        (0.95, 0.9874455431263885),
        (0.999, 0.9999814412614826),
    ];

    #[test]
    fn quantiles_are_those_of_scipy() {
        for (probability, expected) in SCIPY {
            let ours = quantile(probability);
            assert!((ours - expected).abs() < 1e-12, "{probability}: {ours} for {expected}");
        }
        assert_eq!((quantile(0.0), quantile(1.0)), (0.0, 1.0));
    }
}
