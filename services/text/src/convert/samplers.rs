//! XTC, DRY and mirostat: their ranges and what they go together with.

use std::sync::Arc;

use atelier_proto::text::v1 as proto;

use super::{above_zero, within};
use crate::{
    TextError,
    files::SamplingDefaults,
    sampling::{Dry, Mirostat},
};

/// Probability and threshold.
pub(super) fn xtc(config: &proto::GenerationConfig) -> Result<(f32, f32), TextError> {
    needs("xtc_probability", config.xtc_probability, &[("xtc_threshold", config.xtc_threshold.is_some())])?;
    let probability = within("xtc_probability", config.xtc_probability, 0.0, 0.0, 1.0)?;
    Ok((probability, above_zero("xtc_threshold", config.xtc_threshold, 0.1, 0.5)?))
}

/// `None` where nothing is penalised; the model's breakers are not among it.
pub(super) fn dry(config: &proto::GenerationConfig) -> Result<Option<Dry>, TextError> {
    let others = [
        ("dry_base", config.dry_base.is_some()),
        ("dry_allowed_length", config.dry_allowed_length.is_some()),
    ];
    needs("dry_multiplier", config.dry_multiplier, &others)?;
    let multiplier = within("dry_multiplier", config.dry_multiplier, 0.0, 0.0, 100.0)?;
    let base = within("dry_base", config.dry_base, 1.75, 1.0, 8.0)?;
    let allowed_length = config.dry_allowed_length.map_or(2, |length| length as usize);
    if allowed_length == 0 {
        return Err(TextError::invalid("generation.dry_allowed_length", "must be 1 or more"));
    }
    Ok((multiplier > 0.0).then(|| Dry { multiplier, base, allowed_length, breakers: Arc::default() }))
}

/// Refuses the filters whose place it takes.
pub(super) fn mirostat(config: &proto::GenerationConfig) -> Result<Option<Mirostat>, TextError> {
    needs("mirostat_tau", config.mirostat_tau, &[("mirostat_eta", config.mirostat_eta.is_some())])?;
    let Some(tau) = config.mirostat_tau else { return Ok(None) };
    let filters = [
        ("top_k", config.top_k.is_some_and(|k| k != 0)),
        ("top_p", config.top_p.is_some_and(|p| p != 1.0)),
        ("min_p", config.min_p.is_some_and(|p| p != 0.0)),
        ("typical_p", config.typical_p.is_some_and(|p| p != 1.0)),
        ("xtc_probability", config.xtc_probability.is_some_and(|p| p != 0.0)),
    ];
    if let Some((name, _)) = filters.into_iter().find(|(_, set)| *set) {
        return Err(TextError::invalid(format!("generation.{name}"), "must not be set with mirostat_tau"));
    }
    Ok(Some(Mirostat {
        tau: above_zero("mirostat_tau", Some(tau), tau, 20.0)?,
        eta: above_zero("mirostat_eta", config.mirostat_eta, 0.1, 1.0)?,
    }))
}

/// A model's defaults but those that mirostat takes the place of.
pub(super) fn without_filters(defaults: &SamplingDefaults) -> SamplingDefaults {
    SamplingDefaults { top_k: 0, top_p: 1.0, ..*defaults }
}

/// An option without the one that it belongs to is a mistake.
fn needs(name: &str, set: Option<f32>, others: &[(&str, bool)]) -> Result<(), TextError> {
    match others.iter().find(|(_, other)| *other && set.is_none()) {
        Some((other, _)) => Err(TextError::invalid(format!("generation.{other}"), format!("needs {name}"))),
        None => Ok(()),
    }
}
