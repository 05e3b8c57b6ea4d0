//! From a request to a job: checks, text, the caller's pictures, noise.

use std::time::Instant;

use atelier_inference::RunControl;
use atelier_scheduler::{Scheduler, SchedulerError, Settings};

use crate::{
    Capabilities, Control, Job, Noise, PipelineError, Request,
    checks::{self, Size},
    guidance,
    init::{self, Caller, Start, noised},
    job::{Branch, Followed, StepNoise},
    noise::{Draws, Purpose, refresh, slerp},
    pipeline::Pipeline,
    pixels,
};

/// Sizes and crop that Stable Diffusion XL is told: a picture of that size, not cropped, wanted at that size.
fn time_ids(size: Size, aesthetics_score: Option<f32>) -> Vec<f32> {
    let (width, height) = (size.width as f32, size.height as f32);
    match aesthetics_score {
        None => vec![height, width, 0.0, 0.0, height, width],
        Some(score) => vec![height, width, 0.0, 0.0, score],
    }
}

impl Pipeline {
    /// Checks a request, encodes its texts and pictures, and draws its noise.
    ///
    /// # Errors
    /// [`PipelineError::Invalid`] names the field that is out of its range or asks for something that the model does not
    /// have; a run fails or is cancelled.
    pub fn begin(&mut self, request: &Request, control: &RunControl) -> Result<Job, PipelineError> {
        self.begin_exact(request, None, control)
    }

    /// As [`Pipeline::begin`], with numbers in place of the bytes of the caller's picture, for comparisons with a reference:
    /// planes of the answer's size, from -1 to 1.
    ///
    /// # Errors
    /// As [`Pipeline::begin`].
    pub fn begin_exact(
        &mut self,
        request: &Request,
        planes: Option<&[f32]>,
        control: &RunControl,
    ) -> Result<Job, PipelineError> {
        let size = checks::request(request, &self.capabilities)?;
        let pictures = request.num_images.max(1);
        let (scheduler_name, mut scheduler) = self.scheduler(request, size, pictures)?;
        let guidance_scale = request.guidance_scale.unwrap_or(self.capabilities.default_guidance_scale);

        let clock = Instant::now();
        let branches = self.branches(request, size, guidance_scale, control)?;
        let encode_time = clock.elapsed();

        let clock = Instant::now();
        let latents = (size.height as usize / self.vae.factor(), size.width as usize / self.vae.factor());
        let shape = [self.vae.latent_channels(), latents.0, latents.1];
        let caller = Caller { init: request.init.as_ref(), planes };
        let start = Start::new(&mut self.vae, caller, (size, pictures), self.reads_mask, control)?;
        let controls = controls(&request.controls, &self.capabilities, size);
        let image_time = clock.elapsed();

        let length = shape.iter().product::<usize>() * pictures;
        let (noise, step_noise) = noise(&request.noise, length, pictures)?;
        if let Some(strength) = init::strength(request.init.as_ref()).filter(|_| !self.steps_within_strength)
        {
            scheduler.start_with(strength);
            if scheduler.timestep().is_none() {
                // However little is asked for, something is made anew.
                scheduler.start_with(1.0 / self.steps(request) as f64);
            }
        }
        let first_run = scheduler.position();
        let (latents, kept) = noised(&start, noise, &scheduler, length);
        let guidance_embedding =
            self.guidance_width.map(|width| guidance::embedding(guidance_scale, width)).unwrap_or_default();
        self.jobs += 1;
        Ok(Job {
            id: self.jobs,
            seed: match request.noise {
                Noise::Seed(seed) | Noise::Between { from: seed, .. } => seed,
                Noise::Given(_) => 0,
            },
            scheduler_name,
            scheduler,
            first_run,
            pictures,
            shape,
            input: vec![0.0; length],
            output: vec![0.0; length],
            latents,
            truncated: branches.last().is_some_and(|branch| branch.text.truncated),
            branches,
            guidance_scale,
            guidance_rescale: request.guidance_rescale,
            guidance_embedding,
            beside: start.beside,
            kept,
            controls,
            noise: step_noise,
            in_step: self.denoiser.is_in_step(),
            encode_time,
            image_time,
        })
    }

    fn steps(&self, request: &Request) -> usize {
        request.steps.unwrap_or(self.capabilities.default_steps)
    }

