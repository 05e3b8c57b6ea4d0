//! What a classifier's `config.json` in the layout of Hugging Face transformers says about its outputs.

use std::collections::BTreeMap;

use atelier_core::CategoryId;
use atelier_inference::ModelFolder;
use serde::Deserialize;

use super::{DetectorConfig, windows::unfit};
use crate::{error::ModerationError, scores::NOTABLE};

/// `config.json`.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    id2label: BTreeMap<String, String>,
    #[serde(default)]
    problem_type: Option<String>,
    #[serde(default)]
    max_position_embeddings: Option<usize>,
    #[serde(default)]
    pad_token_id: Option<usize>,
    #[serde(default)]
    model_type: String,
}

impl File {
    /// The labels, in the order of the model's outputs.
    ///
    /// # Errors
    /// Their numbers are not those from 0 on.
    pub(super) fn names(&self) -> Result<Vec<&str>, String> {
        let width = self.id2label.len();
        let mut names = vec![""; width];
        for (index, name) in &self.id2label {
            let place = index.parse::<usize>().ok().and_then(|index| names.get_mut(index));
            *place.ok_or_else(|| {
                format!("config.json: id2label: {index:?} is not 0 to {}", width.max(1) - 1)
            })? = name;
        }
        Ok(names)
    }

    /// Most tokens that the model reads, if it says so.
    pub(super) fn max_length(&self) -> Option<usize> {
        // RoBERTa's positions begin behind the padding token's number.
        let offset = match self.model_type.as_str() {
            "roberta" | "xlm-roberta" | "camembert" => self.pad_token_id.unwrap_or(1) + 1,
            _ => 0,
        };
        self.max_position_embeddings.map(|positions| positions.saturating_sub(offset))
    }
}

/// How logits become probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activation {
    /// Labels exclude one another.
    Softmax,
    /// Each label is there or not.
    Sigmoid,
}

/// How a classifier's row of logits becomes scores of categories.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Labels {
    activation: Activation,
    /// Of the row.
    width: usize,
    /// The columns of each category.
    columns: Vec<(CategoryId, Vec<usize>)>,
    /// Of each category: what counts as shown.
    thresholds: Vec<f32>,
    /// Most tokens that the model reads, if it says so.
    pub(super) max_length: Option<usize>,
}

impl Labels {
    /// Reads the folder, and which categories its labels mean for this detector.
    ///
    /// # Errors
    /// The file is missing or wrong, a label of the configuration is not the model's, or none is left.
    pub(super) fn read(folder: &ModelFolder, detector: &DetectorConfig) -> Result<Self, ModerationError> {
        let file: File = folder.json("config.json")?;
        let labels = Self::of(file, detector).map_err(|problem| unfit(folder, problem))?;
        labels.with_thresholds(detector)
    }

    /// # Errors
    /// A threshold of the configuration is out of range, or of a category that is not measured.
    fn with_thresholds(self, detector: &DetectorConfig) -> Result<Self, ModerationError> {
        Ok(Self { thresholds: detector.thresholds(&self.categories())?, ..self })
    }

    fn of(file: File, detector: &DetectorConfig) -> Result<Self, String> {
        let names = file.names()?;
        let width = names.len();
        if let Some(unknown) = detector.labels.keys().find(|label| !names.contains(&label.as_str())) {
            return Err(format!("labels: {unknown:?} is none of {}", names.join(", ")));
        }
        let mut columns: Vec<(CategoryId, Vec<usize>)> = Vec::new();
        for (column, name) in names.iter().enumerate() {
            if let Some(category) = detector.meaning(name) {
                match columns.iter_mut().find(|(known, _)| *known == category) {
                    Some((_, columns)) => columns.push(column),
                    None => columns.push((category, vec![column])),
                }
            }
        }
        if columns.is_empty() {
            return Err("no label means a category: name them under `labels`".to_owned());
        }
        let activation = match file.problem_type.as_deref() {
            Some("multi_label_classification") => Activation::Sigmoid,
            // A single output can't be a share of anything.
            _ if width == 1 => Activation::Sigmoid,
            Some("single_label_classification") | None => Activation::Softmax,
            Some(other) => return Err(format!("config.json: problem_type {other:?} is no classification")),
        };
        let max_length = file.max_length();
        let thresholds = vec![NOTABLE; columns.len()];
        Ok(Self { activation, width, columns, thresholds, max_length })
    }

    /// The categories, in the order of [`Labels::scores`].
    pub(super) fn categories(&self) -> Vec<CategoryId> {
        self.columns.iter().map(|(category, _)| *category).collect()
    }

