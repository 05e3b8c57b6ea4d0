//! From a folder to a pipeline.

use atelier_inference::{ModelFolder, ModelStore, Runtime, SessionConfig};
use atelier_scheduler::Kind;
use serde::Deserialize;

use crate::{
    Capabilities, PipelineError,
    denoiser::{ControlNets, Denoiser, ResidualShapes, Role},
    index::{Family, Index},
    pipeline::Pipeline,
    ports,
    preview::LatentMap,
    prompt::{ClipEncoders, Prompts, SentenceEncoder},
    schedulers::Schedulers,
    vae::Vae,
};

/// Steps and guidance where neither the request nor the model says (`DiffusionConfig`).
const STEPS: usize = 25;
const GUIDANCE_SCALE: f32 = 7.5;
/// What models distilled to a few steps are used with.
const FEW_STEPS: usize = 4;
/// Latent consistency models are told this scale.
const CONSISTENCY_GUIDANCE: f32 = 8.5;
/// Pictures may be this much larger than what the model was trained on, and in any case up to this many pixels a side:
/// attention grows with the fourth power.
const LARGER: u32 = 2;
const ALWAYS_POSSIBLE: u32 = 1024;

/// A number, or one for each block or side.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Numbers {
    One(usize),
    Many(Vec<usize>),
}

impl Numbers {
    fn list(&self) -> Vec<usize> {
        match self {
            Self::One(number) => vec![*number],
            Self::Many(numbers) => numbers.clone(),
        }
    }
}

/// `unet/config.json` or `transformer/config.json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    in_channels: Option<usize>,
    sample_size: Option<Numbers>,
    block_out_channels: Vec<usize>,
    layers_per_block: Option<Numbers>,
    time_cond_proj_dim: Option<usize>,
    cross_attention_dim: Option<Numbers>,
    max_sequence_length: Option<usize>,
    styles: Vec<String>,
    default_style: Option<String>,
    guidance_scale: Option<f32>,
    num_inference_steps: Option<usize>,
}

impl Config {
    /// Height and width of the latents that the model was trained on.
    fn sample_size(&self, usual: usize) -> (usize, usize) {
        match self.sample_size.as_ref().map(Numbers::list).as_deref() {
            Some([height, width]) => (*height, *width),
            Some([side]) => (*side, *side),
            _ => (usual, usual),
        }
    }
}

