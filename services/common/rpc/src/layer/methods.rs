//! The methods of the API, each with its metrics, made once so that a call looks nothing up but its path.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Instant,
};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;
use tracing::{Span, field::Empty};

use super::code_name;
use crate::{RpcError, context::CallContext};

/// All methods of all APIs that a server may serve.
pub(super) struct Methods {
    by_path: HashMap<String, Arc<Method>>,
    /// Callers may ask for any path, but may not fill the memory with metrics of made-up names.
    unknown: Arc<Method>,
}

/// One method.
pub(super) struct Method {
    service: String,
    name: String,
    streams_requests: bool,
    in_flight: Gauge,
    seconds: Histogram,
    /// By code; made when first needed, since most methods never see most codes.
    requests: [OnceLock<Counter>; CODES],
}

/// Codes are 0 to 16.
const CODES: usize = Code::Unauthenticated as usize + 1;

impl Methods {
    pub(super) fn new() -> Result<Self, RpcError> {
        let mut by_path = HashMap::new();
        for encoded in [
            atelier_proto::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ] {
            let set = FileDescriptorSet::decode(encoded)
                .map_err(|error| RpcError::Descriptors(error.to_string()))?;
            for file in &set.file {
                for service in &file.service {
                    let service_name = format!("{}.{}", file.package(), service.name());
                    for method in &service.method {
                        let made = Method::new(&service_name, method.name(), method.client_streaming());
                        by_path.insert(format!("/{service_name}/{}", method.name()), Arc::new(made));
                    }
                }
            }
        }
        Ok(Self { by_path, unknown: Arc::new(Method::new("unknown", "unknown", false)) })
    }

    pub(super) fn find(&self, path: &str) -> Arc<Method> {
        Arc::clone(self.by_path.get(path).unwrap_or(&self.unknown))
    }
}

impl Method {
    fn new(service: &str, name: &str, streams_requests: bool) -> Self {
        let labels = [("grpc_service", service.to_owned()), ("grpc_method", name.to_owned())];
        Self {
            service: service.to_owned(),
            name: name.to_owned(),
            streams_requests,
            in_flight: gauge!("atelier_rpc_in_flight", &labels),
            seconds: histogram!("atelier_rpc_duration_seconds", &labels),
            requests: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// Health and reflection answer however busy the server is.
    pub(super) fn is_exempt(&self) -> bool {
        self.service.starts_with("grpc.")
    }

    pub(super) fn streams_requests(&self) -> bool {
        self.streams_requests
    }

    fn count(&self, code: Code) {
        if let Some(slot) = self.requests.get(code as usize) {
            let counter = slot.get_or_init(|| {
                counter!(
                    "atelier_rpc_requests_total",
                    "grpc_service" => self.service.clone(),
                    "grpc_method" => self.name.clone(),
                    "grpc_code" => code_name(code),
                )
            });
            counter.increment(1);
        }
    }
}

/// A call in the books, from its headers to its status; one that is dropped without a status was cancelled.
pub(super) struct Record {
    method: Arc<Method>,
    started: Instant,
    code: Code,
    span: Span,
}

impl Record {
    pub(super) fn start(method: Arc<Method>) -> Self {
        method.in_flight.increment(1.0);
        Self { method, started: Instant::now(), code: Code::Cancelled, span: Span::none() }
    }

    /// Opens the call's span. Health checks get none: they come every few seconds and say nothing.
    pub(super) fn open_span(&mut self, context: &CallContext) {
        if self.method.is_exempt() {
            return;
        }
        self.span = tracing::info_span!(
            "rpc",
            otel.kind = "server",
            rpc.system = "grpc",
            rpc.service = self.method.service,
            rpc.method = self.method.name,
            rpc.grpc.status_code = Empty,
            request_id = context.request_id.as_str(),
            tenant = context.tenant.as_str(),
        );
        context.join_trace(&self.span);
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn end(&mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        self.method.in_flight.decrement(1.0);
        self.method.seconds.record(elapsed.as_secs_f64());
        self.method.count(self.code);
        self.span.record("rpc.grpc.status_code", self.code as i32);
        self.span.in_scope(|| {
            tracing::debug!(
                code = code_name(self.code),
                elapsed_ms = elapsed.as_secs_f64() * 1e3,
                "call ended"
            );
        });
    }
}
