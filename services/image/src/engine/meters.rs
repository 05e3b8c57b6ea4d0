//! Numbers about picture making, each with the label `model`.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// Handles, made once.
#[derive(Clone)]
pub(super) struct Meters {
    queue_depth: Gauge,
    queue_wait: Histogram,
    active: Gauge,
    active_bytes: Gauge,
    pictures: Counter,
    step: Histogram,
    batch: Histogram,
}

impl Meters {
    pub(super) fn new(model: &str) -> Self {
        let model = model.to_owned();
        Self {
            queue_depth: gauge!("atelier_image_queue_depth", "model" => model.clone()),
            queue_wait: histogram!("atelier_image_queue_wait_seconds", "model" => model.clone()),
            active: gauge!("atelier_image_active_calls", "model" => model.clone()),
            active_bytes: gauge!("atelier_image_active_bytes", "model" => model.clone()),
            pictures: counter!("atelier_image_pictures_total", "model" => model.clone()),
            step: histogram!("atelier_image_step_seconds", "model" => model.clone()),
            batch: histogram!("atelier_image_step_calls", "model" => model),
        }
    }

    pub(super) fn queue_depth(&self, calls: usize) {
        self.queue_depth.set(calls as f64);
    }

    pub(super) fn admitted(&self, waited: Duration) {
        self.queue_wait.record(waited);
    }

    pub(super) fn active(&self, calls: usize, bytes: u64) {
        self.active.set(calls as f64);
        self.active_bytes.set(bytes as f64);
    }

    pub(super) fn stepped(&self, calls: usize, time: Duration) {
        self.step.record(time);
        self.batch.record(calls as f64);
    }

    pub(super) fn finished(&self, pictures: usize) {
        self.pictures.increment(pictures as u64);
    }
}
