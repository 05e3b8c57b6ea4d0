//! `atelier generate`, and the printing of answers that it shares with `atelier chat`.

use atelier_client::{
    Client, ClientError, Event, EventStream,
    proto::{
        common::v1::FinishReason,
        gateway::v1::{Choice, Completion as WireCompletion, GenerateRequest},
        text::v1::Message,
    },
};
use futures::StreamExt;
use serde::Serialize;

use super::{
    CliError,
    args::GenerateArgs,
    documents::{Completion, ModelRef, ToolCall, Verdict},
    input,
    output::{Output, note},
};

/// A line of a streamed answer.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum EventDocument<'a> {
    Delta { text: &'a str, completion_tokens: u32 },
    ToolCall(ToolCall),
    Verdict(Verdict),
    Completion(Box<Completion>),
}

#[derive(Serialize)]
struct AnswerDocument<'a> {
    /// Which of several answers it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<u32>,
    text: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
    completion: Completion,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) text: String,
    completion: WireCompletion,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: GenerateArgs,
) -> Result<(), CliError> {
    let GenerateArgs { prompt, echo, generation } = arguments;
    let prompt = input::required_text(&prompt, "prompt")?;
    let config = Some(generation.sampling.config());
    let is_streamed = generation.is_streamed();
    let request = GenerateRequest { model: generation.model, prompt, generation: config, echo };
    let client = connect().await?;
    let answer = if is_streamed {
        print_stream(out, client.stream_generate(request).await?).await?
    } else {
        let answer = client.generate(request).await?;
        let message = Message { content: answer.text, ..Message::default() };
        print_whole(out, message, answer.completion, answer.choices)?
    };
    conclude(&answer, generation.stats)
}

/// Prints an answer as it comes.
pub(crate) async fn print_stream(out: &mut Output, mut events: EventStream) -> Result<Answer, CliError> {
    let (mut text, mut line) = (String::new(), String::new());
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                end_line(out, &line)?;
                return Err(error.into());
            }
        };
        match event {
            Event::Delta(delta) => {
                if out.json {
                    let document = EventDocument::Delta {
                        text: &delta.text,
                        completion_tokens: delta.completion_tokens,
                    };
                    out.document(&document)?;
                    out.flush()?;
                } else {
                    out.text_now(&delta.text)?;
                }
                text.push_str(&delta.text);
                line.push_str(&delta.text);
            }
            Event::ToolCall { call, .. } if out.json => {
                out.document(&EventDocument::ToolCall(call.into()))?;
                out.flush()?;
            }
            Event::ToolCall { call, .. } => {
                end_line(out, &line)?;
                line.clear();
                out.document(&ToolCall::from(call))?;
                out.flush()?;
            }
            Event::Verdict { verdict, .. } if out.json => {
                out.document(&EventDocument::Verdict(verdict.into()))?;
                out.flush()?;
            }
            // People are told at the end, so that notes do not run into the text.
            Event::Verdict { .. } => {}
            Event::Completion(completion) => {
                if out.json {
                    out.document(&EventDocument::Completion(Box::new((*completion).clone().into())))?;
                    out.flush()?;
                } else {
                    end_line(out, &line)?;
                }
                return Ok(Answer { text, completion: *completion });
            }
        }
    }
    Err(ClientError::Protocol("the answer ended without a completion").into())
}

/// Prints an answer that came in one piece, or all of several; gives the first.
pub(crate) fn print_whole(
    out: &mut Output,
    message: Message,
    completion: Option<WireCompletion>,
    choices: Vec<Choice>,
) -> Result<Answer, CliError> {
    let completion = completion.ok_or(ClientError::Protocol("no completion in the answer"))?;
    let Message { content: text, tool_calls, .. } = message;
    let tool_calls: Vec<ToolCall> = tool_calls.into_iter().map(Into::into).collect();
    if !choices.is_empty() {
        print_choices(out, choices)?;
    } else if out.json {
        let completion = Completion::from(completion.clone());
        out.document(&AnswerDocument { choice: None, text: &text, tool_calls, completion })?;
    } else {
        out.text_now(&text)?;
        end_line(out, &text)?;
        for call in &tool_calls {
            out.document(call)?;
        }
    }
    out.flush()?;
    Ok(Answer { text, completion })
}

/// Prints each answer below its number, or as a document on a line of its own.
fn print_choices(out: &mut Output, choices: Vec<Choice>) -> Result<(), CliError> {
    for Choice { text, tool_calls, completion } in choices {
        let completion = completion.ok_or(ClientError::Protocol("no completion in an answer"))?;
        let (choice, withheld) =
            (completion.choice, completion.finish_reason() == FinishReason::ContentFilter);
        let tool_calls: Vec<ToolCall> = tool_calls.into_iter().map(Into::into).collect();
        if out.json {
            let completion = Completion::from(completion);
            out.document(&AnswerDocument { choice: Some(choice), text: &text, tool_calls, completion })?;
            continue;
        }
        out.line(&format!("[{choice}]{}", if withheld { " policy withheld what is missing" } else { "" }))?;
        out.text_now(&text)?;
        end_line(out, &text)?;
        for call in &tool_calls {
            out.document(call)?;
        }
    }
    Ok(())
}

