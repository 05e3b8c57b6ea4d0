//! One picture's way from noise to latents.

use crate::{
    Kind, SchedulerConfig, SchedulerError,
    config::{Keys, Prediction},
    ddim::Ddim,
    dpm_solver::DpmSolver,
    euler::{Ancestral, Euler},
    flow_match::FlowMatch,
    lcm::Lcm,
    numeric::quantile_abs,
    pndm::Pndm,
    unipc::UniPc,
};

/// What a request asks of a scheduler.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Steps, 1 or more.
    pub steps: usize,
    /// Noise that DDIM adds in each step, 0 (none) to 1 (as DDPM). Other samplers ignore it.
    pub eta: f32,
    /// Pictures side by side in the latents.
    pub pictures: usize,
    /// Positions of the latents that the model sees (patches), for flow matching that shifts with the size.
    pub positions: Option<usize>,
    /// Noise levels of flow matching, one for each step, falling from 1; absent: from the configuration.
    pub sigmas: Option<Vec<f64>>,
    /// Share of the training times, the noisier ones left out, that LCM lays its steps over, 0 to 1; other samplers ignore
    /// it. For pictures that start from another one; see [`Scheduler::start_with`] for the usual way.
    pub strength: f64,
}

impl Settings {
    /// So many steps, and the usual for everything else.
    #[must_use]
    pub fn steps(steps: usize) -> Self {
        Self { steps, eta: 0.0, pictures: 1, positions: None, sigmas: None, strength: 1.0 }
    }
}

/// Fills a slice with draws from the standard normal distribution.
pub(crate) type Noise<'a> = dyn FnMut(&mut [f32]) + 'a;

/// The times of a sampler's runs and the scale of its first latents.
pub(crate) struct Plan {
    pub(crate) timesteps: Vec<f32>,
    pub(crate) init_noise_sigma: f32,
}

/// What a model's answers do to the latents. `at` counts the runs of the model.
pub(crate) trait Sampler: Send {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], noise: &mut Noise<'_>);

    /// What the model's input is divided by.
    fn input_divisor(&self, _at: usize) -> Option<f32> {
        None
    }

    /// Shares of a clean picture and of noise before this run.
    fn shares(&self, at: usize) -> (f32, f32);
}

/// One picture's, or one batch's, way from noise to latents.
pub struct Scheduler {
    plan: Plan,
    sampler: Box<dyn Sampler>,
    at: usize,
    steps: usize,
    prediction: Prediction,
}

