//! Judging a text while it is being written.
//!
//! A part is judged when it holds a step of new text, which keeps what is read twice a small share of the whole. A caller who
//! flushes less than that has its verdict when it has written nothing more for [`Pace::flush_wait`]: the price is that much
//! delay, and without it each flush would cost a run over the overlap.
//!
//! What arrives while a part is being judged waits and is judged with the next one: a stream that is faster than the models
//! gets longer parts, whose windows wait for the models together. A caller who is much faster is not read from until there is room.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use atelier_core::Fault;
use futures::{Stream, StreamExt};
use tokio::time::timeout;

use crate::{
    call::Call,
    categories::CategorySet,
    metrics,
    moderator::{Modality, Moderator},
    scores::Scores,
    text::{Growing, Part, Steps},
};

/// Bytes that may wait to be judged before the caller is read no further.
const MOST_PENDING_BYTES: usize = 64 << 10;

/// More of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// What comes next.
    pub text: String,
    /// All that has come is to be judged as soon as there is a step of it or nothing more comes for a while.
    pub flush: bool,
}

/// What was measured in one part.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// First byte of the part in the whole text, and the one behind its last: up to there all has been judged.
    pub place: Range<u64>,
    /// Its scores. Places of findings count from the beginning of the whole text; those that lay whole in an earlier part are
    /// not told again.
    pub scores: Scores,
}

/// When parts are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How much of the text makes a part.
    pub steps: Steps,
    /// How long nothing more must come before a flush of less than a step is judged.
    pub flush_wait: Duration,
}

/// What is measured, and for whom.
#[derive(Clone, Debug)]
pub struct Follower {
    /// The detectors.
    pub moderator: Arc<Moderator>,
    /// The categories of interest.
    pub asked: CategorySet,
    /// The call's share of the models.
    pub call: Arc<Call>,
}

struct Following<S> {
    follower: Follower,
    /// `None` at the end of the text.
    pieces: Option<S>,
    /// Why the text ended before its end: told when all that came before is judged.
    failed: Option<Fault>,
    growing: Growing,
    flush_wait: Duration,
}

impl Follower {
    /// The verdicts on a text that arrives in pieces, in order; the last one reaches to the text's end. Ends with the first
    /// error of a detector, or with that of a piece when all before it is judged.
    pub fn follow(
        self,
        pieces: impl Stream<Item = Result<Piece, Fault>> + Unpin,
        pace: Pace,
    ) -> impl Stream<Item = Result<Verdict, Fault>> {
        let following = Following {
            follower: self,
            pieces: Some(pieces),
            failed: None,
            growing: Growing::new(pace.steps),
            flush_wait: pace.flush_wait,
        };
        futures::stream::try_unfold(following, |mut following| async move {
            Ok(following.next().await?.map(|verdict| (verdict, following)))
        })
    }

    async fn judge(&self, part: &Part) -> Result<Verdict, Fault> {
        let started = Instant::now();
        let scores = self.moderator.score_text(&part.text, self.asked, &self.call).await;
        let scores = scores.map_err(|error| error.into_fault(""));
        metrics::item(Modality::Text, started, scores.as_ref().map_err(Fault::reason));
        let mut scores = scores?;
        let before = usize::try_from(part.place.start).unwrap_or(usize::MAX);
        scores.findings.retain(|finding| finding.place.end > part.new);
        for finding in &mut scores.findings {
            finding.place =
                finding.place.start.saturating_add(before)..finding.place.end.saturating_add(before);
        }
        Ok(Verdict { place: part.place.clone(), scores })
    }
}

impl<S: Stream<Item = Result<Piece, Fault>> + Unpin> Following<S> {
    async fn next(&mut self) -> Result<Option<Verdict>, Fault> {
        loop {
            if let Some(part) = self.growing.part() {
                return self.judge_and_read(part).await.map(Some);
            }
            let Some(pieces) = &mut self.pieces else { return self.failed.take().map_or(Ok(None), Err) };
            let piece = match self.growing.is_flushed() {
                true => timeout(self.flush_wait, pieces.next()).await,
                false => Ok(pieces.next().await),
            };
            match piece {
                Ok(piece) => self.take(piece),
                Err(_) => self.growing.pause(),
            }
        }
    }

    fn take(&mut self, piece: Option<Result<Piece, Fault>>) {
        match piece {
            Some(Ok(piece)) => {
                self.growing.push(&piece.text);
                if piece.flush {
                    self.growing.flush();
                }
            }
            Some(Err(fault)) => {
                self.failed = Some(fault);
                self.take(None);
            }
            None => {
                self.growing.end();
                self.pieces = None;
            }
        }
    }

    /// Judges a part and takes what arrives meanwhile.
    async fn judge_and_read(&mut self, part: Part) -> Result<Verdict, Fault> {
        let follower = self.follower.clone();
        let mut judging = std::pin::pin!(follower.judge(&part));
        loop {
            let Some(pieces) = self.pieces.as_mut().filter(|_| self.growing.pending() < MOST_PENDING_BYTES)
            else {
                return judging.await;
            };
            tokio::select! {
                verdict = &mut judging => return verdict,
                piece = pieces.next() => {
                    self.take(piece);
                }
            }
        }
    }
}
