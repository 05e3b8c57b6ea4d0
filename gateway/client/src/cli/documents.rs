//! The JSON that `--json` writes: stable, field names as in the API, names of enums in lower case, times in
//! milliseconds, and 64-bit numbers as strings (JavaScript would round them).

use std::collections::BTreeMap;

use atelier_client::proto::{
    common::v1::{
        FinishReason, Model as WireModel, ModelRef as WireModelRef, ModelTask, Timings as WireTimings, Usage,
    },
    gateway::v1::{
        Action, Completion as WireCompletion, Finding as WireFinding, Provenance as WireProvenance, Stage,
        Verdict as WireVerdict,
    },
    moderation::v1::{
        Category as WireCategory, Face as WireFace, Finding as WirePart, Modality, Scores as WireScores,
        Tag as WireTag,
    },
};
use serde::Serialize;

use self::tokens::TokenLogprob;
pub(crate) use image::{ImageCompletion, ImageModel};
pub(crate) use tools::ToolCall;

mod image;
mod tokens;
mod tools;

#[derive(Debug, Serialize)]
pub(crate) struct ModelRef {
    pub(crate) id: String,
    pub(crate) revision: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) revision: String,
    pub(crate) tasks: Vec<&'static str>,
    pub(crate) context_length: u32,
    pub(crate) vocabulary_size: u32,
    pub(crate) embedding_dimensions: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) embedding_space: String,
    pub(crate) license: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<ImageModel>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TokenUsage {
    pub(crate) prompt_tokens: u32,
    pub(crate) completion_tokens: u32,
    pub(crate) total_tokens: u32,
    pub(crate) cached_tokens: u32,
    pub(crate) truncated_tokens: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct Timings {
    pub(crate) queue_ms: f64,
    pub(crate) prefill_ms: f64,
    pub(crate) decode_ms: f64,
    pub(crate) total_ms: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) category: String,
    pub(crate) score: f32,
    pub(crate) threshold: f32,
    pub(crate) action: &'static str,
}

