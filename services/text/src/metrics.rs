//! Numbers about the models that are loaded.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

/// These models are loaded now, and take so many bytes of the budget.
pub(crate) fn loaded(models: usize, bytes: u64) {
    gauge!("atelier_text_models_loaded").set(models as f64);
    gauge!("atelier_text_models_bytes").set(bytes as f64);
}

/// A load has ended, well or not.
pub(crate) fn load(succeeded: bool, time: Duration) {
    let result = if succeeded { "loaded" } else { "failed" };
    counter!("atelier_text_model_loads_total", "result" => result).increment(1);
    histogram!("atelier_text_model_load_seconds").record(time);
}

/// A model made room for another.
pub(crate) fn evicted() {
    counter!("atelier_text_model_evictions_total").increment(1);
}
