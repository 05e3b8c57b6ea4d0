//! W3C trace context: `traceparent` and `tracestate`.
//!
//! With an exporter the span of the call takes part in the trace; without one the caller's headers are handed on as
//! they came, which keeps the trace whole for everyone else.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::telemetry;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The headers a caller sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct TraceContext {
    parent: Option<HeaderValue>,
    state: Option<HeaderValue>,
}

impl TraceContext {
    pub(crate) fn extract(headers: &HeaderMap) -> Self {
        let parent = headers.get(TRACEPARENT).cloned();
        let state = parent.as_ref().and_then(|_| headers.get(TRACESTATE).cloned());
        Self { parent, state }
    }

    /// Makes a span a part of the caller's trace.
    pub(crate) fn adopt(&self, span: &Span) {
        if telemetry::exports_traces() && self.parent.is_some() {
            let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), self);
            // Fails where a filter has disabled the span; there is no span to adopt then.
            let _ = span.set_parent(parent);
        }
    }

    /// Writes the headers of an outgoing call.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        if telemetry::exports_traces() {
            TraceContextPropagator::new().inject_context(&Span::current().context(), &mut Headers(headers));
        }
        if !headers.contains_key(TRACEPARENT) {
            headers.extend(self.parent.clone().map(|value| (TRACEPARENT, value)));
            headers.extend(self.state.clone().map(|value| (TRACESTATE, value)));
        }
    }
}

impl Extractor for TraceContext {
    fn get(&self, key: &str) -> Option<&str> {
        let value = match key {
            "traceparent" => self.parent.as_ref(),
            "tracestate" => self.state.as_ref(),
            _ => None,
        };
        value.and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            // An empty `tracestate` says nothing.
            if !value.is_empty() {
                self.0.insert(name, value);
            }
        }
    }
}
