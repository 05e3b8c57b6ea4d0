//! How much noise a training time has: betas and the products of their complements.

use std::f64::consts::FRAC_PI_2;

use crate::{
    SchedulerError,
    config::{BetaSchedule, Keys, Spacing},
    numeric::{descending, linspace, linspace_f32},
};

/// What a class says where a file leaves a key out.
#[derive(Clone, Copy)]
pub(crate) struct Defaults {
    pub(crate) beta_start: f64,
    pub(crate) beta_end: f64,
    pub(crate) beta_schedule: BetaSchedule,
}

/// Of all classes but LCM.
pub(crate) const USUAL: Defaults =
    Defaults { beta_start: 0.0001, beta_end: 0.02, beta_schedule: BetaSchedule::Linear };

/// With the noise of the last training time scaled to all noise (Lin et al., 2023), samplers that divide by what is left
/// of the picture keep this much of it: sigma is 4096 there.
const ALMOST_NO_SIGNAL: f32 = 1.0 / 16_777_216.0;

/// Share of the picture, squared, at each training time.
pub(crate) fn alphas_cumprod(keys: &Keys, defaults: Defaults) -> Result<Vec<f32>, SchedulerError> {
    let count = keys.num_train_timesteps;
    let start = keys.beta_start.unwrap_or(defaults.beta_start);
    let end = keys.beta_end.unwrap_or(defaults.beta_end);
    let mut betas = match (&keys.trained_betas, keys.beta_schedule.unwrap_or(defaults.beta_schedule)) {
        (Some(betas), _) if betas.len() == count => betas.clone(),
        (Some(betas), _) => {
            return Err(SchedulerError::unsupported("trained_betas", format!("{} values", betas.len())));
        }
        (None, BetaSchedule::Linear) => linspace_f32(start as f32, end as f32, count),
        (None, BetaSchedule::ScaledLinear) => {
            let roots = linspace_f32(start.sqrt() as f32, end.sqrt() as f32, count);
            roots.into_iter().map(|root| root * root).collect()
        }
        (None, BetaSchedule::SquaredCosine) => squared_cosine(count),
    };
    if keys.rescale_betas_zero_snr {
        betas = zero_terminal_snr(&betas);
    }
    Ok(cumulative(&betas))
}

/// As [`alphas_cumprod`], with some of the picture left at every time, for samplers that divide by it.
pub(crate) fn alphas_above_zero(keys: &Keys) -> Result<Vec<f32>, SchedulerError> {
    let mut alphas = alphas_cumprod(keys, USUAL)?;
    if keys.rescale_betas_zero_snr
        && let Some(last) = alphas.last_mut()
    {
        *last = ALMOST_NO_SIGNAL;
    }
    Ok(alphas)
}

/// Shares of the picture and of noise where the picture's share, squared, is this.
pub(crate) fn shares(alpha: f32) -> (f32, f32) {
    (alpha.sqrt(), (1.0 - alpha).sqrt())
}

fn cumulative(betas: &[f32]) -> Vec<f32> {
    let mut product = 1.0_f64;
    let next = |beta: &f32| {
        product *= f64::from(1.0 - beta);
        product as f32
    };
    betas.iter().map(next).collect()
}

/// Nichol and Dhariwal, 2021.
fn squared_cosine(count: usize) -> Vec<f32> {
    let level = |time: f64| ((time + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
    let beta = |n: usize| {
        let (from, to) = (n as f64 / count as f64, (n + 1) as f64 / count as f64);
        (1.0 - level(to) / level(from)).min(0.999) as f32
    };
    (0..count).map(beta).collect()
}

/// Lin et al., 2023, "Common Diffusion Noise Schedules and Sample Steps are Flawed", algorithm 1.
fn zero_terminal_snr(betas: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = cumulative(betas).into_iter().map(f32::sqrt).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let scale = first / (first - last);
    let levels: Vec<f32> = roots.into_iter().map(|root| ((root - last) * scale).powi(2)).collect();
    let later = levels.windows(2).map(|pair| pair[1] / pair[0]);
    std::iter::once(levels[0]).chain(later).map(|alpha| 1.0 - alpha).collect()
}

/// The noise over the picture at each training time.
pub(crate) fn sigmas(alphas_cumprod: &[f32]) -> Vec<f32> {
    alphas_cumprod.iter().map(|alpha| ((1.0 - alpha) / alpha).sqrt()).collect()
}

/// Training times for so many steps, the noisiest first; unrounded where `linspace` asks for that.
pub(crate) fn times(keys: &Keys, spacing: Spacing, steps: usize) -> Vec<f64> {
    let trained = keys.num_train_timesteps;
    let mut times = match spacing {
        Spacing::Linspace => linspace(0.0, (trained - 1) as f64, steps),
        Spacing::Leading => {
            let ratio = trained / steps;
            (0..steps).map(|n| (n * ratio + keys.steps_offset) as f64).collect()
        }
        Spacing::Trailing => return trailing(trained as f64, trained as f64 / steps as f64),
    };
    times.reverse();
    times
}

/// Times for solvers of several steps: those of one step more, without the last.
pub(crate) fn solver_times(keys: &Keys, spacing: Spacing, steps: usize, last: usize) -> Vec<f64> {
    let mut times: Vec<f64> = match spacing {
        Spacing::Linspace => {
            let line = linspace(0.0, last as f64 - 1.0, steps + 1);
            line.into_iter().map(f64::round_ties_even).collect()
        }
        Spacing::Leading => {
            let ratio = last / (steps + 1);
            (0..=steps).map(|n| (n * ratio + keys.steps_offset) as f64).collect()
        }
        Spacing::Trailing => return trailing(last as f64, keys.num_train_timesteps as f64 / steps as f64),
    };
    times.reverse();
    times.pop();
    times
}

fn trailing(last: f64, ratio: f64) -> Vec<f64> {
    descending(last, ratio).into_iter().map(|time| time.round_ties_even() - 1.0).collect()
}
