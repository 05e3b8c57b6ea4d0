//! From what single detectors measured to the scores of one piece of content.
//!
//! A score is the highest of all windows and all detectors that measure the category: content is as bad as its
//! worst part. A category nobody measures has no score at all; it is named as unsupported, so that no caller
//! takes silence for 0.

use std::{borrow::Cow, cmp::Ordering, ops::Range, sync::Arc};

use atelier_core::{CategoryId, ModelId};
use atelier_ocr::Region;

use crate::categories::CategorySet;

/// What one detector measured in one piece of content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurement {
    /// Score of each category the detector measures, 0 to 1.
    pub scores: Vec<(CategoryId, f32)>,
    /// Windows the content was read in; 0 for content with nothing to read.
    pub windows: u32,
    /// Where notable scores come from, the most severe first; at most [`MOST_FINDINGS`].
    pub findings: Vec<Finding>,
    /// What a picture shows, in no order; of detectors that tell.
    pub tags: Vec<Tag>,
    /// The faces in a picture, the likeliest first; of detectors that look for them.
    pub faces: Option<Vec<Face>>,
}

/// What a picture shows, in a word.
#[derive(Clone, Debug, PartialEq)]
pub struct Tag {
    /// One of the model's classes.
    pub label: Arc<str>,
    /// How likely it is, 0 to 1.
    pub score: f32,
}

/// A face in a picture. Whose it is or what it is like is not looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Face {
    /// Where it is.
    pub region: Region,
    /// How certain it is that this is a face, 0 to 1.
    pub score: f32,
    /// When the frame with it is shown, in milliseconds.
    pub time_ms: Option<u64>,
}

/// A part of the content that shows something.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it shows.
    pub category: CategoryId,
    /// How much, 0 to 1.
    pub score: f32,
    /// The part: bytes of a text, empty for pictures.
    pub place: Range<usize>,
    /// The part of a picture.
    pub region: Option<Region>,
    /// When a frame with it is shown, in milliseconds.
    pub time_ms: Option<u64>,
    /// How it was found, e.g. `frame`, `window`, `personal-data:email`, `base64`. Never holds any of the content.
    pub reason: Cow<'static, str>,
}

impl Finding {
    /// A part of a text that shows something.
    #[must_use]
    pub fn new(
        category: CategoryId,
        score: f32,
        place: Range<usize>,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { category, score, place, region: None, time_ms: None, reason: reason.into() }
    }

    /// The more severe one first; of equally severe ones the earlier.
    fn severity(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then_with(|| self.order().cmp(&other.order()))
    }

    /// In the order of the content.
    fn order(&self) -> (Option<u64>, usize, usize, CategoryId, &str) {
        (self.time_ms, self.place.start, self.place.end, self.category, &self.reason)
    }
}

/// A score from which on a window is a finding: where the default heads flag.
pub const NOTABLE: f32 = 0.5;
/// Most findings of one piece of content; the most severe ones are kept.
pub const MOST_FINDINGS: usize = 64;

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
    /// Where the scores come from, in the order of the content.
    pub findings: Vec<Finding>,
    /// What a picture shows, likeliest first.
    pub tags: Vec<Tag>,
    /// The faces in a picture, likeliest first; none where nothing looked for them.
    pub faces: Option<Vec<Face>>,
    /// Frames of a picture; 0 for texts.
    pub frames: u32,
    /// More text stands in a picture than is read.
    pub text_truncated: bool,
    /// The BCP 47 tag of a text's language; empty where that is unclear, and for pictures.
    pub language: &'static str,
}

