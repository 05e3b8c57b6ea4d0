//! A loaded folder.

use atelier_core::ModelId;
use atelier_inference::RunControl;
use atelier_scheduler::SchedulerConfig;

use crate::{
    Capabilities, Job, Picture, PipelineError,
    denoiser::{ControlNets, Denoiser},
    pixels,
    preview::LatentMap,
    prompt::Prompts,
    schedulers::Schedulers,
    vae::Vae,
};

/// A loaded folder: sessions, tokenizers, the scheduler's configuration. It is stepped by the thread that owns it; loading
/// is [`Pipeline::load`].
pub struct Pipeline {
    pub(crate) model: ModelId,
    pub(crate) capabilities: Capabilities,
    pub(crate) schedulers: Schedulers,
    pub(crate) prompts: Prompts,
    pub(crate) denoiser: Denoiser,
    pub(crate) control_nets: ControlNets,
    pub(crate) vae: Vae,
    pub(crate) map: Option<LatentMap>,
    /// Width of the embedding of the guidance scale, where the denoiser is told it instead of running twice.
    pub(crate) guidance_width: Option<usize>,
    /// An absent negative prompt is zeros rather than an empty text.
    pub(crate) zeros_for_empty_prompt: bool,
    /// The denoiser is told how beautiful the picture is to be.
    pub(crate) aesthetics_score: bool,
    /// The denoiser reads the mask and what stays of a picture.
    pub(crate) reads_mask: bool,
    /// Noise levels of flow matching fall evenly from 1, by one step's share each.
    pub(crate) even_sigmas: bool,
    /// A picture that is there already gets all steps, laid over fewer of the training times (latent consistency models).
    pub(crate) steps_within_strength: bool,
    /// The style of requests that name none.
    pub(crate) default_style: Option<usize>,
    /// Jobs so far.
    pub(crate) jobs: u64,
}

impl Pipeline {
    /// What requests may ask.
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Pixels of a latent's side.
    #[must_use]
    pub fn latent_factor(&self) -> usize {
        self.vae.factor()
    }

    /// Adds a scheduler by its `scheduler_config.json`, or takes the place of the one of that name.
    ///
    /// # Errors
    /// The text is no configuration of a known scheduler.
    pub fn add_scheduler(&mut self, name: &str, json: &str) -> Result<(), PipelineError> {
        self.schedulers.insert(name, SchedulerConfig::parse(json)?);
        self.capabilities.schedulers = self.schedulers.names();
        Ok(())
    }

    /// Pictures of more pixels than this go through the autoencoder in tiles that overlap, which bounds memory and changes
    /// the picture a little. Default: a megapixel, or what the model was trained on if that is more.
    pub fn tile_above(&mut self, pixels: usize) {
        self.vae.tile_above(pixels);
    }

    /// Turns a job's latents into pictures, one for each image of the job.
    ///
    /// # Errors
    /// A run fails or is cancelled.
    pub fn finish(&mut self, job: Job, control: &RunControl) -> Result<Vec<Picture>, PipelineError> {
        let (width, height) = self.size(&job);
        let channels = self.vae.picture_channels();
        let planes = self.decode(&job, control)?;
        let length = channels * width as usize * height as usize;
        Ok(planes
            .chunks_exact(length)
            .map(|planes| pixels::picture(planes, channels, (width, height)))
            .collect())
    }

    /// What the autoencoder makes of a job's latents, before it is rounded to bytes: pictures, channels, height, width;
    /// black is -1 and white 1.
    ///
    /// # Errors
    /// A run fails or is cancelled.
    pub fn decode(&mut self, job: &Job, control: &RunControl) -> Result<Vec<f32>, PipelineError> {
        let (width, height) = self.size(job);
        let length = self.vae.picture_channels() * width as usize * height as usize;
        let mut all = Vec::with_capacity(length * job.pictures);
        // One by one: a decoder's activations are the largest of all.
        for latents in job.latents.chunks_exact(job.row_length()) {
            let planes = self.vae.decode(latents, job.size(), control)?;
            if planes.values.len() != length {
                let made = (planes.channels, planes.height, planes.width);
                return Err(PipelineError::folder(
                    &self.model,
                    format!("vae_decoder/model.onnx: it made {made:?}"),
                ));
            }
            all.extend(planes.values);
        }
        Ok(all)
    }

    /// What a job's pictures look like so far, one pixel for each position of the latents: a linear map of the picture that
    /// the model guesses at. Empty where there is no map for the model's latents.
    #[must_use]
    pub fn preview(&self, job: &Job) -> Vec<Picture> {
        let Some(map) = &self.map else { return Vec::new() };
        let mut guess = job.latents.clone();
        if job.step() > 0 {
            job.scheduler.guess(&job.output, &job.latents, &mut guess);
        } else {
            job.scheduler.scale_input(&job.latents, &mut guess);
        }
        guess.chunks_exact(job.row_length()).map(|latents| map.picture(latents, job.size())).collect()
    }

    /// Width and height of a job's pictures.
    fn size(&self, job: &Job) -> (u32, u32) {
        let (height, width) = job.size();
        ((width * self.vae.factor()) as u32, (height * self.vae.factor()) as u32)
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline")
            .field("model", &self.model)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}
