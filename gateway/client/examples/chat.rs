//! One streamed, moderated call: `cargo run -p atelier-client --example chat -- "Write a short poem about the sea"`.

use std::{
    error::Error,
    io::{Write, stdout},
};

use atelier_client::{Client, ClientOptions, Event, proto::gateway::v1::ChatRequest, user};
use futures::StreamExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let endpoint = std::env::var("ATELIER_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:50051".into());
    let prompt = std::env::args().nth(1).unwrap_or_else(|| "Write a short poem about the sea".into());

    let client = Client::connect(ClientOptions::new(endpoint)).await?;
    let mut events =
        client.stream_chat(ChatRequest { messages: vec![user(prompt)], ..Default::default() }).await?;
    while let Some(event) = events.next().await {
        match event? {
            Event::Delta(delta) => {
                write!(stdout(), "{}", delta.text)?;
                stdout().flush()?;
            }
            Event::ToolCall { call, .. } => writeln!(stdout(), "[{}({})]", call.name, call.arguments_json)?,
            Event::Verdict { verdict, .. } => {
                writeln!(stdout(), "\n[{:?}: {:?}]", verdict.action(), verdict.findings)?
            }
            Event::Completion(completion) => writeln!(stdout(), "\n[{:?}]", completion.finish_reason())?,
        }
    }
    Ok(())
}
