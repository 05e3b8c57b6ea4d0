//! Decides about content: measures it, applies the policy, writes the decision down.

use std::{sync::Arc, time::Instant};

use atelier_core::{Fault, ModelRef, Reason};
use atelier_policy::{Medium, Outcome, Policy, Stage, Verdict};
use atelier_rpc::CallContext;

use crate::{
    audit::{Audit, Decision, Part},
    config::ReadingConfig,
    metrics,
    moderator::{Asked, Content, Measurement, Moderator, Scores},
    picture::Picture,
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

/// What is decided about piece by piece.
struct Pieces {
    stage: Stage,
    /// The answer they are of.
    choice: Option<u32>,
    part: Option<Part>,
    content: Content,
    /// SHA-256 and length of each.
    prints: Vec<(String, usize)>,
}

/// What becomes of the pieces behind one that does not pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// They don't leave either.
    Dropped,
    /// They are decided about on their own.
    Judged,
}

/// Decides about content.
#[derive(Clone)]
pub(crate) struct Judge {
    pub(crate) moderator: Arc<dyn Moderator>,
    pub(crate) audit: Audit,
    pub(crate) reading: ReadingConfig,
}

impl Judge {
    /// One decision about all of `content`. `everything`: measure all that is usual, not only what the policy names.
    pub(crate) async fn whole(
        &self,
        call: &Call,
        stage: Stage,
        content: Content,
        everything: bool,
    ) -> Result<Judged, Fault> {
        let medium = content.medium();
        let (content_sha256, content_bytes) = fingerprint(&content);
        let measurement = self.measure(call, stage, content, everything).await?;
        let (verdict, scores, detectors) = match measurement {
            None => (call.policy.judge_unmeasured(stage, medium), Scores::default(), Vec::new()),
            Some(Measurement { items, detectors }) => {
                let judge =
                    |scores: &Scores| call.policy.judge(stage, medium, &scores.pairs(), &scores.unsupported);
                let each = items.iter().map(judge);
                let verdict =
                    each.reduce(|all, next| all.join(&next)).unwrap_or_else(|| Verdict::allow(stage));
                let scores = items.into_iter().reduce(Scores::join).unwrap_or_default();
                (verdict, scores, detectors)
            }
        };
        let judged = Judged { verdict, scores, detectors };
        let decision = Decision { choice: None, window: None, part: None, content_sha256, content_bytes };
        self.write(call, &judged, decision).await?;
        Ok(judged)
    }

    /// A decision about each window of an answer; `choice` is the number of the answer, `first` that of the first window.
    pub(crate) async fn windows(
        &self,
        call: &Call,
        choice: Option<u32>,
        windows: Vec<String>,
        first: u32,
    ) -> Result<Vec<Judged>, Fault> {
        let prints = windows.iter().map(|window| fingerprint_of([window.as_str()])).collect();
        let content = Content::Texts(windows);
        let pieces = Pieces { stage: Stage::Output, choice, part: None, content, prints };
        self.each(call, pieces, first, Behind::Dropped).await
    }

    /// A decision about each picture; `first` is the number of the first one.
    pub(crate) async fn pictures(
        &self,
        call: &Call,
        stage: Stage,
        part: Part,
        pictures: &[Picture],
        first: u32,
    ) -> Result<Vec<Judged>, Fault> {
        let mut prints = Vec::with_capacity(pictures.len());
        for picture in pictures {
            prints.push(picture.fingerprint().await?);
        }
        let content = Content::Images(pictures.iter().map(Picture::shown).collect());
        let behind = match part {
            Part::Frame => Behind::Dropped,
            Part::Picture | Part::Preview | Part::Sheet => Behind::Judged,
        };
        let pieces = Pieces { stage, choice: None, part: Some(part), content, prints };
        let judged = self.each(call, pieces, first, behind).await?;
        metrics::pictures(stage.as_str(), part.as_str(), judged.len());
        Ok(judged)
    }

    async fn each(
        &self,
        call: &Call,
        pieces: Pieces,
        first: u32,
        behind: Behind,
    ) -> Result<Vec<Judged>, Fault> {
        let Pieces { stage, choice, part, content, prints } = pieces;
        let (count, medium) = (content.len(), content.medium());
        let measurement = self.measure(call, stage, content, false).await?;
        let decided: Vec<Judged> = match measurement {
            None => {
                let verdict = call.policy.judge_unmeasured(stage, medium);
                vec![Judged { verdict, scores: Scores::default(), detectors: Vec::new() }; count]
            }
            Some(Measurement { items, detectors }) => {
                let decide = |scores: Scores| Judged {
                    verdict: call.policy.judge(stage, medium, &scores.pairs(), &scores.unsupported),
                    scores,
                    detectors: detectors.clone(),
                };
                items.into_iter().map(decide).collect()
            }
        };
        for ((judged, (content_sha256, content_bytes)), window) in decided.iter().zip(prints).zip(first..) {
            let decision = Decision { choice, window: Some(window), part, content_sha256, content_bytes };
            self.write(call, judged, decision).await?;
            if behind == Behind::Dropped && judged.verdict.outcome() != Outcome::Pass {
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
        let (items, medium) = (content.len(), content.medium());
        if items == 0 || (!everything && !call.policy.judges(stage, medium)) {
            // Nothing to measure, or nothing it would matter for: empty measurements for an empty policy.
            return Ok(Some(Measurement { items: vec![Scores::default(); items], detectors: Vec::new() }));
        }
        let asked = Asked { categories: call.policy.categories(stage, medium).collect(), usual: everything };
        let from_caller = stage == Stage::Input && medium == Medium::Image;
        let since = Instant::now();
        let measured = self.moderator.measure(&call.context, content, asked).await;
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
            // Who has content judged and nothing else, or sends a picture, is told what is wrong with it. Elsewhere the
            // gateway has made the request, and a complaint about it is one more way not to get a measurement.
            Err(fault) if (everything || from_caller) && is_about_content(&fault) => Err(fault),
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

impl Judged {
    /// The same content, looked at once more.
    pub(crate) fn join(mut self, other: Self) -> Self {
        self.verdict = self.verdict.join(&other.verdict);
        self.scores = self.scores.join(other.scores);
        for detector in other.detectors {
            if !self.detectors.contains(&detector) {
                self.detectors.push(detector);
            }
        }
        self
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
        Content::Images(images) => {
            let data: Vec<&[u8]> = images.iter().map(|image| &image.data[..]).collect();
            let data = data.concat();
            (atelier_core::ContentHash::of(&data).to_string(), data.len())
        }
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
