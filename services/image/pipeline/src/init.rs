//! A picture to start from: its latents, what of it stays, and the noise on top.

use atelier_inference::RunControl;
use atelier_scheduler::Scheduler;

use crate::{
    Init, PipelineError,
    checks::Size,
    job::Kept,
    pixels,
    vae::{Planes, Vae},
};

/// How much of a picture is made anew where nobody says.
const STRENGTH: f32 = 0.8;

/// The caller's picture.
pub(crate) struct Caller<'a> {
    pub(crate) init: Option<&'a Init>,
    /// Numbers in place of its bytes.
    pub(crate) planes: Option<&'a [f32]>,
}

/// What a job starts from beside noise.
#[derive(Debug, Default)]
pub(crate) struct Start {
    /// Latents of the caller's picture, once for each picture that is made.
    clean: Vec<f32>,
    /// 1 where the picture is made anew, by position of the latents.
    mask: Option<Vec<f32>>,
    /// How much is made anew; absent without a picture.
    strength: Option<f64>,
    /// Channels that the denoiser reads beside the latents: the mask and the latents of what stays.
    pub(crate) beside: Vec<f32>,
    /// The denoiser knows what stays by itself.
    reads_mask: bool,
}

/// How much of the caller's picture is made anew; `None` without one. The shortest decimal: 0.7 of 10 steps are 7, though the
/// nearest `f32` is a little below.
pub(crate) fn strength(init: Option<&Init>) -> Option<f64> {
    let init = init?;
    let usual = if init.mask.is_some() { 1.0 } else { STRENGTH };
    let strength = init.strength.unwrap_or(usual);
    Some(strength.to_string().parse().unwrap_or(f64::from(strength)))
}

impl Start {
    pub(crate) fn new(
        vae: &mut Vae,
        Caller { init, planes: exact }: Caller<'_>,
        (size, pictures): (Size, usize),
        reads_mask: bool,
        control: &RunControl,
    ) -> Result<Self, PipelineError> {
        let mut start = Self { reads_mask, strength: strength(init), ..Self::default() };
        let whole = (size.width, size.height);
        let factor = vae.factor();
        let (height, width) = (size.height as usize / factor, size.width as usize / factor);
        let mask = init.and_then(|init| init.mask.as_ref()).map(|mask| {
            let mask = pixels::gray(mask, whole);
            mask.as_raw().iter().map(|&value| f32::from(u8::from(value > u8::MAX / 2))).collect::<Vec<f32>>()
        });
        // The position of the latents that a pixel in its corner belongs to, as the reference has it.
        let shrink = |mask: &[f32]| {
            let at = |n: usize| (n / width * factor) * size.width as usize + n % width * factor;
            (0..height * width).map(|n| mask[at(n)]).collect::<Vec<f32>>()
        };
        let planes = init.map(|init| {
            let (height, width) = (size.height as usize, size.width as usize);
            if let Some(exact) = exact.filter(|exact| exact.len() == vae.picture_channels() * height * width)
            {
                return Planes { channels: vae.picture_channels(), height, width, values: exact.to_vec() };
            }
            let mut values = pixels::planes::<3>(&pixels::on_white(&init.picture, whole), -1.0);
            if vae.picture_channels() > 3 {
                values.extend(pixels::planes::<1>(&pixels::alpha(&init.picture, whole), -1.0));
            }
            Planes { channels: vae.picture_channels(), height, width, values }
        });
        if let Some(planes) = &planes {
            start.clean = vae.encode(planes, control)?.repeat(pictures);
        }
        if reads_mask {
            // Without a mask all is made anew.
            let positions = size.width as usize * size.height as usize;
            let all = vec![1.0; positions];
            let mask = mask.as_deref().unwrap_or(&all);
            let (full_height, full_width) = (size.height as usize, size.width as usize);
            let mut stays =
                planes.unwrap_or_else(|| Planes::zeros(vae.picture_channels(), (full_height, full_width)));
            for plane in stays.values.chunks_exact_mut(positions) {
                plane
                    .iter_mut()
                    .zip(mask)
                    .filter(|(_, mask)| **mask > 0.5)
                    .for_each(|(value, _)| *value = 0.0);
            }
            let mut row = shrink(mask);
            row.extend(vae.encode(&stays, control)?);
            start.beside = row.repeat(pictures);
        }
        start.mask = mask.as_deref().map(shrink);
        Ok(start)
    }
}

/// The latents that a job begins with, and what is put back after each step.
pub(crate) fn noised(
    start: &Start,
    noise: Vec<f32>,
    scheduler: &Scheduler,
    length: usize,
) -> (Vec<f32>, Option<Kept>) {
    let mut latents = vec![0.0; length];
    let full = start.mask.is_some() && start.strength.is_some_and(|strength| strength >= 1.0);
    if start.strength.is_none() || full {
        let sigma = scheduler.init_noise_sigma();
        latents.iter_mut().zip(&noise).for_each(|(latent, noise)| *latent = noise * sigma);
    } else {
        scheduler.add_noise(&start.clean, &noise, &mut latents);
    }
    let kept = match &start.mask {
        Some(mask) if !start.reads_mask => {
            Some(Kept { mask: mask.clone(), clean: start.clean.clone(), noise })
        }
        _ => None,
    };
    (latents, kept)
}
