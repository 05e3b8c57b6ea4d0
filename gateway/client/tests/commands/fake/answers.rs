//! What answers are made of.

use atelier_client::proto::{
    common::v1::{FinishReason, Timings, Usage},
    gateway::v1::{
        Action, Choice, Completion, Finding, Provenance, Stage, StreamChatResponse, Verdict,
        stream_chat_response::Event,
    },
    text::v1::Delta,
};

use super::model;

pub(super) fn verdict(action: Action, stage: Stage) -> Verdict {
    let finding = Finding { category: "hate".into(), score: 0.97, threshold: 0.8, action: action.into() };
    let findings = if action == Action::Allow { vec![] } else { vec![finding] };
    Verdict { action: action.into(), stage: stage.into(), findings, ..Verdict::default() }
}

pub(super) fn completion(finish: FinishReason, written: u32) -> Completion {
    let output = if finish == FinishReason::ContentFilter { Action::Block } else { Action::Allow };
    Completion {
        model: model(),
        finish_reason: finish.into(),
        seed: 7,
        usage: Some(Usage {
            prompt_tokens: 3,
            completion_tokens: written,
            total_tokens: 3 + written,
            ..Usage::default()
        }),
        timings: Some(Timings::default()),
        input_verdict: Some(verdict(Action::Allow, Stage::Input)),
        output_verdict: Some(verdict(output, Stage::Output)),
        provenance: Some(Provenance {
            request_id: "0192-fake".into(),
            policy: "default".into(),
            ..Provenance::default()
        }),
        ..Completion::default()
    }
}

pub(super) fn deltas(words: Vec<String>) -> impl Iterator<Item = Delta> {
    words.into_iter().zip(1..).map(|(text, completion_tokens)| Delta { text, completion_tokens, choice: 0 })
}

/// An answer and its number for each, where more than one is asked for.
pub(super) fn choices(n: u32, answer: &str, completion: &Completion) -> Vec<Choice> {
    let choice = |choice| Choice {
        text: format!("{answer} {choice}"),
        completion: Some(Completion { choice, ..completion.clone() }),
        ..Choice::default()
    };
    (0..n).filter(|_| n > 1).map(choice).collect()
}

/// An event of a streamed answer, in that with this number.
pub(super) fn of_choice(choice: u32, event: Event) -> StreamChatResponse {
    let event = match event {
        Event::Delta(delta) => Event::Delta(Delta { choice, ..delta }),
        Event::Completion(completion) => Event::Completion(Completion { choice, ..completion }),
        event @ (Event::Verdict(_) | Event::ToolCall(_)) => event,
    };
    StreamChatResponse { event: Some(event), choice }
}
