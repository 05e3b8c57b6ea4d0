//! From what single detectors measured to the scores of one piece of content.
//!
//! A score is the highest of all windows and all detectors that measure the category: content is as bad as its
//! worst part. A category nobody measures has no score at all; it is named as unsupported, so that no caller
//! takes silence for 0.

use atelier_core::{CategoryId, ModelId};

use crate::categories::CategorySet;

/// What one detector measured in one piece of content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// Score of each category the detector measures, 0 to 1.
    pub scores: Vec<(CategoryId, f32)>,
    /// Windows the content was read in; 0 for content with nothing to read.
    pub windows: u32,
}

/// The score of one category.
#[derive(Clone, Debug, PartialEq)]
pub struct CategoryScore {
    /// The category.
    pub category: CategoryId,
    /// 0 (none) to 1 (certain).
    pub score: f32,
    /// The detector that gave the highest score.
    pub detector: ModelId,
}

/// The scores of one piece of content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Highest first; equal scores in the order of the taxonomy.
    pub categories: Vec<CategoryScore>,
    /// Asked for, measured by no detector.
    pub unsupported: CategorySet,
    /// The most windows that any detector needed.
    pub windows: u32,
}

/// A model wrote something that is no score.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("score {score} of {category} is outside 0 to 1")]
pub struct NotAScore {
    category: CategoryId,
    score: f32,
}

impl Measurement {
    /// The same score for all categories: 0 for empty content.
    #[must_use]
    pub fn nothing(categories: &[CategoryId]) -> Self {
        Self { scores: categories.iter().map(|category| (*category, 0.0)).collect(), windows: 0 }
    }

    /// Adds one window's scores, keeping the higher of each category.
    ///
    /// # Errors
    /// A score is not a number from 0 to 1: a broken model must not pass for harmless content.
    pub fn add_window(&mut self, categories: &[CategoryId], scores: &[f32]) -> Result<(), NotAScore> {
        for (category, score) in categories.iter().copied().zip(scores.iter().copied()) {
            if !(0.0..=1.0).contains(&score) {
                return Err(NotAScore { category, score });
            }
            match self.scores.iter_mut().find(|(known, _)| *known == category) {
                Some((_, highest)) => *highest = highest.max(score),
                None => self.scores.push((category, score)),
            }
        }
        self.windows += 1;
        Ok(())
    }
}

/// Merges what the detectors measured into the scores of the categories asked for.
///
/// `measured` holds one entry for each detector that took part.
#[must_use]
pub fn merge<'a>(
    asked: CategorySet,
    measured: impl IntoIterator<Item = (&'a ModelId, &'a Measurement)>,
) -> Scores {
    let mut categories: Vec<CategoryScore> = Vec::new();
    let mut windows = 0;
    for (detector, measurement) in measured {
        windows = windows.max(measurement.windows);
        for (category, score) in measurement.scores.iter().copied().filter(|(c, _)| asked.contains(*c)) {
            match categories.iter_mut().find(|known| known.category == category) {
                Some(known) if known.score >= score => {}
                Some(known) => *known = CategoryScore { category, score, detector: detector.clone() },
                None => categories.push(CategoryScore { category, score, detector: detector.clone() }),
            }
        }
    }
    let supported: CategorySet = categories.iter().map(|score| score.category).collect();
    categories.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.category.cmp(&b.category)));
    Scores { categories, unsupported: asked.difference(supported), windows }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn category() -> impl Strategy<Value = CategoryId> {
        proptest::sample::select(CategoryId::ALL)
    }

    fn measurements() -> impl Strategy<Value = Vec<Measurement>> {
        let scores = proptest::collection::vec((category(), 0.0_f32..=1.0), 0..20);
        let one = (scores, 0_u32..9).prop_map(|(scores, windows)| Measurement { scores, windows });
        proptest::collection::vec(one, 0..4)
    }

    proptest! {
        #[test]
        fn merging_keeps_the_highest_and_loses_nothing(
            asked in proptest::collection::vec(category(), 0..14),
            measured in measurements(),
        ) {
            let asked: CategorySet = asked.into_iter().collect();
            let names: Vec<ModelId> =
                (0..measured.len()).map(|n| ModelId::new(&format!("detector-{n}")).unwrap()).collect();
            let merged = merge(asked, names.iter().zip(&measured));

            for category in asked.iter() {
                let all = measured.iter().flat_map(|m| &m.scores).filter(|(c, _)| *c == category);
                let highest = all.map(|(_, score)| *score).reduce(f32::max);
                let ours: Vec<_> = merged.categories.iter().filter(|s| s.category == category).collect();
                prop_assert!(ours.len() <= 1);
                prop_assert_eq!(ours.first().map(|s| s.score), highest);
                prop_assert_eq!(merged.unsupported.contains(category), highest.is_none());
                if let Some(score) = ours.first() {
                    let at = names.iter().position(|name| *name == score.detector).unwrap();
                    prop_assert!(measured[at].scores.contains(&(category, score.score)));
                }
            }
            prop_assert!(merged.categories.iter().all(|s| asked.contains(s.category)));
            prop_assert!(merged.categories.is_sorted_by(|a, b| a.score >= b.score));
            prop_assert_eq!(merged.windows, measured.iter().map(|m| m.windows).max().unwrap_or(0));
        }

        #[test]
        fn windows_merge_to_their_maximum(
            windows in proptest::collection::vec(proptest::array::uniform2(0.0_f32..=1.0), 1..9),
        ) {
            let categories = [CategoryId::Hate, CategoryId::Violence];
            let mut measured = Measurement::default();
            for window in &windows {
                measured.add_window(&categories, window).unwrap();
            }
            for (n, category) in categories.iter().enumerate() {
                let highest = windows.iter().map(|w| w[n]).reduce(f32::max).unwrap();
                prop_assert!(measured.scores.contains(&(*category, highest)));
            }
            prop_assert_eq!(measured.windows as usize, windows.len());
        }
    }

    #[test]
    fn what_is_no_score_is_refused() {
        for broken in [f32::NAN, f32::INFINITY, -0.1, 1.5] {
            let outcome = Measurement::default().add_window(&[CategoryId::Hate], &[broken]);
            assert!(outcome.is_err(), "{broken}");
        }
    }

    #[test]
    fn empty_content_has_measured_zeros() {
        let detector = ModelId::new("heads").unwrap();
        let nothing = Measurement::nothing(&[CategoryId::Hate]);
        let scores = merge(CategorySet::all(), [(&detector, &nothing)]);
        assert_eq!((scores.categories[0].score, scores.windows), (0.0, 0));
        assert!(!scores.unsupported.contains(CategoryId::Hate));
    }
}
