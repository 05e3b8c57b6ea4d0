//! The way of every call, from its headers to its last byte.
//!
//! One layer does it all, because the parts lean on each other: the permit, the deadline, the span and the metrics of
//! a call live exactly as long as its response body, which outlives the handler by far in a streamed call.

mod body;
mod methods;
mod watch;

use std::{
    convert::Infallible, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration,
};

use atelier_core::{Fault, Reason, RequestId};
use futures::FutureExt as _;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tonic::{Code, body::Body};
use tracing::Instrument as _;

use crate::{
    RpcError,
    config::ServerConfig,
    context::{CallContext, REQUEST_ID, request_id},
    server::{drain::Drain, routes::Routes},
    status::status,
};
use body::{CallBody, RequestBody, retype};
use methods::{Methods, Record};
use watch::Watch;

/// Routes calls to services, with everything around them.
#[derive(Clone)]
pub(crate) struct CallService {
    routes: Arc<Routes>,
    shared: Arc<Shared>,
}

struct Shared {
    methods: Methods,
    admission: Arc<Semaphore>,
    max_concurrent_requests: usize,
    request_timeout: Duration,
    drain: Drain,
}

/// The calls of one connection.
#[derive(Clone)]
pub(crate) struct OnConnection<P> {
    calls: CallService,
    peer: P,
}

impl CallService {
    pub(crate) fn new(routes: Routes, config: &ServerConfig, drain: &Drain) -> Result<Self, RpcError> {
        let shared = Shared {
            methods: Methods::new()?,
            admission: Arc::new(Semaphore::new(config.max_concurrent_requests)),
            max_concurrent_requests: config.max_concurrent_requests,
            request_timeout: config.request_timeout,
            drain: drain.clone(),
        };
        Ok(Self { routes: Arc::new(routes), shared: Arc::new(shared) })
    }

    /// `peer` goes into the extensions of every request, where tonic looks for addresses and certificates.
    pub(crate) fn on_connection<P>(&self, peer: P) -> OnConnection<P> {
        OnConnection { calls: self.clone(), peer }
    }

    async fn answer(self, mut request: Request<Incoming>) -> Response<Body> {
        let shared = &self.shared;
        let method = shared.methods.find(request.uri().path());
        let mut record = Record::start(Arc::clone(&method));
        let context = match CallContext::read(request.headers(), shared.request_timeout) {
            Ok(context) => context,
            Err(fault) => return refuse(fault, &request_id(request.headers()), record),
        };
        record.open_span(&context);
        let permit = if method.is_exempt() {
            None
        } else {
            match Arc::clone(&shared.admission).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => return refuse(self.overloaded(), &context.request_id, record),
            }
        };
        // Watchers of health would hold up the drain; they are told to ask elsewhere as soon as it begins.
        let cut = if method.is_exempt() { shared.drain.stop() } else { shared.drain.cut() };
        let mut watch = Watch::new(context.deadline, cut.clone());

        request.extensions_mut().insert(context.clone());
        let (request, reading) = RequestBody::wrap(request, method.streams_requests());
        let span = record.span().clone();
        let handler =
            AssertUnwindSafe(Arc::clone(&self.routes).call(request)).catch_unwind().instrument(span);
        let answered = tokio::select! {
            biased;
            cut = &mut watch => {
                let fault = record.span().in_scope(|| cut.fault(&shared.drain));
                return refuse(fault, &context.request_id, record);
            }
            answered = handler => answered,
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(_panic) => return refuse(panicked(), &context.request_id, record),
        };
        name(&mut response, &context.request_id);
        // An error that comes before any message has its status among the headers, and no body.
        if let Some(code) = retype(response.headers_mut()) {
            record.end(code);
            return response;
        }
        let drain = shared.drain.clone();
        response.map(|inner| Body::new(CallBody::new(inner, watch, record, permit, reading, drain)))
    }

    fn overloaded(&self) -> Fault {
        let limit = self.shared.max_concurrent_requests;
        Fault::new(
            Reason::Overloaded,
            format!("the server has {limit} calls in flight, as many as it admits"),
        )
    }
}

impl<P: Clone + Send + Sync + 'static> hyper::service::Service<Request<Incoming>> for OnConnection<P> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer.clone());
        let answer = self.calls.clone().answer(request);
        Box::pin(async move { Ok(answer.await) })
    }
}

fn panicked() -> Fault {
    // What the panic said went to the panic hook; it may hold content, so it goes no further.
    Fault::internal("the handler panicked")
}

fn refuse(fault: Fault, request_id: &RequestId, mut record: Record) -> Response<Body> {
    let status = record.span().in_scope(|| status(fault));
    record.end(status.code());
    let mut response = status.into_http();
    name(&mut response, request_id);
    response
}

fn name(response: &mut Response<Body>, request_id: &RequestId) {
    if let Ok(id) = HeaderValue::from_str(request_id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}

/// Code names as the gRPC specification writes them.
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
