//! What bulk commands say about lines: failures, and how many are done.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::Value;

use super::{CliError, jsonl::Key, output::Output};

/// Pause between two counts on the terminal.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// One line that failed.
#[derive(Serialize)]
pub(crate) struct ErrorDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    line: u64,
    error: ErrorBody,
}

#[derive(Serialize)]
struct ErrorBody {
    reason: String,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
}

impl ErrorDocument {
    pub(crate) fn new(key: Key, reason: String, message: String, field: String) -> Self {
        Self { id: key.id, line: key.line, error: ErrorBody { reason, message, field } }
    }

    /// For a line that can't be read.
    pub(crate) fn bad_line(key: Key, message: String) -> Self {
        Self::new(key, "BAD_LINE".to_owned(), message, String::new())
    }
}

/// Counts lines, on the terminal too where one watches and the answers go elsewhere.
pub(crate) struct Count {
    done: u64,
    failed: u64,
    shown: Option<Instant>,
}

impl Count {
    pub(crate) fn new(out: &Output) -> Self {
        let watched = io::stderr().is_terminal() && !out.is_terminal();
        Self { done: 0, failed: 0, shown: watched.then(Instant::now) }
    }

    pub(crate) fn add(&mut self, good: bool) {
        self.done += 1;
        self.failed += u64::from(!good);
        if self.shown.is_some_and(|shown| shown.elapsed() >= COUNT_EVERY) {
            self.show();
            self.shown = Some(Instant::now());
        }
    }

    fn show(&self) {
        // A closed stderr is no reason to stop.
        let _ = write!(io::stderr(), "\r{} lines, {} failed", self.done, self.failed);
    }

    /// `lack`: what the failed lines have not.
    pub(crate) fn finish(self, lack: &str) -> Result<(), CliError> {
        if self.shown.is_some() {
            self.show();
            let _ = writeln!(io::stderr());
        }
        match self.failed {
            0 => Ok(()),
            failed => Err(CliError::Incomplete(format!("{failed} of {} lines {lack}", self.done))),
        }
    }
}
