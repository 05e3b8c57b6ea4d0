//! DDIM (Song et al., 2020, equation 12).

use crate::{
    SchedulerError,
    config::{Keys, Prediction, Spacing},
    sampler::{Clamp, Noise, Plan, Sampler, Settings, clean_of, noise_of},
    schedule::{USUAL, alphas_cumprod, shares, times},
};

pub(crate) struct Ddim {
    alphas: Vec<f32>,
    /// Behind the last step.
    last_alpha: f32,
    times: Vec<usize>,
    stride: usize,
    prediction: Prediction,
    clamp: Clamp,
    eta: f32,
}

impl Ddim {
    pub(crate) fn plan(keys: &Keys, settings: &Settings) -> Result<(Plan, Box<dyn Sampler>), SchedulerError> {
        if keys.prediction_type == Prediction::Flow {
            return keys.prediction_type.refuse();
        }
        let alphas = alphas_cumprod(keys, USUAL)?;
        let spacing = keys.timestep_spacing.unwrap_or(Spacing::Leading);
        let most = keys.num_train_timesteps - 1;
        let times = times(keys, spacing, settings.steps);
        let times: Vec<usize> = times.into_iter().map(|t| (t.round_ties_even() as usize).min(most)).collect();
        let plan = Plan { timesteps: times.iter().map(|&time| time as f32).collect(), init_noise_sigma: 1.0 };
        let sampler = Self {
            last_alpha: if keys.set_alpha_to_one.unwrap_or(true) { 1.0 } else { alphas[0] },
            alphas,
            times,
            stride: keys.num_train_timesteps / settings.steps,
            prediction: keys.prediction_type,
            clamp: Clamp::new(keys, settings, keys.clip_sample.unwrap_or(true)),
            eta: settings.eta,
        };
        Ok((plan, Box::new(sampler)))
    }
}

impl Sampler for Ddim {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], noise: &mut Noise<'_>) {
        let time = self.times[at];
        let alpha = self.alphas[time];
        let next = time.checked_sub(self.stride).map_or(self.last_alpha, |time| self.alphas[time]);
        let shares = self.shares(at);
        let mut clean = clean_of(self.prediction, shares, output, latents);
        let epsilon = noise_of(self.prediction, shares, output, latents);
        self.clamp.apply(&mut clean);
        let variance = (1.0 - next) / (1.0 - alpha) * (1.0 - alpha / next);
        let deviation = self.eta * variance.sqrt();
        let (direction, signal) = ((1.0 - next - deviation * deviation).sqrt(), next.sqrt());
        for ((latent, clean), epsilon) in latents.iter_mut().zip(&clean).zip(&epsilon) {
            *latent = signal * clean + direction * epsilon;
        }
        if self.eta > 0.0 {
            let mut fresh = clean;
            noise(&mut fresh);
            latents.iter_mut().zip(&fresh).for_each(|(latent, noise)| *latent += deviation * noise);
        }
    }

    fn shares(&self, at: usize) -> (f32, f32) {
        shares(self.alphas[self.times[at]])
    }
}
