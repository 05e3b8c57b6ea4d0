//! The answers of one call: calls of the engine that begin alike, from seeds that count up.
//!
//! The first one goes alone until its prompt is in; the others then find the prompt's rows in its slot, or in one that only keeps
//! where it has ended. Dropping all of them stops them all.

use std::{collections::VecDeque, sync::Arc};

use futures::{
    StreamExt,
    stream::{self, BoxStream, SelectAll},
};

use crate::{
    TextError,
    engine::{Event, Events},
    generation::Prepared,
    registry::Served,
};

/// An event, and which answer it is of.
type Numbered = (usize, Result<Event, TextError>);

/// Answers under way.
pub(crate) struct Choices {
    /// Keeps the model in memory to the end of the call.
    served: Arc<Served>,
    call: Prepared,
    /// How many have been submitted.
    begun: usize,
    running: SelectAll<BoxStream<'static, Numbered>>,
    /// What is told before anything that is written.
    ready: VecDeque<(usize, Event)>,
}

impl Choices {
    /// Submits the first one.
    ///
    /// # Errors
    /// The queue is full.
    pub(crate) fn begin(served: Arc<Served>, call: Prepared) -> Result<Self, TextError> {
        let mut choices = Self { served, call, begun: 0, running: SelectAll::new(), ready: VecDeque::new() };
        choices.submit(1)?;
        Ok(choices)
    }

    pub(crate) fn served(&self) -> &Served {
        &self.served
    }

    pub(crate) fn call(&self) -> &Prepared {
        &self.call
    }

    /// Submits those that are missing from the first so many.
    fn submit(&mut self, count: usize) -> Result<(), TextError> {
        while self.begun < count {
            let events = self.served.generation()?.submit(&mut self.call, self.begun)?;
            if let Some(echo) = &self.call.echo {
                let echo = Event::Delta { text: echo.text.clone(), calls: Vec::new(), completion_tokens: 0 };
                self.ready.push_back((self.begun, echo));
            }
            self.running.push(numbered(self.begun, events));
            self.begun += 1;
        }
        Ok(())
    }

    /// The next event and which answer it is of; `None` after all of them have ended, or one has failed.
    pub(crate) async fn next(&mut self) -> Option<Result<(usize, Event), TextError>> {
        if let Some(event) = self.ready.pop_front() {
            return Some(Ok(event));
        }
        let (number, event) = self.running.next().await?;
        // The first event says that the prompt is in.
        let event = event.and_then(|event| self.submit(self.call.options.tries).map(|()| event));
        if event.is_err() {
            self.running.clear();
            self.ready.clear();
        }
        Some(event.map(|event| (number, event)))
    }
}

/// Events up to the end or an error.
fn numbered(number: usize, events: Events) -> BoxStream<'static, Numbered> {
    let next = move |events: Option<Events>| async move {
        let mut events = events?;
        let event = events.next().await.unwrap_or(Err(TextError::TaskLost("the engine")));
        let rest = matches!(event, Ok(Event::Delta { .. })).then_some(events);
        Some(((number, event), rest))
    };
    stream::unfold(Some(events), next).boxed()
}
