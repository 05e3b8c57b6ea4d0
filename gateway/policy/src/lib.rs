//! Content policy: a ruleset and scores in, a verdict out; no I/O.
//!
//! A [`Ruleset`] is read from one YAML file. It gives each tenant a [`Policy`]; a policy says for each [`Stage`] which
//! score of which category leads to which [`Action`], and how the text of an answer is cut into windows. What is
//! measured, and by whom, is not its business: [`Policy::judge`] takes scores and nothing else.

mod action;
mod check;
mod error;
mod file;
mod policy;
mod ruleset;
mod verdict;

pub use action::Action;
pub use error::{PolicyError, Violation};
pub use policy::{FailureMode, Medium, OutputMode, Policy, Previews, Stage, Window};
pub use ruleset::{Ruleset, UnknownTenant};
pub use verdict::{Finding, Outcome, Verdict};
