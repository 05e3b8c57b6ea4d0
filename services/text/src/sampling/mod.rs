//! From logits to a token.
//!
//! Definitions and order are those of Hugging Face transformers (`generation/logits_process.py` and
//! `GenerationMixin._get_logits_processor`): sequence bias, repetition penalty, no repeated n-grams, least length, then temperature,
//! top-k, top-p, min-p, typical-p, softmax, draw. Presence and frequency penalties, which transformers lacks, are OpenAI's
//! (`logit -= presence * (count > 0) + frequency * count`, over what was written) and come after the repetition penalty. What
//! transformers lacks as well stands where text-generation-webui has it: DRY after the other penalties, mirostat or XTC after the
//! filters; their definitions are llama.cpp's (`llama-sampling.cpp`).
//!
//! A call's result depends on its own logits and seed alone: each call owns a ChaCha stream and draws once per token, and once more
//! before that where XTC tosses its coin.

mod dry;
mod exp;
mod history;
mod logprob;
mod mirostat;
mod warp;
mod xtc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) use self::dry::is_breaker;
pub(crate) use self::logprob::{likeliest, log_softmax};
pub use self::{dry::Dry, logprob::TokenLogprob, mirostat::Mirostat, warp::Scratch};
use self::{history::History, mirostat::Follower};

/// How tokens are chosen. The ranges are checked where requests are converted.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides the logits, 0 to 2; 0 takes the likeliest token.
    pub temperature: f32,
    /// Keeps the k likeliest tokens (and those that tie with the last of them); 0 keeps all.
    pub top_k: usize,
    /// Keeps the smallest set of likeliest tokens whose probabilities reach this, above 0 and up to 1.
    pub top_p: f32,
    /// Keeps tokens at least this share as likely as the likeliest one, 0 to 1.
    pub min_p: f32,
    /// Keeps the tokens whose information (-ln p) is nearest to the expected one until their probabilities reach this, above 0 and up
    /// to 1: locally typical sampling (Meister et al., 2023).
    pub typical_p: f32,
    /// How often the tokens that are at least `xtc_threshold` likely go, all but the least likely of them; 0 to 1.
    pub xtc_probability: f32,
    /// Above 0 and up to 0.5: above, there is never more than one.
    pub xtc_threshold: f32,
    /// Keeps the mean surprise of what is written.
    pub mirostat: Option<Mirostat>,
    /// Penalises tokens that go on repeating.
    pub dry: Option<Dry>,
    /// So many tokens in a row never stand twice in prompt and answer; 0 lets them.
    pub no_repeat_ngram_size: usize,
    /// Before so many tokens are written, none of `end_tokens` is chosen.
    pub min_tokens: usize,
    /// What ends an answer.
    pub end_tokens: Vec<u32>,
    /// Divides positive and multiplies negative logits of tokens seen in prompt or answer; 1 does nothing.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of each token already written.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for each time it was written.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens; ids lie inside the vocabulary.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the call's own random stream.
    pub seed: u64,
}

impl Default for Sampling {
    /// The defaults that the API documents, with seed 0.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            mirostat: None,
            dry: None,
            no_repeat_ngram_size: 0,
            min_tokens: 0,
            end_tokens: Vec::new(),
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// The choice of one call's tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: Sampling,
    history: History,
    mirostat: Option<Follower>,
    rng: ChaCha8Rng,
}

impl Sampler {
    /// A sampler for a call whose prompt is this.
    #[must_use]
    pub fn new(params: Sampling, prompt: &[u32]) -> Self {
        let history = History::new(&params, prompt);
        let rng = ChaCha8Rng::seed_from_u64(params.seed);
        let mirostat = params.mirostat.map(Follower::new);
        Self { params, history, mirostat, rng }
    }

    /// Chooses the next token and remembers it. `logits` are adjusted in place. `None` if no logit is a number, which
    /// only a broken model gives.
    pub fn sample(&mut self, logits: &mut [f32], scratch: &mut Scratch) -> Option<u32> {
        self.adjust(logits);
        let token = if self.params.temperature == 0.0 {
            argmax(logits)?
        } else {
            warp::warp(logits, &self.params, scratch)?;
            self.draw(scratch)?
        };
        self.history.wrote(token);
        Some(token)
    }

    /// Remembers a token that was chosen elsewhere.
    pub(crate) fn took(&mut self, token: u32) {
        self.history.wrote(token);
    }

    /// Draws one of the tokens that the filters have kept.
    fn draw(&mut self, scratch: &mut Scratch) -> Option<u32> {
        let Sampling { xtc_probability, xtc_threshold, .. } = self.params;
        if xtc_probability > 0.0 && self.rng.random::<f64>() < f64::from(xtc_probability) {
            xtc::exclude(scratch.kept(), xtc_threshold);
        }
        let Some(mirostat) = &mut self.mirostat else { return scratch.draw(self.rng.random::<f64>()) };
        mirostat.narrow(scratch.kept());
        let token = scratch.draw(self.rng.random::<f64>())?;
        mirostat.hear(token, scratch.kept());
        Some(token)
    }

    /// Applies biases, penalties and what may not come next.
    pub(crate) fn adjust(&self, logits: &mut [f32]) {
        for &(token, bias) in &self.params.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        self.history.penalise(&self.params, logits);
        self.history.ban_repeats(self.params.no_repeat_ngram_size, logits);
        if self.history.written() < self.params.min_tokens {
            for &token in &self.params.end_tokens {
                ban(token, logits);
            }
        }
    }
}

/// Makes a token impossible.
fn ban(token: u32, logits: &mut [f32]) {
    if let Some(logit) = logits.get_mut(token as usize) {
        *logit = f32::NEG_INFINITY;
    }
}

/// The likeliest token, the first among equals; `None` if every logit is NaN or minus infinity.
fn argmax(logits: &[f32]) -> Option<u32> {
    let max = warp::max(logits)?;
    logits.iter().position(|&logit| logit == max).and_then(|at| u32::try_from(at).ok())
}

#[cfg(test)]
mod tests;
