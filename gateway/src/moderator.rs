//! What the gateway wants to know about content, and from whom.

use atelier_core::{CategoryId, Fault, ModelRef};
use atelier_policy::Medium;
use atelier_proto::moderation::v1::{Finding, Tag};
use atelier_rpc::CallContext;
use bytes::Bytes;
use futures::future::BoxFuture;

/// Content to be measured.
#[derive(Clone)]
pub(crate) enum Content {
    /// Texts, each measured on its own.
    Texts(Vec<String>),
    /// Pictures, each measured on its own.
    Images(Vec<Shown>),
}

/// A picture as moderation is shown it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Encoded.
    pub(crate) data: Bytes,
    /// When it is shown in the clip that it is a frame of.
    pub(crate) time_ms: Option<u64>,
    /// The text in it is not read.
    pub(crate) skip_text: bool,
}

impl Content {
    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Images(images) => images.len(),
        }
    }

    pub(crate) fn medium(&self) -> Medium {
        match self {
            Self::Texts(_) => Medium::Text,
            Self::Images(_) => Medium::Image,
        }
    }
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// What the policy names.
    pub(crate) categories: Vec<CategoryId>,
    /// All that moderation measures without being asked for it by name, besides.
    pub(crate) usual: bool,
}

/// Among the categories of a request to moderation: all that is measured where none are named.
const USUAL: &str = "*";

impl Asked {
    /// As a request to moderation names it.
    pub(crate) fn names(&self) -> Vec<String> {
        let named = self.categories.iter().map(|category| category.as_str());
        named.chain(self.usual.then_some(USUAL)).map(str::to_owned).collect()
    }
}

/// Measures content.
pub(crate) trait Moderator: Send + Sync + 'static {
    /// Scores of every item of `content`, in their order.
    ///
    /// A fault means that nothing is known about any of them.
    fn measure(
        &self,
        context: &CallContext,
        content: Content,
        asked: Asked,
    ) -> BoxFuture<'static, Result<Measurement, Fault>>;
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measurement {
    /// In the order of the items.
    pub(crate) items: Vec<Scores>,
    /// Detectors that took part.
    pub(crate) detectors: Vec<ModelRef>,
}

/// The scores of one item.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Scores {
    pub(crate) categories: Vec<Score>,
    /// Asked for, and measured by no detector.
    pub(crate) unsupported: Vec<CategoryId>,
    /// Detector windows the item was measured in.
    pub(crate) windows: u32,
    /// Where the scores come from, in the item's own bytes.
    pub(crate) findings: Vec<Finding>,
    /// What a picture shows, where that was asked for.
    pub(crate) tags: Vec<Tag>,
    /// Frames of a picture; 0 for texts.
    pub(crate) frames: u32,
    /// More text stands in a picture than was read.
    pub(crate) text_truncated: bool,
}

/// The score of one category.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Score {
    pub(crate) category: CategoryId,
    pub(crate) score: f32,
    /// 0 to 7.
    pub(crate) severity: u32,
    pub(crate) detector: String,
}

impl Scores {
    /// The scores of two pieces of one content: the highest of each category. Findings and tags are left out: each counts the
    /// bytes, or tells what is shown, of its own piece.
    pub(crate) fn join(mut self, other: Self) -> Self {
        for score in other.categories {
            match self.categories.iter_mut().find(|known| known.category == score.category) {
                // Not `<`: a score that is no number must win, as the policy treats it as the highest.
                Some(known) if known.score >= score.score => {}
                Some(known) => *known = score,
                None => self.categories.push(score),
            }
        }
        self.categories.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.unsupported.extend(other.unsupported);
        self.unsupported.sort_unstable();
        self.unsupported.dedup();
        self.windows += other.windows;
        self.frames += other.frames;
        self.text_truncated |= other.text_truncated;
        self.findings.clear();
        self.tags.clear();
        self
    }

    /// As policy reads them.
    pub(crate) fn pairs(&self) -> Vec<(CategoryId, f32)> {
        self.categories.iter().map(|score| (score.category, score.score)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_named_beside_what_is_usual() {
        let names = |usual| Asked { categories: vec![CategoryId::PersonalDataName], usual }.names();
        assert_eq!(names(false), ["personal-data/name"]);
        assert_eq!(names(true), ["personal-data/name", "*"]);
    }
}
