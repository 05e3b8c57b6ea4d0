//! What a call has seen and written, for penalties and for what may not be repeated.

use std::collections::HashMap;

use super::{Sampling, ban};

/// Far beyond any logit, far below where arithmetic on two of them overflows.
pub(super) const BOUND: f32 = 1e30;

/// Tokens of the prompt and counts of the tokens written. Kept only as far as something asks for them.
#[derive(Clone, Debug)]
pub(super) struct History {
    written: usize,
    /// Prompt and answer, where repeats are looked for.
    tokens: Option<Vec<u32>>,
    /// Times each token was written; 0 for tokens that only the prompt has.
    counts: HashMap<u32, u32>,
    counting: bool,
}

impl History {
    pub(super) fn new(params: &Sampling, prompt: &[u32]) -> Self {
        let repetition = params.repetition_penalty != 1.0;
        let counting = repetition || params.presence_penalty != 0.0 || params.frequency_penalty != 0.0;
        let seen = if repetition { prompt } else { &[] };
        Self {
            written: 0,
            tokens: (params.no_repeat_ngram_size > 0 || params.dry.is_some()).then(|| prompt.to_vec()),
            counts: seen.iter().map(|&token| (token, 0)).collect(),
            counting,
        }
    }

    /// Tokens of the answer so far.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    pub(super) fn wrote(&mut self, token: u32) {
        self.written += 1;
        if let Some(tokens) = &mut self.tokens {
            tokens.push(token);
        }
        if self.counting {
            *self.counts.entry(token).or_default() += 1;
        }
    }

    /// Makes the tokens impossible that would end an n-gram of this size which is there already.
    pub(super) fn ban_repeats(&self, size: usize, logits: &mut [f32]) {
        let Some(tokens) = &self.tokens else { return };
        let Some(begun) = size.checked_sub(1).and_then(|rest| tokens.len().checked_sub(rest)) else { return };
        let begun = &tokens[begun..];
        for known in tokens.windows(size) {
            if let Some((last, before)) = known.split_last()
                && before == begun
            {
                ban(*last, logits);
            }
        }
    }

    /// Repetition, presence and frequency penalties, then DRY.
    pub(super) fn penalise(&self, params: &Sampling, logits: &mut [f32]) {
        for (&token, &count) in &self.counts {
            let Some(logit) = logits.get_mut(token as usize) else { continue };
            let penalty = params.repetition_penalty;
            // The bound keeps the logit finite under the smallest penalties.
            *logit = if *logit < 0.0 { *logit * penalty } else { *logit / penalty }.clamp(-BOUND, BOUND);
            if count > 0 {
                *logit -= params.presence_penalty + params.frequency_penalty * count as f32;
            }
        }
        if let (Some(dry), Some(tokens)) = (&params.dry, &self.tokens) {
            dry.penalise(tokens, logits);
        }
    }
}