    /// A score for each category: labels that exclude one another add up, of others the highest counts; then the category's
    /// threshold becomes 0.5. `None`: the row is not as wide as `id2label`.
    pub(super) fn scores(&self, logits: impl ExactSizeIterator<Item = f32> + Clone) -> Option<Vec<f32>> {
        if logits.len() != self.width {
            return None;
        }
        let highest = logits.clone().fold(f32::MIN, f32::max);
        let shares: Vec<f32> = match self.activation {
            Activation::Sigmoid => logits.map(|x| 1.0 / (1.0 + (-x).exp())).collect(),
            Activation::Softmax => {
                let powers: Vec<f32> = logits.map(|x| (x - highest).exp()).collect();
                let sum: f32 = powers.iter().sum();
                powers.into_iter().map(|power| power / sum).collect()
            }
        };
        let of = |columns: &[usize]| {
            let all = columns.iter().filter_map(|&column| shares.get(column).copied());
            match self.activation {
                Activation::Sigmoid => all.fold(0.0, f32::max),
                Activation::Softmax => all.sum::<f32>().min(1.0),
            }
        };
        let scores = self.columns.iter().zip(&self.thresholds);
        Some(scores.map(|((_, columns), threshold)| rescaled(of(columns), *threshold)).collect())
    }
}

/// Moves a score so that `threshold`, above 0 and below 1, becomes [`NOTABLE`] and 0 and 1 stay; in between on two lines.
pub(super) fn rescaled(score: f32, threshold: f32) -> f32 {
    if score < threshold {
        score / threshold * NOTABLE
    } else {
        (NOTABLE + (score - threshold) / (1.0 - threshold) * (1.0 - NOTABLE)).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::detector::text_classifier;

    fn detector(labels: &[(&str, CategoryId)]) -> DetectorConfig {
        let labels = labels.iter().map(|(label, category)| ((*label).to_owned(), *category)).collect();
        DetectorConfig { labels, ..DetectorConfig::new(&text_classifier::KIND, "mine").unwrap() }
    }

    fn file(json: &str) -> File {
        serde_json::from_str(json).unwrap()
    }

    const TWO: &str = r#"{"id2label": {"0": "fine", "1": "TOXIC"}}"#;
    const THREE: &str = r#"{"id2label": {"0": "hate", "1": "fun", "2": "Self_Harm"}, "model_type": "xlm-roberta",
        "problem_type": "multi_label_classification", "max_position_embeddings": 514, "pad_token_id": 1}"#;

    #[test]
    fn labels_that_exclude_one_another_share_the_whole() {
        let labels = Labels::of(file(TWO), &detector(&[("TOXIC", CategoryId::Toxicity)])).unwrap();
        assert_eq!(labels.categories(), [CategoryId::Toxicity]);
        let scores = labels.scores([0.0, 3_f32.ln()].into_iter()).unwrap();
        assert!((scores[0] - 0.75).abs() < 1e-6);
        assert_eq!(labels.scores([0.0].into_iter()), None);
        let both = [("TOXIC", CategoryId::Toxicity), ("fine", CategoryId::Toxicity)];
        assert_eq!(
            Labels::of(file(TWO), &detector(&both)).unwrap().scores([2.0, 5.0].into_iter()),
            Some(vec![1.0])
        );
    }

    #[test]
    fn labels_side_by_side_have_scores_of_their_own() {
        let labels = Labels::of(file(THREE), &detector(&[])).unwrap();
        assert_eq!(labels.categories(), [CategoryId::Hate, CategoryId::SelfHarm]);
        assert_eq!(
            (labels.max_length, labels.scores([0.0, 9.0, 0.0].into_iter())),
            (Some(512), Some(vec![0.5, 0.5]))
        );
    }

    #[test]
    fn thresholds_move_the_scores_of_their_categories() {
        let thresholds = [(CategoryId::Hate, 0.75)].into_iter().collect();
        let detector = DetectorConfig { thresholds, ..detector(&[]) };
        let labels = Labels::of(file(THREE), &detector).unwrap().with_thresholds(&detector).unwrap();
        let logit = 3_f32.ln();
        let scores = labels.scores([logit, 0.0, logit].into_iter()).unwrap();
        assert!((scores[0] - 0.5).abs() < 1e-6 && (scores[1] - 0.75).abs() < 1e-6, "{scores:?}");
    }

    proptest! {
        #[test]
        fn rescaling_keeps_ends_order_and_range(
            threshold in 0.001_f32..0.999, lower in 0.0_f32..=1.0, higher in 0.0_f32..=1.0,
        ) {
            let (lower, higher) = (lower.min(higher), lower.max(higher));
            let moved = |score| rescaled(score, threshold);
            prop_assert_eq!((moved(0.0), moved(threshold), moved(1.0)), (0.0, NOTABLE, 1.0));
            prop_assert!(moved(lower) <= moved(higher));
            prop_assert_eq!(lower >= threshold, moved(lower) >= NOTABLE);
            prop_assert!((rescaled(lower, NOTABLE) - lower).abs() < 1e-6);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let problem = |json, labels: &[_]| Labels::of(file(json), &detector(labels)).unwrap_err();
        assert!(problem(TWO, &[("toxic", CategoryId::Toxicity)]).contains("fine, TOXIC"));
        assert!(problem(TWO, &[]).contains("under `labels`"));
        assert!(problem(r#"{"id2label": {"7": "hate"}}"#, &[]).contains("\"7\""));
        assert!(
            problem(r#"{"id2label": {"0": "hate", "1": "b"}, "problem_type": "regression"}"#, &[])
                .contains("regression")
        );
    }
}