/// Shows the facts where asked for, and says so where policy withheld something.
pub(crate) fn conclude(answer: &Answer, stats: bool) -> Result<(), CliError> {
    let filtered = answer.completion.finish_reason() == FinishReason::ContentFilter;
    let completion = Completion::from(answer.completion.clone());
    if stats {
        note(&stats_text(&completion));
    }
    if !filtered {
        return Ok(());
    }
    let what = if answer.text.is_empty() { "the answer" } else { "the rest of the answer" };
    let why = completion.output_verdict.as_ref().map(findings).filter(|findings| !findings.is_empty());
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    let id = completion
        .provenance
        .map_or_else(String::new, |provenance| format!(" (request {})", provenance.request_id));
    Err(CliError::Withheld(format!("policy withheld {what}{why}{id}")))
}

/// Findings in words, e.g. "harassment 0.97 (block from 0.80)".
pub(crate) fn findings(verdict: &Verdict) -> String {
    let words = verdict.findings.iter().map(|finding| {
        format!(
            "{} {:.2} ({} from {:.2})",
            finding.category, finding.score, finding.action, finding.threshold
        )
    });
    words.collect::<Vec<_>>().join(", ")
}

fn end_line(out: &mut Output, text: &str) -> Result<(), CliError> {
    if !out.json && !text.is_empty() && !text.ends_with('\n') {
        out.line("")?;
    }
    out.flush()
}

fn stats_text(completion: &Completion) -> String {
    let mut lines = Vec::new();
    if let Some(model) = &completion.model {
        lines.push(format!("model    {}", named(model)));
    }
    lines.push(match completion.stop_sequence.as_str() {
        "" => format!("finish   {}", completion.finish_reason),
        sequence => format!("finish   {} at {sequence:?}", completion.finish_reason),
    });
    if let Some(usage) = &completion.usage {
        let aside = |tokens: u32, what: &str| match tokens {
            0 => String::new(),
            tokens => format!(" ({tokens} {what})"),
        };
        let cached = aside(usage.cached_tokens, "cached");
        let left_out = aside(usage.truncated_tokens, "more left out");
        lines.push(format!(
            "tokens   {} prompt{cached}{left_out}, {} written",
            usage.prompt_tokens, usage.completion_tokens
        ));
    }
    if let Some(timings) = &completion.timings {
        // The first token comes out of the prefill.
        let decoded = completion.usage.as_ref().map_or(0, |usage| usage.completion_tokens.saturating_sub(1));
        let rate = if timings.decode_ms > 0.0 && decoded > 0 {
            format!(" ({:.1} tokens/s)", f64::from(decoded) / timings.decode_ms * 1e3)
        } else {
            String::new()
        };
        lines.push(format!(
            "time     queue {:.1} ms, prefill {:.1} ms, decode {:.1} ms{rate}, total {:.1} ms",
            timings.queue_ms, timings.prefill_ms, timings.decode_ms, timings.total_ms
        ));
    }
    lines.push(format!("seed     {}", completion.seed));
    for (name, verdict) in [("input", &completion.input_verdict), ("output", &completion.output_verdict)] {
        let Some(verdict) = verdict else { continue };
        let findings = findings(verdict);
        let unmeasured = if verdict.unmeasured { " (unmeasured: moderation was down)" } else { "" };
        let separator = if findings.is_empty() { "" } else { ": " };
        lines.push(format!("{name:8} {}{unmeasured}{separator}{findings}", verdict.action));
    }
    if let Some(provenance) = &completion.provenance {
        lines.push(format!("policy   {}@{}", provenance.policy, provenance.policy_version));
        lines.push(format!("request  {}", provenance.request_id));
    }
    lines.join("\n")
}

/// A model in one word.
pub(crate) fn named(model: &ModelRef) -> String {
    format!("{}@{}", model.id, model.revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use atelier_client::proto::{
        common::v1::Usage,
        gateway::v1::{Action, Finding, Provenance, Verdict as WireVerdict},
    };

    fn blocked(text: &str) -> Answer {
        let finding =
            Finding { category: "hate".into(), score: 0.97, threshold: 0.8, action: Action::Block.into() };
        let completion = WireCompletion {
            finish_reason: FinishReason::ContentFilter.into(),
            usage: Some(Usage {
                prompt_tokens: 200,
                completion_tokens: 2,
                total_tokens: 202,
                cached_tokens: 128,
                truncated_tokens: 7,
            }),
            output_verdict: Some(WireVerdict {
                action: Action::Block.into(),
                findings: vec![finding],
                ..WireVerdict::default()
            }),
            provenance: Some(Provenance { request_id: "0192".into(), ..Provenance::default() }),
            ..WireCompletion::default()
        };
        Answer { text: text.into(), completion }
    }

    #[test]
    fn withheld_answers_say_why() {
        let error = conclude(&blocked("so far"), false).expect_err("withheld");
        assert_eq!(
            error.to_string(),
            "policy withheld the rest of the answer: hate 0.97 (block from 0.80) (request 0192)"
        );
        assert_eq!(error.exit_code(), 3);
        let error = conclude(&blocked(""), false).expect_err("withheld");
        assert!(error.to_string().starts_with("policy withheld the answer: "), "{error}");
    }

    #[test]
    fn stats_name_what_matters() {
        let text = stats_text(&Completion::from(blocked("").completion));
        assert!(text.contains("tokens   200 prompt (128 cached) (7 more left out), 2 written"), "{text}");
        assert!(text.contains("output   block: hate 0.97 (block from 0.80)"), "{text}");
        assert!(text.contains("request  0192"), "{text}");
    }
}
