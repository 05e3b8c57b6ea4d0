//! Between the API's messages and the gateway's own types; nothing is decided here.

pub(crate) mod image;

use std::{iter, time::Duration};

use atelier_core::{CategoryId, Fault, ModelId, ModelRef, Revision};
use atelier_policy::{Action, Stage, Verdict};
use atelier_proto::{
    common::v1 as common, gateway::v1 as api, moderation::v1 as moderation, text::v1 as text,
};
use tonic::Status;

use crate::{
    judge::{Call, Judged},
    moderator::{Measurement, Score, Scores},
    response_filter::text::{End, Event, Piece},
    tools::ToolCall,
    upstream::{Listing, Task},
};

/// A model as an upstream lists it; `None` for a name that is none of ours.
pub(crate) fn listing(model: common::Model) -> Option<Listing> {
    let task = |task| match task {
        common::ModelTask::TextGeneration => Some(Task::Generate),
        common::ModelTask::TextEmbedding => Some(Task::Embed),
        common::ModelTask::TextReranking => Some(Task::Rerank),
        common::ModelTask::ImageGeneration => Some(Task::GenerateImage),
        common::ModelTask::VideoGeneration => Some(Task::GenerateVideo),
        common::ModelTask::ImageExploration => Some(Task::ExploreImages),
        common::ModelTask::ImageEmbedding => Some(Task::EmbedImage),
        common::ModelTask::ImageClassification => Some(Task::ClassifyImage),
        common::ModelTask::ImageUpscaling => Some(Task::UpscaleImage),
        common::ModelTask::StyleTransfer => Some(Task::TransferStyle),
        common::ModelTask::Unspecified => None,
    };
    Some(Listing {
        reference: model_ref(&model.id, &model.revision)?,
        tasks: model.tasks().filter_map(task).collect(),
        description: model,
    })
}

/// What a moderation service measured. Categories this version does not know are left out: no policy can name them.
pub(crate) fn measurement(
    results: Vec<moderation::ItemScores>,
    models: Vec<common::ModelRef>,
) -> Measurement {
    let detectors = models.iter().filter_map(|model| model_ref(&model.id, &model.revision)).collect();
    Measurement {
        items: results.into_iter().map(|item| scores(item.scores.unwrap_or_default())).collect(),
        detectors,
    }
}

fn scores(scores: moderation::Scores) -> Scores {
    let score = |of: moderation::CategoryScore| {
        let moderation::CategoryScore { category, score, detector, severity } = of;
        Some(Score { category: category.parse().ok()?, score, severity, detector })
    };
    let unsupported = scores.unsupported_categories.iter().filter_map(|id| id.parse::<CategoryId>().ok());
    Scores {
        unsupported: unsupported.collect(),
        categories: scores.categories.into_iter().filter_map(score).collect(),
        windows: scores.windows,
        findings: scores.findings,
        tags: scores.tags,
        frames: scores.frames,
        text_truncated: scores.text_truncated,
    }
}

/// Scores as callers see them.
pub(crate) fn scores_message(scores: Scores) -> moderation::Scores {
    let score = |of: Score| moderation::CategoryScore {
        category: of.category.as_str().to_owned(),
        score: of.score,
        detector: of.detector,
        severity: of.severity,
    };
    moderation::Scores {
        categories: scores.categories.into_iter().map(score).collect(),
        unsupported_categories: names(&scores.unsupported),
        windows: scores.windows,
        findings: scores.findings,
        tags: scores.tags,
        frames: scores.frames,
        text_truncated: scores.text_truncated,
        ..moderation::Scores::default()
    }
}

/// A piece of a streamed chat, and which answer it is of.
pub(crate) fn chat_piece(
    message: Result<text::StreamChatResponse, Status>,
) -> Result<(usize, Piece<text::Completion>), Fault> {
    use text::stream_chat_response::Event as From;
    let message = message.map_err(|status| atelier_rpc::fault_of(&status))?;
    match message.event {
        Some(From::Delta(delta)) => Ok(delta_piece(delta)),
        Some(From::ToolCall(call)) => Ok((message.choice as usize, Piece::Call(judged_call(call)))),
        Some(From::Completion(completion)) => Ok((completion.choice as usize, Piece::End(completion))),
        None => Err(Fault::internal("a text service sent an event without content")),
    }
}

