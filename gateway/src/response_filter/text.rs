//! Text: windows of it are judged while more arrives, and what may leave is given out. What a call of a tool says is part of the
//! text that is judged, and the call leaves when all of that may.

use std::{
    collections::VecDeque,
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use atelier_core::{Fault, Reason, limits::MAX_TEXT_BYTES};
use atelier_policy::{Action, Medium, Outcome, OutputMode, Stage, Verdict};
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};

use super::{
    account::{Account, Summary},
    ledger::{Ledger, Left},
    window::Windows,
};
use crate::{
    judge::{Call, Judge, Judged},
    metrics,
    tools::ToolCall,
};

/// Text that may wait for judgement before the upstream is read no further. The longest window has 16 KiB.
const MAX_HELD_BYTES: usize = 64 << 10;

/// What an upstream sends; `E` is its account of how the generation ended, which the filter only passes on.
pub(crate) enum Piece<E> {
    /// More text, and the tokens written so far.
    Delta { text: String, completion_tokens: u32 },
    /// A call.
    Call(ToolCall),
    /// The end; sent once, last.
    End(E),
}

/// An upstream's answer.
pub(crate) type Pieces<E> = BoxStream<'static, Result<Piece<E>, Fault>>;

/// What the caller gets.
#[derive(Debug)]
pub(crate) enum Event<E> {
    /// Text that may leave, and the tokens written by its end.
    Delta { text: String, completion_tokens: u32 },
    /// A call that may leave.
    Call(ToolCall),
    /// A window was flagged or blocked.
    Verdict(Verdict),
    /// The end; sent once, last.
    End(Box<End<E>>),
}

/// How an answer ended.
#[derive(Debug)]
pub(crate) struct End<E> {
    /// The upstream's account; `None` where policy cut the call before there was one.
    pub(crate) upstream: Option<E>,
    /// Policy withheld text.
    pub(crate) blocked: bool,
    pub(crate) summary: Summary,
    /// Tokens that the model wrote, whether they left or not.
    pub(crate) completion_tokens: u32,
}

/// Moderates one answer.
pub(crate) struct ResponseFilter<E> {
    account: Account,
    /// `None`: the policy judges no output.
    mode: Option<OutputMode>,
    max_hold: Duration,
    upstream: Option<Pieces<E>>,
    /// The upstream's last word.
    end: Option<E>,
    windows: Windows,
    judging: Option<Judging>,
    /// When the oldest text that is in no window arrived.
    waiting_since: Option<Instant>,
    ledger: Ledger,
    out: VecDeque<Event<E>>,
}

struct Judging {
    verdicts: BoxFuture<'static, Result<Vec<Judged>, Fault>>,
    windows: usize,
    oldest_text: Option<Instant>,
}

/// What happened next.
enum Step<E> {
    Judged(Result<Vec<Judged>, Fault>),
    Arrived(Option<Result<Piece<E>, Fault>>),
    HeldLongEnough,
}

