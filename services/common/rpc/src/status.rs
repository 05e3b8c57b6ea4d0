//! The one table between faults and gRPC statuses, both ways.

use std::{collections::HashMap, error::Error};

use atelier_core::{Fault, Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// `google.rpc.ErrorInfo.domain` of our reasons.
const DOMAIN: &str = "atelier";

/// Details travel in a header, and HTTP/2 clients commonly admit 8 to 16 KiB of those.
const MAX_VIOLATIONS: usize = 16;

/// Turns a fault into the status its caller gets, and logs its cause, which the caller does not get.
pub fn status(fault: impl Into<Fault>) -> Status {
    let fault = fault.into();
    log(&fault);
    let reason = fault.reason();
    let metadata: HashMap<_, _> =
        fault.metadata().iter().map(|(key, value)| (key.clone().into_owned(), value.clone())).collect();
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata);
    for violation in fault.violations().iter().take(MAX_VIOLATIONS) {
        details.add_bad_request_violation(&violation.field, &violation.description);
    }
    if let Some(delay) = fault.retry_after() {
        details.set_retry_info(Some(delay));
    }
    if reason == Reason::QuotaExceeded {
        let subject = fault.metadata().iter().find(|(key, _)| key == "subject");
        details.add_quota_failure_violation(subject.map_or("", |(_, value)| value.as_str()), fault.message());
    }
    Status::with_error_details(code_of(reason), fault.message(), details)
}

/// Turns an upstream's status back into the fault it was made from, so that it can be passed on.
///
/// A status that is not ours (a proxy's, a transport's) becomes the nearest reason; its message, which may name
/// hosts, goes to the log.
#[must_use]
pub fn fault_of(status: &Status) -> Fault {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN);
    let Some((info, reason)) = info.and_then(|info| Some((info, Reason::from_wire(&info.reason)?))) else {
        return foreign(status);
    };
    let mut fault = Fault::new(reason, status.message());
    for violation in details.bad_request().into_iter().flat_map(|bad| &bad.field_violations) {
        fault = fault.with_violation(&violation.field, &violation.description);
    }
    let mut metadata: Vec<_> = info.metadata.iter().collect();
    metadata.sort();
    for (key, value) in metadata {
        fault = fault.with_metadata(key.clone(), value);
    }
    match details.retry_info().and_then(|info| info.retry_delay) {
        Some(delay) => fault.with_retry_after(delay),
        None => fault,
    }
}

fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::InvalidArgument | Reason::ContextLengthExceeded => Code::InvalidArgument,
        // The code gRPC libraries themselves use; RESOURCE_EXHAUSTED is for what a later try may cure.
        Reason::MessageTooLarge => Code::OutOfRange,
        Reason::ModelNotFound => Code::NotFound,
        Reason::TaskUnsupported | Reason::ModelUnusable => Code::FailedPrecondition,
        Reason::QueueFull | Reason::Overloaded | Reason::QuotaExceeded | Reason::InsufficientMemory => {
            Code::ResourceExhausted
        }
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::Cancelled => Code::Cancelled,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::PermissionDenied | Reason::ContentBlocked => Code::PermissionDenied,
        Reason::ModerationUnavailable | Reason::UpstreamUnavailable | Reason::Draining => Code::Unavailable,
        Reason::ModelCorrupt => Code::DataLoss,
        Reason::Internal => Code::Internal,
    }
}

const UNREACHABLE: &str = "an upstream service can't be reached";

fn foreign(status: &Status) -> Fault {
    if let Some(fault) = too_large(status) {
        return fault;
    }
    // tonic's clients report their own timeout as CANCELLED, see `tonic::TimeoutExpired`.
    let timeout = status.code() == Code::Cancelled && status.message() == "Timeout expired";
    // What comes over the wire has no source: a broken connection has, whatever code the transport gave it.
    let broken = status.source().is_some();
    let (reason, message) = match status.code() {
        Code::Cancelled if timeout => (Reason::DeadlineExceeded, "the deadline passed"),
        Code::DeadlineExceeded => (Reason::DeadlineExceeded, "the deadline passed"),
        Code::Unavailable => (Reason::UpstreamUnavailable, UNREACHABLE),
        Code::Cancelled | Code::Unknown | Code::Internal if broken => {
            (Reason::UpstreamUnavailable, UNREACHABLE)
        }
        Code::Cancelled => (Reason::Cancelled, "the call was cancelled"),
        Code::ResourceExhausted => (Reason::Overloaded, "an upstream service is overloaded"),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => (Reason::Internal, "internal error"),
    };
    Fault::new(reason, message).with_cause(status.clone())
}

