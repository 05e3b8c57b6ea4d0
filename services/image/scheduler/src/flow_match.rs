//! Euler's method over a straight flow from noise to picture (Lipman et al., 2022; Esser et al., 2024).

use crate::{
    SchedulerError,
    config::{Keys, Layout},
    numeric::linspace,
    sampler::{Noise, Plan, Sampler, Settings},
    sigmas::lay_out,
};

pub(crate) struct FlowMatch {
    /// Shares of noise, one more than runs.
    sigmas: Vec<f32>,
    stochastic: bool,
}

impl FlowMatch {
    pub(crate) fn plan(keys: &Keys, settings: &Settings) -> Result<(Plan, Box<dyn Sampler>), SchedulerError> {
        let (trained, steps) = (keys.num_train_timesteps as f64, settings.steps);
        let mut laid = match &settings.sigmas {
            Some(sigmas) if sigmas.len() == steps => sigmas.clone(),
            Some(sigmas) => {
                return Err(SchedulerError::unsupported("sigmas", format!("{} values", sigmas.len())));
            }
            None => {
                // The ends of the trained range, which were shifted once when it was made.
                let end = |sigma: f32| {
                    let shifted =
                        if keys.use_dynamic_shifting { sigma } else { shift_f32(keys.shift, sigma) };
                    f64::from(shifted) * trained
                };
                let line = linspace(end(1.0), end(1.0 / trained as f32), steps);
                line.into_iter().map(|time| time / trained).collect()
            }
        };
        laid = match (keys.use_dynamic_shifting, keys.time_shift_type.as_str()) {
            (false, _) => laid.into_iter().map(|s| keys.shift * s / (1.0 + (keys.shift - 1.0) * s)).collect(),
            (true, kind @ ("exponential" | "linear")) => {
                let strength = dynamic_shift(keys, settings.positions);
                let mu = if kind == "linear" { strength } else { strength.exp() };
                laid.into_iter().map(|sigma| mu / (mu + (1.0 / sigma - 1.0))).collect()
            }
            (true, other) => return Err(SchedulerError::unsupported("time_shift_type", other)),
        };
        if let (Some(terminal), Some(&last)) =
            (keys.shift_terminal.filter(|&terminal| terminal != 0.0), laid.last())
        {
            let scale = (1.0 - last) / (1.0 - terminal);
            laid.iter_mut().for_each(|sigma| *sigma = 1.0 - (1.0 - *sigma) / scale);
        }
        match keys.layout()? {
            Layout::Trained => {}
            layout @ (Layout::Karras | Layout::Exponential | Layout::Beta) => {
                laid = lay_out(layout, keys, (laid[0], laid[laid.len() - 1]), steps)?;
            }
            other => return Err(SchedulerError::unsupported("use_*_sigmas", format!("{other:?}"))),
        }
        let mut sigmas: Vec<f32> = laid.into_iter().map(|sigma| sigma as f32).collect();
        if keys.invert_sigmas {
            sigmas.iter_mut().for_each(|sigma| *sigma = 1.0 - *sigma);
        }
        let timesteps = sigmas.iter().map(|sigma| sigma * trained as f32).collect();
        sigmas.push(if keys.invert_sigmas { 1.0 } else { 0.0 });
        let plan = Plan { timesteps, init_noise_sigma: 1.0 };
        Ok((plan, Box::new(Self { sigmas, stochastic: keys.stochastic_sampling })))
    }
}

fn shift_f32(shift: f64, sigma: f32) -> f32 {
    shift as f32 * sigma / (1.0 + (shift - 1.0) as f32 * sigma)
}

/// More noise for larger pictures: on a line through the two sizes of the configuration.
fn dynamic_shift(keys: &Keys, positions: Option<usize>) -> f64 {
    let slope = (keys.max_shift - keys.base_shift) / (keys.max_image_seq_len - keys.base_image_seq_len);
    let positions = positions.map_or(keys.base_image_seq_len, |positions| positions as f64);
    positions * slope + (keys.base_shift - slope * keys.base_image_seq_len)
}

impl Sampler for FlowMatch {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], noise: &mut Noise<'_>) {
        let (sigma, next) = (self.sigmas[at], self.sigmas[at + 1]);
        if self.stochastic {
            let mut fresh = vec![0.0; latents.len()];
            noise(&mut fresh);
            for ((latent, output), noise) in latents.iter_mut().zip(output).zip(&fresh) {
                *latent = (1.0 - next) * (*latent - sigma * output) + next * noise;
            }
        } else {
            let step = next - sigma;
            latents.iter_mut().zip(output).for_each(|(latent, output)| *latent += step * output);
        }
    }

    fn shares(&self, at: usize) -> (f32, f32) {
        (1.0 - self.sigmas[at], self.sigmas[at])
    }
}
