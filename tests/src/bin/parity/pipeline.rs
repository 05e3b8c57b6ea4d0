//! Whole pipelines, from noise to picture: what a folder makes beside what the reference made of the same model.
//!
//! `EXPECTED.npz` is either one set, `<scheduler>_s<steps>_g<guidance>.npz` with `latents` behind each step and `image`, or holds a
//! set under each name that [`Set`] reads: a picture from 0 to 1 (`[1, 3, h, w]` or `[1, h, w, 3]`, or
//! bytes), or latents (`[1, c, h, w]`, or behind each step `[steps, c, h, w]`); `<set>.latents` beside a picture holds
//! latents. `init_image`, `mask` and `control_image` are pictures of the same kinds. Initial noise of standard deviation 1 is
//! `init_noise` (or `latents`) of `common.npz` beside the file, or of the file itself; `noise_bank` has what later draws take.
//! Prompts are tokens, `prompt_ids` and `neg_ids`, or text as UTF-8 bytes, `prompt` and `negative_prompt`. A scheduler has the
//! options of `<scheduler>.config.json` beside the file if there is one, else those of the folder.

use std::{fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use atelier_inference::{ModelFolder, ModelStore, RunControl, Runtime, RuntimeConfig, SessionConfig};
use atelier_pipeline::{Conditioning, Control, Init, Noise, Pipeline, Request};

use ndarray::ArrayD;

use crate::{
    numbers::{Numbers, Pictures},
    sets::{Set, Task},
    words,
};

/// Largest absolute error of any element of the latents behind any step.
const LATENTS: f32 = 1e-4;
/// What draws of standard deviation 1 stay below. Samplers over noise levels begin with larger latents, up to thousands,
/// where models and samplers round as they do here: the bound grows with the largest latents so far.
const USUAL: f32 = 4.0;
/// Largest absolute error of a picture from 0 to 1.
const PICTURE: f32 = 1e-3;

/// Everything about a comparison but its sets.
struct Reference {
    expected: Numbers,
    common: Option<Numbers>,
    pipeline: Pipeline,
    prompt: String,
    negative_prompt: String,
}

/// What a set came to.
struct Outcome {
    steps: usize,
    latents: Option<f32>,
    /// The error of the latents as a share of its bound.
    share: f32,
    picture: Option<f32>,
}

impl Outcome {
    fn is_within(&self) -> bool {
        self.share <= 1.0 && self.picture.is_none_or(|error| error <= PICTURE)
    }
}

pub(crate) fn check(model: &Path, file: &Path, store: Option<&Path>) -> anyhow::Result<()> {
    let expected = Numbers::open(file)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let beside = folder.join("common.npz");
    let common = beside.is_file().then(|| Numbers::open(&beside)).transpose()?;
    let mut sets: Vec<Set> = expected.names().iter().filter_map(|name| Set::parse(name)).collect();
    if sets.is_empty() && expected.array("latents").is_ok() {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        sets.extend(Set::parse(&format!("txt2img_{stem}")));
    }
    ensure!(!sets.is_empty(), "no sets in {}", file.display());
    let runtime = Runtime::start(&RuntimeConfig::default())?;
    // By its own name, however it was reached.
    let model = &model.canonicalize().with_context(|| model.display().to_string())?;
    let model_folder = ModelFolder::open(model)?;
    let store = store.map_or_else(ModelStore::default, |root| ModelStore::new(root.to_owned()));
    let mut pipeline = Pipeline::load(&runtime, &store, &model_folder, &SessionConfig::default())?;
    for set in &sets {
        let config = folder.join(format!("{}.config.json", set.scheduler));
        if config.is_file() {
            pipeline.add_scheduler(&set.scheduler, &fs::read_to_string(&config)?)?;
        }
    }
    let text = |ids: &str, text: &str| words::of(&[Some(&expected), common.as_ref()], (ids, text), model);
    let (prompt, negative_prompt) =
        (text("prompt_ids", "prompt")?, text("neg_ids", "negative_prompt").unwrap_or_default());
    let mut reference = Reference { expected, common, pipeline, prompt, negative_prompt };

    let mut failed = 0;
    println!("{:<44} {:>5} {:>12} {:>12} {:>9}", "set", "steps", "latents", "picture", "of bound");
    for set in &sets {
        match reference.compare(set) {
            Ok(outcome) => {
                let verdict = if outcome.is_within() { "" } else { "  past the bound" };
                failed += usize::from(!outcome.is_within());
                let shown = |error: Option<f32>| error.map_or("-".to_owned(), |error| format!("{error:.2e}"));
                let (latents, picture) = (shown(outcome.latents), shown(outcome.picture));
                println!(
                    "{:<44} {:>5} {latents:>12} {picture:>12} {:>8.0}%{verdict}",
                    set.name,
                    outcome.steps,
                    100.0 * worst(&outcome)
                );
            }
            Err(error) => {
                failed += 1;
                println!("{:<44}  {error:#}", set.name);
            }
        }
    }
    ensure!(
        failed == 0,
        "{failed} of {} sets failed (latents {LATENTS:.0e}, pictures {PICTURE:.0e})",
        sets.len()
    );
    println!("{} sets within {LATENTS:.0e} (latents) and {PICTURE:.0e} (pictures)", sets.len());
    Ok(())
}

impl Reference {
    fn compare(&mut self, set: &Set) -> anyhow::Result<Outcome> {
        let (stored, steps) = self.stored(set)?;
        let transparency = self.pipeline.capabilities().transparency;
        let picture = Pictures::of(&stored).filter(|_| !is_latents(stored.shape(), transparency));
        let latents = if picture.is_some() { steps } else { Some(stored) };
        let (width, height) = self.size(picture.as_ref(), latents.as_ref().map(|latents| latents.shape()))?;
        let mut outcome = None;
        let noises = self.noises(latents.as_ref().map(|latents| latents.shape()))?;
        for noise in noises {
            let request = self.request(set, (width, height), noise)?;
            let now = self.run(set, &request, latents.as_ref(), picture.as_ref());
            // Where a file has several arrays that may be the noise, the right one is the one that fits.
            let is_better = match (&now, &outcome) {
                (_, None) | (Ok(_), Some(Err(_))) => true,
                (Ok(now), Some(Ok(best))) => worst(now) < worst(best),
                (Err(_), Some(_)) => false,
            };
            if is_better {
                outcome = Some(now);
            }
        }
        outcome.context("no noise")?
    }

    /// What the archive has under a set's name, and the latents beside it.
    fn stored(&self, set: &Set) -> anyhow::Result<(ArrayD<f32>, Option<ArrayD<f32>>)> {
        let Ok(stored) = self.expected.array(&set.name) else {
            // The archive is the set.
            let latents = self.expected.array("latents").ok();
            return Ok((self.expected.array("image").or_else(|_| self.expected.array("final"))?, latents));
        };
        let beside = [".latents", "_latents"].map(|end| format!("{}{end}", set.name));
        Ok((stored, beside.iter().find_map(|name| self.expected.array(name).ok())))
    }

    /// Width and height in pixels.
    fn size(&self, picture: Option<&Pictures>, latents: Option<&[usize]>) -> anyhow::Result<(u32, u32)> {
        if let Some(picture) = picture {
            return Ok((picture.width as u32, picture.height as u32));
        }
        let Some([.., height, width]) = latents else { bail!("neither a picture nor latents") };
        let factor = self.pipeline.latent_factor();
        Ok(((width * factor) as u32, (height * factor) as u32))
    }

    /// Candidates for the initial noise with what later draws take behind it, the likeliest first.
    fn noises(&self, latents: Option<&[usize]>) -> anyhow::Result<Vec<Noise>> {
        let mut found = Vec::new();
        let files = [Some(&self.expected), self.common.as_ref()];
        for name in ["init_noise", "noise", "initial_noise", "latents", "init_latents"] {
            for file in files.into_iter().flatten() {
                let Ok(noise) = file.array(name) else { continue };
                let fits = latents.is_none_or(|shape| noise.shape().ends_with(&shape[shape.len().min(1)..]));
                if fits && noise.shape().first() == Some(&1) {
                    let bank = files.into_iter().flatten().find_map(|file| file.array("noise_bank").ok());
                    let later = bank.into_iter().flat_map(|bank| bank.into_iter());
                    found.push(Noise::Given(noise.into_iter().chain(later).collect()));
                }
            }
        }
        ensure!(!found.is_empty(), "there is no init_noise of that size");
        Ok(found)
    }

    fn request(&self, set: &Set, (width, height): (u32, u32), noise: Noise) -> anyhow::Result<Request> {
        let picture = |name: &str| {
            let files = [Some(&self.expected), self.common.as_ref()];
            let array = files.into_iter().flatten().find_map(|file| file.array(name).ok());
            let pictures = Pictures::of(&array.with_context(|| format!("there is no {name}"))?);
            pictures.with_context(|| format!("{name} is no picture"))
        };
        let init = match set.task {
            Task::TextToImage => None,
            Task::ImageToImage => {
                Some(Init { picture: picture("init_image")?.rgba(), strength: set.strength, mask: None })
            }
            Task::Inpaint => Some(Init {
                picture: picture("init_image")?.rgba(),
                strength: set.strength,
                mask: Some(picture("mask")?.gray()),
            }),
        };
        let nets = self.pipeline.capabilities().control_nets;
        let mut controls = Vec::new();
        if nets > 0 {
            let (scale, guidance_start, guidance_end) = set.control;
            let picture = image::DynamicImage::ImageRgba8(picture("control_image")?.rgba()).into_rgb8();
            controls = vec![Control { picture, scale, guidance_start, guidance_end }; nets];
        }
        let negative = if set.negative { self.negative_prompt.clone() } else { String::new() };
        Ok(Request {
            prompt: Conditioning::prompt(self.prompt.clone()),
            negative_prompt: Conditioning::prompt(negative),
            init,
            controls,
            steps: set.steps,
            guidance_scale: set.guidance,
            guidance_rescale: set.rescale,
            scheduler: (!set.scheduler.is_empty()).then(|| set.scheduler.clone()),
            noise,
            width: Some(width),
            height: Some(height),
            clip_skip: set.clip_skip,
            eta: set.eta,
            num_images: set.pictures,
            style: None,
        })
    }

    fn run(
        &mut self,
        set: &Set,
        request: &Request,
        latents: Option<&ArrayD<f32>>,
        picture: Option<&Pictures>,
    ) -> anyhow::Result<Outcome> {
        let control = RunControl::new();
        let exact = match set.task {
            Task::TextToImage => None,
            Task::ImageToImage | Task::Inpaint => self.expected.array("init_image").ok(),
        };
        let exact = exact.and_then(|array| Pictures::of(&array)).map(|picture| picture.signed());
        let mut job = self.pipeline.begin_exact(request, exact.as_deref(), &control)?;
        let length = job.latents().len();
        // A row for each step, or one for the end.
        let rows = latents.map_or(0, |latents| latents.len() / length);
        let (mut worst, mut share, mut largest) = (0.0_f32, 0.0_f32, USUAL);
        while !job.is_done() {
            largest = job.latents().iter().fold(largest, |largest, latent| largest.max(latent.abs()));
            self.pipeline.step(&mut [&mut job], &control)?;
            let row = match (latents, rows, job.is_done()) {
                (Some(latents), 1, true) => Some((latents, 0)),
                (Some(latents), rows, _) if rows > 1 => Some((latents, job.step() - 1)),
                _ => None,
            };
            if let Some((latents, row)) = row {
                ensure!(rows == 1 || rows == job.total_steps(), "{rows} steps, ours {}", job.total_steps());
                let expected: Vec<f32> = latents.iter().skip(row * length).take(length).copied().collect();
                let error = difference(job.latents(), &expected);
                worst = worst.max(error);
                share = share.max(error / (LATENTS * (largest / USUAL)));
            }
        }
        let made = picture.map(|_| self.pipeline.decode(&job, &control)).transpose()?;
        let picture = picture.zip(made).map(|(expected, made)| {
            let made: Vec<f32> = made.iter().map(|value| (value / 2.0 + 0.5).clamp(0.0, 1.0)).collect();
            difference(&made, &expected.planes)
        });
        Ok(Outcome { steps: job.total_steps(), latents: latents.map(|_| worst), share, picture })
    }
}

/// Latents have four channels or more; so have the pictures of models that make transparent ones.
fn is_latents(shape: &[usize], transparency: bool) -> bool {
    matches!(shape, [_, channels, _, last] if *channels > 3 && *last > 4 && !(transparency && *channels == 4))
}

/// How far past its bound an outcome is.
fn worst(outcome: &Outcome) -> f32 {
    outcome.share.max(outcome.picture.unwrap_or(0.0) / PICTURE)
}

/// Largest difference; infinite where either is no number.
fn difference(ours: &[f32], expected: &[f32]) -> f32 {
    if expected.len() != ours.len() {
        return f32::INFINITY;
    }
    let differences = ours.iter().zip(expected).map(|(ours, expected)| (ours - expected).abs());
    differences.fold(0.0, |worst, now| if now.is_nan() { f32::INFINITY } else { worst.max(now) })
}
