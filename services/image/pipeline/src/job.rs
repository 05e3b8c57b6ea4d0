//! One request on its way from noise to pictures.

use std::{sync::Arc, time::Duration};

use atelier_scheduler::Scheduler;

use crate::{denoiser::RowId, noise::Draws, prompt::Encoded};

/// What the denoiser reads of one text.
pub(crate) struct Branch {
    pub(crate) text: Arc<Encoded>,
    /// Sizes and crop, for models that are told them.
    pub(crate) time_ids: Vec<f32>,
    /// Number of the style, for models that have some.
    pub(crate) style: f32,
}

/// A picture that a ControlNet follows.
pub(crate) struct Followed {
    /// Planes from 0 to 1, of the answer's size.
    pub(crate) planes: Vec<f32>,
    pub(crate) scale: f32,
    /// Shares of the steps between which it counts.
    pub(crate) during: (f32, f32),
}

impl Followed {
    /// How strongly it counts in a step.
    pub(crate) fn scale_at(&self, step: usize, total: usize) -> f32 {
        let share = |step: usize| step as f32 / total.max(1) as f32;
        if share(step) < self.during.0 || share(step + 1) > self.during.1 { 0.0 } else { self.scale }
    }
}

/// What stays of the caller's picture.
pub(crate) struct Kept {
    /// 1 where the picture is made anew, by position of the latents.
    pub(crate) mask: Vec<f32>,
    /// The caller's picture as latents.
    pub(crate) clean: Vec<f32>,
    /// The noise that the job began with, of standard deviation 1.
    pub(crate) noise: Vec<f32>,
}

/// Where samplers that draw noise in their steps get it from: each picture has draws of its own.
pub(crate) struct StepNoise {
    /// Numbers to be taken before anything is drawn.
    pub(crate) given: Vec<f32>,
    pub(crate) taken: usize,
    pub(crate) draws: Vec<Draws>,
}

impl StepNoise {
    pub(crate) fn fill(&mut self, values: &mut [f32]) {
        let next = self.taken..self.taken + values.len();
        if let Some(given) = self.given.get(next.clone()) {
            values.copy_from_slice(given);
            self.taken = next.end;
            return;
        }
        let length = values.len() / self.draws.len().max(1);
        values
            .chunks_exact_mut(length.max(1))
            .zip(&mut self.draws)
            .for_each(|(values, draws)| draws.fill(values));
    }
}

/// A request that has begun: made by [`Pipeline::begin`](crate::Pipeline::begin), stepped until [`Job::is_done`], turned
/// into pictures by [`Pipeline::finish`](crate::Pipeline::finish). A step that fails leaves it as it was.
pub struct Job {
    pub(crate) id: u64,
    pub(crate) seed: u64,
    pub(crate) scheduler_name: String,
    pub(crate) scheduler: Scheduler,
    /// The run that it started at.
    pub(crate) first_run: usize,
    pub(crate) pictures: usize,
    /// Channels, height and width of a picture's latents.
    pub(crate) shape: [usize; 3],
    pub(crate) latents: Vec<f32>,
    /// Latents as the denoiser reads them.
    pub(crate) input: Vec<f32>,
    /// What the denoiser said last, guidance applied.
    pub(crate) output: Vec<f32>,
    /// With guidance what is not wanted, then what is.
    pub(crate) branches: Vec<Branch>,
    pub(crate) guidance_scale: f32,
    pub(crate) guidance_rescale: f32,
    /// The guidance scale as some models are told it.
    pub(crate) guidance_embedding: Vec<f32>,
    /// Channels that the denoiser reads beside the latents.
    pub(crate) beside: Vec<f32>,
    pub(crate) kept: Option<Kept>,
    /// By ControlNet.
    pub(crate) controls: Vec<Option<Followed>>,
    pub(crate) noise: StepNoise,
    /// The denoiser reads one time for all rows.
    pub(crate) in_step: bool,
    pub(crate) truncated: bool,
    pub(crate) encode_time: Duration,
    pub(crate) image_time: Duration,
}

impl Job {
    /// Runs of the denoiser that are done.
    #[must_use]
    pub fn step(&self) -> usize {
        self.scheduler.position() - self.first_run
    }