    fn scheduler(
        &self,
        request: &Request,
        size: Size,
        pictures: usize,
    ) -> Result<(String, Scheduler), PipelineError> {
        let Some((name, config)) = self.schedulers.find(request.scheduler.as_deref()) else {
            let known = self.capabilities.schedulers.join(", ");
            return Err(PipelineError::invalid("diffusion.scheduler", format!("must be one of {known}")));
        };
        let steps = self.steps(request);
        let positions = (size.width as usize * size.height as usize) / self.vae.factor().pow(2);
        let settings = Settings {
            eta: request.eta,
            pictures,
            positions: Some(positions),
            strength: if self.steps_within_strength {
                init::strength(request.init.as_ref()).unwrap_or(1.0)
            } else {
                1.0
            },
            sigmas: self.even_sigmas.then(|| (0..steps).map(|n| 1.0 - n as f64 / steps as f64).collect()),
            ..Settings::steps(steps)
        };
        match Scheduler::new(config, &settings) {
            Ok(scheduler) => Ok((name.clone(), scheduler)),
            Err(SchedulerError::Steps { most, .. }) => {
                let range = format!("must be between 1 and {}", most.min(checks::MOST_STEPS));
                Err(PipelineError::invalid("diffusion.num_inference_steps", range))
            }
            Err(error) => Err(PipelineError::invalid("diffusion.scheduler", error.to_string())),
        }
    }

    /// What the denoiser reads: with guidance what is not wanted, then what is.
    fn branches(
        &mut self,
        request: &Request,
        size: Size,
        guidance_scale: f32,
        control: &RunControl,
    ) -> Result<Vec<Branch>, PipelineError> {
        let text = self.prompts.encode(&request.prompt, request.clip_skip, control)?;
        let (liked, disliked) = (self.aesthetics_score.then_some(6.0), self.aesthetics_score.then_some(2.5));
        let style = checks::style(request, &self.capabilities)?.or(self.default_style);
        let wanted = Branch { text, time_ids: time_ids(size, liked), style: style.unwrap_or(0) as f32 };
        if guidance_scale <= 1.0 || self.guidance_width.is_some() {
            return Ok(vec![wanted]);
        }
        let text = if request.negative_prompt.is_empty() && self.zeros_for_empty_prompt {
            wanted.text.zeros_like().into()
        } else {
            self.prompts.encode(&request.negative_prompt, 0, control)?
        };
        let no_style = self.capabilities.styles.len().saturating_sub(1);
        let unwanted = Branch { text, time_ids: time_ids(size, disliked), style: no_style as f32 };
        Ok(vec![unwanted, wanted])
    }
}

fn controls(controls: &[Control], capabilities: &Capabilities, size: Size) -> Vec<Option<Followed>> {
    let followed = |control: &Control| Followed {
        planes: pixels::planes::<3>(&pixels::rgb(&control.picture, (size.width, size.height)), 0.0),
        scale: control.scale,
        during: (control.guidance_start, control.guidance_end),
    };
    (0..capabilities.control_nets).map(|net| controls.get(net).map(followed)).collect()
}

/// The noise that a job begins with, of standard deviation 1, and where later draws come from.
fn noise(noise: &Noise, length: usize, pictures: usize) -> Result<(Vec<f32>, StepNoise), PipelineError> {
    let seeds = |seed: u64| (0..pictures as u64).map(move |picture| seed.wrapping_add(picture));
    let draw = |seed: u64, purpose: Purpose| {
        let mut values = vec![0.0; length];
        for (values, seed) in values.chunks_exact_mut(length / pictures).zip(seeds(seed)) {
            Draws::new(seed, purpose).fill(values);
        }
        values
    };
    let later = |seed: u64, given: Vec<f32>| StepNoise {
        given,
        taken: 0,
        draws: seeds(seed).map(|seed| Draws::new(seed, Purpose::Steps)).collect(),
    };
    match noise {
        Noise::Seed(seed) => Ok((draw(*seed, Purpose::Initial), later(*seed, Vec::new()))),
        Noise::Between { from, to, weight, drift, drift_seed } => {
            let (a, b) = (draw(*from, Purpose::Initial), draw(*to, Purpose::Initial));
            let row = length / pictures;
            let between =
                |(a, b): (&[f32], &[f32])| if from == to { a.to_vec() } else { slerp(a, b, *weight) };
            let mut values: Vec<f32> =
                a.chunks_exact(row).zip(b.chunks_exact(row)).flat_map(between).collect();
            if *drift > 0.0 {
                refresh(&mut values, &draw(*drift_seed, Purpose::Drift), *drift);
            }
            Ok((values, later(*from, Vec::new())))
        }
        Noise::Given(values) => match values.split_at_checked(length) {
            Some((first, rest)) => Ok((first.to_vec(), later(0, rest.to_vec()))),
            None => Err(PipelineError::invalid("noise", format!("{} numbers of {length}", values.len()))),
        },
    }
}
