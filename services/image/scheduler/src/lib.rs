//! From noise to latents: which times a diffusion model is asked at, and what its answers do to the latents.
//!
//! A [`Scheduler`] is made for one picture (or a batch in step) from the `scheduler_config.json` of a pipeline. Its caller
//! asks the model at each of its times and hands over the answer:
//!
//! ```
//! use atelier_scheduler::{Scheduler, SchedulerConfig, Settings};
//!
//! let config = SchedulerConfig::parse(r#"{"_class_name": "EulerDiscreteScheduler"}"#)?;
//! let mut scheduler = Scheduler::new(&config, &Settings::steps(4))?;
//! let mut latents = vec![0.5 * scheduler.init_noise_sigma(); 8];
//! let mut input = vec![0.0; 8];
//! while let Some(_time) = scheduler.timestep() {
//!     scheduler.scale_input(&latents, &mut input);
//!     let output = input.clone(); // what the model says
//!     scheduler.step(&output, &mut latents, &mut |noise| noise.fill(0.0));
//! }
//! # Ok::<(), atelier_scheduler::SchedulerError>(())
//! ```
//!
//! The arithmetic is that of Hugging Face diffusers 0.35 down to the order of `f32` operations: at the highest noise levels
//! latents are in the thousands, where another order is another result. The papers: DDIM (Song et al., 2020), PNDM (Liu et
//! al., 2022), Euler and Euler ancestral after Karras et al., 2022, DPM-Solver++ (Lu et al., 2022), UniPC (Zhao et al.,
//! 2023), LCM (Luo et al., 2023), flow matching (Lipman et al., 2022; Esser et al., 2024).

mod beta;
mod config;
mod ddim;
mod dpm_solver;
mod error;
mod euler;
mod flow_match;
mod lcm;
mod multistep;
mod numeric;
mod pndm;
mod sampler;
mod schedule;
mod sigmas;
mod unipc;

pub use self::{
    config::{Kind, SchedulerConfig, strict_json},
    error::SchedulerError,
    sampler::{Scheduler, Settings},
};
