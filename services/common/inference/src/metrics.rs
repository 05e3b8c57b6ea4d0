//! Names of this crate's metrics. Each has the label `model`.

use std::time::Duration;

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Items waiting for a run.
pub const QUEUE_DEPTH: &str = "atelier_inference_queue_depth";
/// Time an item waited until its run began, in seconds.
pub const QUEUE_WAIT_SECONDS: &str = "atelier_inference_queue_wait_seconds";
/// Items refused or given up before a run; label `reason`: `queue_full`, `deadline_exceeded`, `left`, `closed`.
pub const REJECTED: &str = "atelier_inference_rejected_total";
/// Items of a batch.
pub const BATCH_ITEMS: &str = "atelier_inference_batch_items";
/// Tokens of a batch, padding included.
pub const BATCH_TOKENS: &str = "atelier_inference_batch_tokens";
/// Duration of a run, in seconds; label `outcome`: `ok`, `cancelled`, `error`.
pub const RUN_SECONDS: &str = "atelier_inference_run_seconds";

/// Gives the installed recorder the units and descriptions; call it once after the recorder is installed.
pub fn describe() {
    describe_gauge!(QUEUE_DEPTH, Unit::Count, "Items waiting for a run");
    describe_histogram!(QUEUE_WAIT_SECONDS, Unit::Seconds, "Time an item waited until its run began");
    describe_counter!(REJECTED, Unit::Count, "Items refused or given up before a run, by reason");
    describe_histogram!(BATCH_ITEMS, Unit::Count, "Items of a batch");
    describe_histogram!(BATCH_TOKENS, Unit::Count, "Tokens of a batch, padding included");
    describe_histogram!(RUN_SECONDS, Unit::Seconds, "Duration of a run, by outcome");
}

pub(crate) fn queue_depth(model: &'static str, depth: usize) {
    gauge!(QUEUE_DEPTH, "model" => model).set(depth as f64);
}

pub(crate) fn queue_wait(model: &'static str, wait: Duration) {
    histogram!(QUEUE_WAIT_SECONDS, "model" => model).record(wait);
}

pub(crate) fn rejected(model: &'static str, reason: &'static str) {
    counter!(REJECTED, "model" => model, "reason" => reason).increment(1);
}

pub(crate) fn batch(model: &'static str, items: usize, tokens: usize) {
    histogram!(BATCH_ITEMS, "model" => model).record(items as f64);
    histogram!(BATCH_TOKENS, "model" => model).record(tokens as f64);
}

pub(crate) fn run(model: &'static str, outcome: &'static str, duration: Duration) {
    histogram!(RUN_SECONDS, "model" => model, "outcome" => outcome).record(duration);
}
