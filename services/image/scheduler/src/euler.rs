//! Euler's method over the noise level, plain and ancestral (Karras et al., 2022; k-diffusion).

use crate::{
    SchedulerError,
    config::{Keys, Layout, Prediction, Spacing},
    numeric::{interpolate, linspace_f32},
    sampler::{Noise, Plan, Sampler, Settings},
    schedule::{alphas_above_zero, sigmas, times},
    sigmas::{final_sigma, lay_out, time_of},
};

/// Noise levels, one more than runs, and how the clean picture follows from what the model says.
struct Levels {
    sigmas: Vec<f32>,
    prediction: Prediction,
}

impl Levels {
    /// The clean picture that an element of the latents stands for.
    fn clean(&self, sigma: f32, latent: f32, output: f32) -> f32 {
        match self.prediction {
            Prediction::Velocity => {
                output * (-sigma / (sigma * sigma + 1.0).sqrt()) + latent / (sigma * sigma + 1.0)
            }
            Prediction::Sample => output,
            Prediction::Epsilon | Prediction::Flow => latent - sigma * output,
        }
    }

    fn divisor(&self, at: usize) -> f32 {
        let sigma = self.sigmas[at];
        (sigma * sigma + 1.0).sqrt()
    }

    /// Standard deviation of the first latents.
    fn init_noise_sigma(&self, spacing: Spacing) -> f32 {
        let most = self.sigmas.iter().copied().fold(0.0, f32::max);
        match spacing {
            Spacing::Linspace | Spacing::Trailing => most,
            Spacing::Leading => (most * most + 1.0).sqrt(),
        }
    }
}

pub(crate) struct Euler(Levels);

impl Euler {
    pub(crate) fn plan(keys: &Keys, settings: &Settings) -> Result<(Plan, Box<dyn Sampler>), SchedulerError> {
        if keys.prediction_type == Prediction::Flow {
            return keys.prediction_type.refuse();
        }
        let trained = sigmas(&alphas_above_zero(keys)?);
        let (steps, spacing) = (settings.steps, keys.timestep_spacing.unwrap_or(Spacing::Linspace));
        let times: Vec<f32> = times(keys, spacing, steps).into_iter().map(|time| time as f32).collect();
        let mut laid: Vec<f64> = match keys.interpolation_type.as_str() {
            "linear" => times.iter().map(|&time| interpolate(f64::from(time), &trained)).collect(),
            "log_linear" => {
                let (first, last) = (trained[trained.len() - 1], trained[0]);
                linspace_f32(first.ln(), last.ln(), steps + 1)
                    .into_iter()
                    .map(|s| f64::from(s.exp()))
                    .collect()
            }
            other => return Err(SchedulerError::unsupported("interpolation_type", other)),
        };
        let mut timesteps = times;
        match keys.layout()? {
            Layout::Trained => {}
            layout @ (Layout::Karras | Layout::Exponential | Layout::Beta) => {
                laid = lay_out(layout, keys, (laid[0], laid[laid.len() - 1]), steps)?;
                timesteps = laid.iter().map(|&sigma| time_of(sigma, &trained) as f32).collect();
            }
            other => return Err(SchedulerError::unsupported("use_*_sigmas", format!("{other:?}"))),
        }
        let mut sigmas: Vec<f32> = laid.into_iter().map(|sigma| sigma as f32).collect();
        sigmas.push(final_sigma(keys, trained[0]));
        match (keys.timestep_type.as_str(), keys.prediction_type) {
            ("continuous", Prediction::Velocity) => {
                timesteps = sigmas[..sigmas.len() - 1].iter().map(|sigma| 0.25 * sigma.ln()).collect();
            }
            ("discrete" | "continuous", _) => {}
            (other, _) => return Err(SchedulerError::unsupported("timestep_type", other)),
        }
        let levels = Levels { sigmas, prediction: keys.prediction_type };
        let plan = Plan { timesteps, init_noise_sigma: levels.init_noise_sigma(spacing) };
        Ok((plan, Box::new(Self(levels))))
    }
}

impl Sampler for Euler {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], _: &mut Noise<'_>) {
        let (sigma, next) = (self.0.sigmas[at], self.0.sigmas[at + 1]);
        let step = next - sigma;
        for (latent, &output) in latents.iter_mut().zip(output) {
            let clean = self.0.clean(sigma, *latent, output);
            *latent += (*latent - clean) / sigma * step;
        }
    }

    fn input_divisor(&self, at: usize) -> Option<f32> {
        Some(self.0.divisor(at))
    }

    fn shares(&self, at: usize) -> (f32, f32) {
        (1.0, self.0.sigmas[at])
    }
}

pub(crate) struct Ancestral(Levels);

impl Ancestral {
    pub(crate) fn plan(keys: &Keys, settings: &Settings) -> Result<(Plan, Box<dyn Sampler>), SchedulerError> {
        if !matches!(keys.prediction_type, Prediction::Epsilon | Prediction::Velocity) {
            return keys.prediction_type.refuse();
        }
        let trained = sigmas(&alphas_above_zero(keys)?);
        let spacing = keys.timestep_spacing.unwrap_or(Spacing::Linspace);
        let times = times(keys, spacing, settings.steps);
        let timesteps: Vec<f32> = times.into_iter().map(|time| time as f32).collect();
        let laid = timesteps.iter().map(|&time| interpolate(f64::from(time), &trained) as f32);
        let levels = Levels { sigmas: laid.chain([0.0]).collect(), prediction: keys.prediction_type };
        let plan = Plan { timesteps, init_noise_sigma: levels.init_noise_sigma(spacing) };
        Ok((plan, Box::new(Self(levels))))
    }
}

impl Sampler for Ancestral {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], noise: &mut Noise<'_>) {
        let (from, to) = (self.0.sigmas[at], self.0.sigmas[at + 1]);
        let up = (to * to * (from * from - to * to) / (from * from)).sqrt();
        let down = (to * to - up * up).sqrt();
        let step = down - from;
        let mut fresh = vec![0.0; latents.len()];
        noise(&mut fresh);
        for ((latent, &output), noise) in latents.iter_mut().zip(output).zip(&fresh) {
            let clean = self.0.clean(from, *latent, output);
            *latent = *latent + (*latent - clean) / from * step + noise * up;
        }
    }

    fn input_divisor(&self, at: usize) -> Option<f32> {
        Some(self.0.divisor(at))
    }

    fn shares(&self, at: usize) -> (f32, f32) {
        (1.0, self.0.sigmas[at])
    }
}