/// A piece of a streamed continuation, and which answer it is of.
pub(crate) fn generate_piece(
    message: Result<text::StreamGenerateResponse, Status>,
) -> Result<(usize, Piece<text::Completion>), Fault> {
    use text::stream_generate_response::Event as From;
    match message.map_err(|status| atelier_rpc::fault_of(&status))?.event {
        Some(From::Delta(delta)) => Ok(delta_piece(delta)),
        Some(From::Completion(completion)) => Ok((completion.choice as usize, Piece::End(completion))),
        None => Err(Fault::internal("a text service sent an event without content")),
    }
}

fn delta_piece(delta: text::Delta) -> (usize, Piece<text::Completion>) {
    let text::Delta { text, completion_tokens, choice } = delta;
    (choice as usize, Piece::Delta { text, completion_tokens })
}

/// A call as it is judged.
fn judged_call(call: text::ToolCall) -> ToolCall {
    let text::ToolCall { id, name, arguments_json } = call;
    ToolCall { id, name, arguments_json }
}

/// A call as callers see it.
pub(crate) fn tool_call(call: ToolCall) -> text::ToolCall {
    let ToolCall { id, name, arguments_json } = call;
    text::ToolCall { id, name, arguments_json }
}

/// An answer that came whole, in pieces.
pub(crate) fn whole_pieces(choice: text::Choice) -> Vec<Piece<text::Completion>> {
    let text::Choice { text, tool_calls, completion } = choice;
    let completion = completion.unwrap_or_default();
    let completion_tokens = completion.usage.map_or(0, |usage| usage.completion_tokens);
    let calls = tool_calls.into_iter().map(judged_call);
    let text = Piece::Delta { text, completion_tokens };
    iter::once(text).chain(calls.map(Piece::Call)).chain([Piece::End(completion)]).collect()
}

/// An event of a streamed call.
pub(crate) struct StreamEvent {
    /// Which answer it is of.
    choice: u32,
    content: StreamContent,
}

/// What the messages of streamed calls can carry.
enum StreamContent {
    Delta(text::Delta),
    Call(text::ToolCall),
    Verdict(api::Verdict),
    Completion(Box<api::Completion>),
}

impl From<StreamEvent> for api::StreamChatResponse {
    fn from(event: StreamEvent) -> Self {
        use api::stream_chat_response::Event as To;
        let StreamEvent { choice, content } = event;
        let event = match content {
            StreamContent::Delta(delta) => To::Delta(delta),
            StreamContent::Call(call) => To::ToolCall(call),
            StreamContent::Verdict(verdict) => To::Verdict(verdict),
            StreamContent::Completion(completion) => To::Completion(*completion),
        };
        Self { event: Some(event), choice }
    }
}

impl From<StreamEvent> for api::StreamGenerateResponse {
    fn from(event: StreamEvent) -> Self {
        use api::stream_generate_response::Event as To;
        let StreamEvent { choice, content } = event;
        let event = match content {
            StreamContent::Delta(delta) => Some(To::Delta(delta)),
            // A raw prompt offers no tools.
            StreamContent::Call(_) => None,
            StreamContent::Verdict(verdict) => Some(To::Verdict(verdict)),
            StreamContent::Completion(completion) => Some(To::Completion(*completion)),
        };
        Self { event, choice }
    }
}

/// An event of the answer in this place, as callers see it.
pub(crate) fn stream_event(place: usize, event: Event<text::Completion>, facts: &Facts) -> StreamEvent {
    let choice = facts.answers[place].choice;
    let content = match event {
        Event::Delta { text, completion_tokens } => {
            StreamContent::Delta(text::Delta { text, completion_tokens, choice })
        }
        Event::Call(call) => StreamContent::Call(tool_call(call)),
        Event::Verdict(of) => StreamContent::Verdict(verdict(&of)),
        Event::End(end) => StreamContent::Completion(Box::new(completion(place, *end, facts))),
    };
    StreamEvent { choice, content }
}

/// What a completion tells beside how the answer ended.
pub(crate) struct Facts {
    pub(crate) call: std::sync::Arc<Call>,
    pub(crate) input: Judged,
    /// In the order in which the answers are given.
    pub(crate) answers: Vec<Known>,
    pub(crate) since: std::time::Instant,
}

/// What is known of an answer that policy cuts, too.
#[derive(Default)]
pub(crate) struct Known {
    /// Which of the answers it is, as they were tried.
    pub(crate) choice: u32,
    /// 0 where the upstream has drawn it and can't tell any more.
    pub(crate) seed: u64,
}

