//! Answers as they are written.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use atelier_proto::{
    gateway::v1::{
        Completion, GenerateVideoResponse, GeneratedImages, StreamChatResponse, StreamGenerateImageResponse,
        StreamGenerateResponse, Verdict, VideoCompletion, generate_video_response, stream_chat_response,
        stream_generate_image_response, stream_generate_response,
    },
    image::v1::{Progress, VideoChunk, VideoFrame},
    text::v1::{Delta, ToolCall},
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
    /// The model asks for a tool to be run; only where tools were offered.
    ToolCall {
        /// Which of several answers asks, from 0.
        choice: u32,
        /// What it asks for.
        call: ToolCall,
    },
    /// Output was flagged or blocked.
    Verdict {
        /// Which of several answers it is about, from 0.
        choice: u32,
        /// What policy made of it.
        verdict: Verdict,
    },
    /// The end of the answer: comes once, last; of several answers each has its own.
    Completion(Box<Completion>),
}

/// What happens while pictures are made.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageEvent {
    /// How far they are, with previews where they were asked for and have passed.
    Progress(Progress),
    /// A preview or a picture was flagged or blocked.
    Verdict(Verdict),
    /// The end: comes once, last.
    Result(Box<GeneratedImages>),
}

/// What happens while a clip is made.
#[derive(Clone, Debug, PartialEq)]
pub enum VideoEvent {
    /// How far it is; steps are frames.
    Progress(Progress),
    /// A frame that passed, where frames were asked for.
    Frame(VideoFrame),
    /// A frame was flagged or blocked; after a block there is no file.
    Verdict(Verdict),
    /// A piece of the file, in order.
    Chunk(VideoChunk),
    /// The end: comes once, last.
    Completion(Box<VideoCompletion>),
}

/// A streamed answer: its events, of which the last is its end or an error, then nothing. Several answers come mixed, up to the
/// last one's end. Dropping it ends the call, and the model stops working for it.
pub struct EventStream<E = Event> {
    events: BoxStream<'static, Result<E, ClientError>>,
    is_end: fn(&E) -> bool,
    /// Ends that are still to come; 0 behind an error too.
    ends: u32,
    deadline: Option<Pin<Box<Sleep>>>,
    request_id: Option<String>,
}

impl EventStream<Event> {
    pub(crate) fn of_chat(
        response: Response<Streaming<StreamChatResponse>>,
        answers: u32,
        deadline: Option<Instant>,
    ) -> Self {
        use stream_chat_response::Event as Wire;
        let stream = Self::new(response, deadline, ends_text, |message: StreamChatResponse| {
            let choice = message.choice;
            message.event.map(|event| match event {
                Wire::Delta(delta) => Event::Delta(delta),
                Wire::ToolCall(call) => Event::ToolCall { choice, call },
                Wire::Verdict(verdict) => Event::Verdict { choice, verdict },
                Wire::Completion(completion) => Event::Completion(Box::new(completion)),
            })
        });
        Self { ends: answers, ..stream }
    }

    pub(crate) fn of_generate(
        response: Response<Streaming<StreamGenerateResponse>>,
        answers: u32,
        deadline: Option<Instant>,
    ) -> Self {
        use stream_generate_response::Event as Wire;
        let stream = Self::new(response, deadline, ends_text, |message: StreamGenerateResponse| {
            let choice = message.choice;
            message.event.map(|event| match event {
                Wire::Delta(delta) => Event::Delta(delta),
                Wire::Verdict(verdict) => Event::Verdict { choice, verdict },
                Wire::Completion(completion) => Event::Completion(Box::new(completion)),
            })
        });
        Self { ends: answers, ..stream }
    }
}

impl EventStream<ImageEvent> {
    pub(crate) fn of_pictures(
        answer: Response<Streaming<StreamGenerateImageResponse>>,
        deadline: Option<Instant>,
    ) -> Self {
        use stream_generate_image_response::Event as Wire;
        let is_end = |event: &ImageEvent| matches!(event, ImageEvent::Result(_));
        Self::new(answer, deadline, is_end, |message: StreamGenerateImageResponse| {
            message.event.map(|event| match event {
                Wire::Progress(progress) => ImageEvent::Progress(progress),
                Wire::Verdict(verdict) => ImageEvent::Verdict(verdict),
                Wire::Result(result) => ImageEvent::Result(Box::new(result)),
            })
        })
    }
}

impl EventStream<VideoEvent> {
    pub(crate) fn of_clip(
        answer: Response<Streaming<GenerateVideoResponse>>,
        deadline: Option<Instant>,
    ) -> Self {
        use generate_video_response::Event as Wire;
        let is_end = |event: &VideoEvent| matches!(event, VideoEvent::Completion(_));
        Self::new(answer, deadline, is_end, |message: GenerateVideoResponse| {
            message.event.map(|event| match event {
                Wire::Progress(progress) => VideoEvent::Progress(progress),
                Wire::Frame(frame) => VideoEvent::Frame(frame),
                Wire::Verdict(verdict) => VideoEvent::Verdict(verdict),
                Wire::Chunk(chunk) => VideoEvent::Chunk(chunk),
                Wire::Completion(completion) => VideoEvent::Completion(Box::new(completion)),
            })
        })
    }
}

impl<E: Send + 'static> EventStream<E> {
    fn new<M: Send + 'static>(
        answer: Response<Streaming<M>>,
        deadline: Option<Instant>,
        is_end: fn(&E) -> bool,
        event: impl Fn(M) -> Option<E> + Send + 'static,
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
        Self { events: events.boxed(), is_end, ends: 1, deadline, request_id }
    }

    /// Name of the call in the gateway's log and audit trail.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

fn ends_text(event: &Event) -> bool {
    matches!(event, Event::Completion(_))
}

impl<E> Stream for EventStream<E> {
    type Item = Result<E, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ends == 0 {
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
        match &item {
            Ok(event) => this.ends -= u32::from((this.is_end)(event)),
            Err(_) => this.ends = 0,
        }
        Poll::Ready(Some(item))
    }
}