impl std::fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs = self.plan.timesteps.len();
        f.debug_struct("Scheduler").field("at", &self.at).field("runs", &runs).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler at its first run.
    ///
    /// # Errors
    /// The steps are out of range, or the configuration asks for something that its class does not have.
    pub fn new(config: &SchedulerConfig, settings: &Settings) -> Result<Self, SchedulerError> {
        let SchedulerConfig { kind, keys } = config;
        let most = match kind {
            Kind::Lcm => {
                let distilled = keys.original_inference_steps.min(keys.num_train_timesteps);
                ((distilled as f64 * settings.strength.clamp(0.0, 1.0)) as usize).max(1)
            }
            // Solvers of several steps leave one of the training times out.
            _ => keys.num_train_timesteps - 1,
        };
        if !(1..=most).contains(&settings.steps) {
            return Err(SchedulerError::Steps { steps: settings.steps, most });
        }
        let (plan, sampler) = match kind {
            Kind::Ddim => Ddim::plan(keys, settings)?,
            Kind::Pndm => Pndm::plan(keys, settings)?,
            Kind::Euler => Euler::plan(keys, settings)?,
            Kind::EulerAncestral => Ancestral::plan(keys, settings)?,
            Kind::DpmSolver => DpmSolver::plan(keys, settings)?,
            Kind::UniPc => UniPc::plan(keys, settings)?,
            Kind::Lcm => Lcm::plan(keys, settings)?,
            Kind::FlowMatchEuler => FlowMatch::plan(keys, settings)?,
        };
        let prediction = match kind {
            Kind::FlowMatchEuler => Prediction::Flow,
            _ => keys.prediction_type,
        };
        Ok(Self { plan, sampler, at: 0, steps: settings.steps, prediction })
    }

    /// The times of all runs, as the model was trained with them. PNDM runs the model more often than it has steps.
    #[must_use]
    pub fn timesteps(&self) -> &[f32] {
        &self.plan.timesteps
    }

    /// The time of the next run; `None` at the end.
    #[must_use]
    pub fn timestep(&self) -> Option<f32> {
        self.plan.timesteps.get(self.at).copied()
    }

    /// Number of the next run, from 0.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Standard deviation of the latents that the first run expects.
    #[must_use]
    pub fn init_noise_sigma(&self) -> f32 {
        self.plan.init_noise_sigma
    }

    /// Starts at a later run, for a picture that is there already: its latents come from [`Scheduler::add_noise`].
    /// `strength` is the share of the steps that are made, 0 to 1; the runs that PNDM needs beyond its steps are made too.
    pub fn start_with(&mut self, strength: f64) {
        let made = (self.steps as f64 * strength.clamp(0.0, 1.0)) as usize;
        let runs = self.plan.timesteps.len();
        // Equal times are one: then there are fewer runs than steps.
        self.at = if made == 0 { runs } else { (self.steps - made.min(self.steps)).min(runs) };
    }

    /// What the model reads of these latents. Both slices have the same length.
    pub fn scale_input(&self, latents: &[f32], input: &mut [f32]) {
        let divisor = self.sampler.input_divisor(self.at.min(self.plan.timesteps.len().saturating_sub(1)));
        for (input, &latent) in input.iter_mut().zip(latents) {
            *input = divisor.map_or(latent, |divisor| latent / divisor);
        }
    }

    /// Takes the model's answer for the next run into the latents. `noise` fills a slice with draws from the standard
    /// normal distribution; samplers that are not ancestral don't call it. Behind the last run nothing happens.
    pub fn step(&mut self, output: &[f32], latents: &mut [f32], noise: &mut dyn FnMut(&mut [f32])) {
        if self.at < self.plan.timesteps.len() {
            self.sampler.step(self.at, output, latents, noise);
            self.at += 1;
        }
    }

    /// What the latents would be without their noise, by the model's last answer: a guess at the picture for those who watch.
    /// All slices have the same length.
    pub fn guess(&self, output: &[f32], latents: &[f32], clean: &mut [f32]) {
        let (signal, noise) =
            if self.at < self.plan.timesteps.len() { self.sampler.shares(self.at) } else { (1.0, 0.0) };
        // Samplers over noise levels keep the picture's share at 1; models were trained with squares that add up to 1.
        let length = if self.prediction == Prediction::Flow { 1.0 } else { signal.hypot(noise) };
        let scaled: Vec<f32> = latents.iter().map(|latent| latent / length).collect();
        let guess = clean_of(self.prediction, (signal / length, noise / length), output, &scaled);
        clean.copy_from_slice(&guess);
    }

    /// A clean picture with the noise that the next run expects. All slices have the same length.
    pub fn add_noise(&self, clean: &[f32], noise: &[f32], noisy: &mut [f32]) {
        let (signal, noise_share) =
            if self.at < self.plan.timesteps.len() { self.sampler.shares(self.at) } else { (1.0, 0.0) };
        for ((noisy, &clean), &noise) in noisy.iter_mut().zip(clean).zip(noise) {
            *noisy = signal * clean + noise_share * noise;
        }
    }
}

/// Bounds on the clean picture that a step assumes.
pub(crate) struct Clamp {
    range: Option<f32>,
    quantile: Option<(f64, f32)>,
    pictures: usize,
}

impl Clamp {
    /// `clip`: the class can clip, and whether it does by itself.
    pub(crate) fn new(keys: &Keys, settings: &Settings, clip: bool) -> Self {
        Self {
            range: (clip && !keys.thresholding).then_some(keys.clip_sample_range),
            quantile: keys.thresholding.then_some((keys.dynamic_thresholding_ratio, keys.sample_max_value)),
            pictures: settings.pictures.max(1),
        }
    }

    /// Dynamic thresholding is that of Imagen (Saharia et al., 2022, section 2.3).
    pub(crate) fn apply(&self, clean: &mut [f32]) {
        if let Some((share, most)) = self.quantile {
            let size = clean.len().div_ceil(self.pictures).max(1);
            for picture in clean.chunks_mut(size) {
                let bound = quantile_abs(picture, share).min(most.max(1.0)).max(1.0);
                picture.iter_mut().for_each(|value| *value = value.clamp(-bound, bound) / bound);
            }
        } else if let Some(range) = self.range {
            clean.iter_mut().for_each(|value| *value = value.clamp(-range, range));
        }
    }
}

/// The clean picture by what the model predicted, where picture and noise have these shares.
pub(crate) fn clean_of(
    prediction: Prediction,
    (signal, noise): (f32, f32),
    output: &[f32],
    latents: &[f32],
) -> Vec<f32> {
    let pairs = latents.iter().zip(output);
    match prediction {
        Prediction::Epsilon => pairs.map(|(x, out)| (x - noise * out) / signal).collect(),
        Prediction::Velocity => pairs.map(|(x, out)| signal * x - noise * out).collect(),
        Prediction::Flow => pairs.map(|(x, out)| x - noise * out).collect(),
        Prediction::Sample => output.to_vec(),
    }
}

