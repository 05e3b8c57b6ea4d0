//! Numbers about generation, each with the label `model`.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles, made once: a lookup for each token would cost more than the measurement.
pub(super) struct Meters {
    queue_depth: Gauge,
    queue_wait: Histogram,
    slots_in_use: Gauge,
    cache_tokens: Gauge,
    preemptions: Counter,
    prompt_tokens: Counter,
    prefix_hits: Counter,
    cached_tokens: Counter,
    generated_tokens: Counter,
    guessed_tokens: Counter,
    rightly_guessed_tokens: Counter,
    time_to_first_token: Histogram,
    inter_token: Histogram,
    step: Histogram,
}

impl Meters {
    pub(super) fn new(model: &str) -> Self {
        let model = model.to_owned();
        Self {
            queue_depth: gauge!("atelier_text_queue_depth", "model" => model.clone()),
            queue_wait: histogram!("atelier_text_queue_wait_seconds", "model" => model.clone()),
            slots_in_use: gauge!("atelier_text_slots_in_use", "model" => model.clone()),
            cache_tokens: gauge!("atelier_text_cache_tokens", "model" => model.clone()),
            preemptions: counter!("atelier_text_preemptions_total", "model" => model.clone()),
            prompt_tokens: counter!("atelier_text_prompt_tokens_total", "model" => model.clone()),
            prefix_hits: counter!("atelier_text_prefix_cache_hits_total", "model" => model.clone()),
            cached_tokens: counter!("atelier_text_prefix_cache_tokens_total", "model" => model.clone()),
            generated_tokens: counter!("atelier_text_generated_tokens_total", "model" => model.clone()),
            guessed_tokens: counter!("atelier_text_lookahead_tokens_total", "model" => model.clone()),
            rightly_guessed_tokens: counter!("atelier_text_lookahead_hits_total", "model" => model.clone()),
            time_to_first_token: histogram!("atelier_text_time_to_first_token_seconds", "model" => model.clone()),
            inter_token: histogram!("atelier_text_inter_token_seconds", "model" => model.clone()),
            step: histogram!("atelier_text_step_seconds", "model" => model),
        }
    }

    pub(super) fn queue_depth(&self, calls: usize) {
        self.queue_depth.set(calls as f64);
    }

    /// A call got a slot that holds the rows of `cached_tokens` of its prompt's tokens.
    pub(super) fn admitted(&self, waited: Duration, prompt_tokens: usize, cached_tokens: usize) {
        self.queue_wait.record(waited);
        self.prompt_tokens.increment(prompt_tokens as u64);
        self.prefix_hits.increment(u64::from(cached_tokens > 0));
        self.cached_tokens.increment(cached_tokens as u64);
    }

    /// A call gave up its slot to a more urgent one, or its rows to those of others.
    pub(super) fn preempted(&self) {
        self.preemptions.increment(1);
    }

    pub(super) fn slots_in_use(&self, slots: usize) {
        self.slots_in_use.set(slots as f64);
    }

    /// Tokens whose rows calls hold, and prompts that are kept.
    pub(super) fn cache_tokens(&self, tokens: usize) {
        self.cache_tokens.set(tokens as f64);
    }

    pub(super) fn first_token(&self, since_arrival: Duration) {
        self.generated_tokens.increment(1);
        self.time_to_first_token.record(since_arrival);
    }

    pub(super) fn further_token(&self, since_last: Duration) {
        self.generated_tokens.increment(1);
        self.inter_token.record(since_last);
    }

    /// Of so many tokens that were guessed ahead, the model chose the first few as well.
    pub(super) fn guessed(&self, guesses: usize, right: usize) {
        self.guessed_tokens.increment(guesses as u64);
        self.rightly_guessed_tokens.increment(right as u64);
    }

    pub(super) fn step(&self, time: Duration) {
        self.step.record(time);
    }
}
