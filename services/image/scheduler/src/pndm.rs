//! PNDM (Liu et al., 2022): linear multistep over the noise, with Runge-Kutta steps or one repeated step to begin with.

use crate::{
    SchedulerError,
    config::{Keys, Prediction, Spacing},
    sampler::{Noise, Plan, Sampler, Settings},
    schedule::{USUAL, alphas_cumprod, shares, times},
};

/// Steps that Runge-Kutta takes over, each with four runs.
const RUNGE_KUTTA_STEPS: usize = 4;

pub(crate) struct Pndm {
    alphas: Vec<f32>,
    last_alpha: f32,
    times: Vec<i64>,
    /// The first so many times are those of Runge-Kutta.
    runge_kutta: usize,
    stride: i64,
    v_prediction: bool,
    /// Runs so far; a picture that starts later counts from 0 all the same.
    runs: usize,
    /// The model's last answers, the newest last.
    history: Vec<Vec<f32>>,
    /// Weighted answers within a Runge-Kutta step.
    sum: Vec<f32>,
    /// Latents that the step began with.
    begun: Option<Vec<f32>>,
}

impl Pndm {
    pub(crate) fn plan(keys: &Keys, settings: &Settings) -> Result<(Plan, Box<dyn Sampler>), SchedulerError> {
        let v_prediction = match keys.prediction_type {
            Prediction::Epsilon => false,
            Prediction::Velocity => true,
            other => return other.refuse(),
        };
        let plain = Keys { rescale_betas_zero_snr: false, ..keys.clone() };
        let alphas = alphas_cumprod(&plain, USUAL)?;
        let rising = rising(keys, settings.steps);
        let steps = rising.len();
        let stride = keys.num_train_timesteps / settings.steps;
        let falling = |times: &[i64]| times.iter().rev().copied().collect::<Vec<_>>();
        let (times, runge_kutta) = if keys.skip_prk_steps {
            // The last time but one is asked twice: the first two runs make one step of second order.
            let last = &rising[steps - 1..];
            let before = &rising[steps.saturating_sub(2)..steps - 1];
            (falling(&[&rising[..steps - 1], before, last].concat()), 0)
        } else {
            if steps < RUNGE_KUTTA_STEPS {
                return Err(SchedulerError::unsupported(
                    "skip_prk_steps",
                    format!("false with {steps} steps"),
                ));
            }
            let begun = falling(&runge_kutta_times(&rising, (stride / 2) as i64));
            let runs = begun.len();
            ([begun, falling(&rising[..steps - 3])].concat(), runs)
        };
        let plan = Plan { timesteps: times.iter().map(|&time| time as f32).collect(), init_noise_sigma: 1.0 };
        let sampler = Self {
            last_alpha: if keys.set_alpha_to_one.unwrap_or(false) { 1.0 } else { alphas[0] },
            alphas,
            times,
            runge_kutta,
            stride: stride as i64,
            v_prediction,
            runs: 0,
            history: Vec::new(),
            sum: Vec::new(),
            begun: None,
        };
        Ok((plan, Box::new(sampler)))
    }

    fn alpha(&self, time: i64) -> f32 {
        match usize::try_from(time) {
            Ok(time) => self.alphas[time.min(self.alphas.len() - 1)],
            Err(_) => self.last_alpha,
        }
    }

    /// Equation 9 of the paper.
    fn transfer(&self, latents: &mut [f32], from: i64, to: i64, output: &[f32]) {
        let (alpha, next) = (self.alpha(from), self.alpha(to));
        let (beta, next_beta) = (1.0 - alpha, 1.0 - next);
        let scale = (next / alpha).sqrt();
        let divisor = alpha * next_beta.sqrt() + (alpha * beta * next).sqrt();
        for (latent, &output) in latents.iter_mut().zip(output) {
            let epsilon =
                if self.v_prediction { alpha.sqrt() * output + beta.sqrt() * *latent } else { output };
            *latent = scale * *latent - (next - alpha) * epsilon / divisor;
        }
    }

