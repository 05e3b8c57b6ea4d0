//! What the solvers of several steps share: their times and noise levels, and the half-logarithm of the
//! signal-to-noise ratio that they step in (Lu et al., 2022).

use crate::{
    Kind, SchedulerError,
    config::{BetaSchedule, FinalSigma, Keys, Layout, Prediction, Spacing},
    numeric::interpolate,
    sampler::{Clamp, Plan, Settings, clean_of, noise_of},
    schedule::{alphas_above_zero, sigmas, solver_times},
    sigmas::{final_sigma, lay_out, time_of},
};

/// A noise level.
#[derive(Clone, Copy)]
pub(crate) struct Level {
    /// Share of the picture.
    pub(crate) alpha: f32,
    /// Share of noise.
    pub(crate) sigma: f32,
    /// `ln(alpha / sigma)`.
    pub(crate) lambda: f32,
}

/// Noise levels of all runs and the one behind the last, and what the model's answers mean there.
pub(crate) struct Levels {
    sigmas: Vec<f32>,
    flow: bool,
    prediction: Prediction,
    clamp: Clamp,
}

impl Levels {
    pub(crate) fn plan(kind: Kind, keys: &Keys, settings: &Settings) -> Result<(Plan, Self), SchedulerError> {
        let alphas = alphas_above_zero(keys)?;
        let trained = sigmas(&alphas);
        let steps = settings.steps;
        let layout = keys.layout()?;
        if layout == Layout::Lu && kind == Kind::UniPc {
            return Err(SchedulerError::unsupported("use_lu_lambdas", true));
        }
        let spacing = keys.timestep_spacing.unwrap_or(Spacing::Linspace);
        let clipped = if kind == Kind::DpmSolver { clipped_times(keys, &alphas) } else { 0 };
        let mut times = solver_times(keys, spacing, steps, keys.num_train_timesteps - clipped);
        let mut least = trained[0];
        let laid = if layout == Layout::Trained {
            times.iter().map(|&time| interpolate(time, &trained)).collect()
        } else {
            let range = (f64::from(trained[trained.len() - 1]), f64::from(trained[0]));
            let laid = lay_out(layout, keys, range, steps)?;
            times = if layout == Layout::Flow {
                laid.iter().map(|sigma| sigma * keys.num_train_timesteps as f64).collect()
            } else {
                laid.iter().map(|&sigma| time_of(sigma, &trained)).collect()
            };
            let rounds = matches!(layout, Layout::Karras | Layout::Lu)
                && (kind == Kind::UniPc || keys.beta_schedule != Some(BetaSchedule::SquaredCosine));
            if rounds {
                times.iter_mut().for_each(|time| *time = time.round_ties_even());
            }
            if kind == Kind::UniPc && keys.final_sigmas_type == FinalSigma::SigmaMin {
                least = laid[laid.len() - 1] as f32;
            }
            laid
        };
        let mut sigmas: Vec<f32> = laid.into_iter().map(|sigma| sigma as f32).collect();
        sigmas.push(final_sigma(keys, least));
        let levels = Self {
            sigmas,
            flow: layout == Layout::Flow,
            prediction: keys.prediction_type,
            clamp: Clamp::new(keys, settings, false),
        };
        // The model was trained at whole times. One that logarithms left a hair below a whole one is that one.
        let timesteps = times.into_iter().map(|time| (time + 1e-3).trunc() as f32).collect();
        Ok((Plan { timesteps, init_noise_sigma: 1.0 }, levels))
    }

    pub(crate) fn runs(&self) -> usize {
        self.sigmas.len() - 1
    }

    pub(crate) fn level(&self, at: usize) -> Level {
        let ratio = self.sigmas[at];
        let (alpha, sigma) = if self.flow {
            (1.0 - ratio, ratio)
        } else {
            let alpha = 1.0 / (ratio * ratio + 1.0).sqrt();
            (alpha, ratio * alpha)
        };
        Level { alpha, sigma, lambda: alpha.ln() - sigma.ln() }
    }

    pub(crate) fn shares(&self, at: usize) -> (f32, f32) {
        let Level { alpha, sigma, .. } = self.level(at);
        (alpha, sigma)
    }

    /// The clean picture that the model's answer means.
    pub(crate) fn clean(&self, at: usize, output: &[f32], latents: &[f32]) -> Vec<f32> {
        let flow = self.prediction == Prediction::Flow;
        let shares = if flow { (1.0, self.sigmas[at]) } else { self.shares(at) };
        let mut clean = clean_of(self.prediction, shares, output, latents);
        self.clamp.apply(&mut clean);
        clean
    }

    /// The noise that it means. Thresholding goes by way of the clean picture, if `clamped`.
    pub(crate) fn noise(&self, at: usize, output: &[f32], latents: &[f32], clamped: bool) -> Vec<f32> {
        let (alpha, sigma) = self.shares(at);
        let mut noise = noise_of(self.prediction, (alpha, sigma), output, latents);
        if clamped {
            let mut clean: Vec<f32> =
                latents.iter().zip(&noise).map(|(x, noise)| (x - sigma * noise) / alpha).collect();
            self.clamp.apply(&mut clean);
            noise = latents.iter().zip(&clean).map(|(x, clean)| (x - alpha * clean) / sigma).collect();
        }
        noise
    }
}

/// Noisiest training times that are left out because their lambda is too small.
fn clipped_times(keys: &Keys, alphas: &[f32]) -> usize {
    let lambda = |alpha: &f32| alpha.sqrt().ln() - (1.0 - alpha).sqrt().ln();
    keys.lambda_min_clipped.map_or(0, |least| alphas.iter().rev().map(lambda).filter(|&l| l < least).count())
}
