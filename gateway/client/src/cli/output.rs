//! What goes to stdout and stderr, for people and for programs.

use std::{
    borrow::Cow,
    io::{self, BufWriter, IsTerminal, StdoutLock, Write},
};

use atelier_client::{ClientError, reason};
use serde::Serialize;
use tonic::Code;

use super::CliError;

/// Stdout. Writing to a closed pipe is an error like any other here, not a panic as with `println!`.
pub(crate) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    /// Documents instead of text.
    pub(crate) json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { stdout: BufWriter::new(io::stdout().lock()), json }
    }

    /// Writes text and lets it be seen at once.
    pub(crate) fn text_now(&mut self, text: &str) -> Result<(), CliError> {
        // What a model writes must not steer the terminal.
        let shown = if self.is_terminal() { harmless(text) } else { Cow::Borrowed(text) };
        self.stdout.write_all(shown.as_bytes())?;
        self.flush()
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), CliError> {
        Ok(writeln!(self.stdout, "{line}")?)
    }

    /// Writes a document on a line of its own.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> Result<(), CliError> {
        serde_json::to_writer(&mut self.stdout, document).map_err(io::Error::from)?;
        Ok(self.stdout.write_all(b"\n")?)
    }

    /// Writes a table; the first row is its head. Columns are as wide as their longest cell, but the last.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) -> Result<(), CliError> {
        for line in table(rows) {
            self.line(&line)?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.stdout.flush()?)
    }

    /// A person watches stdout.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stdout.get_ref().is_terminal()
    }
}

/// Writes a note for the person at the terminal. A closed stderr is no reason to stop.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Text without control characters other than newlines and tabs.
fn harmless(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(steers) { text.replace(steers, "\u{fffd}").into() } else { text.into() }
}

fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width_of = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width_of).collect();
    let line = |row: &Vec<String>| {
        let cells =
            row.iter().zip(&widths).map(|(cell, column)| cell.clone() + &" ".repeat(column - width(cell)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Columns that a text takes on a terminal: East Asian letters and emoji take two.
fn width(text: &str) -> usize {
    let wide = |c| {
        matches!(c, '\u{1100}'..='\u{115f}' | '\u{2e80}'..='\u{a4cf}' | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}' | '\u{fe30}'..='\u{fe6f}' | '\u{ff00}'..='\u{ff60}' | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}')
    };
    text.chars().map(|c| if wide(c) { 2 } else { 1 }).sum()
}

/// The JSON form of an error.
#[derive(Serialize)]
struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    message: String,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a std::collections::BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

#[derive(Serialize)]
struct Violation<'a> {
    field: &'a str,
    description: &'a str,
}

/// Tells of a failure on stderr.
pub(crate) fn report(error: &CliError, json: bool) {
    note(&if json { error_document(error) } else { error_text(error) });
}

fn error_text(error: &CliError) -> String {
    let mut text = format!("error: {error}");
    let client = error.client();
    if let Some(call) = client.and_then(ClientError::call).filter(|call| !call.metadata.is_empty()) {
        let facts = call.metadata.iter().map(|(key, value)| format!("{key} {value}"));
        text += &format!("\n  {}", facts.collect::<Vec<_>>().join(", ").replace(char::is_control, " "));
    }
    if let Some(hint) = client.and_then(hint) {
        text += &format!("\nhint: {hint}");
    }
    text
}

fn error_document(error: &CliError) -> String {
    let client = error.client();
    let call = client.and_then(ClientError::call);
    let violations = call.into_iter().flat_map(|call| &call.violations);
    let violations = violations
        .map(|violation| Violation { field: &violation.field, description: &violation.description });
    let body = ErrorBody {
        message: call.map_or_else(|| error.to_string(), |call| call.message.clone()),
        exit_code: error.exit_code(),
        code: call.map(|call| call.code_name()),
        reason: client.and_then(ClientError::reason),
        violations: violations.collect(),
        retry_after_ms: call.and_then(|call| call.retry_after).map(|delay| delay.as_millis() as u64),
        request_id: call.and_then(|call| call.request_id.as_deref()),
        metadata: call.map(|call| &call.metadata).filter(|metadata| !metadata.is_empty()),
        hint: client.and_then(hint),
    };
    // Strings and numbers alone: there is nothing that JSON could not carry.
    serde_json::to_string(&ErrorDocument { error: body }).unwrap_or_else(|cause| cause.to_string())
}

/// What a person can do about it, where we know.
fn hint(error: &ClientError) -> Option<&'static str> {
    if error.is_connection_refused() {
        return Some(
            "is the gateway running? `cargo xtask up` starts one; --endpoint or ATELIER_ENDPOINT names another",
        );
    }
    match (error.reason(), error.code()) {
        (Some(reason::MODEL_NOT_FOUND), _) => Some("`atelier models` lists what is loaded"),
        (_, Code::Unauthenticated) => Some("give the key with ATELIER_API_KEY or --api-key"),
        (_, Code::DeadlineExceeded) => Some("--timeout allows more time"),
        (None, Code::Unimplemented) => Some("is this endpoint an Atelier gateway, of this version?"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tonic::Status;
    use tonic_types::{ErrorDetails, StatusExt};

    fn failure(code: Code, message: &str, details: ErrorDetails) -> CliError {
        CliError::Client(Status::with_error_details(code, message, details).into())
    }

    fn invalid() -> CliError {
        let mut details =
            ErrorDetails::with_bad_request_violation("generation.top_p", "must be above 0 and up to 1");
        details.set_error_info("INVALID_ARGUMENT", "atelier", []).set_request_info("0192", "");
        failure(Code::InvalidArgument, "generation.top_p: must be above 0 and up to 1", details)
    }

    #[test]
    fn errors_read_well() {
        assert_eq!(
            error_text(&invalid()),
            "error: generation.top_p must be above 0 and up to 1 (INVALID_ARGUMENT, request 0192)"
        );
        let mut details = ErrorDetails::new();
        details.set_error_info("MODEL_NOT_FOUND", "atelier", [("model".into(), "x".into())]);
        assert_eq!(
            error_text(&failure(Code::NotFound, "no model \"x\"", details)),
            "error: no model \"x\" (MODEL_NOT_FOUND)\n  model x\nhint: `atelier models` lists what is loaded"
        );
    }

    #[test]
    fn errors_are_documents_too() {
        let document: serde_json::Value = serde_json::from_str(&error_document(&invalid())).expect("JSON");
        let expected = serde_json::json!({"error": {
            "message": "generation.top_p: must be above 0 and up to 1",
            "exit_code": 1,
            "code": "INVALID_ARGUMENT",
            "reason": "INVALID_ARGUMENT",
            "violations": [{"field": "generation.top_p", "description": "must be above 0 and up to 1"}],
            "request_id": "0192"
        }});
        assert_eq!(document, expected);
    }

    #[test]
    fn later_is_told_in_milliseconds() {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(250)));
        details.set_error_info("QUEUE_FULL", "atelier", []);
        let document = error_document(&failure(Code::ResourceExhausted, "the queue is full", details));
        assert!(document.contains("\"retry_after_ms\":250"), "{document}");
    }

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(harmless("a\tb\nc"), "a\tb\nc");
        assert_eq!(harmless("\u{1b}]0;title\u{7}x\r"), "\u{fffd}]0;title\u{fffd}x\u{fffd}");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["ID", "LICENCE"], ["größer", "MIT"], ["你好", "MIT"], ["b", ""]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(table(&rows), ["ID      LICENCE", "größer  MIT", "你好    MIT", "b"]);
    }
}
