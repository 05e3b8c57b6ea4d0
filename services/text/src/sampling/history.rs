//! What a call has seen and written, for the penalties.

use std::collections::HashMap;

use super::Sampling;

/// Far beyond any logit, far below where arithmetic on two of them overflows.
const BOUND: f32 = 1e30;

/// Tokens of the prompt and counts of the tokens written. Kept only where a penalty asks for it.
#[derive(Debug)]
pub(super) struct History {
    /// Times each token was written; 0 for tokens that only the prompt has.
    counts: HashMap<u32, u32>,
    counting: bool,
}

impl History {
    pub(super) fn new(params: &Sampling, prompt: &[u32]) -> Self {
        let repetition = params.repetition_penalty != 1.0;
        let counting = repetition || params.presence_penalty != 0.0 || params.frequency_penalty != 0.0;
        let seen = if repetition { prompt } else { &[] };
        Self { counts: seen.iter().map(|&token| (token, 0)).collect(), counting }
    }

    pub(super) fn wrote(&mut self, token: u32) {
        if self.counting {
            *self.counts.entry(token).or_default() += 1;
        }
    }

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
    }
}
