//! What policy made of a piece of content.

use atelier_core::CategoryId;

use crate::{
    action::Action,
    policy::{FailureMode, Stage},
};

/// A category that reached a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    /// Which.
    pub category: CategoryId,
    /// As measured, 0 to 1.
    pub score: f32,
    /// The threshold of `action`.
    pub threshold: f32,
    /// The gravest action whose threshold was reached.
    pub action: Action,
}

/// What policy made of a piece of content.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The gravest of the findings' actions and the failure mode's.
    pub action: Action,
    /// Which way the content was going.
    pub stage: Stage,
    /// Categories at or above a threshold, gravest first, then highest score first.
    pub findings: Vec<Finding>,
    /// A category of the policy could not be measured and its failure mode took part in the decision.
    pub unmeasured: bool,
    /// Categories that the policy names and no detector measures in some of the content, as what is measured by reading is not
    /// in a picture without text. They decide nothing.
    pub unsupported: Vec<CategoryId>,
}

/// What a verdict leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The content goes on.
    Pass,
    /// It does not, for what it is.
    Blocked,
    /// It does not, for want of a measurement.
    Unavailable,
}

impl Verdict {
    /// Nothing was found.
    #[must_use]
    pub fn allow(stage: Stage) -> Self {
        Self {
            action: Action::Allow,
            stage,
            findings: Vec::new(),
            unmeasured: false,
            unsupported: Vec::new(),
        }
    }

    /// What the verdict leads to; content that is blocked for a finding is blocked, measured in full or not.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.action.passes() {
            Outcome::Pass
        } else if self.findings.iter().any(|finding| !finding.action.passes()) {
            Outcome::Blocked
        } else {
            Outcome::Unavailable
        }
    }

    /// Takes another piece of the same content into account: the gravest counts, category by category.
    #[must_use]
    pub fn join(mut self, other: &Self) -> Self {
        self.action = self.action.max(other.action);
        self.unmeasured |= other.unmeasured;
        for finding in &other.findings {
            self.add(Some(*finding));
        }
        self.unsupported.extend(&other.unsupported);
        self.unsupported.sort_unstable();
        self.unsupported.dedup();
        self
    }

    pub(crate) fn add(&mut self, finding: Option<Finding>) {
        let Some(finding) = finding else { return };
        self.action = self.action.max(finding.action);
        let rank = |f: &Finding| (f.action, f.score);
        match self.findings.iter_mut().find(|known| known.category == finding.category) {
            Some(known) if rank(known) < rank(&finding) => *known = finding,
            Some(_) => {}
            None => self.findings.push(finding),
        }
        self.findings.sort_by(|a, b| {
            b.action.cmp(&a.action).then(b.score.total_cmp(&a.score)).then(a.category.cmp(&b.category))
        });
    }

    pub(crate) fn add_unmeasured(&mut self, mode: FailureMode) {
        self.unmeasured = true;
        let action = match mode {
            FailureMode::FailClosed => Action::Block,
            FailureMode::FailOpen => Action::Allow,
        };
        self.action = self.action.max(action);
    }
}
