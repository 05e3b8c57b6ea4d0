//! Answers as they are written.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use atelier_proto::{
    gateway::v1::{
        Completion, StreamChatResponse, StreamGenerateResponse, Verdict, stream_chat_response,
        stream_generate_response,
    },
    text::v1::Delta,
};
use futures::{Stream, StreamExt, future::FutureExt, stream::BoxStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::{Response, Streaming};

use crate::{ClientError, error::request_id};

/// A piece of a streamed answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// More text.
    Delta(Delta),
    /// Output was flagged or blocked.
    Verdict(Verdict),
    /// The end: comes once, last.
    Completion(Box<Completion>),
}

/// A streamed answer: deltas and verdicts, then one completion or one error, then nothing. Dropping it ends the call,
/// and the model stops working for it.
pub struct EventStream {
    events: BoxStream<'static, Result<Event, ClientError>>,
    deadline: Option<Pin<Box<Sleep>>>,
    request_id: Option<String>,
    ended: bool,
}

impl EventStream {
    pub(crate) fn of_chat(
        answer: Response<Streaming<StreamChatResponse>>,
        deadline: Option<Instant>,
    ) -> Self {
        use stream_chat_response::Event as Wire;
        Self::new(answer, deadline, |message: StreamChatResponse| {
            message.event.map(|event| match event {
                Wire::Delta(delta) => Event::Delta(delta),
                Wire::Verdict(verdict) => Event::Verdict(verdict),
                Wire::Completion(completion) => Event::Completion(Box::new(completion)),
            })
        })
    }

    pub(crate) fn of_generate(
        answer: Response<Streaming<StreamGenerateResponse>>,
        deadline: Option<Instant>,
    ) -> Self {
        use stream_generate_response::Event as Wire;
        Self::new(answer, deadline, |message: StreamGenerateResponse| {
            message.event.map(|event| match event {
                Wire::Delta(delta) => Event::Delta(delta),
                Wire::Verdict(verdict) => Event::Verdict(verdict),
                Wire::Completion(completion) => Event::Completion(Box::new(completion)),
            })
        })
    }

    fn new<M: Send + 'static>(
        answer: Response<Streaming<M>>,
        deadline: Option<Instant>,
        event: impl Fn(M) -> Option<Event> + Send + 'static,
    ) -> Self {
        let request_id = request_id(answer.metadata());
        let events = answer.into_inner().filter_map(move |message| {
            // An event this client does not know yet is passed over: the API may grow.
            std::future::ready(match message {
                Ok(message) => event(message).map(Ok),
                Err(status) => Some(Err(ClientError::from(status))),
            })
        });
        let deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        Self { events: events.boxed(), deadline, request_id, ended: false }
    }

    /// Name of the call in the gateway's log and audit trail.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

impl Stream for EventStream {
    type Item = Result<Event, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let next = match this.events.poll_next_unpin(context) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                let Some(deadline) = &mut this.deadline else { return Poll::Pending };
                ready!(deadline.poll_unpin(context));
                Some(Err(ClientError::deadline_exceeded()))
            }
        };
        let item = next.unwrap_or(Err(ClientError::Protocol("the answer ended without a completion")));
        this.ended = !matches!(item, Ok(Event::Delta(_) | Event::Verdict(_)));
        Poll::Ready(Some(item))
    }
}
