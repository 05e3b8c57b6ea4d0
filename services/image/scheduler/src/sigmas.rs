//! Where between the most and the least noise the steps stand.

use crate::{
    SchedulerError, beta,
    config::{FinalSigma, Keys, Layout},
    numeric::linspace,
};

/// Of Karras et al., 2022.
const RHO: f64 = 7.0;

/// Lays `steps` sigmas out between the first and the last of `range`, the noisiest first.
pub(crate) fn lay_out(
    layout: Layout,
    keys: &Keys,
    range: (f64, f64),
    steps: usize,
) -> Result<Vec<f64>, SchedulerError> {
    let (first, last) = (keys.sigma_max.unwrap_or(range.0), keys.sigma_min.unwrap_or(range.1));
    let sigmas = match layout {
        Layout::Karras => {
            let (from, to) = (first.powf(1.0 / RHO), last.powf(1.0 / RHO));
            linspace(0.0, 1.0, steps).into_iter().map(|at| (from + at * (to - from)).powf(RHO)).collect()
        }
        Layout::Exponential => linspace(first.ln(), last.ln(), steps).into_iter().map(f64::exp).collect(),
        Layout::Beta => {
            let places = linspace(0.0, 1.0, steps).into_iter().map(|at| beta::quantile(1.0 - at));
            places.map(|place| last + place * (first - last)).collect()
        }
        Layout::Lu => {
            let (from, to) = (range.0.ln(), range.1.ln());
            linspace(0.0, 1.0, steps).into_iter().map(|at| (from + at * (to - from)).exp()).collect()
        }
        Layout::Flow => {
            let line = linspace(1.0, 1.0 / keys.num_train_timesteps as f64, steps + 1);
            let shift = keys.flow_shift;
            let mut sigmas: Vec<f64> = line
                .into_iter()
                .map(|alpha| 1.0 - alpha)
                .map(|s| shift * s / (1.0 + (shift - 1.0) * s))
                .collect();
            sigmas.reverse();
            sigmas.pop();
            sigmas
        }
        Layout::Trained => return Err(SchedulerError::unsupported("use_*_sigmas", "none")),
    };
    Ok(sigmas)
}

/// The training time, between two of them, whose noise this is. `trained` rises.
pub(crate) fn time_of(sigma: f64, trained: &[f32]) -> f64 {
    let log = sigma.max(1e-10).ln();
    let logs = |n: usize| f64::from(trained[n].ln());
    let below = trained.iter().filter(|trained| log - f64::from(trained.ln()) >= 0.0).count();
    let low = below.saturating_sub(1).min(trained.len() - 2);
    let weight = ((logs(low) - log) / (logs(low) - logs(low + 1))).clamp(0.0, 1.0);
    (1.0 - weight) * low as f64 + weight * (low + 1) as f64
}

/// The sigma behind the last step.
pub(crate) fn final_sigma(keys: &Keys, least: f32) -> f32 {
    match keys.final_sigmas_type {
        FinalSigma::Zero => 0.0,
        FinalSigma::SigmaMin => least,
    }
}
