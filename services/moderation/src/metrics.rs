//! What the service counts. Names are `atelier_moderation_*`; labels never carry content.

use std::time::Instant;

use atelier_core::Reason;
use metrics::{counter, describe_counter, describe_histogram, histogram};

use crate::{moderator::Modality, scores::Scores};

const ITEMS: &str = "atelier_moderation_items_total";
const SECONDS: &str = "atelier_moderation_item_seconds";
const WINDOWS: &str = "atelier_moderation_windows_total";

/// Tells the exporter what the numbers mean.
pub(crate) fn describe() {
    describe_counter!(ITEMS, "pieces of content, by modality and outcome (OK or the reason of the error)");
    describe_histogram!(SECONDS, "seconds from reading a piece of content to its scores, by modality");
    describe_counter!(WINDOWS, "windows that content was measured in, by modality");
}

/// One piece of content has been dealt with.
pub(crate) fn item(modality: Modality, started: Instant, outcome: Result<&Scores, Reason>) {
    let label = match modality {
        Modality::Text => "text",
        Modality::Image => "image",
        Modality::TextInImage => "text-in-image",
    };
    let code = match outcome {
        Ok(scores) => {
            counter!(WINDOWS, "modality" => label).increment(u64::from(scores.windows));
            histogram!(SECONDS, "modality" => label).record(started.elapsed());
            "OK"
        }
        Err(reason) => reason.as_str(),
    };
    counter!(ITEMS, "modality" => label, "outcome" => code).increment(1);
}
