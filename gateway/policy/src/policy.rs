//! One policy: thresholds by stage and category, and how answers are cut for judgement.

use std::{collections::BTreeMap, time::Duration};

use atelier_core::CategoryId;

use crate::{
    action::Action,
    verdict::{Finding, Verdict},
};

/// Which way content is going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// From the caller to a model.
    Input,
    /// From a model to the caller.
    Output,
}

impl Stage {
    /// The name in metrics and the audit trail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

/// What content is made of: detectors differ, and so may thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Medium {
    /// Words.
    Text,
    /// Pixels.
    Image,
}

/// What becomes of previews of pictures that are still being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Previews {
    /// They are judged as pictures are.
    Judged,
    /// They don't leave.
    Withheld,
}

/// What becomes of content that can't be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureMode {
    /// It does not pass.
    FailClosed,
    /// It passes, marked as unmeasured.
    FailOpen,
}

/// When the text of an answer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputMode {
    /// Nothing before all of it is judged.
    Buffer,
    /// A window of it when that window is judged.
    Windowed,
    /// At once; it is judged afterwards, and a block cuts the rest off.
    StreamFirst,
}

/// How the text of an answer is cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Length of a window in characters (Unicode scalar values).
    pub characters: usize,
    /// How much of a window is judged again at the start of the next one, in characters. Text this near to the end of
    /// a window is held back until then, so that a passage up to this long is always judged in one piece before any
    /// of it leaves.
    pub overlap: usize,
    /// How long text may wait for a window to fill before a shorter one is judged.
    pub max_hold: Duration,
}

impl Default for Window {
    /// 240 characters are about 50 tokens of English: long enough for a classifier to see a sentence and its
    /// neighbours, and within a second of a model that writes 60 tokens a second.
    fn default() -> Self {
        Self { characters: 240, overlap: 80, max_hold: Duration::from_millis(400) }
    }
}

/// The rules a tenant lives under.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) name: String,
    pub(crate) on_moderation_failure: FailureMode,
    pub(crate) input: Rules,
    pub(crate) output: Rules,
    pub(crate) output_mode: OutputMode,
    pub(crate) window: Window,
    pub(crate) previews: Previews,
}

/// The thresholds of a stage.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) text: Thresholds,
    pub(crate) image: Thresholds,
}

/// The score from which on each action applies, by category; actions mildest first.
pub(crate) type Thresholds = BTreeMap<CategoryId, Vec<(Action, f32)>>;

impl Policy {
    /// Its name in the file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What becomes of content that can't be measured.
    #[must_use]
    pub fn on_moderation_failure(&self) -> FailureMode {
        self.on_moderation_failure
    }

    /// When the text of an answer leaves.
    #[must_use]
    pub fn output_mode(&self) -> OutputMode {
        self.output_mode
    }

    /// How the text of an answer is cut.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// What becomes of previews of pictures.
    #[must_use]
    pub fn previews(&self) -> Previews {
        self.previews
    }

    /// The categories that matter at a stage. None: content passes there without being measured.
    pub fn categories(&self, stage: Stage, medium: Medium) -> impl ExactSizeIterator<Item = CategoryId> + '_ {
        self.thresholds(stage, medium).keys().copied()
    }

    /// Whether anything is measured at a stage.
    #[must_use]
    pub fn judges(&self, stage: Stage, medium: Medium) -> bool {
        !self.thresholds(stage, medium).is_empty()
    }

    /// What becomes of content with these scores.
    ///
    /// Of several scores of one category the highest counts. A score that is not a number counts as 1. A
    /// category that is neither scored nor in `unsupported` was not measured: the failure mode decides about it.
    #[must_use]
    pub fn judge(
        &self,
        stage: Stage,
        medium: Medium,
        scores: &[(CategoryId, f32)],
        unsupported: &[CategoryId],
    ) -> Verdict {
        let mut verdict = Verdict::allow(stage);
        for (&category, thresholds) in self.thresholds(stage, medium) {
            let of_category = scores.iter().filter(|(of, _)| *of == category).map(|(_, score)| *score);
            // A threshold is at most 1, so 1 reaches every one.
            let numbers = of_category.map(|score| if score.is_nan() { 1.0 } else { score });
            match numbers.reduce(f32::max) {
                Some(score) => {
                    let reached = thresholds.iter().rev().find(|(_, threshold)| score >= *threshold);
                    verdict.add(reached.map(|&(action, threshold)| Finding {
                        category,
                        score,
                        threshold,
                        action,
                    }));
                }
                None if unsupported.contains(&category) => verdict.unsupported.push(category),
                None => verdict.add_unmeasured(self.on_moderation_failure),
            }
        }
        verdict
    }

    /// What becomes of content that could not be measured at all.
    #[must_use]
    pub fn judge_unmeasured(&self, stage: Stage, medium: Medium) -> Verdict {
        let mut verdict = Verdict::allow(stage);
        if self.judges(stage, medium) {
            verdict.add_unmeasured(self.on_moderation_failure);
        }
        verdict
    }

    fn thresholds(&self, stage: Stage, medium: Medium) -> &Thresholds {
        let rules = match stage {
            Stage::Input => &self.input,
            Stage::Output => &self.output,
        };
        match medium {
            Medium::Text => &rules.text,
            Medium::Image => &rules.image,
        }
    }
}
