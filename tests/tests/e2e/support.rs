//! What several scenarios need.

use anyhow::{Context as _, bail};
use atelier_proto::{
    gateway::v1::{Completion, StreamChatRequest, StreamChatResponse, Verdict, stream_chat_response::Event},
    text::v1::{GenerationConfig, Message, Role},
};
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

/// One message of a user.
pub(crate) fn user(content: &str) -> Vec<Message> {
    vec![Message { role: Role::User.into(), content: content.to_owned(), ..Default::default() }]
}

/// Greedy decoding of at most so many tokens: the same text each time.
pub(crate) fn greedy(max_tokens: u32) -> GenerationConfig {
    GenerationConfig {
        max_tokens: Some(max_tokens),
        temperature: Some(0.0),
        repetition_penalty: Some(1.0),
        ..Default::default()
    }
}

/// A greedy request to chat.
pub(crate) fn chat(content: &str, max_tokens: u32) -> StreamChatRequest {
    StreamChatRequest { messages: user(content), generation: Some(greedy(max_tokens)), ..Default::default() }
}

/// All that a stream sent.
#[derive(Debug, Default)]
pub(crate) struct Streamed {
    pub(crate) text: String,
    pub(crate) deltas: usize,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) completion: Option<Completion>,
}

impl Streamed {
    pub(crate) fn add(&mut self, event: StreamChatResponse) -> anyhow::Result<()> {
        match event.event.context("an event is set")? {
            _ if self.completion.is_some() => bail!("an event after the completion"),
            Event::Delta(delta) => {
                self.text.push_str(&delta.text);
                self.deltas += 1;
            }
            Event::Verdict(verdict) => self.verdicts.push(verdict),
            Event::ToolCall(_) => bail!("no tools were offered"),
            Event::Completion(completion) => self.completion = Some(completion),
        }
        Ok(())
    }

    pub(crate) fn completion(&self) -> &Completion {
        self.completion.as_ref().expect("the stream ended with a completion")
    }
}

/// Reads a stream to its end; `Err` is the status that ended it, with what came before.
pub(crate) async fn read(mut stream: Streaming<StreamChatResponse>) -> Result<Streamed, (Status, Streamed)> {
    let mut streamed = Streamed::default();
    loop {
        match stream.message().await {
            Ok(Some(event)) => streamed.add(event).expect("events are in order"),
            Ok(None) => return Ok(streamed),
            Err(status) => return Err((status, streamed)),
        }
    }
}

/// The machine-readable reason of a status.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "atelier");
    info.reason
}

/// The fields at fault.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    let request = status.get_details_bad_request().unwrap_or_else(|| panic!("no BadRequest in {status:?}"));
    request.field_violations.into_iter().map(|violation| violation.field).collect()
}
