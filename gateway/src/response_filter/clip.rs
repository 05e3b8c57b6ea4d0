//! Clips: frames are judged as they come, the file is held until all of them have passed.
//!
//! A frame that is blocked cuts the clip: the upstream call is dropped and no file leaves.

use std::{collections::VecDeque, future::pending, sync::Arc, time::Duration};

use atelier_core::{Fault, Reason};
use atelier_policy::{Action, Medium, Outcome, Stage, Verdict};
use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::account::{Account, Summary, batch_len};
use crate::{
    audit::Part,
    judge::Judged,
    picture::{Picture, Progress},
};

/// Frames that may wait for judgement, and their bytes, before the upstream is read no further.
const MAX_WAITING: usize = 16;
const MAX_WAITING_BYTES: usize = 16 << 20;
/// Largest file of a clip: a minute of 1024 by 1024 pixels at good quality has half of it.
const MAX_FILE_BYTES: usize = 64 << 20;

/// What an upstream sends; `E` is its account of how the clip ended, which the filter only passes on.
pub(crate) enum Piece<E> {
    Progress(Progress),
    Frame(Frame),
    Chunk(Chunk),
    /// The end; sent once, last. `frames` are in the file.
    End {
        end: E,
        frames: u32,
    },
}

/// One frame.
pub(crate) struct Frame {
    /// Counted from 0.
    pub(crate) index: u32,
    pub(crate) picture: Picture,
}

/// A piece of the file.
pub(crate) struct Chunk {
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
}

/// An upstream's answer.
pub(crate) type Pieces<E> = BoxStream<'static, Result<Piece<E>, Fault>>;

/// What the caller gets.
pub(crate) enum Event<E> {
    Progress(Progress),
    /// A frame that passed.
    Frame(Frame),
    /// A frame was flagged or blocked.
    Verdict(Verdict),
    Chunk(Chunk),
    /// The end; sent once, last.
    End(Box<End<E>>),
}

/// How a clip ended.
pub(crate) struct End<E> {
    /// The upstream's account; `None` where policy cut the clip.
    pub(crate) upstream: Option<E>,
    /// Frames that passed.
    pub(crate) passed: u32,
    pub(crate) summary: Summary,
}

/// Memory for the files that are held, shared by all calls.
#[derive(Clone)]
pub(crate) struct FileMemory(Arc<Semaphore>);

impl FileMemory {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }
}

/// How a clip is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Show {
    /// The caller wants the frames themselves.
    pub(crate) frames: bool,
    pub(crate) frames_per_second: u32,
}

impl Show {
    /// When a frame is shown, in milliseconds.
    fn time_ms(self, index: u32) -> u64 {
        u64::from(index) * 1000 / u64::from(self.frames_per_second.max(1))
    }

    /// Whether the text in a frame is read: in the first one of each interval.
    fn is_read(self, index: u32, interval: Duration) -> bool {
        let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let which = |index| self.time_ms(index) / interval;
        index.checked_sub(1).is_none_or(|before| which(before) != which(index))
    }
}

/// Moderates one clip.
pub(crate) struct ClipFilter<E> {
    account: Account,
    memory: FileMemory,
    /// The policy has rules for made pictures.
    judges: bool,
    show: Show,
    upstream: Option<Pieces<E>>,
    waiting: VecDeque<Frame>,
    judging: Option<Judging>,
    arrived: u32,
    passed: u32,
    /// The file so far, and the memory it takes.
    file: Vec<Chunk>,
    file_bytes: usize,
    held: Option<OwnedSemaphorePermit>,
    end: Option<(E, u32)>,
    out: VecDeque<Event<E>>,
}

struct Judging {
    frames: Vec<Frame>,
    verdicts: BoxFuture<'static, Result<Vec<Judged>, Fault>>,
}

/// What happened next.
enum Step<E> {
    Judged(Result<Vec<Judged>, Fault>),
    Arrived(Option<Result<Piece<E>, Fault>>),
}