/// The noise by what the model predicted.
pub(crate) fn noise_of(
    prediction: Prediction,
    (signal, noise): (f32, f32),
    output: &[f32],
    latents: &[f32],
) -> Vec<f32> {
    let pairs = latents.iter().zip(output);
    match prediction {
        Prediction::Epsilon | Prediction::Flow => output.to_vec(),
        Prediction::Velocity => pairs.map(|(x, out)| signal * out + noise * x).collect(),
        Prediction::Sample => pairs.map(|(x, out)| (x - signal * out) / noise).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn scheduler(json: &str, steps: usize) -> Scheduler {
        Scheduler::new(&SchedulerConfig::parse(json).unwrap(), &Settings::steps(steps)).unwrap()
    }

    #[test]
    fn a_picture_that_is_there_already_starts_later() {
        let mut flow = scheduler(r#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#, 10);
        flow.start_with(0.3);
        assert_eq!(flow.position(), 7);
        let (clean, noise, mut noisy) = ([1.0; 4], [-2.0; 4], [0.0; 4]);
        flow.add_noise(&clean, &noise, &mut noisy);
        let share = flow.timestep().unwrap() / 1000.0;
        assert!(noisy.iter().all(|noisy| (noisy - (1.0 - share - 2.0 * share)).abs() < 1e-6), "{noisy:?}");
        // A model that knows the way takes the noise off again.
        while flow.timestep().is_some() {
            flow.step(&[-3.0; 4], &mut noisy, &mut |_| unreachable!("no noise is drawn"));
        }
        assert!(noisy.iter().all(|noisy| (noisy - 1.0).abs() < 1e-6), "{noisy:?}");
        flow.add_noise(&clean, &noise, &mut noisy);
        assert_eq!(noisy, clean, "behind the last run there is no noise");
        flow.start_with(0.0);
        assert_eq!(flow.timestep(), None);
    }

    #[test]
    fn strength_is_a_share_of_the_steps() {
        let mut pndm = scheduler(r#"{"_class_name": "PNDMScheduler", "skip_prk_steps": true}"#, 10);
        pndm.start_with(0.6);
        assert_eq!((pndm.position(), pndm.timesteps().len()), (4, 11), "one run more than steps");
        let clipped = r#"{"_class_name": "DPMSolverMultistepScheduler", "num_train_timesteps": 36,
            "timestep_spacing": "trailing", "lambda_min_clipped": 0.20181735291207178, "solver_order": 1,
            "rescale_betas_zero_snr": true}"#;
        let mut clipped = scheduler(clipped, 5);
        clipped.start_with(0.21);
        assert_eq!((clipped.position(), clipped.timesteps().len()), (3, 3), "fewer runs than steps");
        let lcm = SchedulerConfig::parse(r#"{"_class_name": "LCMScheduler"}"#).unwrap();
        let times = |strength| {
            Scheduler::new(&lcm, &Settings { strength, ..Settings::steps(4) })
                .map(|lcm| lcm.timesteps().to_vec())
        };
        assert_eq!(times(1.0).unwrap(), [999.0, 759.0, 499.0, 259.0]);
        assert_eq!(times(0.5).unwrap(), [499.0, 379.0, 259.0, 139.0]);
        assert_eq!(times(0.05), Err(SchedulerError::Steps { steps: 4, most: 2 }));
    }

    #[test]
    fn the_picture_is_guessed_from_an_answer_that_is_right() {
        let kinds = [
            "DDIM",
            "EulerDiscrete",
            "EulerAncestralDiscrete",
            "DPMSolverMultistep",
            "UniPCMultistep",
            "LCM",
        ];
        let (clean, noise) = ([0.5, -1.0, 2.0], [1.0, 0.25, -0.5]);
        for (kind, prediction) in kinds
            .iter()
            .flat_map(|kind| ["epsilon", "v_prediction", "sample"].map(|prediction| (kind, prediction)))
        {
            let json = format!(r#"{{"_class_name": "{kind}Scheduler", "prediction_type": "{prediction}"}}"#);
            let Ok(mut scheduler) =
                Scheduler::new(&SchedulerConfig::parse(&json).unwrap(), &Settings::steps(8))
            else {
                continue;
            };
            scheduler.start_with(0.5);
            let (signal, share) = scheduler.sampler.shares(scheduler.at);
            let (signal, share) = (signal / signal.hypot(share), share / signal.hypot(share));
            let pairs = clean.iter().zip(&noise);
            let output: Vec<f32> = match prediction {
                "epsilon" => noise.to_vec(),
                "sample" => clean.to_vec(),
                _ => pairs.map(|(clean, noise)| signal * noise - share * clean).collect(),
            };
            let (mut noisy, mut guess) = ([0.0; 3], [0.0; 3]);
            scheduler.add_noise(&clean, &noise, &mut noisy);
            scheduler.guess(&output, &noisy, &mut guess);
            let error =
                guess.iter().zip(&clean).map(|(guess, clean)| (guess - clean).abs()).fold(0.0, f32::max);
            assert!(error < 1e-4, "{kind}, {prediction}: {guess:?}");
        }
    }

    #[test]
    fn steps_out_of_range_are_refused() {
        for (class, most) in [("DDIMScheduler", 999), ("LCMScheduler", 50)] {
            let config = SchedulerConfig::parse(&format!(r#"{{"_class_name": "{class}"}}"#)).unwrap();
            for steps in [0, most + 1] {
                let error = Scheduler::new(&config, &Settings::steps(steps)).unwrap_err();
                assert_eq!(error, SchedulerError::Steps { steps, most });
            }
            assert!(Scheduler::new(&config, &Settings::steps(most)).is_ok());
        }
    }

    #[test]
    fn ddim_with_noise_draws_it() {
        let config = SchedulerConfig::parse(r#"{"_class_name": "DDIMScheduler"}"#).unwrap();
        let run = |eta: f32| {
            let mut scheduler = Scheduler::new(&config, &Settings { eta, ..Settings::steps(5) }).unwrap();
            let (mut latents, mut draws) = (vec![0.5; 4], 0);
            while scheduler.timestep().is_some() {
                scheduler.step(&[0.1; 4], &mut latents, &mut |noise| {
                    noise.fill(1.0);
                    draws += 1;
                });
            }
            (latents, draws)
        };
        assert_eq!(run(0.0).1, 0);
        let (latents, draws) = run(1.0);
        assert_eq!(draws, 5);
        assert_ne!(latents, run(0.0).0);
    }

    proptest! {
        /// Whatever a file asks for, a scheduler is made that runs to its end, or it is refused.
        #[test]
        fn any_options_run_or_are_refused(
            class in select(&[
                "DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
                "DPMSolverMultistepScheduler", "UniPCMultistepScheduler", "LCMScheduler", "FlowMatchEulerDiscreteScheduler",
            ][..]),
            (trained, steps, offset) in (2_usize..60, 0_usize..70, 0_usize..3),
            spacing in select(&["linspace", "leading", "trailing"][..]),
            prediction in select(&["epsilon", "v_prediction", "sample", "flow_prediction"][..]),
            layout in select(&["karras_sigmas", "exponential_sigmas", "beta_sigmas", "lu_lambdas", "flow_sigmas", "none"][..]),
            algorithm in select(&["dpmsolver++", "sde-dpmsolver++", "dpmsolver", "sde-dpmsolver"][..]),
            last in select(&["zero", "sigma_min"][..]),
            (order, snr, other) in (0_usize..5, any::<bool>(), any::<bool>()),
            strength in 0.0_f64..1.0,
        ) {
            let json = format!(
                r#"{{"_class_name": "{class}", "num_train_timesteps": {trained}, "steps_offset": {offset},
                    "timestep_spacing": "{spacing}", "prediction_type": "{prediction}", "use_{layout}": true,
                    "algorithm_type": "{algorithm}", "final_sigmas_type": "{last}", "solver_order": {order},
                    "rescale_betas_zero_snr": {snr}, "skip_prk_steps": {other}, "thresholding": {other},
                    "use_dynamic_shifting": {other}, "lambda_min_clipped": {strength}, "original_inference_steps": {trained}}}"#
            );
            let config = SchedulerConfig::parse(&json).unwrap();
            let Ok(mut scheduler) = Scheduler::new(&config, &Settings::steps(steps)) else { return Ok(()) };
            let runs = scheduler.timesteps().len();
            scheduler.start_with(strength);
            let (mut latents, mut input) = (vec![0.3_f32; 6], vec![0.0; 6]);
            let mut taken = scheduler.position();
            while scheduler.timestep().is_some() {
                scheduler.scale_input(&latents, &mut input);
                scheduler.step(&[0.1; 6], &mut latents, &mut |noise| noise.fill(0.2));
                taken += 1;
            }
            prop_assert_eq!(taken, runs);
        }
    }
}
