//! Diffusion pipelines over ONNX model folders in the layout of diffusers and optimum.
//!
//! [`Pipeline::load`] reads `model_index.json` and loads what it names; types, ranks and names of inputs are read from the
//! graphs. The thread that owns a pipeline begins jobs, steps them side by side, and finishes each:
//!
//! ```no_run
//! # use atelier_inference::{ModelStore, RunControl, Runtime, RuntimeConfig, SessionConfig};
//! # use atelier_pipeline::{Conditioning, Noise, Pipeline, Request};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::start(&RuntimeConfig::default())?;
//! let store = ModelStore::default();
//! let mut pipeline = Pipeline::load(&runtime, &store, &store.open("emoji-flow")?, &SessionConfig::default())?;
//! let (prompt, noise) = (Conditioning::prompt("a red apple"), Noise::Seed(7));
//! let control = RunControl::new();
//! let mut job = pipeline.begin(&Request { prompt, noise, ..Request::default() }, &control)?;
//! while !job.is_done() {
//!     pipeline.step(&mut [&mut job], &control)?;
//! }
//! pipeline.finish(job, &control)?[0].save("apple.png")?;
//! # Ok(())
//! # }
//! ```
//!
//! What is computed follows Hugging Face diffusers 0.35, with two exceptions that are ours: noise comes from [`Draws`], and
//! the latents of a caller's picture are the mode of what the encoder says, not a draw from it.

mod begin;
mod capabilities;
mod checks;
mod denoiser;
mod error;
mod guidance;
mod index;
mod init;
mod job;
mod load;
mod noise;
mod pipeline;
mod pixels;
mod ports;
mod preview;
mod prompt;
mod request;
mod schedulers;
mod step;
mod vae;
mod values;

pub use self::{
    capabilities::Capabilities,
    error::PipelineError,
    job::Job,
    noise::{Draws, Purpose, slerp},
    pipeline::Pipeline,
    request::{Conditioning, Control, Init, Noise, Picture, Request},
};