impl Scores {
    /// Moves what was found in a picture of one width and height to where it is in the same picture of another.
    pub fn resize(&mut self, from: (u32, u32), to: (u32, u32)) {
        let found = self.findings.iter_mut().filter_map(|finding| finding.region.as_mut());
        let faces = self.faces.iter_mut().flatten().map(|face| &mut face.region);
        for region in found.chain(faces) {
            *region = region.resized(from, to);
        }
    }
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
        Self { scores: categories.iter().map(|category| (*category, 0.0)).collect(), ..Self::default() }
    }

    /// Adds the scores of one window, keeping the higher of each category; `place` is its bytes of a text, empty for what
    /// has none.
    ///
    /// # Errors
    /// A score is not a number from 0 to 1: a broken model must not pass for harmless content.
    pub fn add_window(
        &mut self,
        categories: &[CategoryId],
        scores: &[f32],
        place: Range<usize>,
    ) -> Result<(), NotAScore> {
        for (category, score) in categories.iter().copied().zip(scores.iter().copied()) {
            if !(0.0..=1.0).contains(&score) {
                return Err(NotAScore { category, score });
            }
            self.raise(category, score);
            if score >= NOTABLE && !place.is_empty() {
                self.find(Finding::new(category, score, place.clone(), "window"));
            }
        }
        self.windows += 1;
        Ok(())
    }

    /// Adds what was measured in another version of the content.
    pub fn add(&mut self, other: Self) {
        other.scores.into_iter().for_each(|(category, score)| self.raise(category, score));
        other.findings.into_iter().for_each(|finding| self.find(finding));
        self.windows += other.windows;
    }

    /// Adds what was measured in a frame, which is a finding for each category that shows if the frame has a time.
    pub fn add_frame(&mut self, frame: Self, time_ms: Option<u64>) {
        for (category, score) in frame.scores {
            if score >= NOTABLE && time_ms.is_some() {
                self.find(Finding { time_ms, ..Finding::new(category, score, 0..0, "frame") });
            } else {
                self.raise(category, score);
            }
        }
        let known = frame.findings.into_iter().map(|finding| Finding { time_ms, ..finding });
        known.for_each(|finding| self.find(finding));
        for tag in frame.tags {
            match self.tags.iter_mut().find(|known| known.label == tag.label) {
                Some(known) => known.score = known.score.max(tag.score),
                None => self.tags.push(tag),
            }
        }
        // One face in many frames is one face: those of the frame that shows most of them are kept.
        if let Some(faces) = frame.faces
            && self.faces.as_ref().is_none_or(|known| known.len() < faces.len())
        {
            self.faces = Some(faces.into_iter().map(|face| Face { time_ms, ..face }).collect());
        }
        self.windows += frame.windows;
    }

    fn raise(&mut self, category: CategoryId, score: f32) {
        match self.scores.iter_mut().find(|(known, _)| *known == category) {
            Some((_, highest)) => *highest = highest.max(score),
            None => self.scores.push((category, score)),
        }
    }

    /// The same as found in the text of a picture, or of a frame that is shown at this time: `region` says where the bytes of
    /// that text stand.
    #[must_use]
    pub fn in_picture(
        mut self,
        read_as: &str,
        time_ms: Option<u64>,
        region: impl Fn(&Range<usize>) -> Option<Region>,
    ) -> Self {
        for finding in &mut self.findings {
            finding.time_ms = time_ms;
            finding.region = region(&finding.place);
            finding.place = 0..0;
            finding.reason = format!("{read_as}:{}", finding.reason).into();
        }
        self
    }

    /// Adds a finding. Of more than the most, the most severe are kept, whatever the order that they come in; the scores of
    /// the others are.
    pub fn find(&mut self, finding: Finding) {
        self.raise(finding.category, finding.score);
        let at = self.findings.partition_point(|known| known.severity(&finding).is_le());
        self.findings.insert(at, finding);
        self.findings.truncate(MOST_FINDINGS);
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
    let (mut windows, mut findings, mut tags, mut faces) = (0, Vec::new(), Vec::new(), None);
    for (detector, measurement) in measured {
        windows = windows.max(measurement.windows);
        tags.extend(measurement.tags.iter().cloned());
        faces = faces.or_else(|| measurement.faces.clone());
        findings.extend(measurement.findings.iter().filter(|one| asked.contains(one.category)).cloned());
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
    findings.sort_by(Finding::severity);
    findings.truncate(MOST_FINDINGS);
    findings.sort_by(|a, b| a.order().cmp(&b.order()));
    tags.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.label.cmp(&b.label)));
    let unsupported = asked.difference(supported);
    Scores { categories, unsupported, windows, findings, tags, faces, ..Scores::default() }
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
        let one = (scores, 0_u32..9).prop_map(|(scores, windows)| Measurement {
            scores,
            windows,
            ..Measurement::default()
        });
        proptest::collection::vec(one, 0..4)
    }

    proptest! {
        #[test]
        fn findings_are_the_same_in_whatever_order_they_come(
            found in proptest::collection::vec((category(), 0_u8..4, 0_usize..50), 0..150).prop_shuffle(),
        ) {
            let measured = |found: &mut dyn Iterator<Item = &(CategoryId, u8, usize)>| {
                let mut measured = Measurement::default();
                for (category, score, at) in found {
                    measured.find(Finding::new(*category, f32::from(*score) / 4.0, *at..at + 1, "window"));
                }
                measured.findings
            };
            prop_assert_eq!(measured(&mut found.iter()), measured(&mut found.iter().rev()));
        }

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
                measured.add_window(&categories, window, 0..1).unwrap();
            }
            let notable = windows.iter().flatten().filter(|score| **score >= NOTABLE).count();
            prop_assert_eq!(measured.findings.len(), notable);
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
            let outcome = Measurement::default().add_window(&[CategoryId::Hate], &[broken], 0..1);
            assert!(outcome.is_err(), "{broken}");
        }
    }

    #[test]
    fn findings_keep_their_scores_and_their_order() {
        let (category, reason) = (CategoryId::Secrets, Cow::Borrowed("key"));
        let mut measured = Measurement::default();
        for n in (0..100).rev() {
            let place = n..n + 1;
            let score = n as f32 / 100.0;
            measured.find(Finding::new(category, score, place, reason.clone()));
        }
        let detector = ModelId::new("rules").unwrap();
        let scores = merge(CategorySet::all(), [(&detector, &measured)]);
        assert_eq!((scores.categories[0].score, scores.findings.len()), (0.99, MOST_FINDINGS));
        assert!(scores.findings.iter().all(|finding| finding.score > 0.35), "the most severe are kept");
        assert!(scores.findings.is_sorted_by_key(|finding| finding.place.start));
        assert!(merge(CategorySet::default(), [(&detector, &measured)]).findings.is_empty());
    }

    #[test]
    fn frames_merge_to_their_highest_and_are_findings_where_they_have_times() {
        let frame = |score, label: &str| Measurement {
            scores: vec![(CategoryId::Sexual, score)],
            windows: 1,
            tags: vec![Tag { label: label.into(), score }],
            ..Measurement::default()
        };
        let mut measured = Measurement::default();
        for (score, label, time_ms) in [(0.2, "a", 0), (0.9, "b", 40), (0.6, "a", 80), (0.1, "b", 120)] {
            measured.add_frame(frame(score, label), Some(time_ms));
        }
        let detector = ModelId::new("eyes").unwrap();
        let scores = merge(CategorySet::all(), [(&detector, &measured)]);
        assert_eq!((scores.categories[0].score, scores.windows), (0.9, 4));
        let found: Vec<_> = scores.findings.iter().map(|one| (one.time_ms, one.score)).collect();
        assert_eq!(found, [(Some(40), 0.9), (Some(80), 0.6)]);
        let tags: Vec<_> = scores.tags.iter().map(|tag| (&*tag.label, tag.score)).collect();
        assert_eq!(tags, [("b", 0.9), ("a", 0.6)]);
        let seen = |faces: usize| {
            let region = Region { left: 0, top: 0, width: 9, height: 9 };
            let faces = vec![Face { region, score: 0.9, time_ms: None }; faces];
            Measurement { faces: Some(faces), ..Measurement::default() }
        };
        let mut counted = Measurement::default();
        for (time_ms, faces) in [0, 2, 1, 2].into_iter().enumerate() {
            counted.add_frame(seen(faces), Some(time_ms as u64));
        }
        let faces = merge(CategorySet::all(), [(&detector, &measured), (&detector, &counted)]).faces.unwrap();
        assert_eq!(faces.iter().map(|face| face.time_ms).collect::<Vec<_>>(), [Some(1); 2]);
        let mut still = Measurement::default();
        still.add_frame(frame(0.9, "a"), None);
        assert!(still.findings.is_empty() && still.scores == [(CategoryId::Sexual, 0.9)]);
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