impl<E: Send + Unpin + 'static> ResponseFilter<E> {
    /// `streamed`: the caller gets text as it comes; if not, nothing is won by letting it go unjudged.
    pub(crate) fn new(judge: Judge, call: Arc<Call>, upstream: Pieces<E>, streamed: bool) -> Self {
        let mode = call.policy.judges(Stage::Output, Medium::Text).then(|| match call.policy.output_mode() {
            OutputMode::StreamFirst if !streamed => OutputMode::Windowed,
            mode => mode,
        });
        let rules = call.policy.window();
        let windows = match mode {
            Some(OutputMode::Windowed | OutputMode::StreamFirst) | None => Windows::new(&rules),
            Some(OutputMode::Buffer) => Windows::whole(),
        };
        Self {
            account: Account::new(judge, call),
            mode,
            max_hold: rules.max_hold,
            upstream: Some(upstream),
            end: None,
            windows,
            judging: None,
            waiting_since: None,
            ledger: Ledger::default(),
            out: VecDeque::new(),
        }
    }

    /// The events, until the end or the first fault.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Event<E>, Fault>> + Send {
        futures::stream::try_unfold(self, |mut filter| async move {
            Ok(filter.next().await?.map(|event| (event, filter)))
        })
    }

    /// The next event; `None` behind the end.
    ///
    /// # Errors
    /// The upstream failed, or text could not be judged and the policy fails closed. Nothing leaves after that.
    pub(crate) async fn next(&mut self) -> Result<Option<Event<E>>, Fault> {
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
            if self.judging.is_none() {
                self.judge_what_is_due(false);
            }
            if self.judging.is_none() && self.upstream.is_none() {
                let rest = self.windows.rest();
                self.release(&rest);
                self.finish(false).await?;
                continue;
            }
            match self.step().await {
                Step::Judged(judged) => self.apply(judged?).await?,
                Step::Arrived(piece) => self.arrive(piece.transpose()?)?,
                Step::HeldLongEnough => self.judge_what_is_due(true),
            }
        }
    }

    async fn step(&mut self) -> Step<E> {
        let room = match self.mode {
            // All of it is needed; `arrive` refuses what is too much.
            Some(OutputMode::Buffer) | None => true,
            Some(OutputMode::Windowed | OutputMode::StreamFirst) => {
                self.windows.held_bytes() < MAX_HELD_BYTES
            }
        };
        let held_until = match self.mode {
            Some(OutputMode::Windowed | OutputMode::StreamFirst) if self.judging.is_none() => {
                self.waiting_since.map(|since| since + self.max_hold)
            }
            _ => None,
        };
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
        let held = async {
            match held_until {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => pending().await,
            }
        };
        tokio::select! {
            // In this order: verdicts first, so that text leaves as soon as it may.
            biased;
            judged = judged => Step::Judged(judged),
            arrived = arrived => Step::Arrived(arrived),
            () = held => Step::HeldLongEnough,
        }
    }

    fn arrive(&mut self, piece: Option<Piece<E>>) -> Result<(), Fault> {
        match piece {
            Some(Piece::Delta { text, completion_tokens }) => {
                self.ledger.arrive(&text, completion_tokens);
                self.hold(&text)?;
            }
            Some(Piece::Call(call)) => {
                let reading = call.reading();
                self.ledger.arrive_call(call, &reading);
                self.hold(&reading)?;
            }
            Some(Piece::End(end)) => self.end = Some(end),
            // Read to the very end: a stream that is dropped before it looks cancelled to the upstream.
            None if self.end.is_some() => {
                self.upstream = None;
                self.windows.end();
            }
            None => return Err(Fault::internal("an upstream ended its answer without saying how")),
        }
        Ok(())
    }

    /// Takes in what has arrived, to be judged before or after it leaves.
    fn hold(&mut self, text: &str) -> Result<(), Fault> {
        if matches!(self.mode, None | Some(OutputMode::StreamFirst)) {
            self.release(text);
        }
        if self.mode.is_some() {
            self.windows.push(text);
            // Tokens can be without text; nothing waits then.
            if self.windows.has_fresh() && self.waiting_since.is_none() {
                self.waiting_since = Some(Instant::now());
            }
        }
        if self.mode == Some(OutputMode::Buffer) && self.windows.held_bytes() > MAX_TEXT_BYTES {
            let message = "the answer is too long for a policy that judges it as a whole";
            return Err(Fault::new(Reason::MessageTooLarge, message));
        }
        Ok(())
    }

    /// Starts a judgement if windows are due; at most one is in flight.
    fn judge_what_is_due(&mut self, now: bool) {
        let wait_for_all = self.mode == Some(OutputMode::Buffer) && self.upstream.is_some();
        if self.mode.is_none() || wait_for_all {
            return;
        }
        let windows = self.windows.cut(now);
        if windows.is_empty() {
            return;
        }
        let oldest_text = self.waiting_since.take();
        self.waiting_since = self.windows.has_fresh().then(Instant::now);
        let count = windows.len();
        let first = self.account.number(count);
        let (judge, call) = (self.account.judge().clone(), Arc::clone(self.account.call()));
        let verdicts = async move { judge.windows(&call, windows, first).await }.boxed();
        self.judging = Some(Judging { verdicts, windows: count, oldest_text });
    }

    async fn apply(&mut self, judged: Vec<Judged>) -> Result<(), Fault> {
        if let Some(judging) = self.judging.take() {
            metrics::windows(judging.windows, judging.oldest_text.map(|since| since.elapsed()));
        }
        for judged in judged {
            let outcome = self.account.take(&judged).inspect_err(|_| self.upstream = None)?;
            if judged.verdict.action > Action::Allow {
                self.out.push_back(Event::Verdict(judged.verdict));
            }
            if outcome != Outcome::Pass {
                // Dropping the upstream call frees its slot at once.
                self.upstream = None;
                return self.finish(true).await;
            }
            let text = self.windows.allow();
            if self.mode != Some(OutputMode::StreamFirst) {
                self.release(&text);
            }
        }
        Ok(())
    }

    fn release(&mut self, judged: &str) {
        if judged.is_empty() {
            return;
        }
        for left in self.ledger.leave(judged) {
            match (left, self.out.back_mut()) {
                (Left::Text(text, tokens), Some(Event::Delta { text: before, completion_tokens })) => {
                    self.account.text_leaves(&text);
                    before.push_str(&text);
                    *completion_tokens = tokens;
                }
                (Left::Text(text, completion_tokens), _) => {
                    self.account.text_leaves(&text);
                    self.out.push_back(Event::Delta { text, completion_tokens });
                }
                (Left::Call(call), _) => {
                    self.account.call_leaves(&call);
                    self.out.push_back(Event::Call(call));
                }
            }
        }
    }

    async fn finish(&mut self, blocked: bool) -> Result<(), Fault> {
        let end = End {
            upstream: self.end.take(),
            blocked,
            summary: self.account.close(blocked).await?,
            completion_tokens: self.ledger.arrived_tokens,
        };
        self.out.push_back(Event::End(Box::new(end)));
        Ok(())
    }
}
