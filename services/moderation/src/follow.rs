//! Judging a text while it is being written.
//!
//! What arrives while a part is being judged waits and is judged with the next one: a stream that is faster than the models
//! gets longer parts, which run as one batch. A caller who is much faster is not read from until there is room.

use std::{ops::Range, sync::Arc, time::Instant};

use atelier_core::Fault;
use futures::{Stream, StreamExt};

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
    /// All that has come is to be judged now.
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
    growing: Growing,
}

impl Follower {
    /// The verdicts on a text that arrives in pieces, in order; the last one reaches to the text's end. Ends with the first
    /// error, of the pieces or of a detector.
    pub fn follow(
        self,
        pieces: impl Stream<Item = Result<Piece, Fault>> + Unpin,
        steps: Steps,
    ) -> impl Stream<Item = Result<Verdict, Fault>> {
        let following = Following { follower: self, pieces: Some(pieces), growing: Growing::new(steps) };
        futures::stream::try_unfold(following, |mut following| async move {
            Ok(following.next().await?.map(|verdict| (verdict, following)))
        })
    }

    async fn judge(&self, part: &Part) -> Result<Verdict, Fault> {
        let started = Instant::now();
        let scores = self.moderator.score_text(&part.text, self.asked, &self.call).await;
        let scores = scores.map_err(|error| error.into_fault("text"));
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
            let Some(pieces) = &mut self.pieces else { return Ok(None) };
            let piece = pieces.next().await.transpose()?;
            self.take(piece);
        }
    }

    fn take(&mut self, piece: Option<Piece>) {
        match piece {
            Some(piece) => {
                self.growing.push(&piece.text);
                if piece.flush {
                    self.growing.flush();
                }
            }
            None => {
                self.growing.flush();
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
                    let piece = piece.transpose()?;
                    self.take(piece);
                }
            }
        }
    }
}
