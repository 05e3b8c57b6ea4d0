//! The one error that crosses a service's edge.
//!
//! Each crate has its own `thiserror` enum; at the edge it becomes a [`Fault`]: a stable [`Reason`], a message that a
//! caller may read, and a cause that only the log sees. `atelier-rpc` turns it into a gRPC status.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

macro_rules! reasons {
    ($(#[doc = $doc:literal] $reason:ident $wire:literal,)*) => {
        /// Why a call failed, as `google.rpc.ErrorInfo.reason`: stable, so that callers can branch on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $doc] $reason,)*
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The wire form, UPPER_SNAKE_CASE.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$reason => $wire,)* }
            }
        }
    };
}

reasons! {
    /// A field of the request is out of its range; see the violations.
    InvalidArgument "INVALID_ARGUMENT",
    /// Prompt and `max_tokens` do not fit the model, or a text is longer than the model reads.
    ContextLengthExceeded "CONTEXT_LENGTH_EXCEEDED",
    /// The request or the answer is larger than the configured message size.
    MessageTooLarge "MESSAGE_TOO_LARGE",
    /// No model of that name is loaded.
    ModelNotFound "MODEL_NOT_FOUND",
    /// The model can't do what was asked (embed with a generator, say).
    TaskUnsupported "TASK_UNSUPPORTED",
    /// A bounded queue is full; try again after the given time.
    QueueFull "QUEUE_FULL",
    /// The service has as many calls in flight as it admits.
    Overloaded "OVERLOADED",
    /// The tenant has used up its share.
    QuotaExceeded "QUOTA_EXCEEDED",
    /// The caller's or the server's deadline passed.
    DeadlineExceeded "DEADLINE_EXCEEDED",
    /// The caller went away.
    Cancelled "CANCELLED",
    /// No (valid) API key was given.
    Unauthenticated "UNAUTHENTICATED",
    /// The key is valid and may not do this.
    PermissionDenied "PERMISSION_DENIED",
    /// Policy does not let this content pass.
    ContentBlocked "CONTENT_BLOCKED",
    /// Content could not be measured and the policy fails closed.
    ModerationUnavailable "MODERATION_UNAVAILABLE",
    /// An upstream service can't be reached.
    UpstreamUnavailable "UPSTREAM_UNAVAILABLE",
    /// The service is shutting down.
    Draining "DRAINING",
    /// A model's files are missing, incomplete or altered.
    ModelCorrupt "MODEL_CORRUPT",
    /// A model can't be loaded: its files are of a kind that the service can't run; the log has the cause.
    ModelUnusable "MODEL_UNUSABLE",
    /// A model does not fit the memory that models may take.
    InsufficientMemory "INSUFFICIENT_MEMORY",
    /// A defect on our side; the log has the cause under the request id.
    Internal "INTERNAL",
}

impl Reason {
    /// The reason of that wire form; `None` for one that this version does not know.
    #[must_use]
    pub fn from_wire(wire: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == wire)
    }

    /// The same call may succeed later without being changed.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::QueueFull
            | Self::Overloaded
            | Self::InsufficientMemory
            | Self::QuotaExceeded
            | Self::ModerationUnavailable
            | Self::UpstreamUnavailable
            | Self::Draining => true,
            Self::InvalidArgument
            | Self::ContextLengthExceeded
            | Self::MessageTooLarge
            | Self::ModelNotFound
            | Self::TaskUnsupported
            | Self::DeadlineExceeded
            | Self::Cancelled
            | Self::Unauthenticated
            | Self::PermissionDenied
            | Self::ContentBlocked
            | Self::ModelCorrupt
            | Self::ModelUnusable
            | Self::Internal => false,
        }
    }
}

/// A field of the request that is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path in the request, e.g. `generation.top_p` or `messages[2].content`.
    pub field: String,
    /// What it should be, e.g. "must be above 0 and up to 1".
    pub description: String,
}

/// An error at a service's edge.
pub struct Fault {
    reason: Reason,
    message: String,
    violations: Vec<FieldViolation>,
    metadata: Vec<(Cow<'static, str>, String)>,
    retry_after: Option<Duration>,
    cause: Option<Box<dyn Error + Send + Sync>>,
}

impl Fault {
    /// `message` reaches the caller: no content, no paths, no secrets.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            violations: Vec::new(),
            metadata: Vec::new(),
            retry_after: None,
            cause: None,
        }
    }

    /// A field of the request is out of its range.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        let (field, description) = (field.into(), description.into());
        Self::new(Reason::InvalidArgument, format!("{field}: {description}"))
            .with_violation(field, description)
    }

    /// A defect on our side: the caller learns nothing but that.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Reason::Internal, "internal error").with_cause(cause)
    }

    /// Names one more field at fault.
    #[must_use]
    pub fn with_violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations.push(FieldViolation { field: field.into(), description: description.into() });
        self
    }

    /// Adds an entry to `google.rpc.ErrorInfo.metadata`.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// When a new try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// What the log is told and the caller is not.
    #[must_use]
    pub fn with_cause(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Why the call failed.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// What the caller is told.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Fields at fault.
    #[must_use]
    pub fn violations(&self) -> &[FieldViolation] {
        &self.violations
    }

    /// Further facts for the caller's program.
    #[must_use]
    pub fn metadata(&self) -> &[(Cow<'static, str>, String)] {
        &self.metadata
    }

    /// When a new try makes sense; retryable reasons have a default of one second.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        const DEFAULT: Duration = Duration::from_secs(1);
        self.retry_after.or_else(|| self.reason.is_retryable().then_some(DEFAULT))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("reason", &self.reason.as_str())
            .field("message", &self.message)
            .field("violations", &self.violations)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}
