//! What can go wrong, readable by people and programs.

use std::{collections::BTreeMap, fmt, io, time::Duration};

use tonic::{Code, Status, TimeoutExpired, metadata::MetadataMap};
use tonic_types::StatusExt;

/// Reasons a caller may want to branch on, as in `google.rpc.ErrorInfo.reason`.
pub mod reason {
    /// Policy does not let this content pass.
    pub const CONTENT_BLOCKED: &str = "CONTENT_BLOCKED";
    /// A bounded queue is full.
    pub const QUEUE_FULL: &str = "QUEUE_FULL";
    /// The service has as many calls in flight as it admits.
    pub const OVERLOADED: &str = "OVERLOADED";
    /// The tenant has used up its share.
    pub const QUOTA_EXCEEDED: &str = "QUOTA_EXCEEDED";
    /// Content could not be measured and the policy fails closed.
    pub const MODERATION_UNAVAILABLE: &str = "MODERATION_UNAVAILABLE";
    /// A service behind the gateway can't be reached.
    pub const UPSTREAM_UNAVAILABLE: &str = "UPSTREAM_UNAVAILABLE";
    /// The gateway is shutting down.
    pub const DRAINING: &str = "DRAINING";
    /// No model of that name is loaded.
    pub const MODEL_NOT_FOUND: &str = "MODEL_NOT_FOUND";
}

/// A failure. `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The options can't work; nothing was sent.
    #[error("{0}")]
    Options(String),
    /// No connection to the gateway.
    #[error("can't connect to {endpoint}: {}", root_cause(.source))]
    Connect {
        /// As in the options.
        endpoint: String,
        /// What the transport says.
        source: tonic::transport::Error,
    },
    /// The gateway answered with an error, or the connection broke during the call.
    #[error("{0}")]
    Call(Box<CallError>),
    /// The gateway broke its own protocol.
    #[error("unexpected answer: {0}")]
    Protocol(&'static str),
}

/// The error of one call.
#[derive(Clone, Debug)]
pub struct CallError {
    /// gRPC code.
    pub code: Code,
    /// Stable reason in UPPER_SNAKE_CASE; see [`reason`]. `None` where the failure did not come from Atelier.
    pub reason: Option<String>,
    /// For a person.
    pub message: String,
    /// Fields of the request at fault.
    pub violations: Vec<FieldViolation>,
    /// When a new try makes sense.
    pub retry_after: Option<Duration>,
    /// Name of the call in the gateway's log and audit trail.
    pub request_id: Option<String>,
    /// Further facts, e.g. the `policy` and `categories` of blocked content.
    pub metadata: BTreeMap<String, String>,
    /// Set where no answer came because of the connection.
    pub connection: Option<ConnectionFailure>,
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFailure {
    /// Nothing listens there.
    Refused,
    /// It could not be made for another reason, or it broke during the call.
    Broken,
}

/// A field of the request at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path in the request, e.g. `generation.top_p`.
    pub field: String,
    /// What it should be, e.g. "must be above 0 and up to 1".
    pub description: String,
}

impl ClientError {
    /// The gateway's error, where it answered with one.
    #[must_use]
    pub fn call(&self) -> Option<&CallError> {
        match self {
            Self::Call(call) => Some(call),
            Self::Options(_) | Self::Connect { .. } | Self::Protocol(_) => None,
        }
    }

    /// gRPC code that fits the failure best.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Options(_) => Code::InvalidArgument,
            Self::Connect { .. } => Code::Unavailable,
            Self::Call(call) => call.code,
            Self::Protocol(_) => Code::Internal,
        }
    }

    /// Stable reason; see [`reason`].
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.call().and_then(|call| call.reason.as_deref())
    }

    /// Policy does not let the content pass.
    #[must_use]
    pub fn is_content_blocked(&self) -> bool {
        self.reason() == Some(reason::CONTENT_BLOCKED)
    }

    /// Nothing listens at the endpoint.
    #[must_use]
    pub fn is_connection_refused(&self) -> bool {
        match self {
            Self::Connect { source, .. } => refused(source),
            Self::Call(call) => call.connection == Some(ConnectionFailure::Refused),
            Self::Options(_) | Self::Protocol(_) => false,
        }
    }

    /// The same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Call(call) => match call.reason.as_deref() {
                Some(reason) => {
                    refused_unstarted(reason)
                        || matches!(reason, reason::MODERATION_UNAVAILABLE | reason::UPSTREAM_UNAVAILABLE)
                }
                None => call.code == Code::Unavailable || call.connection.is_some(),
            },
            Self::Connect { .. } => true,
            Self::Options(_) | Self::Protocol(_) => false,
        }
    }

    /// As [`Self::is_retryable`], and no model has run: trying again costs nothing twice.
    #[must_use]
    pub fn is_refused_unstarted(&self) -> bool {
        self.reason().is_some_and(refused_unstarted) || self.is_connection_refused()
    }

    pub(crate) fn deadline_exceeded() -> Self {
        Self::from(Status::deadline_exceeded("the call took longer than its timeout"))
    }
}

fn refused_unstarted(reason: &str) -> bool {
    matches!(reason, reason::QUEUE_FULL | reason::OVERLOADED | reason::QUOTA_EXCEEDED | reason::DRAINING)
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(CallError::from(status)))
    }
}

