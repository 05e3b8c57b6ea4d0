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
//!         Event::Verdict(verdict) => eprintln!("{:?}", verdict.findings),
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
    Message { role: Role::System.into(), content: content.into() }
}

/// What the person (or program) that asks says.
pub fn user(content: impl Into<String>) -> Message {
    Message { role: Role::User.into(), content: content.into() }
}

/// What the model has said in an earlier turn.
pub fn assistant(content: impl Into<String>) -> Message {
    Message { role: Role::Assistant.into(), content: content.into() }
}