/// The typed form of tonic's complaint about a request that is no protobuf message of its type, which it calls INTERNAL;
/// `None` for anything else.
pub(crate) fn malformed(status: &Status) -> Option<Fault> {
    if status.code() != Code::Internal || !status.details().is_empty() {
        return None;
    }
    // As prost writes it: `failed to decode Protobuf message: GenerateRequest.model: invalid string value: ...`.
    let problem = status.message().strip_prefix("failed to decode Protobuf message: ")?;
    let fault = Fault::new(Reason::InvalidArgument, format!("the request can't be read: {problem}"));
    let path = problem.split_once(": ").and_then(|(path, _)| path.split_once('.'));
    Some(match path {
        Some((_message, field)) => fault.with_violation(field, "is malformed"),
        None => fault,
    })
}

/// The typed form of tonic's own complaints about message sizes, which carry no details; `None` for anything else.
pub(crate) fn too_large(status: &Status) -> Option<Fault> {
    if !matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted) || !status.details().is_empty() {
        return None;
    }
    // The wording of tonic's codec (`codec/encode.rs`, `codec/decode.rs`); the tests notice when it changes.
    let message = status.message();
    let what = if message.starts_with("Error, decoded message length too large") {
        "message is larger than its reader admits"
    } else if message.starts_with("Error, encoded message length too large") {
        "message is larger than its writer admits"
    } else if message.starts_with("Error decompressing: size limit") {
        "message is larger than its reader admits after decompression"
    } else {
        return None;
    };
    let mut numbers = message.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let limit = numbers.next_back().unwrap_or("unknown");
    let mut fault = Fault::new(Reason::MessageTooLarge, format!("{what}: the limit is {limit} bytes"))
        .with_metadata("limit_bytes", limit);
    if let Some(size) = numbers.next() {
        fault = fault.with_metadata("size_bytes", size);
    }
    Some(fault)
}

fn log(fault: &Fault) {
    let reason = fault.reason().as_str();
    let cause = fault.source().map(chain);
    let (message, cause) = (fault.message(), cause.as_deref());
    if matches!(fault.reason(), Reason::Internal | Reason::ModelCorrupt) {
        tracing::error!(reason, message, cause, "call failed");
    } else if cause.is_some() {
        tracing::warn!(reason, message, cause, "call failed");
    } else {
        // The caller's own doing; the metrics count it.
        tracing::debug!(reason, message, "call failed");
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in Reason::ALL {
            let fault = Fault::new(*reason, "said to the caller")
                .with_violation("a.b[0]", "must be less")
                .with_metadata("model", "m")
                .with_retry_after(Duration::from_millis(1500))
                .with_cause("not said to the caller");
            let sent = status(fault);
            assert_eq!(sent.code(), code_of(*reason));
            let wire = Status::from_header_map(sent.into_http::<()>().headers()).unwrap();
            assert!(!format!("{wire:?}").contains("not said"));
            let back = fault_of(&wire);
            assert_eq!(back.reason(), *reason);
            assert_eq!(back.message(), "said to the caller");
            assert_eq!(back.violations()[0].field, "a.b[0]");
            assert_eq!(back.metadata(), [("model".into(), "m".to_owned())]);
            assert_eq!(back.retry_after(), Some(Duration::from_millis(1500)));
        }
    }

    #[test]
    fn retryable_reasons_say_when() {
        for reason in Reason::ALL {
            let info = status(Fault::new(*reason, "x")).get_details_retry_info();
            assert_eq!(info.is_some(), reason.is_retryable(), "{reason:?}");
        }
    }

    #[test]
    fn foreign_statuses_keep_their_text_from_callers() {
        for (status, reason) in [
            (Status::unavailable("tcp connect error 10.0.0.7"), Reason::UpstreamUnavailable),
            (Status::cancelled("Timeout expired"), Reason::DeadlineExceeded),
            (Status::deadline_exceeded("x 10.0.0.7"), Reason::DeadlineExceeded),
            (Status::unknown("panic at 10.0.0.7"), Reason::Internal),
        ] {
            let fault = fault_of(&status);
            assert_eq!(fault.reason(), reason);
            assert!(!fault.message().contains("10.0.0.7"));
            assert!(fault.source().is_some());
        }
    }

    #[test]
    fn complaints_about_size_are_typed() {
        let text = "Error, decoded message length too large: found 2048 bytes, the limit is: 1024 bytes";
        let fault = fault_of(&Status::out_of_range(text));
        assert_eq!(fault.reason(), Reason::MessageTooLarge);
        assert_eq!(fault.metadata()[0].1, "1024");
        assert_eq!(fault.metadata()[1].1, "2048");
        assert!(too_large(&Status::out_of_range("page 7 of 3")).is_none());
    }

    #[test]
    fn malformed_requests_are_the_callers_error_and_name_the_field() {
        let text = "failed to decode Protobuf message: GenerateRequest.model: invalid string value: data is not UTF-8";
        let fault = malformed(&Status::internal(text)).unwrap();
        assert_eq!(fault.reason(), Reason::InvalidArgument);
        assert_eq!(fault.violations()[0].field, "model");
        let fault =
            malformed(&Status::internal("failed to decode Protobuf message: invalid varint")).unwrap();
        assert!(fault.violations().is_empty());
        assert!(malformed(&Status::internal("internal error")).is_none());
    }
}