impl<E: Send + 'static> ClipFilter<E> {
    pub(crate) fn new(account: Account, upstream: Pieces<E>, memory: FileMemory, show: Show) -> Self {
        Self {
            judges: account.call().policy.judges(Stage::Output, Medium::Image),
            account,
            memory,
            show,
            upstream: Some(upstream),
            waiting: VecDeque::new(),
            judging: None,
            arrived: 0,
            passed: 0,
            file: Vec::new(),
            file_bytes: 0,
            held: None,
            end: None,
            out: VecDeque::new(),
        }
    }

    /// The events, until the end or the first fault.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Event<E>, Fault>> + Send {
        futures::stream::try_unfold(self, |mut filter| async move {
            Ok(filter.next().await?.map(|event| (event, filter)))
        })
    }

    async fn next(&mut self) -> Result<Option<Event<E>>, Fault> {
        let event = self.advance().await;
        self.account.note(event)
    }

    async fn advance(&mut self) -> Result<Option<Event<E>>, Fault> {
        loop {
            if let Some(event) = self.out.pop_front() {
                return Ok(Some(event));
            }
            if self.account.is_closed() {
                return Ok(None);
            }
            self.judge_what_waits();
            if self.upstream.is_none() && self.judging.is_none() {
                self.finish().await?;
                continue;
            }
            match self.step().await {
                Step::Judged(judged) => self.apply(judged?).await?,
                Step::Arrived(Some(piece)) => self.arrive(piece?)?,
                // Read to the very end: a stream that is dropped before it looks cancelled to the upstream.
                Step::Arrived(None) if self.end.is_some() => self.upstream = None,
                Step::Arrived(None) => {
                    return Err(Fault::internal("an upstream ended a clip without saying how"));
                }
            }
        }
    }

    async fn step(&mut self) -> Step<E> {
        let bytes: usize = self.waiting.iter().map(|frame| frame.picture.data.len()).sum();
        let room = self.waiting.len() < MAX_WAITING && bytes < MAX_WAITING_BYTES;
        let judged = async {
            match &mut self.judging {
                Some(judging) => (&mut judging.verdicts).await,
                None => pending().await,
            }
        };
        let arrived = async {
            match &mut self.upstream {
                Some(upstream) if room => upstream.next().await,
                _ => pending().await,
            }
        };
        tokio::select! {
            biased;
            judged = judged => Step::Judged(judged),
            piece = arrived => Step::Arrived(piece),
        }
    }

    fn arrive(&mut self, piece: Piece<E>) -> Result<(), Fault> {
        match piece {
            Piece::Progress(progress) => self.out.push_back(Event::Progress(progress)),
            Piece::Frame(frame) if frame.index != self.arrived => {
                return Err(Fault::internal("the frames of a clip are out of order"));
            }
            Piece::Frame(mut frame) => {
                self.arrived += 1;
                frame.picture.time_ms = Some(self.show.time_ms(frame.index));
                let interval = self.account.judge().reading.frame_interval;
                frame.picture.skip_text = !self.show.is_read(frame.index, interval);
                if self.judges { self.waiting.push_back(frame) } else { self.pass(frame) }
            }
            Piece::Chunk(chunk) => self.hold(chunk)?,
            Piece::End { end, frames } => self.end = Some((end, frames)),
        }
        Ok(())
    }

    fn pass(&mut self, frame: Frame) {
        self.passed += 1;
        if self.show.frames {
            self.out.push_back(Event::Frame(frame));
        }
    }

    fn hold(&mut self, chunk: Chunk) -> Result<(), Fault> {
        if chunk.offset != self.file_bytes as u64 {
            return Err(Fault::internal("a clip's file has a gap"));
        }
        self.file_bytes += chunk.data.len();
        if self.file_bytes > MAX_FILE_BYTES {
            let message = format!("the clip's file is over {} MiB", MAX_FILE_BYTES >> 20);
            return Err(Fault::new(Reason::MessageTooLarge, message));
        }
        let bytes = u32::try_from(chunk.data.len()).unwrap_or(u32::MAX);
        let Ok(permit) = Arc::clone(&self.memory.0).try_acquire_many_owned(bytes) else {
            return Err(Fault::new(Reason::Overloaded, "no memory is left for the files of clips"));
        };
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        self.file.push(chunk);
        Ok(())
    }

    /// Starts a judgement if frames wait; at most one is in flight.
    fn judge_what_waits(&mut self) {
        if self.judging.is_some() || self.waiting.is_empty() {
            return;
        }
        let count = batch_len(self.waiting.iter().map(|frame| &frame.picture));
        let frames: Vec<Frame> = self.waiting.drain(..count).collect();
        let first = self.account.number(count);
        let (judge, call) = (self.account.judge().clone(), Arc::clone(self.account.call()));
        let pictures: Vec<_> = frames.iter().map(|frame| frame.picture.clone()).collect();
        let verdicts =
            async move { judge.pictures(&call, Stage::Output, Part::Frame, &pictures, first).await };
        self.judging = Some(Judging { frames, verdicts: verdicts.boxed() });
    }

    async fn apply(&mut self, judged: Vec<Judged>) -> Result<(), Fault> {
        let Some(Judging { frames, .. }) = self.judging.take() else { return Ok(()) };
        for (frame, judged) in frames.into_iter().zip(judged) {
            let outcome = self.account.take(&judged)?;
            if judged.verdict.action > Action::Allow {
                self.out.push_back(Event::Verdict(judged.verdict));
            }
            if outcome != Outcome::Pass {
                // Dropping the upstream call frees its place at once; of what it made nothing more leaves.
                self.upstream = None;
                self.waiting.clear();
                self.drop_file();
                let summary = self.account.close(true).await?;
                let end = End { upstream: None, passed: self.passed, summary };
                self.out.push_back(Event::End(Box::new(end)));
                return Ok(());
            }
            self.pass(frame);
        }
        Ok(())
    }

    fn drop_file(&mut self) {
        self.file.clear();
        self.held = None;
    }

    /// All has come and passed: the file leaves. Its memory is given back with the filter, when it has left.
    async fn finish(&mut self) -> Result<(), Fault> {
        let Some((end, frames)) = self.end.take() else {
            return Err(Fault::internal("a clip ended twice"));
        };
        if self.judges && frames != self.passed {
            return Err(Fault::internal("a clip's file has other frames than those that were judged"));
        }
        for chunk in std::mem::take(&mut self.file) {
            self.account.data_leaves(chunk.data.clone()).await?;
            self.out.push_back(Event::Chunk(chunk));
        }
        let summary = self.account.close(false).await?;
        self.out.push_back(Event::End(Box::new(End { upstream: Some(end), passed: self.passed, summary })));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_of_each_interval_is_read() {
        let read = |frames_per_second, interval| {
            let show = Show { frames: false, frames_per_second };
            (0..30).filter(|n| show.is_read(*n, interval)).collect::<Vec<_>>()
        };
        assert_eq!(read(12, Duration::from_secs(1)), [0, 12, 24]);
        assert_eq!(read(7, Duration::from_millis(1500)), [0, 11, 21]);
        assert_eq!(read(60, Duration::ZERO).len(), 30);
        assert_eq!(read(1, Duration::from_secs(1)).len(), 30);
        assert_eq!(Show { frames: true, frames_per_second: 12 }.time_ms(30), 2_500);
    }
}