impl From<Status> for CallError {
    fn from(status: Status) -> Self {
        if in_chain::<TimeoutExpired>(&status) {
            // The transport calls an expired `grpc-timeout` "cancelled"; callers know it as what it is.
            return Self::from(Status::deadline_exceeded("the call took longer than its timeout"));
        }
        let details = status.get_error_details();
        let (reason, metadata) = match details.error_info() {
            Some(info) => {
                let metadata =
                    info.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
                (Some(info.reason.clone()), metadata)
            }
            None => (None, BTreeMap::new()),
        };
        // Only errors of our own side have a source; what the gateway said is all in the status.
        let connection = std::error::Error::source(&status).map(|source| {
            if refused(source) { ConnectionFailure::Refused } else { ConnectionFailure::Broken }
        });
        let violations = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
        let violations = violations.map(|violation| FieldViolation {
            field: violation.field.clone(),
            description: violation.description.clone(),
        });
        let named = details.request_info().map(|info| info.request_id.clone()).filter(|id| !id.is_empty());
        Self {
            code: status.code(),
            reason,
            message: message_of(&status),
            violations: violations.collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            request_id: named.or_else(|| request_id(status.metadata())),
            metadata,
            connection,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.violations.is_empty() {
            f.write_str(&one_line(&self.message))?;
        }
        for (n, violation) in self.violations.iter().enumerate() {
            let separator = if n > 0 { "; " } else { "" };
            write!(f, "{separator}{} {}", one_line(&violation.field), one_line(&violation.description))?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({}", one_line(reason))?,
            None => write!(f, " ({}", code_name(self.code))?,
        }
        if let Some(id) = &self.request_id {
            write!(f, ", request {}", one_line(id))?;
        }
        f.write_str(")")?;
        match self.retry_after {
            Some(delay) => write!(f, "; try again in {:.1} s", delay.as_secs_f64()),
            None => Ok(()),
        }
    }
}

impl CallError {
    /// The code's name in the gRPC specification, e.g. `INVALID_ARGUMENT`.
    #[must_use]
    pub fn code_name(&self) -> &'static str {
        code_name(self.code)
    }
}

/// The gateway's name of a call, from the headers or trailers of its answer.
pub(crate) fn request_id(metadata: &MetadataMap) -> Option<String> {
    metadata.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned)
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The gateway's words, or for a broken connection the deepest cause: "transport error" alone helps nobody.
fn message_of(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => format!("the connection failed: {}", root_cause(source)),
        None if status.message().is_empty() => "the gateway gave no message".to_owned(),
        None => status.message().to_owned(),
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    one_line(&error.to_string())
}

fn refused(error: &(dyn std::error::Error + 'static)) -> bool {
    let io_errors = chain(error).filter_map(|error| error.downcast_ref::<io::Error>());
    io_errors.into_iter().any(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn in_chain<E: std::error::Error + 'static>(error: &(dyn std::error::Error + 'static)) -> bool {
    chain(error).any(|error| error.is::<E>())
}

fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tonic_types::ErrorDetails;

    fn status(code: Code, message: &str, details: ErrorDetails) -> ClientError {
        Status::with_error_details(code, message, details).into()
    }

    #[test]
    fn violations_read_like_sentences() {
        let mut details =
            ErrorDetails::with_bad_request_violation("generation.top_p", "must be above 0 and up to 1");
        details.set_error_info("INVALID_ARGUMENT", "atelier", []);
        details.set_request_info("0192", "");
        let error = status(Code::InvalidArgument, "generation.top_p: must be above 0 and up to 1", details);
        assert_eq!(
            error.to_string(),
            "generation.top_p must be above 0 and up to 1 (INVALID_ARGUMENT, request 0192)"
        );
        assert!(!error.is_retryable());
    }

    #[test]
    fn later_means_retryable() {
        let mut details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1500)));
        details.set_error_info("QUEUE_FULL", "atelier", []);
        let error = status(Code::ResourceExhausted, "the queue is full", details);
        assert_eq!(error.to_string(), "the queue is full (QUEUE_FULL); try again in 1.5 s");
        assert!(error.is_retryable() && error.is_refused_unstarted());
    }

    #[test]
    fn an_upstream_that_broke_may_have_worked_already() {
        let mut details = ErrorDetails::new();
        details.set_error_info("UPSTREAM_UNAVAILABLE", "atelier", []);
        let error = status(Code::Unavailable, "text is away", details);
        assert!(error.is_retryable() && !error.is_refused_unstarted());
    }

    #[test]
    fn request_ids_come_from_headers_too() {
        let mut status = Status::internal("internal error");
        status.metadata_mut().insert("x-request-id", "abc".parse().expect("ASCII"));
        assert_eq!(ClientError::from(status).to_string(), "internal error (INTERNAL, request abc)");
    }

    #[test]
    fn blocked_content_names_its_policy() {
        let mut details = ErrorDetails::new();
        details.set_error_info("CONTENT_BLOCKED", "atelier", [("policy".into(), "default".into())]);
        let error = status(Code::PermissionDenied, "refused", details);
        assert!(error.is_content_blocked());
        assert_eq!(error.call().expect("a call error").metadata["policy"], "default");
    }

    proptest! {
        #[test]
        fn messages_are_one_line(message in ".*", field in ".*", reason in "[A-Z\n]*") {
            let mut details = ErrorDetails::with_bad_request_violation(field, message.clone());
            details.set_error_info(reason, "atelier", []);
            let shown = status(Code::InvalidArgument, &message, details).to_string();
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }
}