    /// Runs of the denoiser in all: as many as steps but for PNDM, which needs one more, and for pictures that start from
    /// another one, which need fewer.
    #[must_use]
    pub fn total_steps(&self) -> usize {
        self.scheduler.timesteps().len() - self.first_run
    }

    /// Nothing is left to do but [`Pipeline::finish`](crate::Pipeline::finish).
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.scheduler.timestep().is_none()
    }

    /// The next steps of both can share a run of the denoiser. Some graphs read one time for all rows: then it may depend on
    /// where both are.
    #[must_use]
    pub fn is_compatible(&self, other: &Self) -> bool {
        let reads = |job: &Self| {
            let text = job.branches.last().map(|branch| &branch.text);
            text.map(|text| (text.tokens, text.hidden.len(), text.pooled.len(), text.mask.len()))
        };
        let follows = |job: &Self| job.controls.iter().map(Option::is_some).collect::<Vec<_>>();
        self.shape == other.shape
            && reads(self) == reads(other)
            && follows(self) == follows(other)
            && (!self.in_step || self.scheduler.timestep() == other.scheduler.timestep())
    }

    /// The first picture's seed; picture `n` has this plus `n`.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Name of the scheduler.
    #[must_use]
    pub fn scheduler(&self) -> &str {
        &self.scheduler_name
    }

    /// The prompt was longer than the model reads.
    #[must_use]
    pub fn prompt_truncated(&self) -> bool {
        self.truncated
    }

    /// Pictures that it makes.
    #[must_use]
    pub fn num_images(&self) -> usize {
        self.pictures
    }

    /// Memory that it holds between steps, in bytes; texts that other jobs may share count in full.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        // Solvers of several steps keep up to four answers.
        const HISTORY: usize = 4;
        let kept = self.kept.as_ref().map_or(0, |kept| kept.mask.len() + kept.clean.len() + kept.noise.len());
        let controls: usize = self.controls.iter().flatten().map(|control| control.planes.len()).sum();
        let numbers = self.latents.len() * (1 + HISTORY)
            + self.input.len()
            + self.output.len()
            + self.beside.len()
            + self.noise.given.len()
            + kept
            + controls;
        let texts: usize = self.branches.iter().map(|branch| branch.text.bytes()).sum();
        (numbers * size_of::<f32>() + texts) as u64
    }

    /// Time that text encoders took; next to nothing where their output was still at hand.
    #[must_use]
    pub fn encode_time(&self) -> Duration {
        self.encode_time
    }

    /// Time that the caller's picture took to become latents.
    #[must_use]
    pub fn image_time(&self) -> Duration {
        self.image_time
    }

    /// The latents as they are: pictures, channels, height, width.
    #[must_use]
    pub fn latents(&self) -> &[f32] {
        &self.latents
    }

    /// Width and height of its pictures' latents.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.shape[1], self.shape[2])
    }

    /// Numbers of one picture's latents.
    pub(crate) fn row_length(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows of a run, in the order in which their answers are read.
    pub(crate) fn rows(&self) -> impl Iterator<Item = RowId> {
        let (job, pictures) = (self.id, self.pictures);
        (0..self.branches.len())
            .flat_map(move |branch| (0..pictures).map(move |picture| RowId { job, branch, picture }))
    }

    /// Takes the denoiser's answer into the latents.
    pub(crate) fn advance(&mut self) {
        let noise = &mut self.noise;
        self.scheduler.step(&self.output, &mut self.latents, &mut |values| noise.fill(values));
        let Some(kept) = &self.kept else { return };
        // What is kept is put back, with the noise that the next run expects.
        self.scheduler.add_noise(&kept.clean, &kept.noise, &mut self.input);
        let positions = self.shape[1] * self.shape[2];
        for (latents, clean) in
            self.latents.chunks_exact_mut(positions).zip(self.input.chunks_exact(positions))
        {
            for ((latent, clean), mask) in latents.iter_mut().zip(clean).zip(&kept.mask) {
                *latent = (1.0 - mask) * clean + mask * *latent;
            }
        }
    }
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("id", &self.id)
            .field("scheduler", &self.scheduler_name)
            .field("step", &self.step())
            .field("total_steps", &self.total_steps())
            .finish_non_exhaustive()
    }
}