impl Pipeline {
    /// Loads a folder. `store` has the models that the folder names instead of holding them.
    ///
    /// # Errors
    /// The folder is of a class that is not known or lacks something, or a model can't be loaded.
    pub fn load(
        runtime: &Runtime,
        store: &ModelStore,
        folder: &ModelFolder,
        session: &SessionConfig,
    ) -> Result<Self, PipelineError> {
        let index = Index::read(folder)?;
        let is_flow = index.family == Family::LatentFlow;
        let (part, usual_side) = match index.family {
            Family::LatentFlow => ("transformer", 8),
            Family::StableDiffusionXl => ("unet", 128),
            Family::StableDiffusion | Family::LatentConsistency => ("unet", 64),
        };
        let config: Config = ports::config(folder, &[part])?.unwrap_or_default();
        let usual_scale = match index.family {
            Family::StableDiffusionXl => 0.13025,
            Family::StableDiffusion | Family::LatentConsistency => 0.18215,
            Family::LatentFlow => 1.0,
        };
        let (vae, vae_config) = Vae::load(runtime, folder, session, usual_scale)?;
        let channels = config.in_channels.unwrap_or(vae.latent_channels());
        let denoiser = Denoiser::load((runtime, session), folder, part, channels)?;
        let shapes = ResidualShapes {
            blocks: config.block_out_channels.clone(),
            layers: config.layers_per_block.as_ref().map(Numbers::list).unwrap_or_default(),
        };
        let control_nets = ControlNets::load((runtime, session), folder, &denoiser, shapes)?;
        let problem =
            |problem: String| PipelineError::folder(folder.id(), format!("{part}/model.onnx: {problem}"));
        let reads_mask = denoiser.channels() == 2 * vae.latent_channels() + 1;
        if !reads_mask && denoiser.channels() != vae.latent_channels() {
            return Err(problem(format!("it reads {} channels of unknown meaning", denoiser.channels())));
        }
        if reads_mask && !vae.encodes() {
            return Err(problem("it reads a masked picture, and there is no vae_encoder".to_owned()));
        }
        let guidance_width = denoiser
            .reads(Role::GuidanceEmbedding)
            .then(|| denoiser.width(Role::GuidanceEmbedding).or(config.time_cond_proj_dim).unwrap_or(256));
        let aesthetics_score = match denoiser.width(Role::TimeIds) {
            Some(width) => width == 5,
            None => index.aesthetics_score,
        };
        let prompts = match index.family {
            Family::LatentFlow => {
                let id = index.store_model("text_encoder").ok_or_else(|| {
                    PipelineError::folder(
                        folder.id(),
                        "model_index.json: text_encoder is no model of the store",
                    )
                })?;
                let width =
                    config.cross_attention_dim.as_ref().and_then(|width| width.list().first().copied());
                let reads = (config.max_sequence_length.unwrap_or(24), width.unwrap_or(384));
                Prompts::sentence(SentenceEncoder::load(runtime, &store.open(id)?, session, reads)?)
            }
            Family::StableDiffusionXl => Prompts::clip(ClipEncoders::two(runtime, folder, session)?),
            Family::StableDiffusion | Family::LatentConsistency => {
                Prompts::clip(ClipEncoders::one(runtime, folder, session)?)
            }
        };
        let schedulers = Schedulers::load(folder, index.family)?;
        let map = match vae_config.preview_rgb {
            Some(map) => Some(map.of_signed()),
            None => LatentMap::known(vae.latent_channels(), vae.scale()),
        };
        let map = map.filter(|map| map.fits(vae.latent_channels()));

        let factor = vae.factor();
        let (height, width) = denoiser.fixed_size().unwrap_or(config.sample_size(usual_side));
        let pixels = |side: usize| u32::try_from(side * factor).unwrap_or(u32::MAX);
        // Each block but the last halves the sides, and on the way up they must meet again.
        let multiple = pixels(1 << config.block_out_channels.len().saturating_sub(1).min(16));
        let size_multiple = if denoiser.fixed_size().is_some() || is_flow { 0 } else { multiple };
        let larger = pixels(height.max(width)).saturating_mul(LARGER).max(ALWAYS_POSSIBLE);
        // Stable Diffusion that was made consistent keeps its class; its scheduler tells.
        let consistent = schedulers.own_kind() == Some(Kind::Lcm);
        let few = index.turbo || consistent;
        let usual_guidance = match index.family {
            Family::LatentConsistency => CONSISTENCY_GUIDANCE,
            _ if few => 1.0,
            _ => GUIDANCE_SCALE,
        };
        let capabilities = Capabilities {
            default_width: pixels(width),
            default_height: pixels(height),
            min_size: if size_multiple == 0 { pixels(height.min(width)) } else { multiple },
            max_size: if size_multiple == 0 { pixels(height.max(width)) } else { larger },
            size_multiple,
            schedulers: schedulers.names(),
            styles: config.styles.clone(),
            image_to_image: vae.encodes(),
            inpainting: vae.encodes(),
            control_nets: control_nets.len(),
            transparency: vae.picture_channels() > 3,
            guidance: true,
            previews: map.is_some(),
            default_steps: index.steps.or(config.num_inference_steps).unwrap_or(if few {
                FEW_STEPS
            } else {
                STEPS
            }),
            default_guidance_scale: index.guidance_scale.or(config.guidance_scale).unwrap_or(usual_guidance),
            max_clip_skip: prompts.max_clip_skip(),
        };
        let style =
            config.default_style.as_ref().and_then(|name| config.styles.iter().position(|s| s == name));
        Ok(Self {
            model: folder.id().clone(),
            capabilities,
            schedulers,
            prompts,
            denoiser,
            control_nets,
            vae,
            map,
            guidance_width,
            zeros_for_empty_prompt: is_flow
                || (index.family == Family::StableDiffusionXl && index.zeros_for_empty_prompt),
            aesthetics_score,
            reads_mask,
            even_sigmas: is_flow,
            steps_within_strength: index.family == Family::LatentConsistency,
            // The last style is that of no style.
            default_style: style.or(config.styles.len().checked_sub(1)),
            jobs: 0,
        })
    }
}
