//! What the gateway wants to know about content, and from whom.

use atelier_core::{CategoryId, Fault, ModelRef};
use atelier_policy::Medium;
use atelier_proto::moderation::v1::Finding;
use atelier_rpc::CallContext;
use bytes::Bytes;
use futures::future::BoxFuture;

/// Content to be measured.
#[derive(Clone)]
pub(crate) enum Content {
    /// Texts, each measured on its own.
    Texts(Vec<String>),
    /// Pictures, encoded, each measured on its own.
    Images(Vec<Bytes>),
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

/// Measures content.
pub(crate) trait Moderator: Send + Sync + 'static {
    /// Scores of every item of `content`, in their order; `categories` empty: all of the taxonomy.
    ///
    /// A fault means that nothing is known about any of them.
    fn measure(
        &self,
        context: &CallContext,
        content: Content,
        categories: Vec<CategoryId>,
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
    /// The scores of two pieces of one content: the highest of each category. Findings are left out: each counts the bytes
    /// of its own piece.
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
        self.findings.clear();
        self
    }

    /// As policy reads them.
    pub(crate) fn pairs(&self) -> Vec<(CategoryId, f32)> {
        self.categories.iter().map(|score| (score.category, score.score)).collect()
    }
}