#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) action: &'static str,
    pub(crate) stage: &'static str,
    pub(crate) findings: Vec<Finding>,
    pub(crate) unmeasured: bool,
    pub(crate) unsupported_categories: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Provenance {
    pub(crate) request_id: String,
    pub(crate) tenant: String,
    pub(crate) policy: String,
    pub(crate) policy_version: String,
    pub(crate) generators: Vec<ModelRef>,
    pub(crate) detectors: Vec<ModelRef>,
    pub(crate) content_sha256: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Completion {
    pub(crate) model: Option<ModelRef>,
    pub(crate) finish_reason: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) stop_sequence: String,
    pub(crate) seed: String,
    pub(crate) usage: Option<TokenUsage>,
    pub(crate) timings: Option<Timings>,
    pub(crate) input_verdict: Option<Verdict>,
    pub(crate) output_verdict: Option<Verdict>,
    pub(crate) provenance: Option<Provenance>,
    /// How likely each token was, where that is asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tokens: Vec<TokenLogprob>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Scores {
    /// Category to score.
    pub(crate) scores: BTreeMap<String, f32>,
    /// Category to severity, 0 to 7; those of 0 are left out.
    pub(crate) severities: BTreeMap<String, u32>,
    pub(crate) unsupported_categories: Vec<String>,
    pub(crate) windows: u32,
    /// Where the scores come from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) findings: Vec<Part>,
    /// What a picture shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) tags: Vec<Tag>,
    /// The faces in a picture, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) faces: Option<Vec<Face>>,
    /// Of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frames: Option<u32>,
    /// Of a text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) language: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Face {
    /// Left, top, width and height in pixels.
    pub(crate) region: Option<[u32; 4]>,
    pub(crate) score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tag {
    pub(crate) label: String,
    pub(crate) score: f32,
}

#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) category: String,
    pub(crate) score: f32,
    /// Of a text; both 0 for a picture.
    pub(crate) start_byte: u32,
    pub(crate) end_byte: u32,
    pub(crate) reason: String,
    /// Of a picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<Region>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Region {
    pub(crate) left: u32,
    pub(crate) top: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

#[derive(Debug, Serialize)]
pub(crate) struct Category {
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) detectors: Vec<Detector>,
    /// What other taxonomies call it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) openai: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) llama_guard: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) azure: String,
    pub(crate) on_request: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Detector {
    #[serde(flatten)]
    pub(crate) model: ModelRef,
    pub(crate) modality: &'static str,
}

impl From<WireModelRef> for ModelRef {
    fn from(model: WireModelRef) -> Self {
        Self { id: model.id, revision: model.revision }
    }
}

impl From<WireModel> for Model {
    fn from(model: WireModel) -> Self {
        let tasks = model.tasks().map(task).collect();
        let WireModel {
            id,
            revision,
            tasks: _,
            context_length,
            vocabulary_size,
            embedding_dimensions,
            embedding_space,
            license,
            image,
        } = model;
        let image = image.map(Into::into);
        Self {
            id,
            revision,
            tasks,
            context_length,
            vocabulary_size,
            embedding_dimensions,
            embedding_space,
            license,
            image,
        }
    }
}

impl From<Usage> for TokenUsage {
    fn from(usage: Usage) -> Self {
        let Usage { prompt_tokens, completion_tokens, total_tokens, cached_tokens, truncated_tokens } = usage;
        Self { prompt_tokens, completion_tokens, total_tokens, cached_tokens, truncated_tokens }
    }
}

impl From<WireTimings> for Timings {
    fn from(timings: WireTimings) -> Self {
        let WireTimings { queue, prefill, decode, total } = timings;
        Self {
            queue_ms: milliseconds(queue),
            prefill_ms: milliseconds(prefill),
            decode_ms: milliseconds(decode),
            total_ms: milliseconds(total),
        }
    }
}

impl From<WireFinding> for Finding {
    fn from(finding: WireFinding) -> Self {
        let action = action(finding.action());
        let WireFinding { category, score, threshold, action: _ } = finding;
        Self { category, score, threshold, action }
    }
}

impl From<WireVerdict> for Verdict {
    fn from(verdict: WireVerdict) -> Self {
        let (action, stage) = (action(verdict.action()), stage(verdict.stage()));
        let WireVerdict { findings, unmeasured, unsupported_categories, .. } = verdict;
        let findings = findings.into_iter().map(Into::into).collect();
        Self { action, stage, findings, unmeasured, unsupported_categories }
    }
}

impl From<WireProvenance> for Provenance {
    fn from(provenance: WireProvenance) -> Self {
        let WireProvenance {
            request_id,
            tenant,
            policy,
            policy_version,
            generators,
            detectors,
            content_sha256,
        } = provenance;
        let refs = |models: Vec<WireModelRef>| models.into_iter().map(Into::into).collect();
        Self {
            request_id,
            tenant,
            policy,
            policy_version,
            generators: refs(generators),
            detectors: refs(detectors),
            content_sha256,
        }
    }
}

impl From<WireCompletion> for Completion {
    fn from(completion: WireCompletion) -> Self {
        let finish_reason = finish_reason(completion.finish_reason());
        Self {
            model: completion.model.map(Into::into),
            finish_reason,
            stop_sequence: completion.stop_sequence,
            seed: completion.seed.to_string(),
            usage: completion.usage.map(Into::into),
            timings: completion.timings.map(Into::into),
            input_verdict: completion.input_verdict.map(Into::into),
            output_verdict: completion.output_verdict.map(Into::into),
            provenance: completion.provenance.map(Into::into),
            tokens: completion.tokens.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<WireScores> for Scores {
    fn from(scores: WireScores) -> Self {
        let WireScores {
            categories,
            unsupported_categories,
            windows,
            findings,
            tags,
            faces,
            frames,
            language,
            ..
        } = scores;
        let severe = categories.iter().filter(|score| score.severity > 0);
        let tag = |tag: WireTag| Tag { label: tag.label, score: tag.score };
        let face = |face: WireFace| Face {
            region: face.region.map(|at| [at.left, at.top, at.width, at.height]),
            score: face.score,
            time_ms: face.time_ms,
        };
        Self {
            severities: severe.map(|score| (score.category.clone(), score.severity)).collect(),
            scores: categories.into_iter().map(|score| (score.category, score.score)).collect(),
            unsupported_categories,
            windows,
            findings: findings.into_iter().map(Into::into).collect(),
            tags: tags.into_iter().map(tag).collect(),
            faces: faces.map(|faces| faces.faces.into_iter().map(face).collect()),
            frames: (frames > 0).then_some(frames),
            language,
        }
    }
}

impl From<WirePart> for Part {
    fn from(part: WirePart) -> Self {
        let WirePart { category, score, start_byte, end_byte, reason, region, time_ms } = part;
        let region =
            region.map(|at| Region { left: at.left, top: at.top, width: at.width, height: at.height });
        Self { category, score, start_byte, end_byte, reason, region, time_ms }
    }
}

impl From<WireCategory> for Category {
    fn from(category: WireCategory) -> Self {
        let WireCategory { id, description, detectors, openai, llama_guard, azure, on_request } = category;
        let detectors = detectors.into_iter().map(|detector| {
            let modality = modality(detector.modality());
            Detector { model: detector.model.unwrap_or_default().into(), modality }
        });
        Self { id, description, detectors: detectors.collect(), openai, llama_guard, azure, on_request }
    }
}

pub(crate) fn milliseconds(duration: Option<prost_types::Duration>) -> f64 {
    duration.map_or(0.0, |duration| duration.seconds as f64 * 1e3 + f64::from(duration.nanos) / 1e6)
}

fn task(task: ModelTask) -> &'static str {
    match task {
        ModelTask::Unspecified => "unspecified",
        ModelTask::TextGeneration => "text_generation",
        ModelTask::TextEmbedding => "text_embedding",
        ModelTask::TextReranking => "text_reranking",
        ModelTask::ImageGeneration => "image_generation",
        ModelTask::VideoGeneration => "video_generation",
        ModelTask::ImageExploration => "image_exploration",
        ModelTask::ImageEmbedding => "image_embedding",
        ModelTask::ImageClassification => "image_classification",
        ModelTask::ImageUpscaling => "image_upscaling",
        ModelTask::StyleTransfer => "style_transfer",
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Unspecified => "unspecified",
        Action::Allow => "allow",
        Action::Flag => "flag",
        Action::Block => "block",
    }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Unspecified => "unspecified",
        Stage::Input => "input",
        Stage::Output => "output",
    }
}

fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Unspecified => "unspecified",
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::ToolCalls => "tool_calls",
    }
}

