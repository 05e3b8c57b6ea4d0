//! Bodies that end when their call must.

use std::{
    future::Future as _,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use atelier_core::{Fault, Reason};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body as HttpBody, Frame};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::{Code, Status, body::Body};

use super::{methods::Record, panicked, watch::Watch};
use crate::{
    server::drain::Drain,
    status::{malformed, status, too_large},
};

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

/// The messages of an answer. Whatever ends it early (deadline, drain, panic) drops the handler's stream, which stops
/// its work, and tells the caller why in the trailers.
pub(super) struct CallBody {
    live: Option<Live>,
}

struct Live {
    inner: Body,
    watch: Watch,
    record: Record,
    drain: Drain,
    /// Held as long as the call is in flight.
    _permit: Option<OwnedSemaphorePermit>,
    /// Ends the reading of the request, too.
    _reading: Option<DropGuard>,
}

impl CallBody {
    pub(super) fn new(
        inner: Body,
        watch: Watch,
        record: Record,
        permit: Option<OwnedSemaphorePermit>,
        reading: Option<DropGuard>,
        drain: Drain,
    ) -> Self {
        Self { live: Some(Live { inner, watch, record, drain, _permit: permit, _reading: reading }) }
    }

    /// Ends the body with this status.
    fn end(&mut self, status: &Status) -> Polled {
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            // Only metadata that is no header fails, and statuses made here have none.
            trailers.clear();
        }
        self.end_with(status.code(), trailers)
    }

    fn end_with(&mut self, code: Code, trailers: HeaderMap) -> Polled {
        if let Some(mut live) = self.live.take() {
            live.record.end(code);
        }
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl HttpBody for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Some(live) = &mut self.live else {
            return Poll::Ready(None);
        };
        let span = live.record.span().clone();
        let _entered = span.enter();
        if let Poll::Ready(cut) = Pin::new(&mut live.watch).poll(cx) {
            let fault = cut.fault(&live.drain);
            return self.end(&status(fault));
        }
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut live.inner).poll_frame(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    let code = retype(&mut trailers).unwrap_or(Code::Unknown);
                    self.end_with(code, trailers)
                }
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            Ok(Poll::Ready(Some(Err(error)))) => self.end(&error),
            Ok(Poll::Ready(None)) => {
                self.live = None;
                Poll::Ready(None)
            }
            Err(_panic) => self.end(&status(panicked())),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.live.is_none()
    }
}

/// The messages of a streamed request. It ends with its call, so that a task that a handler left behind reading does
/// not wait for a caller who may never write again.
pub(super) struct RequestBody {
    inner: Incoming,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl RequestBody {
    /// Wraps the body of a request that is a stream; the guard ends it. A single message is read by the handler
    /// itself, which the deadline ends already.
    pub(super) fn wrap(request: Request<Incoming>, streams: bool) -> (Request<Body>, Option<DropGuard>) {
        if !streams {
            return (request.map(Body::new), None);
        }
        let token = CancellationToken::new();
        let ended = Box::pin(token.clone().cancelled_owned());
        (request.map(|inner| Body::new(Self { inner, ended })), Some(token.drop_guard()))
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        if let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))));
        }
        if self.ended.as_mut().poll(cx).is_ready() {
            let fault = Fault::new(Reason::Cancelled, "the call has ended");
            return Poll::Ready(Some(Err(status(fault))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

/// The status code among these headers, if there is one; complaints of tonic about requests are typed.
pub(super) fn retype(headers: &mut HeaderMap) -> Option<Code> {
    let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
    if !matches!(code, Code::OutOfRange | Code::ResourceExhausted | Code::Internal) {
        return Some(code);
    }
    let Some(fault) =
        Status::from_header_map(headers).and_then(|status| too_large(&status).or_else(|| malformed(&status)))
    else {
        return Some(code);
    };
    let typed = status(fault);
    if typed.add_header(headers).is_err() {
        return Some(code);
    }
    Some(typed.code())
}
