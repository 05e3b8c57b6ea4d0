//! Diffusion pipelines behind the engine.

use atelier_core::ModelRef;
use atelier_inference::{ModelFolder, ModelStore, RunControl, Runtime};
use atelier_pipeline::{Capabilities, Job, Pipeline, Request};
use image::RgbaImage;

use crate::{
    ImageError,
    config::ModelConfig,
    engine::{Engine, Facts, Painter},
};

/// A loaded pipeline and its engine.
pub(crate) struct DiffusionModel {
    pub(crate) model: ModelRef,
    /// SPDX identifier, or empty.
    pub(crate) license: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) engine: Engine<Request>,
}

impl DiffusionModel {
    /// Loads a pipeline, makes a picture of one step and starts the engine.
    ///
    /// # Errors
    /// A file is missing, or of a kind that can't be served.
    pub(crate) fn load(
        runtime: &Runtime,
        store: &ModelStore,
        folder: &ModelFolder,
        config: &ModelConfig,
    ) -> Result<Self, ImageError> {
        let mut pipeline = Pipeline::load(runtime, store, folder, &config.session)?;
        let capabilities = pipeline.capabilities().clone();
        let control = RunControl::new();
        let mut job = pipeline.begin(&Request { steps: Some(1), ..Request::default() }, &control)?;
        pipeline.step(&mut [&mut job], &control)?;
        pipeline.finish(job, &control)?;
        let engine = Engine::start(config.id.as_str(), &config.engine, pipeline)?;
        let license = folder.license().to_owned();
        Ok(Self { model: folder.model().clone(), license, capabilities, engine })
    }
}

impl Painter for Pipeline {
    type Request = Request;
    type Job = Job;

    fn begin(&mut self, request: &Request, control: &RunControl) -> Result<Job, ImageError> {
        Ok(Self::begin(self, request, control)?)
    }

    fn step(&mut self, jobs: &mut [&mut Job], control: &RunControl) -> Result<(), ImageError> {
        Ok(Self::step(self, jobs, control)?)
    }

    fn finish(&mut self, job: Job, control: &RunControl) -> Result<Vec<RgbaImage>, ImageError> {
        Ok(Self::finish(self, job, control)?)
    }

    fn preview(&self, job: &Job) -> Vec<RgbaImage> {
        Self::preview(self, job)
    }

    fn progress(job: &Job) -> (usize, usize) {
        (job.step(), job.total_steps())
    }

    fn compatible(one: &Job, other: &Job) -> bool {
        one.is_compatible(other)
    }

    fn work(job: &Job) -> f64 {
        job.memory_bytes() as f64
    }

    fn bytes(job: &Job) -> u64 {
        job.memory_bytes()
    }

    fn facts(job: &Job) -> Facts {
        Facts {
            seed: job.seed(),
            steps: job.total_steps(),
            scheduler: job.scheduler().to_owned(),
            prompt_truncated: job.prompt_truncated(),
        }
    }
}
