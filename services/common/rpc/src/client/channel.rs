//! A channel that sends a call again if its connection closed before the call was sent.
//!
//! A server that drains, or that asks an old connection to close, says GOAWAY. hyper's client takes note of it only
//! when the next call comes while other calls are still running, and fails that call with "connection closed" although
//! nothing of it has left the house. Trying again is safe then, and tonic does not.

use std::{
    error::Error as _,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{
    Status,
    body::Body,
    transport::{self, Error},
};
use tower::Service;

/// A connection to an upstream service, made when first needed and made again when lost. Clones share it.
#[derive(Clone, Debug)]
pub struct Channel(transport::Channel);

impl Channel {
    pub(super) fn new(channel: transport::Channel) -> Self {
        Self(channel)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let returned = Returned::default();
        let body = Unsent { body, returned: Some(returned.clone()) };
        let first = self.0.call(Request::from_parts(parts.clone(), Body::new(body)));
        let mut channel = self.0.clone();
        Box::pin(async move {
            let error = match first.await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            match returned.take() {
                Some(body) if was_not_sent(&error) => {
                    poll_fn(|cx| channel.poll_ready(cx)).await?;
                    channel.call(Request::from_parts(parts, body)).await
                }
                _ => Err(error),
            }
        })
    }
}

fn was_not_sent(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<hyper::Error>());
    source.is_some_and(hyper::Error::is_canceled)
}

/// Where a body goes that nobody has read from.
#[derive(Clone, Default)]
struct Returned(Arc<Mutex<Option<Body>>>);

impl Returned {
    fn take(&self) -> Option<Body> {
        self.0.lock().ok()?.take()
    }
}

/// A request's messages, which go back where they came from unless somebody reads from them.
struct Unsent {
    body: Body,
    returned: Option<Returned>,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(Ok(mut slot)) = self.returned.as_ref().map(|returned| returned.0.lock()) {
            *slot = Some(std::mem::take(&mut self.body));
        }
    }
}

impl HttpBody for Unsent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.returned = None;
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
