//! Decides about content: measures it, applies the policy, writes the decision down.

use std::{sync::Arc, time::Instant};

use atelier_core::{Fault, ModelRef, Reason};
use atelier_policy::{Outcome, Policy, Stage, Verdict};
use atelier_rpc::CallContext;

use crate::{
    audit::{Audit, Decision},
    metrics,
    moderator::{Content, Measurement, Moderator, Scores},
};

/// What all decisions about one call have in common.
pub(crate) struct Call {
    pub(crate) context: CallContext,
    /// Name of the method, e.g. `StreamChat`.
    pub(crate) rpc: &'static str,
    pub(crate) policy: Arc<Policy>,
    pub(crate) policy_version: String,
    /// The model that was asked, where one was.
    pub(crate) model: Option<ModelRef>,
}

/// A decision and what it rests on.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    pub(crate) scores: Scores,
    pub(crate) detectors: Vec<ModelRef>,
}

/// Decides about content.
#[derive(Clone)]
pub(crate) struct Judge {
    pub(crate) moderator: Arc<dyn Moderator>,
    pub(crate) audit: Audit,
}

impl Judge {
    /// One decision about all of `content`. `everything`: measure the whole taxonomy, not only what the policy names.
    pub(crate) async fn whole(
        &self,
        call: &Call,
        stage: Stage,
        content: Content,
        everything: bool,
    ) -> Result<Judged, Fault> {
        let (hash, bytes) = fingerprint(&content);
        let measurement = self.measure(call, stage, content, everything).await?;
        let (verdict, scores, detectors) = match measurement {
            None => (call.policy.judge_unmeasured(stage), Scores::default(), Vec::new()),
            Some(Measurement { items, detectors }) => {
                let each =
                    items.iter().map(|scores| call.policy.judge(stage, &scores.pairs(), &scores.unsupported));
                let verdict =
                    each.reduce(|all, next| all.join(&next)).unwrap_or_else(|| Verdict::allow(stage));
                let scores = items.into_iter().reduce(Scores::join).unwrap_or_default();
                (verdict, scores, detectors)
            }
        };
        let judged = Judged { verdict, scores, detectors };
        self.write(call, &judged, Decision { window: None, content_sha256: hash, content_bytes: bytes })
            .await?;
        Ok(judged)
    }

    /// A decision about each window of an answer; `first` is the number of the first one.
    pub(crate) async fn windows(
        &self,
        call: &Call,
        windows: Vec<String>,
        first: u32,
    ) -> Result<Vec<Judged>, Fault> {
        let stage = Stage::Output;
        let prints: Vec<_> = windows.iter().map(|window| fingerprint_of([window.as_str()])).collect();
        let count = windows.len();
        let measurement = self.measure(call, stage, Content::Texts(windows), false).await?;
        let decided: Vec<Judged> = match measurement {
            None => {
                let verdict = call.policy.judge_unmeasured(stage);
                vec![Judged { verdict, scores: Scores::default(), detectors: Vec::new() }; count]
            }
            Some(Measurement { items, detectors }) => {
                let decide = |scores: Scores| Judged {
                    verdict: call.policy.judge(stage, &scores.pairs(), &scores.unsupported),
                    scores,
                    detectors: detectors.clone(),
                };
                items.into_iter().map(decide).collect()
            }
        };
        for ((judged, (content_sha256, content_bytes)), window) in decided.iter().zip(prints).zip(first..) {
            let decision = Decision { window: Some(window), content_sha256, content_bytes };
            self.write(call, judged, decision).await?;
            if judged.verdict.outcome() != Outcome::Pass {
                // What follows is neither sent nor decided about.
                break;
            }
        }
        Ok(decided)
    }

    /// `None`: it could not be measured, and the failure mode decides.
    async fn measure(
        &self,
        call: &Call,
        stage: Stage,
        content: Content,
        everything: bool,
    ) -> Result<Option<Measurement>, Fault> {
        let items = match &content {
            Content::Texts(texts) => texts.len(),
            Content::Image(_) => 1,
        };
        if items == 0 || (!everything && !call.policy.judges(stage)) {
            // Nothing to measure, or nothing it would matter for: an empty measurement of an empty policy.
            return Ok(Some(Measurement::default()));
        }
        let categories = if everything { Vec::new() } else { call.policy.categories(stage).collect() };
        let since = Instant::now();
        let measured = self.moderator.measure(&call.context, content, categories).await;
        metrics::measured(stage.as_str(), since);
        match measured {
            Ok(measurement) if measurement.items.len() == items => Ok(Some(measurement)),
            Ok(measurement) => {
                let answered = measurement.items.len();
                tracing::error!(answered, items, "moderation answered for another number of items");
                metrics::moderation_failed(stage.as_str());
                Ok(None)
            }
            Err(_) if call.context.remaining().is_some_and(|left| left.is_zero()) => {
                Err(Fault::new(Reason::DeadlineExceeded, "the deadline passed"))
            }
            // A caller who has content judged and nothing else is told what is wrong with it. Elsewhere the gateway has
            // made the request, and a complaint about it is one more way not to get a measurement.
            Err(fault) if everything && is_about_content(&fault) => Err(fault),
            Err(fault) => {
                let request_id = call.context.request_id.as_str();
                tracing::warn!(request_id, stage = stage.as_str(), ?fault, "content could not be measured");
                metrics::moderation_failed(stage.as_str());
                Ok(None)
            }
        }
    }

    async fn write(&self, call: &Call, judged: &Judged, decision: Decision) -> Result<(), Fault> {
        metrics::verdict(&judged.verdict);
        self.audit.decision(call, judged, decision).await
    }
}

impl Call {
    /// The fault of a caller whose content does not pass.
    pub(crate) fn refusal(&self, verdict: &Verdict) -> Option<Fault> {
        let fault = match verdict.outcome() {
            Outcome::Pass => return None,
            Outcome::Blocked => {
                let blocking = verdict.findings.iter().filter(|finding| !finding.action.passes());
                let categories: Vec<_> = blocking.map(|finding| finding.category.as_str()).collect();
                Fault::new(Reason::ContentBlocked, "policy does not let this content pass")
                    .with_metadata("categories", categories.join(","))
            }
            Outcome::Unavailable => Fault::new(
                Reason::ModerationUnavailable,
                "content could not be measured, and the policy lets nothing pass unmeasured",
            ),
        };
        Some(
            fault
                .with_metadata("stage", verdict.stage.as_str())
                .with_metadata("policy", self.policy.name())
                .with_metadata("policy_version", self.policy_version.as_str()),
        )
    }
}

fn is_about_content(fault: &Fault) -> bool {
    matches!(
        fault.reason(),
        Reason::InvalidArgument | Reason::MessageTooLarge | Reason::ContextLengthExceeded
    )
}

/// SHA-256 and length of content; of several texts, as if they were lines of one.
fn fingerprint(content: &Content) -> (String, usize) {
    match content {
        Content::Texts(texts) => fingerprint_of(texts.iter().map(String::as_str)),
        Content::Image(bytes) => (atelier_core::ContentHash::of(bytes).to_string(), bytes.len()),
    }
}

fn fingerprint_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> (String, usize) {
    use sha2::{Digest, Sha256};
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    for (n, text) in texts.into_iter().enumerate() {
        if n > 0 {
            hash.update(b"\n");
            bytes += 1;
        }
        hash.update(text);
        bytes += text.len();
    }
    (hex::encode(hash.finalize()), bytes)
}
