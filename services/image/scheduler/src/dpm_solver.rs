//! DPM-Solver and DPM-Solver++ of first to third order, as differential equation and with noise (Lu et al., 2022).

use std::collections::VecDeque;

use crate::{
    Kind, SchedulerError,
    config::{FinalSigma, Keys, Prediction},
    multistep::Levels,
    sampler::{Noise, Plan, Sampler, Settings},
};

#[derive(Clone, Copy, PartialEq)]
enum Algorithm {
    /// Steps over the noise.
    Noise,
    /// Steps over the clean picture.
    Clean,
    NoiseSde,
    CleanSde,
}

pub(crate) struct DpmSolver {
    levels: Levels,
    algorithm: Algorithm,
    heun: bool,
    order: usize,
    thresholding: bool,
    /// The last step is of first order, the one before of second.
    careful_end: bool,
    euler_at_end: bool,
    /// The model's answers, converted, the newest first.
    history: VecDeque<Vec<f32>>,
    /// Steps so far, up to `order`.
    known: usize,
}

/// A step: factors of the latents, of the newest answer, of its first and second differences, and of fresh noise.
#[derive(Default)]
struct Step {
    latents: f32,
    answer: f32,
    first: f32,
    second: f32,
    noise: f32,
}

impl DpmSolver {
    pub(crate) fn plan(keys: &Keys, settings: &Settings) -> Result<(Plan, Box<dyn Sampler>), SchedulerError> {
        let algorithm = match keys.algorithm_type.as_str() {
            "dpmsolver++" | "deis" => Algorithm::Clean,
            "sde-dpmsolver++" => Algorithm::CleanSde,
            "dpmsolver" => Algorithm::Noise,
            "sde-dpmsolver" => Algorithm::NoiseSde,
            other => return Err(SchedulerError::unsupported("algorithm_type", other)),
        };
        let over_noise = matches!(algorithm, Algorithm::Noise | Algorithm::NoiseSde);
        let to_zero = keys.final_sigmas_type == FinalSigma::Zero;
        if over_noise && to_zero {
            return Err(SchedulerError::unsupported(
                "final_sigmas_type",
                "zero with an algorithm over noise",
            ));
        }
        if over_noise && keys.prediction_type == Prediction::Flow {
            return keys.prediction_type.refuse();
        }
        let heun = match keys.solver_type.as_deref() {
            None | Some("midpoint" | "logrho" | "bh1" | "bh2") => false,
            Some("heun") => true,
            Some(other) => return Err(SchedulerError::unsupported("solver_type", other)),
        };
        let most = if algorithm == Algorithm::NoiseSde { 2 } else { 3 };
        if !(1..=most).contains(&keys.solver_order) {
            return Err(SchedulerError::unsupported("solver_order", keys.solver_order));
        }
        if keys.variance_type.as_deref().is_some_and(|kind| kind.starts_with("learned")) {
            return Err(SchedulerError::unsupported("variance_type", "learned"));
        }
        let (plan, levels) = Levels::plan(Kind::DpmSolver, keys, settings)?;
        // In many steps the last ones are close to each other, and a high order is safe.
        let few = levels.runs() < 15;
        let careful_end = keys.lower_order_final && few;
        let sampler = Self {
            levels,
            algorithm,
            heun,
            order: keys.solver_order,
            thresholding: keys.thresholding,
            careful_end,
            euler_at_end: keys.euler_at_final || careful_end || to_zero,
            history: VecDeque::new(),
            known: 0,
        };
        Ok((plan, Box::new(sampler)))
    }

    fn is_stochastic(&self) -> bool {
        matches!(self.algorithm, Algorithm::NoiseSde | Algorithm::CleanSde)
    }

    /// Order of a step.
    fn order_at(&self, at: usize) -> usize {
        let runs = self.levels.runs();
        if self.order == 1 || self.known < 1 || (at + 1 == runs && self.euler_at_end) {
            1
        } else if self.order == 2 || self.known < 2 || (at + 2 == runs && self.careful_end) {
            2
        } else {
            3
        }
    }