fn modality(modality: Modality) -> &'static str {
    match modality {
        Modality::Unspecified => "unspecified",
        Modality::Text => "text",
        Modality::Image => "image",
        Modality::TextInImage => "text_in_image",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_written_like_this() {
        let completion = WireCompletion {
            model: Some(WireModelRef { id: "m".into(), revision: "r".into() }),
            finish_reason: FinishReason::ContentFilter.into(),
            seed: u64::MAX,
            usage: Some(Usage {
                prompt_tokens: 2,
                completion_tokens: 3,
                total_tokens: 5,
                cached_tokens: 1,
                truncated_tokens: 4,
            }),
            timings: Some(WireTimings {
                prefill: Some(prost_types::Duration { seconds: 1, nanos: 500_000 }),
                ..WireTimings::default()
            }),
            output_verdict: Some(WireVerdict {
                action: Action::Block.into(),
                stage: Stage::Output.into(),
                findings: vec![WireFinding {
                    category: "hate".into(),
                    score: 0.9,
                    threshold: 0.5,
                    action: Action::Block.into(),
                }],
                ..WireVerdict::default()
            }),
            ..WireCompletion::default()
        };
        let written = serde_json::to_value(Completion::from(completion)).expect("plain data");
        let expected = serde_json::json!({
            "model": {"id": "m", "revision": "r"},
            "finish_reason": "content_filter",
            "seed": "18446744073709551615",
            "usage": {
                "prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5, "cached_tokens": 1, "truncated_tokens": 4
            },
            "timings": {"queue_ms": 0.0, "prefill_ms": 1000.5, "decode_ms": 0.0, "total_ms": 0.0},
            "input_verdict": null,
            "output_verdict": {
                "action": "block",
                "stage": "output",
                "findings": [{"category": "hate", "score": 0.9_f32, "threshold": 0.5, "action": "block"}],
                "unmeasured": false,
                "unsupported_categories": []
            },
            "provenance": null
        });
        assert_eq!(written, expected);
    }
}
