//! One line of the trail.

use std::{collections::BTreeMap, time::SystemTime};

use atelier_core::{ModelRef, RequestId, TenantId};
use atelier_policy::Verdict;
use serde::Serialize;

use crate::judge::{Call, Judged};

/// One line of the trail. Fields are only ever added.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Record {
    /// RFC 3339, UTC, with milliseconds.
    time: String,
    /// `decision`, or `completion` for the end of an answer.
    event: &'static str,
    request_id: RequestId,
    tenant: TenantId,
    rpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelRef>,
    policy: String,
    policy_version: String,
    stage: &'static str,
    action: &'static str,
    findings: Vec<Finding>,
    unmeasured: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsupported_categories: Vec<&'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    scores: BTreeMap<&'static str, f32>,
    detectors: Vec<ModelRef>,
    /// Which of the answers to a prompt it is about, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<u32>,
    /// Number of the window of the answer, or of the picture, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u32>,
    /// For pictures: what this one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Part>,
    /// For a completion: why the answer ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    finish_reason: Option<&'static str>,
    content_sha256: String,
    content_bytes: usize,
}

#[derive(Clone, Debug, Serialize)]
struct Finding {
    category: &'static str,
    score: f32,
    threshold: f32,
    action: &'static str,
}

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Part {
    /// A finished one, or one that came from the caller.
    Picture,
    /// A look at one that is being made.
    Preview,
    /// One of a clip.
    Frame,
    /// Several on one sheet.
    Sheet,
}

impl Part {
    /// The name in metrics; the trail's is the same.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Preview => "preview",
            Self::Frame => "frame",
            Self::Sheet => "sheet",
        }
    }
}

/// What a decision was about.
pub(crate) struct Decision {
    /// Which of the answers to a prompt.
    pub(crate) choice: Option<u32>,
    /// Number of the window of an answer, or of the picture.
    pub(crate) window: Option<u32>,
    pub(crate) part: Option<Part>,
    pub(crate) content_sha256: String,
    pub(crate) content_bytes: usize,
}

/// What left at the end of an answer.
pub(crate) struct Left<'a> {
    /// Which of the answers to a prompt it was.
    pub(crate) choice: Option<u32>,
    pub(crate) verdict: &'a Verdict,
    pub(crate) detectors: &'a [ModelRef],
    /// `complete`, `content_filter`, `cancelled` (the caller went away) or `error`.
    pub(crate) finish_reason: &'static str,
    pub(crate) content_sha256: &'a str,
    pub(crate) content_bytes: usize,
}

impl Record {
    pub(crate) fn of_decision(call: &Call, judged: &Judged, decision: Decision) -> Self {
        let scores = judged.scores.categories.iter().map(|score| (score.category.as_str(), score.score));
        Self {
            scores: scores.collect(),
            detectors: judged.detectors.clone(),
            choice: decision.choice,
            window: decision.window,
            part: decision.part,
            content_sha256: decision.content_sha256,
            content_bytes: decision.content_bytes,
            ..Self::of(call, "decision", &judged.verdict)
        }
    }

    pub(crate) fn of_end(call: &Call, left: Left<'_>) -> Self {
        Self {
            choice: left.choice,
            detectors: left.detectors.to_vec(),
            finish_reason: Some(left.finish_reason),
            content_sha256: left.content_sha256.to_owned(),
            content_bytes: left.content_bytes,
            ..Self::of(call, "completion", left.verdict)
        }
    }

    fn of(call: &Call, event: &'static str, verdict: &Verdict) -> Self {
        let finding = |finding: &atelier_policy::Finding| Finding {
            category: finding.category.as_str(),
            score: finding.score,
            threshold: finding.threshold,
            action: finding.action.as_str(),
        };
        Self {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            event,
            request_id: call.context.request_id.clone(),
            tenant: call.context.tenant.clone(),
            rpc: call.rpc,
            model: call.model.clone(),
            policy: call.policy.name().to_owned(),
            policy_version: call.policy_version.clone(),
            stage: verdict.stage.as_str(),
            action: verdict.action.as_str(),
            findings: verdict.findings.iter().map(finding).collect(),
            unmeasured: verdict.unmeasured,
            unsupported_categories: verdict.unsupported.iter().map(|category| category.as_str()).collect(),
            scores: BTreeMap::new(),
            detectors: Vec::new(),
            choice: None,
            window: None,
            part: None,
            finish_reason: None,
            content_sha256: String::new(),
            content_bytes: 0,
        }
    }
}