/// How the answer in this place ended, as callers see it.
pub(crate) fn completion(place: usize, end: End<text::Completion>, facts: &Facts) -> api::Completion {
    let detectors = union(&facts.input.detectors, &end.summary.detectors);
    let known = &facts.answers[place];
    let cut = end.upstream.is_none();
    let upstream = end.upstream.unwrap_or_else(|| text::Completion {
        model: facts.call.model.as_ref().map(model_ref_message),
        seed: known.seed,
        // What the prompt took is only known to an answer that ended by itself.
        usage: Some(common::Usage {
            prompt_tokens: 0,
            completion_tokens: end.completion_tokens,
            total_tokens: end.completion_tokens,
            ..common::Usage::default()
        }),
        ..text::Completion::default()
    });
    let timings = if cut { Some(total(facts.since.elapsed())) } else { upstream.timings };
    // The tokens spell the answer, and what might have stood in it: they leave only with all of it.
    let (finish_reason, stop_sequence, tokens) = if end.blocked {
        (common::FinishReason::ContentFilter.into(), String::new(), Vec::new())
    } else {
        (upstream.finish_reason, upstream.stop_sequence, upstream.tokens)
    };
    let generators = upstream.model.iter().cloned().collect();
    api::Completion {
        model: upstream.model,
        finish_reason,
        stop_sequence,
        seed: upstream.seed,
        usage: upstream.usage,
        timings,
        tokens,
        choice: known.choice,
        input_verdict: Some(verdict(&facts.input.verdict)),
        output_verdict: Some(verdict(&end.summary.verdict)),
        provenance: Some(provenance(&facts.call, generators, &detectors, end.summary.content_sha256)),
    }
}

fn total(elapsed: Duration) -> common::Timings {
    common::Timings { total: elapsed.try_into().ok(), ..common::Timings::default() }
}

/// What made an answer and under which rules.
pub(crate) fn provenance(
    call: &Call,
    generators: Vec<common::ModelRef>,
    detectors: &[ModelRef],
    content_sha256: String,
) -> api::Provenance {
    api::Provenance {
        request_id: call.context.request_id.to_string(),
        tenant: call.context.tenant.to_string(),
        policy: call.policy.name().to_owned(),
        policy_version: call.policy_version.clone(),
        generators,
        detectors: detectors.iter().map(model_ref_message).collect(),
        content_sha256,
    }
}

/// A verdict as callers see it.
pub(crate) fn verdict(verdict: &Verdict) -> api::Verdict {
    let finding = |finding: &atelier_policy::Finding| api::Finding {
        category: finding.category.as_str().to_owned(),
        score: finding.score,
        threshold: finding.threshold,
        action: action(finding.action).into(),
    };
    api::Verdict {
        action: action(verdict.action).into(),
        stage: match verdict.stage {
            Stage::Input => api::Stage::Input.into(),
            Stage::Output => api::Stage::Output.into(),
        },
        findings: verdict.findings.iter().map(finding).collect(),
        unmeasured: verdict.unmeasured,
        unsupported_categories: names(&verdict.unsupported),
    }
}

/// The wire form of an action: the one place beside the policy's own table that a new action touches.
fn action(action: Action) -> api::Action {
    match action {
        Action::Allow => api::Action::Allow,
        Action::Flag => api::Action::Flag,
        Action::Block => api::Action::Block,
    }
}

/// The stage a caller asks for; unspecified: input.
pub(crate) fn stage(stage: i32) -> Result<Stage, Fault> {
    match api::Stage::try_from(stage) {
        Ok(api::Stage::Unspecified | api::Stage::Input) => Ok(Stage::Input),
        Ok(api::Stage::Output) => Ok(Stage::Output),
        Err(_) => Err(Fault::invalid("stage", "must be STAGE_INPUT or STAGE_OUTPUT")),
    }
}

fn model_ref(id: &str, revision: &str) -> Option<ModelRef> {
    Some(ModelRef { id: ModelId::new(id).ok()?, revision: Revision::new(revision).ok()? })
}

fn model_ref_message(model: &ModelRef) -> common::ModelRef {
    common::ModelRef { id: model.id.to_string(), revision: model.revision.to_string() }
}

fn names(categories: &[CategoryId]) -> Vec<String> {
    categories.iter().map(|category| category.as_str().to_owned()).collect()
}

fn union(a: &[ModelRef], b: &[ModelRef]) -> Vec<ModelRef> {
    let mut all = a.to_vec();
    all.extend(b.iter().filter(|model| !a.contains(model)).cloned());
    all
}
