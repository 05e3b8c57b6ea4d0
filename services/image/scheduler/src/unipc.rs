//! UniPC (Zhao et al., 2023): a predictor, and a corrector that uses the next answer at no cost.

use std::collections::VecDeque;

use crate::{
    Kind, SchedulerError,
    config::{Keys, Prediction},
    multistep::{Level, Levels},
    numeric::solve,
    sampler::{Noise, Plan, Sampler, Settings},
};

/// The highest order that is solved for; the paper goes to 3.
const MAX_ORDER: usize = 4;

pub(crate) struct UniPc {
    levels: Levels,
    order: usize,
    over_clean: bool,
    /// B(h) = h, the paper's first choice, and not e^h - 1.
    linear: bool,
    careful_end: bool,
    uncorrected: Vec<usize>,
    /// The model's answers, converted, the newest first.
    history: VecDeque<Vec<f32>>,
    /// Latents that the last step began with, and its order.
    last: Option<(Vec<f32>, usize)>,
    /// Steps so far, up to `order`.
    known: usize,
}

/// What predictor and corrector have in common for a step between two levels.
struct Basis {
    latents: f32,
    answer: f32,
    /// Factor of the weighted differences.
    differences: f32,
    /// Places of the older answers relative to the step, then 1.
    places: Vec<f32>,
    /// Right side of the equations for the weights.
    right: Vec<f64>,
}

impl UniPc {
    pub(crate) fn plan(keys: &Keys, settings: &Settings) -> Result<(Plan, Box<dyn Sampler>), SchedulerError> {
        if !keys.predict_x0 && keys.prediction_type == Prediction::Flow {
            return keys.prediction_type.refuse();
        }
        let linear = match keys.solver_type.as_deref() {
            None | Some("bh2" | "midpoint" | "heun" | "logrho") => false,
            Some("bh1") => true,
            Some(other) => return Err(SchedulerError::unsupported("solver_type", other)),
        };
        if !(1..=MAX_ORDER).contains(&keys.solver_order) {
            return Err(SchedulerError::unsupported("solver_order", keys.solver_order));
        }
        let (plan, levels) = Levels::plan(Kind::UniPc, keys, settings)?;
        let sampler = Self {
            levels,
            order: keys.solver_order,
            over_clean: keys.predict_x0,
            linear,
            careful_end: keys.lower_order_final,
            uncorrected: keys.disable_corrector.clone(),
            history: VecDeque::new(),
            last: None,
            known: 0,
        };
        Ok((plan, Box::new(sampler)))
    }

    /// A step from one level to another, with older answers at the levels of `older`.
    fn basis(&self, from: Level, to: Level, older: impl Iterator<Item = Level>) -> Basis {
        let h = to.lambda - from.lambda;
        let hh = if self.over_clean { -h } else { h };
        let phi = hh.exp_m1();
        let weight = if self.linear { hh } else { phi };
        let mut places: Vec<f32> = older.map(|level| (level.lambda - from.lambda) / h).collect();
        places.push(1.0);
        let (mut factorial, mut phi_k) = (1.0_f64, phi / hh - 1.0);
        let mut right = Vec::with_capacity(places.len());
        for k in 1..=places.len() {
            right.push(f64::from(phi_k * factorial as f32 / weight));
            factorial *= (k + 1) as f64;
            phi_k = phi_k / hh - (1.0 / factorial) as f32;
        }
        let (latents, scale) = if self.over_clean {
            (to.sigma / from.sigma, to.alpha)
        } else {
            (to.alpha / from.alpha, to.sigma)
        };
        Basis { latents, answer: scale * phi, differences: scale * weight, places, right }
    }

    /// Differences of older answers from the newest, weighted and summed.
    fn weighted(&self, basis: &Basis, weights: &[f32]) -> Vec<f32> {
        let base = &self.history[0];
        let mut sum = vec![0.0; base.len()];
        for (n, (weight, place)) in weights.iter().zip(&basis.places).enumerate() {
            let older = &self.history[n + 1];
            for ((sum, older), base) in sum.iter_mut().zip(older).zip(base) {
                *sum += weight * ((older - base) / place);
            }
        }
        sum
    }

    /// The latents before this run, with the answer that it gave.
    fn correct(&self, at: usize, answer: &[f32], begun: &[f32], order: usize) -> Vec<f32> {
        let level = |at: usize| self.levels.level(at);
        let older = (1..order).map(|back| level(at - (back + 1)));
        let basis = self.basis(level(at - 1), level(at), older);
        let weights = match order {
            1 => vec![0.5],
            _ => weights(&basis, order),
        };
        let (newest, older) = weights.split_last().map_or((0.0, &[][..]), |(newest, older)| (*newest, older));
        let sum = self.weighted(&basis, older);
        let base = &self.history[0];
        let corrected = begun.iter().zip(base).zip(answer).zip(&sum).map(|(((x, base), answer), sum)| {
            let predicted = basis.latents * x - basis.answer * base;
            predicted - basis.differences * (sum + newest * (answer - base))
        });
        corrected.collect()
    }

    fn predict(&self, at: usize, latents: &mut [f32], order: usize) {
        let level = |at: usize| self.levels.level(at);
        let basis = self.basis(level(at), level(at + 1), (1..order).map(|back| level(at - back)));
        let weights = match order {
            1 => Vec::new(),
            2 => vec![0.5],
            _ => weights(&basis, order - 1),
        };
        let sum = self.weighted(&basis, &weights);
        for ((latent, base), sum) in latents.iter_mut().zip(&self.history[0]).zip(&sum) {
            *latent = basis.latents * *latent - basis.answer * base;
            if order > 1 {
                *latent -= basis.differences * sum;
            }
        }
    }
}

/// Weights of the first `count` places: the equations of the paper's section 3.1.
fn weights(basis: &Basis, count: usize) -> Vec<f32> {
    let power =
        |k: usize| basis.places[..count].iter().map(|place| f64::from(*place).powi(k as i32)).collect();
    let solved = solve((0..count).map(power).collect(), basis.right[..count].to_vec());
    solved.into_iter().map(|weight| weight as f32).collect()
}

impl Sampler for UniPc {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], _: &mut Noise<'_>) {
        let answer = if self.over_clean {
            self.levels.clean(at, output, latents)
        } else {
            self.levels.noise(at, output, latents, false)
        };
        if let Some((begun, order)) = self.last.take()
            && !self.uncorrected.contains(&(at - 1))
        {
            latents.copy_from_slice(&self.correct(at, &answer, &begun, order));
        }
        self.history.push_front(answer);
        self.history.truncate(self.order);
        let remaining = self.levels.runs() - at;
        let order = if self.careful_end { self.order.min(remaining) } else { self.order }.min(self.known + 1);
        self.last = Some((latents.to_vec(), order));
        self.predict(at, latents, order);
        self.known = (self.known + 1).min(self.order);
    }

    fn shares(&self, at: usize) -> (f32, f32) {
        self.levels.shares(at)
    }
}
