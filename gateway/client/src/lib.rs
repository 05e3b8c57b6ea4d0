//! The Rust SDK for callers of Atelier.
//!
//! ```no_run
//! use atelier_client::{Client, ClientOptions, Event, proto::gateway::v1::ChatRequest, user};
//! use futures::StreamExt;
//!
//! # async fn example() -> Result<(), atelier_client::ClientError> {
//! let client = Client::connect(ClientOptions::new("http://127.0.0.1:50051")).await?;
//! let request = ChatRequest { messages: vec![user("Write a short poem about the sea")], ..Default::default() };
//! let mut events = client.stream_chat(request).await?;
//! while let Some(event) = events.next().await {
//!     match event? {
//!         Event::Delta(delta) => print!("{}", delta.text),
//!         Event::ToolCall { call, .. } => println!("{}({})", call.name, call.arguments_json),
//!         Event::Verdict { verdict, .. } => eprintln!("{:?}", verdict.findings),
//!         Event::Completion(completion) => println!("\n{:?}", completion.finish_reason()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Requests and answers are the API's own messages, under [`proto`]; every failure is a [`ClientError`].

mod bulk;
mod client;
mod error;
mod events;
mod image;
mod options;
mod retry;

pub use atelier_proto as proto;
pub use bulk::{BulkAnswer, BulkOptions, BulkStream};
pub use client::{Client, RawClient, ServingStatus};
pub use error::{CallError, ClientError, ConnectionFailure, FieldViolation, reason};
pub use events::{Event, EventStream, ImageEvent, VideoEvent};
pub use options::{ApiKey, ClientOptions, TlsOptions};
pub use retry::RetryPolicy;

use proto::text::v1::{Message, Role};

/// Standing instructions; only as the first message of a conversation.
pub fn system(content: impl Into<String>) -> Message {
    said(Role::System, content)
}

/// What the person (or program) that asks says.
pub fn user(content: impl Into<String>) -> Message {
    said(Role::User, content)
}

/// What the model has said in an earlier turn.
pub fn assistant(content: impl Into<String>) -> Message {
    said(Role::Assistant, content)
}

/// What a tool gave back for the call of this id, which the model made in an earlier turn.
pub fn tool_result(call_id: impl Into<String>, content: impl Into<String>) -> Message {
    Message { tool_call_id: call_id.into(), ..said(Role::Tool, content) }
}

fn said(role: Role, content: impl Into<String>) -> Message {
    Message { role: role.into(), content: content.into(), ..Message::default() }
}
