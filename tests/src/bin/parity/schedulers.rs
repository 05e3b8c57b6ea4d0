//! Schedulers, step by step: the reference's model answers go in, its latents must come out.
//!
//! A set holds `timesteps [n]`, `model_outputs [n, ...]`, `latents [n, ...]` (behind each run) and, if it has them,
//! `model_inputs [n, ...]` and `final`. `common.npz` holds `init_noise` (for a standard deviation of 1) and `noise_bank`, of which each
//! draw of a stochastic sampler takes the next.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use atelier_scheduler::{Scheduler, SchedulerConfig, Settings};
use ndarray::ArrayD;
use ndarray_npy::{NpzReader, ReadableElement};

/// Largest absolute error of any element of the latents behind any step.
const BOUND: f32 = 1e-4;
/// Latents that are all noise and no signal (zero terminal SNR) are in the thousands, where two neighbouring `f32` are
/// further apart than the bound, and what is lost there is missing from all later steps. An error below so many units in
/// the last place of the largest latents so far is rounding.
const ROUNDING: f32 = 2.0 * f32::EPSILON;

type Archive = NpzReader<File>;

/// Initial noise and the draws that follow.
struct Common {
    noise: Vec<f32>,
    bank: ArrayD<f32>,
}

pub(crate) fn check(folder: &Path) -> anyhow::Result<()> {
    let mut common = open(&folder.join("common.npz"))?;
    let common = Common {
        noise: numbers::<f32>(&mut common, "init_noise")?.into_iter().collect(),
        bank: numbers(&mut common, "noise_bank")?,
    };
    let sets = sets(folder)?;
    ensure!(!sets.is_empty(), "no sets in {}", folder.display());
    let mut failed = 0;
    println!("{:<44} {:>5} {:>12}", "set", "runs", "worst error");
    for (name, config, set) in &sets {
        match worst_error(config, set, &common) {
            Ok((runs, worst)) => {
                let verdict = if worst <= BOUND { "" } else { "  past the bound" };
                failed += usize::from(worst > BOUND || worst.is_nan());
                println!("{name:<44} {runs:>5} {worst:>12.2e}{verdict}");
            }
            Err(error) => {
                failed += 1;
                println!("{name:<44}  {error:#}");
            }
        }
    }
    ensure!(failed == 0, "{failed} of {} sets failed (bound {BOUND:.0e})", sets.len());
    println!("{} sets within {BOUND:.0e}", sets.len());
    Ok(())
}

/// Name, configuration and numbers of each set, by name.
fn sets(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf, PathBuf)>> {
    let mut sets = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".npz")) else {
            continue;
        };
        if let Some((scheduler, _)) = parts(name) {
            sets.push((name.to_owned(), folder.join(format!("{scheduler}.config.json")), path.clone()));
        }
    }
    sets.sort();
    Ok(sets)
}

/// The scheduler's name and the number of steps in `<name>_s<steps>_g<guidance>`.
fn parts(name: &str) -> Option<(&str, usize)> {
    let (rest, guidance) = name.rsplit_once("_g")?;
    guidance.parse::<f32>().ok()?;
    let (scheduler, steps) = rest.rsplit_once("_s")?;
    Some((scheduler, steps.parse().ok()?))
}

fn worst_error(config: &Path, set: &Path, common: &Common) -> anyhow::Result<(usize, f32)> {
    let name = set.file_stem().and_then(|name| name.to_str()).context("a name")?;
    let (_, steps) = parts(name).context("a name with steps")?;
    let json = fs::read_to_string(config).with_context(|| config.display().to_string())?;
    let mut scheduler = Scheduler::new(&SchedulerConfig::parse(&json)?, &Settings::steps(steps))?;

    let mut archive = open(set)?;
    let times = match numbers::<i64>(&mut archive, "timesteps") {
        Ok(times) => times.mapv(|time| time as f32),
        Err(_) => numbers::<f32>(&mut archive, "timesteps")?,
    };
    let ours = scheduler.timesteps();
    ensure!(ours.len() == times.len(), "{} runs, expected {}", ours.len(), times.len());
    for (run, (ours, expected)) in ours.iter().zip(&times).enumerate() {
        ensure!((ours - expected).abs() <= 1e-3, "run {run} at time {ours}, expected {expected}");
    }
    let outputs = numbers::<f32>(&mut archive, "model_outputs")?;
    let expected = numbers::<f32>(&mut archive, "latents")?;
    let inputs = numbers::<f32>(&mut archive, "model_inputs").ok();

    let scale = scheduler.init_noise_sigma();
    let mut latents: Vec<f32> = common.noise.iter().map(|noise| noise * scale).collect();
    let mut input = vec![0.0; latents.len()];
    let (mut worst, mut largest, mut draws) = (0.0_f32, 0.0_f32, common.bank.outer_iter());
    for run in 0..times.len() {
        largest = latents.iter().fold(largest, |largest, latent| largest.max(latent.abs()));
        let mut note = |error: f32| {
            if error > ROUNDING * largest {
                worst = worst.max(error);
            }
        };
        if let Some(inputs) = &inputs {
            scheduler.scale_input(&latents, &mut input);
            note(difference(&input, inputs, run));
        }
        let output: Vec<f32> = outputs.index_axis(ndarray::Axis(0), run).iter().copied().collect();
        scheduler.step(&output, &mut latents, &mut |noise| {
            let draw = draws.next().map(|draw| draw.iter().copied().collect::<Vec<_>>()).unwrap_or_default();
            noise.iter_mut().zip(draw).for_each(|(noise, draw)| *noise = draw);
        });
        note(difference(&latents, &expected, run));
    }
    Ok((times.len(), worst))
}

/// Largest difference from one row of the expected numbers; infinite where either is no number.
fn difference(ours: &[f32], expected: &ArrayD<f32>, row: usize) -> f32 {
    let expected = expected.index_axis(ndarray::Axis(0), row);
    if expected.len() != ours.len() {
        return f32::INFINITY;
    }
    let differences = ours.iter().zip(expected.iter()).map(|(ours, expected)| (ours - expected).abs());
    differences.fold(0.0, |worst, now| if now.is_nan() { f32::INFINITY } else { worst.max(now) })
}

fn open(path: &Path) -> anyhow::Result<Archive> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    NpzReader::new(file).with_context(|| path.display().to_string())
}

fn numbers<T: ReadableElement>(archive: &mut Archive, name: &str) -> anyhow::Result<ArrayD<T>> {
    archive.by_name(name).with_context(|| name.to_owned())
}
