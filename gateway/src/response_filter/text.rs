//! Text: the answers of a call are moderated side by side, each on its own.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
    task::Poll,
    time::Instant,
};

use atelier_core::Fault;
use atelier_policy::Verdict;
use futures::{Stream, StreamExt, stream::BoxStream};

use super::{account::Summary, answer::Answer};
use crate::{
    judge::{Call, Judge, Judged},
    tools::ToolCall,
};

/// What an upstream sends; `E` is its account of how the generation ended, which the filter only passes on.
pub(crate) enum Piece<E> {
    /// More text, and the tokens written so far.
    Delta { text: String, completion_tokens: u32 },
    /// A call.
    Call(ToolCall),
    /// The end of the answer; sent once, last.
    End(E),
}

/// The answers of an upstream, mixed: each piece comes with the place of its answer among them, from 0.
pub(crate) type Pieces<E> = BoxStream<'static, Result<(usize, Piece<E>), Fault>>;

/// What the caller gets.
#[derive(Debug)]
pub(crate) enum Event<E> {
    /// Text that may leave, and the tokens written by its end.
    Delta { text: String, completion_tokens: u32 },
    /// A call that may leave.
    Call(ToolCall),
    /// A window was flagged or blocked.
    Verdict(Verdict),
    /// The end of the answer; sent once, last.
    End(Box<End<E>>),
}

/// How an answer ended.
#[derive(Debug)]
pub(crate) struct End<E> {
    /// The upstream's account; `None` where policy cut the answer before there was one.
    pub(crate) upstream: Option<E>,
    /// Policy withheld text.
    pub(crate) blocked: bool,
    pub(crate) summary: Summary,
    /// Tokens that the model wrote, whether they left or not; of an answer that was cut, those written by then.
    pub(crate) completion_tokens: u32,
}

/// Moderates the answers of a call. One that is cut ends there, and the others go on; what can't be measured where it must
/// be ends them all.
pub(crate) struct ResponseFilter<E> {
    answers: Vec<Answer<E>>,
    upstream: Option<Pieces<E>>,
}

/// What happened next.
enum Step<E> {
    /// To the answer in this place.
    Judged(usize, Result<Vec<Judged>, Fault>),
    Arrived(Option<Result<(usize, Piece<E>), Fault>>),
    HeldLongEnough,
}

impl<E: Send + 'static> ResponseFilter<E> {
    /// `choices`: the numbers of the answers, place by place. `streamed`: the caller gets text as it comes.
    pub(crate) fn new(
        judge: &Judge,
        call: &Arc<Call>,
        choices: impl Iterator<Item = u32>,
        upstream: Pieces<E>,
        streamed: bool,
    ) -> Self {
        let answer = |choice| Answer::new(judge.clone(), Arc::clone(call), choice, streamed);
        Self { answers: choices.map(answer).collect(), upstream: Some(upstream) }
    }

    /// The events, until all answers have ended or the first fault.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<(usize, Event<E>), Fault>> + Send {
        futures::stream::try_unfold(self, |mut filter| async move {
            Ok(filter.next().await?.map(|event| (event, filter)))
        })
    }

    /// The next event and the place of its answer; `None` behind the end of all.
    ///
    /// # Errors
    /// The upstream failed, or text could not be judged and the policy fails closed. Nothing leaves after that.
    pub(crate) async fn next(&mut self) -> Result<Option<(usize, Event<E>)>, Fault> {
        let event = self.advance().await;
        if event.is_err() {
            self.upstream = None;
            self.answers.iter_mut().for_each(Answer::fail);
        }
        event
    }

    async fn advance(&mut self) -> Result<Option<(usize, Event<E>)>, Fault> {
        loop {
            let left_over = self.answers.iter().any(|answer| !answer.has_ended());
            if left_over && !self.answers.iter().any(Answer::is_awaited) {
                // Dropping the upstream call frees its slots at once.
                self.upstream = None;
            }
            for answer in &mut self.answers {
                answer.go_on().await?;
            }
            let mut places = self.answers.iter_mut().enumerate();
            if let Some(event) = places.find_map(|(place, answer)| Some((place, answer.pop()?))) {
                return Ok(Some(event));
            }
            if self.upstream.is_none() && self.answers.iter().all(Answer::is_closed) {
                return Ok(None);
            }
            match self.step().await {
                Step::Judged(place, verdicts) => self.answers[place].apply(verdicts?)?,
                Step::Arrived(piece) => self.arrive(piece.transpose()?)?,
                Step::HeldLongEnough => {
                    let now = Instant::now();
                    let held =
                        |answer: &&mut Answer<E>| answer.held_until().is_some_and(|until| until <= now);
                    self.answers.iter_mut().filter(held).for_each(Answer::wait_no_longer);
                }
            }
        }
    }

    async fn step(&mut self) -> Step<E> {
        let Self { answers, upstream } = self;
        let room = answers.iter().all(Answer::has_room);
        let held_until = answers.iter().filter_map(Answer::held_until).min();
        let judged = poll_fn(|context| {
            for (place, answer) in answers.iter_mut().enumerate() {
                if let Poll::Ready(verdicts) = answer.poll_verdicts(context) {
                    return Poll::Ready((place, verdicts));
                }
            }
            Poll::Pending
        });
        let arrived = async {
            match upstream {
                Some(upstream) if room => upstream.next().await,
                _ => pending().await,
            }
        };
        let held = async {
            match held_until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            // In this order: verdicts first, so that text leaves as soon as it may.
            biased;
            (place, verdicts) = judged => Step::Judged(place, verdicts),
            arrived = arrived => Step::Arrived(arrived),
            () = held => Step::HeldLongEnough,
        }
    }

    fn arrive(&mut self, piece: Option<(usize, Piece<E>)>) -> Result<(), Fault> {
        match piece {
            Some((place, piece)) => match self.answers.get_mut(place) {
                Some(answer) => answer.arrive(piece),
                None => Err(Fault::internal("an upstream sent an answer that was not asked for")),
            },
            None if self.answers.iter().any(Answer::is_awaited) => {
                Err(Fault::internal("an upstream ended its answer without saying how"))
            }
            // Read to the very end: a stream that is dropped before it looks cancelled to the upstream.
            None => {
                self.upstream = None;
                Ok(())
            }
        }
    }
}
