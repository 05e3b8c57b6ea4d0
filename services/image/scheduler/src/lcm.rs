//! Latent consistency models (Luo et al., 2023): each step guesses the clean picture and puts less noise on it.

use crate::{
    SchedulerError,
    config::{BetaSchedule, Keys, Prediction},
    sampler::{Clamp, Noise, Plan, Sampler, Settings, clean_of},
    schedule::{Defaults, alphas_cumprod, shares},
};

/// Standard deviation of the data in the boundary condition.
const SIGMA_DATA: f32 = 0.5;

pub(crate) struct Lcm {
    alphas: Vec<f32>,
    times: Vec<usize>,
    prediction: Prediction,
    clamp: Clamp,
    time_scale: f32,
}

impl Lcm {
    pub(crate) fn plan(keys: &Keys, settings: &Settings) -> Result<(Plan, Box<dyn Sampler>), SchedulerError> {
        if keys.prediction_type == Prediction::Flow {
            return keys.prediction_type.refuse();
        }
        let defaults =
            Defaults { beta_start: 0.00085, beta_end: 0.012, beta_schedule: BetaSchedule::ScaledLinear };
        let alphas = alphas_cumprod(keys, defaults)?;
        // The times it was distilled at, of which some are taken.
        let (original, steps) = (keys.original_inference_steps, settings.steps);
        let stride = keys.num_train_timesteps / original;
        let noisiest = ((original as f64 * settings.strength.clamp(0.0, 1.0)) as usize).max(1);
        let distilled: Vec<usize> = (1..=noisiest).rev().map(|n| n * stride - 1).collect();
        let step = noisiest as f64 / steps as f64;
        let times: Vec<usize> = (0..steps).map(|n| distilled[(n as f64 * step).floor() as usize]).collect();
        let plan = Plan { timesteps: times.iter().map(|&time| time as f32).collect(), init_noise_sigma: 1.0 };
        let sampler = Self {
            alphas,
            times,
            prediction: keys.prediction_type,
            clamp: Clamp::new(keys, settings, keys.clip_sample.unwrap_or(false)),
            time_scale: keys.timestep_scaling as f32,
        };
        Ok((plan, Box::new(sampler)))
    }
}

impl Sampler for Lcm {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], noise: &mut Noise<'_>) {
        let mut clean = clean_of(self.prediction, self.shares(at), output, latents);
        self.clamp.apply(&mut clean);
        let time = self.times[at] as f32 * self.time_scale;
        let spread = time * time + SIGMA_DATA * SIGMA_DATA;
        let (skip, out) = (SIGMA_DATA * SIGMA_DATA / spread, time / spread.sqrt());
        for (latent, clean) in latents.iter_mut().zip(&clean) {
            *latent = out * clean + skip * *latent;
        }
        if at + 1 < self.times.len() {
            let (signal, share) = self.shares(at + 1);
            let mut fresh = clean;
            noise(&mut fresh);
            for (latent, noise) in latents.iter_mut().zip(&fresh) {
                *latent = signal * *latent + share * noise;
            }
        }
    }

    fn shares(&self, at: usize) -> (f32, f32) {
        shares(self.alphas[self.times[at]])
    }
}
