//! What a caller asks for.

use image::{GrayImage, RgbImage, RgbaImage};

/// A picture as pipelines make it; opaque but for models with [`Capabilities::transparency`](crate::Capabilities).
pub type Picture = RgbaImage;

/// Everything about one job. Ranges are those of `atelier.image.v1`; an error names the field there.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What is to be seen.
    pub prompt: Conditioning,
    /// What is not to be seen; without guidance it has no effect.
    pub negative_prompt: Conditioning,
    /// A picture to start from.
    pub init: Option<Init>,
    /// One for each of the model's ControlNets, in their order; the last ones may be left out.
    pub controls: Vec<Control>,
    /// Steps of the scheduler; absent: the model's own number.
    pub steps: Option<usize>,
    /// How strongly the prompt is followed; 1 or less: not at all beyond what the model does by itself.
    pub guidance_scale: Option<f32>,
    /// Share of the contrast that a guided picture gets back, 0 to 1.
    pub guidance_rescale: f32,
    /// One of [`Capabilities::schedulers`](crate::Capabilities::schedulers); absent: the model's own.
    pub scheduler: Option<String>,
    /// The noise that the picture is made of.
    pub noise: Noise,
    /// In pixels; absent: the model's own.
    pub width: Option<u32>,
    /// In pixels; absent: the model's own.
    pub height: Option<u32>,
    /// Layers of the text encoder that are left out at its end.
    pub clip_skip: usize,
    /// Noise that DDIM adds in each step, 0 (none) to 1 (as DDPM).
    pub eta: f32,
    /// Pictures; 0 counts as 1.
    pub num_images: usize,
    /// One of [`Capabilities::styles`](crate::Capabilities::styles); absent: none in particular.
    pub style: Option<String>,
}

/// A picture to start from.
#[derive(Clone, Debug)]
pub struct Init {
    /// Of any size: it is scaled to the size of the answer.
    pub picture: RgbaImage,
    /// How much of it is made anew, above 0 and up to 1; absent: 0.8, with a mask 1.
    pub strength: Option<f32>,
    /// Of the picture's size: white where it is made anew, black where it stays; absent: everywhere.
    pub mask: Option<GrayImage>,
}

/// A picture that guides the composition.
#[derive(Clone, Debug)]
pub struct Control {
    /// Of any size: it is scaled to the size of the answer.
    pub picture: RgbImage,
    /// How strongly it is followed, 0 to 2.
    pub scale: f32,
    /// Share of the steps at which it begins to count, 0 to 1.
    pub guidance_start: f32,
    /// Share of the steps at which it ceases to count, 0 to 1.
    pub guidance_end: f32,
}

impl Control {
    /// A picture that counts fully from beginning to end.
    #[must_use]
    pub fn new(picture: RgbImage) -> Self {
        Self { picture, scale: 1.0, guidance_start: 0.0, guidance_end: 1.0 }
    }
}

/// Words, or a place between words.
#[derive(Clone, Debug, PartialEq)]
pub enum Conditioning {
    /// A text; "(word:1.3)" weighs a part of it.
    Prompt(String),
    /// Between what two texts mean to the model, on a line.
    Between {
        /// At weight 0.
        from: String,
        /// At weight 1.
        to: String,
        /// 0 to 1.
        weight: f32,
    },
}

impl Default for Conditioning {
    fn default() -> Self {
        Self::Prompt(String::new())
    }
}

impl Conditioning {
    /// A text.
    #[must_use]
    pub fn prompt(text: impl Into<String>) -> Self {
        Self::Prompt(text.into())
    }

    /// Nothing is said at all.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Prompt(text) => text.trim().is_empty(),
            Self::Between { from, to, .. } => from.trim().is_empty() && to.trim().is_empty(),
        }
    }
}

/// Where a picture's noise comes from. The draws of a seed are described at [`Draws`](crate::Draws); picture `n` of a job
/// has `n` added to each seed.
#[derive(Clone, Debug, PartialEq)]
pub enum Noise {
    /// The draws of a seed.
    Seed(u64),
    /// Between two seeds' first draws, on a great circle, so that walks keep the length that draws have. Later draws of
    /// samplers that need them are those of `from`.
    Between {
        /// At weight 0.
        from: u64,
        /// At weight 1.
        to: u64,
        /// 0 to 1.
        weight: f32,
        /// Share of the variance that is drawn anew from `drift_seed`, 0 to 1.
        drift: f32,
        /// Seed of what is drawn anew.
        drift_seed: u64,
    },
    /// The numbers themselves, of standard deviation 1: first those of the latents (pictures, channels, height, width),
    /// then, if there are more, what each later draw takes; draws beyond those are seed 0's.
    Given(Vec<f32>),
}

impl Default for Noise {
    fn default() -> Self {
        Self::Seed(0)
    }
}
