//! What a token classifier's labels mean.

use std::collections::BTreeSet;

use atelier_core::CategoryId;
use atelier_inference::ModelFolder;

use super::super::{DetectorConfig, labels::File, windows::unfit};
use crate::{error::ModerationError, scores::NOTABLE};

/// What a model says of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tag {
    pub(super) category: CategoryId,
    /// A number for each label, whatever stands before it.
    pub(super) kind: usize,
    /// Something begins at it; always so where labels don't tell.
    pub(super) begins: bool,
    /// Makes no find by itself.
    pub(super) supporting: bool,
    /// How likely it belongs to its category, 0 to 1.
    pub(super) share: f32,
}

/// What a model's labels mean.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tags {
    /// Of each output; none: its label means no category. The share is 0.
    columns: Vec<Option<Tag>>,
    categories: Vec<CategoryId>,
    /// In the order of the categories.
    thresholds: Vec<f32>,
    /// Most tokens that the model reads, if it says so.
    pub(super) max_length: Option<usize>,
}

impl Tags {
    /// Reads the folder, and which categories its labels mean for this detector.
    ///
    /// # Errors
    /// The file is missing or wrong, a label of the configuration is not the model's, or none is left; or a threshold is out
    /// of range.
    pub(super) fn read(folder: &ModelFolder, detector: &DetectorConfig) -> Result<Self, ModerationError> {
        let file: File = folder.json("config.json")?;
        let tags = Self::of(&file, detector).map_err(|problem| unfit(folder, problem))?;
        Ok(Self { thresholds: detector.thresholds(&tags.categories)?, ..tags })
    }

    fn of(file: &File, detector: &DetectorConfig) -> Result<Self, String> {
        let labels: Vec<_> = file.names()?.into_iter().map(parts).collect();
        let kinds: Vec<&str> =
            labels.iter().map(|(_, kind)| *kind).collect::<BTreeSet<_>>().into_iter().collect();
        for (key, named) in [
            ("labels", detector.labels.keys().collect::<Vec<_>>()),
            ("supporting_labels", detector.supporting_labels.iter().collect()),
        ] {
            if let Some(unknown) = named.into_iter().find(|label| !kinds.contains(&label.as_str())) {
                return Err(format!("{key}: {unknown:?} is none of {}", kinds.join(", ")));
            }
        }
        let tag = |&(begins, kind): &(bool, &str)| {
            Some(Tag {
                category: detector.meaning(kind)?,
                kind: kinds.iter().position(|known| *known == kind)?,
                begins,
                supporting: detector.supporting_labels.contains(kind),
                share: 0.0,
            })
        };
        let columns: Vec<_> = labels.iter().map(tag).collect();
        let categories: BTreeSet<_> = columns.iter().flatten().map(|tag| tag.category).collect();
        if categories.is_empty() {
            return Err("no label means a category: name them under `labels`".to_owned());
        }
        let thresholds = vec![NOTABLE; categories.len()];
        let categories = categories.into_iter().collect();
        Ok(Self { columns, categories, thresholds, max_length: file.max_length() })
    }

    /// How many logits a token has.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The categories that labels mean.
    pub(super) fn categories(&self) -> &[CategoryId] {
        &self.categories
    }

    /// The score from which on a category counts as shown.
    pub(super) fn threshold(&self, category: CategoryId) -> f32 {
        let at = self.categories.iter().position(|known| *known == category);
        at.and_then(|at| self.thresholds.get(at)).copied().unwrap_or(NOTABLE)
    }

    /// The likeliest label of a token, `Some(None)` where that means no category. Its share is that of all labels of its
    /// category. `None`: a logit is no number.
    pub(super) fn tag(&self, logits: impl Iterator<Item = f32> + Clone) -> Option<Option<Tag>> {
        let highest = logits.clone().fold(f32::NEG_INFINITY, f32::max);
        let (mut sum, mut likeliest) = (0.0, None);
        for (logit, column) in logits.clone().zip(&self.columns) {
            sum += (logit - highest).exp();
            likeliest = likeliest.or((logit == highest).then_some(*column));
        }
        if !f32::is_finite(sum) {
            return None;
        }
        Some(likeliest?.map(|tag| {
            let own = logits
                .zip(&self.columns)
                .filter(|(_, column)| column.is_some_and(|c| c.category == tag.category));
            let share: f32 = own.map(|(logit, _)| (logit - highest).exp()).sum();
            Tag { share: (share / sum).min(1.0), ..tag }
        }))
    }
}

/// Whether something begins at a label, and the label without what tells so: `B-CITY` and `I-CITY`, or `CITY`.
fn parts(label: &str) -> (bool, &str) {
    match label.split_once('-') {
        Some(("B", kind)) => (true, kind),
        Some(("I", kind)) => (false, kind),
        Some(_) | None => (true, label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::token_classifier::KIND;

    const FILE: &str =
        r#"{"id2label": {"0": "O", "1": "B-PER", "2": "I-PER", "3": "LOC"}, "max_position_embeddings": 64}"#;

    fn tags(labels: &[(&str, CategoryId)], supporting: &[&str]) -> Result<Tags, String> {
        let detector = DetectorConfig {
            labels: labels.iter().map(|(label, category)| ((*label).to_owned(), *category)).collect(),
            supporting_labels: supporting.iter().map(|label| (*label).to_owned()).collect(),
            ..DetectorConfig::new(&KIND, "mine").unwrap()
        };
        Tags::of(&serde_json::from_str(FILE).unwrap(), &detector)
    }

    #[test]
    fn shares_are_those_of_a_category() {
        let both = [("PER", CategoryId::PersonalDataName), ("LOC", CategoryId::PersonalDataAddress)];
        let tags = tags(&both, &["LOC"]).unwrap();
        assert_eq!((tags.width(), tags.max_length), (4, Some(64)));
        let of = |logits: [f32; 4]| tags.tag(logits.into_iter()).unwrap();
        let name = of([0.0, 2_f32.ln(), 3_f32.ln(), 2_f32.ln()]).unwrap();
        assert_eq!(
            (name.category, name.begins, name.supporting),
            (CategoryId::PersonalDataName, false, false)
        );
        assert!((name.share - 5.0 / 8.0).abs() < 1e-6);
        let place = of([-100.0, 0.0, 0.0, 100.0]).unwrap();
        assert_eq!((place.begins, place.supporting, place.share), (true, true, 1.0));
        assert_eq!(of([1.0, 0.0, 0.0, 0.0]), None);
        for broken in [f32::NAN, f32::INFINITY] {
            assert_eq!(tags.tag([0.0, broken, 0.0, 0.0].into_iter()), None);
        }
        assert_eq!(tags.tag([f32::NEG_INFINITY; 4].into_iter()), None);
    }

    #[test]
    fn labels_that_the_model_lacks_are_named() {
        let name = [("PER", CategoryId::PersonalDataName)];
        assert!(tags(&[("B-PER", CategoryId::PersonalDataName)], &[]).unwrap_err().contains("LOC, O, PER"));
        assert!(tags(&name, &["CITY"]).unwrap_err().contains("supporting_labels"));
        assert!(tags(&[], &[]).unwrap_err().contains("under `labels`"));
    }
}
