//! `atelier chat`: one answer, or a conversation.

use std::io::{self, BufRead};

use atelier_client::{
    Client, ClientError, assistant,
    proto::{gateway::v1::ChatRequest, text::v1::Message},
    system, user,
};
use tokio::{signal::ctrl_c, sync::mpsc};

use super::{
    CliError,
    args::{ChatArgs, GenerationArgs},
    generate::{Answer, conclude, print_stream, print_whole},
    input,
    output::{Output, note, report},
};

const HELP: &str = "/new starts afresh, /exit (or Ctrl-D) ends, Ctrl-C stops an answer";

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: ChatArgs,
) -> Result<(), CliError> {
    let ChatArgs { prompt, system: instructions, tools, generation } = arguments;
    let request = ChatRequest {
        model: generation.model.clone(),
        messages: Vec::new(),
        generation: Some(generation.sampling.config()),
        tools: tools.tools(),
        tool_choice: tools.choice(),
    };
    let opening: Vec<Message> = instructions.map(system).into_iter().collect();
    let Some(prompt) = input::text(&prompt)? else {
        if !request.tools.is_empty() {
            // Whoever talks here does not run tools.
            return Err(CliError::Usage("no prompt: tools are for a single answer".into()));
        }
        let client = connect().await?;
        return converse(&client, out, opening, &request, &generation).await;
    };
    let mut messages = opening;
    messages.push(user(prompt));
    let request = ChatRequest { messages, ..request };
    let answer = answer(&connect().await?, out, request, &generation).await?;
    conclude(&answer, generation.stats)
}

async fn answer(
    client: &Client,
    out: &mut Output,
    request: ChatRequest,
    arguments: &GenerationArgs,
) -> Result<Answer, CliError> {
    if arguments.is_streamed() {
        return print_stream(out, client.stream_chat(request).await?).await;
    }
    let answer = client.chat(request).await?;
    print_whole(out, answer.message.unwrap_or_default(), answer.completion, answer.choices)
}

/// Holds a conversation: each turn sends all that was said before.
async fn converse(
    client: &Client,
    out: &mut Output,
    opening: Vec<Message>,
    request: &ChatRequest,
    arguments: &GenerationArgs,
) -> Result<(), CliError> {
    note(HELP);
    let mut lines = lines_of_stdin();
    let mut messages = opening.clone();
    loop {
        if !out.json {
            out.text_now("> ")?;
        }
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = ctrl_c() => None,
        };
        let Some(line) = line else {
            return if out.json { Ok(()) } else { out.line("") };
        };
        match line.trim() {
            "" => continue,
            "/exit" | "/quit" => return Ok(()),
            "/new" => {
                messages.clone_from(&opening);
                continue;
            }
            "/help" => {
                note(HELP);
                continue;
            }
            _ => {}
        }
        messages.push(user(line));
        let request = ChatRequest { messages: messages.clone(), ..request.clone() };
        let outcome = tokio::select! {
            outcome = answer(client, out, request, arguments) => outcome,
            // Dropping the call stops the model.
            _ = ctrl_c() => {
                out.line("")?;
                messages.pop();
                continue;
            }
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error @ CliError::Write(_)) => return Err(error),
            Err(error) => {
                // What was refused is not said again with the next turn.
                messages.pop();
                report(&error, out.json);
                continue;
            }
        };
        if let Err(error) = conclude(&answer, arguments.stats) {
            report(&error, out.json);
        }
        if answer.text.is_empty() {
            // Nothing was said that a next turn could follow.
            messages.pop();
        } else {
            messages.push(assistant(answer.text));
        }
    }
}

/// Lines of stdin, read on a thread of their own: a read can't be interrupted.
fn lines_of_stdin() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
