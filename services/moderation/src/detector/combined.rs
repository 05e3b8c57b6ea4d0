//! Several detectors of pictures that answer with one score.
//!
//! The folder has `combination.json`: the category, and the detectors with their weights. The score is the logistic function
//! of the weighted sum of the detectors' logits. Each logit is held within bounds, so that no detector's certainty can
//! silence the others.

use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::{CategoryId, ModelId};
use futures::future::try_join_all;
use image::RgbImage;
use serde::Deserialize;

use super::{About, Detector, DetectorConfig, ImageDetector, KINDS, Kind, Loader, Prepared, windows::unfit};
use crate::{call::Call, error::ModerationError, scores::Measurement};

pub(super) const KIND: Kind = Kind { name: "combined", open };

/// Most detectors of one combination.
const MAX_PARTS: usize = 8;

/// `combination.json`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    category: CategoryId,
    /// Logits are held between this and its negative.
    bound: f32,
    /// Added to the weighted sum.
    #[serde(default)]
    bias: f32,
    parts: Vec<FilePart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePart {
    kind: String,
    model: ModelId,
    weight: f32,
}

#[derive(Debug)]
struct Combined {
    about: Arc<About>,
    category: CategoryId,
    formula: Formula,
    parts: Vec<Arc<dyn ImageDetector>>,
}

/// How scores become one.
#[derive(Clone, Debug, PartialEq)]
struct Formula {
    bound: f32,
    bias: f32,
    weights: Vec<f32>,
}

impl Formula {
    fn score(&self, scores: &[f32]) -> f32 {
        let logit = |score: f32| (score / (1.0 - score)).ln().clamp(-self.bound, self.bound);
        let sum: f32 = scores.iter().zip(&self.weights).map(|(score, weight)| weight * logit(*score)).sum();
        1.0 / (1.0 + (-sum - self.bias).exp())
    }
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    let folder = loader.folder(detector)?;
    let file: File = folder.json("combination.json")?;
    let wrong = |problem: &str| unfit(&folder, format!("combination.json: {problem}"));
    if file.parts.is_empty() || file.parts.len() > MAX_PARTS {
        return Err(wrong(&format!("parts: must be 1 to {MAX_PARTS}")));
    }
    let weights: Vec<f32> = file.parts.iter().map(|part| part.weight).collect();
    let positive = |value: &f32| value.is_finite() && *value > 0.0;
    if !weights.iter().chain([&file.bound]).all(positive) || !file.bias.is_finite() {
        return Err(wrong("bound and weights must be above 0"));
    }
    let open_part = |part: &FilePart| {
        let kind = KINDS.iter().find(|kind| kind.name == part.kind && kind.name != KIND.name);
        let kind = kind.ok_or_else(|| wrong(&format!("{:?} is no kind that can be a part", part.kind)))?;
        let line = DetectorConfig::new(kind, part.model.as_str())?;
        match (kind.open)(loader, &line)? {
            Detector::Image(part) if part.about().categories.contains(file.category) => Ok(part),
            _ => Err(wrong(&format!("{} measures no {} in pictures", part.model, file.category))),
        }
    };
    let parts = file.parts.iter().map(open_part).collect::<Result<Vec<_>, _>>()?;
    let columns = detector.columns(&[file.category])?;
    let about = About {
        model: folder.model().clone(),
        parts: parts.iter().flat_map(|part| part.about().models().cloned().collect::<Vec<_>>()).collect(),
        categories: columns.into_iter().map(|(_, category)| category).collect(),
    };
    let formula = Formula { bound: file.bound, bias: file.bias, weights };
    Ok(Detector::Image(Arc::new(Combined {
        about: Arc::new(about),
        category: file.category,
        formula,
        parts,
    })))
}

#[async_trait]
impl ImageDetector for Combined {
    fn about(&self) -> Arc<About> {
        Arc::clone(&self.about)
    }

    /// What each part reads, one after another: no kind that can be a part reads more than one thing.
    fn prepare(&self, picture: &RgbImage) -> Result<Prepared, ModerationError> {
        let parts = self.parts.iter().map(|part| part.prepare(picture));
        Ok(parts.collect::<Result<Vec<_>, _>>()?.concat())
    }

    async fn measure(&self, prepared: Prepared, call: &Call) -> Result<Measurement, ModerationError> {
        let runs = self.parts.iter().zip(prepared).map(|(part, own)| part.measure(vec![own], call));
        let measured = try_join_all(runs).await?;
        let score = |part: &Measurement| {
            let found = part.scores.iter().find(|(category, _)| *category == self.category);
            found.map_or(f32::NAN, |(_, score)| *score)
        };
        let scores: Vec<f32> = measured.iter().map(score).collect();
        let mut whole = Measurement::default();
        whole
            .add_window(&[self.category], &[self.formula.score(&scores)], 0..0)
            .map_err(|source| ModerationError::Score { detector: self.about.model.id.clone(), source })?;
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mean() -> Formula {
        Formula { bound: 4.0, bias: 0.0, weights: vec![0.5, 0.5] }
    }

    #[test]
    fn agreement_stays_and_certainty_does_not_silence() {
        let close = |scores: [f32; 2], expected: f32| (mean().score(&scores) - expected).abs() < 1e-4;
        assert!(close([0.9, 0.9], 0.9) && close([0.3, 0.3], 0.3));
        // Opposite certainties meet in the middle.
        assert!(close([0.0, 1.0], 0.5));
        assert!(close([0.0, 0.5], 1.0 / (1.0 + 2_f32.exp())));
        assert!(mean().score(&[f32::NAN, 0.5]).is_nan());
    }

    proptest! {
        #[test]
        fn a_higher_part_never_lowers_the_score(a in 0.0_f32..=1.0, b in 0.0_f32..=1.0, more in 0.0_f32..=1.0) {
            let (low, high) = (mean().score(&[a, b]), mean().score(&[a.max(more), b]));
            prop_assert!((0.0..=1.0).contains(&low) && high >= low);
        }
    }
}