    fn runge_kutta_step(&mut self, at: usize, output: &[f32], latents: &mut [f32]) {
        let to = self.times[at] - if self.runs % 2 == 1 { 0 } else { self.stride / 2 };
        let from = self.times[self.runs / 4 * 4];
        if self.runs.is_multiple_of(4) {
            self.history.push(output.to_vec());
            self.begun = Some(latents.to_vec());
            self.sum = vec![0.0; output.len()];
        }
        let weight: f32 = if matches!(self.runs % 4, 0 | 3) { 1.0 / 6.0 } else { 1.0 / 3.0 };
        self.sum.iter_mut().zip(output).for_each(|(sum, output)| *sum += weight * output);
        if let Some(begun) = &self.begun {
            latents.copy_from_slice(begun);
        }
        let slope = if self.runs % 4 == 3 { self.sum.as_slice() } else { output };
        self.transfer(latents, from, to, slope);
    }

    fn multistep(&mut self, at: usize, output: &[f32], latents: &mut [f32]) {
        let (mut from, mut to) = (self.times[at], self.times[at] - self.stride);
        if self.runs == 1 {
            (from, to) = (from + self.stride, from);
        } else {
            let excess = self.history.len().saturating_sub(3);
            self.history.drain(..excess);
            self.history.push(output.to_vec());
        }
        let newest = |back: usize, n: usize| self.history[self.history.len() - back][n];
        let slope: Vec<f32> = match self.history.len() {
            1 if self.runs == 0 => {
                self.begun = Some(latents.to_vec());
                output.to_vec()
            }
            1 => {
                if let Some(begun) = self.begun.take() {
                    latents.copy_from_slice(&begun);
                }
                output.iter().enumerate().map(|(n, output)| (output + newest(1, n)) / 2.0).collect()
            }
            2 => (0..output.len()).map(|n| (3.0 * newest(1, n) - newest(2, n)) / 2.0).collect(),
            3 => {
                let slope = |n| (23.0 * newest(1, n) - 16.0 * newest(2, n) + 5.0 * newest(3, n)) / 12.0;
                (0..output.len()).map(slope).collect()
            }
            _ => {
                let sum =
                    |n| 55.0 * newest(1, n) - 59.0 * newest(2, n) + 37.0 * newest(3, n) - 9.0 * newest(4, n);
                (0..output.len()).map(|n| (1.0 / 24.0) * sum(n)).collect()
            }
        };
        self.transfer(latents, from, to, &slope);
    }
}

/// The training times of the steps, the least noisy first.
fn rising(keys: &Keys, steps: usize) -> Vec<i64> {
    let spacing = keys.timestep_spacing.unwrap_or(Spacing::Leading);
    times(keys, spacing, steps).into_iter().rev().map(|time| time.round_ties_even() as i64).collect()
}

/// Each of the noisiest steps has its own time, twice the one half a stride on, and the next step's; least noisy first.
fn runge_kutta_times(rising: &[i64], half_stride: i64) -> Vec<i64> {
    let noisiest = &rising[rising.len() - RUNGE_KUTTA_STEPS..];
    let pairs: Vec<i64> = noisiest.iter().flat_map(|&time| [time, time + half_stride]).collect();
    let twice: Vec<i64> = pairs[..pairs.len() - 1].iter().flat_map(|&time| [time, time]).collect();
    twice[1..twice.len() - 1].to_vec()
}

impl Sampler for Pndm {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], _: &mut Noise<'_>) {
        if self.runs < self.runge_kutta {
            self.runge_kutta_step(at, output, latents);
        } else {
            self.multistep(at, output, latents);
        }
        self.runs += 1;
    }

    fn shares(&self, at: usize) -> (f32, f32) {
        shares(self.alpha(self.times[at]))
    }
}