    /// The factors of a step of this order from the level at `at` to the next. The step in lambda is `h`.
    fn factors(&self, at: usize, order: usize) -> Step {
        let (from, to) = (self.levels.level(at), self.levels.level(at + 1));
        let h = to.lambda - from.lambda;
        let (alpha, sigma) = (to.alpha, to.sigma);
        let (shrunk, shrunk_twice, grown) = ((-h).exp() - 1.0, 1.0 - (-2.0 * h).exp(), h.exp() - 1.0);
        let heun = self.heun || order == 3;
        match self.algorithm {
            Algorithm::Clean => Step {
                latents: sigma / from.sigma,
                answer: -(alpha * shrunk),
                first: if heun { alpha * (shrunk / h + 1.0) } else { -(0.5 * (alpha * shrunk)) },
                second: -(alpha * ((shrunk + h) / (h * h) - 0.5)),
                noise: 0.0,
            },
            Algorithm::Noise => Step {
                latents: alpha / from.alpha,
                answer: -(sigma * grown),
                first: if heun { -(sigma * (grown / h - 1.0)) } else { -(0.5 * (sigma * grown)) },
                second: -(sigma * ((grown - h) / (h * h) - 0.5)),
                noise: 0.0,
            },
            Algorithm::CleanSde => Step {
                latents: sigma / from.sigma * (-h).exp(),
                answer: alpha * shrunk_twice,
                first: if heun {
                    alpha * (shrunk_twice / (-2.0 * h) + 1.0)
                } else {
                    0.5 * (alpha * shrunk_twice)
                },
                second: alpha * ((shrunk_twice - 2.0 * h) / (2.0 * h * (2.0 * h)) - 0.5),
                noise: sigma * shrunk_twice.sqrt(),
            },
            Algorithm::NoiseSde => Step {
                latents: alpha / from.alpha,
                answer: -(2.0 * (sigma * grown)),
                first: if heun { -(2.0 * (sigma * (grown / h - 1.0))) } else { -(sigma * grown) },
                second: 0.0,
                noise: sigma * ((2.0 * h).exp() - 1.0).sqrt(),
            },
        }
    }

    /// First and second differences of the newest answers over lambda, element by element.
    fn differences(&self, at: usize, order: usize) -> (Vec<f32>, Vec<f32>) {
        let lambda = |back: usize| self.levels.level(at + 1 - back).lambda;
        let h = lambda(0) - lambda(1);
        let answer = |back: usize, n: usize| self.history[back][n];
        let elements = 0..self.history[0].len();
        if order < 2 {
            return (Vec::new(), Vec::new());
        }
        let r0 = (lambda(1) - lambda(2)) / h;
        let newest = |n: usize| 1.0 / r0 * (answer(0, n) - answer(1, n));
        if order == 2 {
            return (elements.map(newest).collect(), Vec::new());
        }
        let r1 = (lambda(2) - lambda(3)) / h;
        let older = |n: usize| 1.0 / r1 * (answer(1, n) - answer(2, n));
        let first = |n: usize| newest(n) + r0 / (r0 + r1) * (newest(n) - older(n));
        let second = |n: usize| 1.0 / (r0 + r1) * (newest(n) - older(n));
        (elements.clone().map(first).collect(), elements.map(second).collect())
    }
}

impl Sampler for DpmSolver {
    fn step(&mut self, at: usize, output: &[f32], latents: &mut [f32], noise: &mut Noise<'_>) {
        let answer = match self.algorithm {
            Algorithm::Clean | Algorithm::CleanSde => self.levels.clean(at, output, latents),
            Algorithm::Noise | Algorithm::NoiseSde => {
                self.levels.noise(at, output, latents, self.thresholding)
            }
        };
        self.history.push_front(answer);
        self.history.truncate(self.order);
        let order = self.order_at(at);
        let step = self.factors(at, order);
        let (first, second) = self.differences(at, order);
        let mut fresh = Vec::new();
        if self.is_stochastic() {
            fresh = vec![0.0; latents.len()];
            noise(&mut fresh);
        }
        for (n, latent) in latents.iter_mut().enumerate() {
            let mut next = step.latents * *latent + step.answer * self.history[0][n];
            if let Some(first) = first.get(n) {
                next += step.first * first;
            }
            if let Some(second) = second.get(n) {
                next += step.second * second;
            }
            if let Some(fresh) = fresh.get(n) {
                next += step.noise * fresh;
            }
            *latent = next;
        }
        self.known = (self.known + 1).min(self.order);
    }

    fn shares(&self, at: usize) -> (f32, f32) {
        self.levels.shares(at)
    }
}
