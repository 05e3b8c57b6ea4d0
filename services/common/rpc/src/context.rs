//! What travels with a call: who asks, under which name, until when.

use std::time::{Duration, Instant};

use atelier_core::{Fault, RequestId, TenantId};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::{Request, metadata::MetadataMap};
use tracing::Span;

use crate::trace_context::TraceContext;

/// Metadata key of the tenant. The gateway sets it from the caller's key; services trust it.
pub(crate) const TENANT: HeaderName = HeaderName::from_static("atelier-tenant");
/// Metadata key of the request id; taken from the caller or made up, and given back in the answer.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What travels with a call, from service to service.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Name of the call in logs and answers.
    pub request_id: RequestId,
    /// Who is charged.
    pub tenant: TenantId,
    /// When the call ends, done or not.
    pub deadline: Option<Instant>,
    trace: TraceContext,
}

impl CallContext {
    /// The context of work that no call asked for.
    #[must_use]
    pub fn new(tenant: TenantId) -> Self {
        let request_id = RequestId::generate();
        Self { request_id, tenant, deadline: None, trace: TraceContext::default() }
    }

    /// The context that the server's call layer found; without that layer (in a unit test) a fresh one.
    pub fn of<T>(request: &Request<T>) -> Self {
        let found = request.extensions().get::<Self>().cloned();
        found.unwrap_or_else(|| Self::new(TenantId::default_tenant()))
    }

    /// Time left until the deadline; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// A request to an upstream service that carries this context: tenant, request id, time left and trace.
    pub fn outgoing<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(remaining) = self.remaining() {
            request.set_timeout(remaining);
        }
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        // Both types admit visible ASCII only.
        if let Ok(tenant) = HeaderValue::from_str(self.tenant.as_str()) {
            headers.insert(TENANT, tenant);
        }
        if let Ok(id) = HeaderValue::from_str(self.request_id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        self.trace.inject(&mut headers);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        request
    }

    /// Makes the call's span a part of the caller's trace.
    pub(crate) fn join_trace(&self, span: &Span) {
        self.trace.adopt(span);
    }

    /// Reads the context of an incoming call; no call lives longer than `longest`.
    pub(crate) fn read(headers: &HeaderMap, longest: Duration) -> Result<Self, Fault> {
        let tenant = match headers.get(TENANT) {
            None => TenantId::default_tenant(),
            Some(value) => {
                value.to_str().ok().and_then(|name| TenantId::new(name).ok()).ok_or_else(|| {
                    Fault::invalid(TENANT.as_str(), "must be 1 to 128 of a-z A-Z 0-9 . _ - /")
                })?
            }
        };
        let asked = match headers.get(TIMEOUT) {
            None => longest,
            Some(value) => parse_timeout(value).ok_or_else(|| {
                Fault::invalid(TIMEOUT.as_str(), "must be up to 8 digits and one of H M S m u n")
            })?,
        };
        Ok(Self {
            request_id: request_id(headers),
            tenant,
            deadline: Some(Instant::now() + asked.min(longest)),
            trace: TraceContext::extract(headers),
        })
    }
}

/// The caller's request id if it is a fit one, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    given.and_then(RequestId::from_caller).unwrap_or_else(RequestId::generate)
}

/// "Timeout" of gRPC over HTTP/2: at most eight digits and a unit.
fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn timeouts_follow_the_grpc_grammar() {
        let parse = |text: &str| parse_timeout(&text.parse().unwrap());
        assert_eq!(parse("1H"), Some(HOUR));
        assert_eq!(parse("99999999m"), Some(Duration::from_millis(99_999_999)));
        for bad in ["", "S", "123456789S", "+1S", "1s", "1 S"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_server_bounds_what_callers_ask_for() {
        let context = CallContext::read(&headers(&[("grpc-timeout", "99H")]), HOUR).unwrap();
        assert!(context.remaining().unwrap() <= HOUR);
        let context = CallContext::read(&headers(&[("grpc-timeout", "1S")]), HOUR).unwrap();
        assert!(context.remaining().unwrap() <= Duration::from_secs(1));
        assert!(CallContext::read(&headers(&[("grpc-timeout", "soon")]), HOUR).is_err());
        assert!(CallContext::read(&headers(&[("atelier-tenant", "no spaces")]), HOUR).is_err());
    }

    #[test]
    fn a_context_travels_on() {
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let pairs = [
            ("atelier-tenant", "acme"),
            ("x-request-id", "r-1"),
            ("grpc-timeout", "5S"),
            ("traceparent", trace),
        ];
        let context = CallContext::read(&headers(&pairs), HOUR).unwrap();
        let sent = context.outgoing(()).into_parts().0.into_headers();
        let next = CallContext::read(&sent, HOUR).unwrap();
        assert_eq!(next.tenant.as_str(), "acme");
        assert_eq!(next.request_id.as_str(), "r-1");
        assert!(next.remaining().unwrap() <= Duration::from_secs(5));
        assert_eq!(sent["traceparent"], trace);
    }
}
