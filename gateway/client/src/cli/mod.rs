//! The `atelier` command line: parse, connect, run one command, say how it went.

mod args;
mod chat;
mod check;
mod classify;
mod documents;
mod embed;
mod explore;
mod files;
mod generate;
mod health;
mod image;
mod input;
mod jsonl;
mod lines;
mod matching;
mod models;
mod moderate;
mod output;
mod progress;
mod rerank;
mod video;

use std::{io, process::ExitCode};

use atelier_client::{Client, ClientError};
use clap::Parser;

use args::{Arguments, Command};
use output::Output;

/// How a command can fail.
#[derive(Debug, thiserror::Error)]
enum CliError {
    /// The command line or what it names can't be used.
    #[error("{0}")]
    Usage(String),
    /// The call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Policy withheld the answer or a part of it.
    #[error("{0}")]
    Withheld(String),
    /// The command ran, and not all of it went well.
    #[error("{0}")]
    Incomplete(String),
    /// The answer can't be written.
    #[error("can't write: {0}")]
    Write(#[from] io::Error),
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Client(ClientError::Options(_)) => 2,
            Self::Withheld(_) => 3,
            Self::Client(error) if error.is_content_blocked() => 3,
            Self::Client(_) | Self::Incomplete(_) | Self::Write(_) => 1,
        }
    }

    fn client(&self) -> Option<&ClientError> {
        match self {
            Self::Client(error) => Some(error),
            Self::Usage(_) | Self::Withheld(_) | Self::Incomplete(_) | Self::Write(_) => None,
        }
    }
}

pub(crate) fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return explain(&error),
    };
    let json = arguments.global.json;
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has had enough (`| head`): no failure of ours.
        Err(CliError::Write(cause)) if cause.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            output::report(&error, json);
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(arguments: Arguments) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(arguments));
    // A thread that waits for stdin must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

async fn run(arguments: Arguments) -> Result<(), CliError> {
    let Arguments { global, command } = arguments;
    let mut out = Output::new(global.json);
    let connect = || Client::connect(global.options());
    match command {
        Command::Chat(arguments) => chat::run(connect, &mut out, arguments).await,
        Command::Generate(arguments) => generate::run(connect, &mut out, arguments).await,
        Command::Image(arguments) => image::run(connect, &mut out, *arguments).await,
        Command::Video(arguments) => video::run(connect, &mut out, *arguments).await,
        Command::Explore(arguments) => explore::run(connect, &mut out, arguments).await,
        Command::Classify(arguments) => classify::run(connect, &mut out, arguments).await,
        Command::Match(arguments) => matching::run(connect, &mut out, arguments).await,
        Command::Moderate(arguments) => moderate::run(connect, &mut out, arguments).await,
        Command::Check(arguments) => check::run(connect, &mut out, arguments).await,
        Command::Embed(arguments) => embed::embed(connect, &mut out, arguments).await,
        Command::Rerank(arguments) => rerank::run(connect, &mut out, arguments).await,
        Command::Tokenize(arguments) => embed::tokenize(connect, &mut out, arguments).await,
        Command::Models => models::models(&connect().await?, &mut out).await,
        Command::Categories => models::categories(&connect().await?, &mut out).await,
        Command::Health(arguments) => {
            health::run(Client::connect_lazy(global.options())?, &mut out, arguments).await
        }
    }?;
    out.flush()
}

/// Prints what clap has to say: help and versions on stdout, errors on stderr, as a document where one is asked for.
fn explain(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        output::report(&CliError::Usage(first.trim_start_matches("error: ").to_owned()), true);
    } else {
        // Nothing is left to do when not even this can be written.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}
