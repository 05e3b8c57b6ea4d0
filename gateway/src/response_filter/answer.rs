//! One answer: windows of it are judged while more arrives, and what may leave is given out. What a call of a tool says is part
//! of the text that is judged, and the call leaves when all of that may.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use atelier_core::{Fault, Reason, limits::MAX_TEXT_BYTES};
use atelier_policy::{Action, Medium, Outcome, OutputMode, Stage};
use futures::{FutureExt, future::BoxFuture};

use super::{
    account::Account,
    ledger::{Ledger, Left},
    text::{End, Event, Piece},
    window::Windows,
};
use crate::{
    judge::{Call, Judge, Judged},
    metrics,
};

/// Text of an answer that may wait for judgement before the upstream is read no further. The longest window has 16 KiB.
const MAX_HELD_BYTES: usize = 64 << 10;

/// Moderates one answer.
pub(super) struct Answer<E> {
    account: Account,
    /// `None`: the policy judges no output.
    mode: Option<OutputMode>,
    max_hold: Duration,
    windows: Windows,
    judging: Option<Judging>,
    /// When the oldest text that is in no window arrived.
    waiting_since: Option<Instant>,
    ledger: Ledger,
    /// Policy lets no more of it leave.
    cut: bool,
    /// The upstream has said its last word about it.
    ended: bool,
    /// That word, until it is given out.
    end: Option<E>,
    out: VecDeque<Event<E>>,
}

struct Judging {
    verdicts: BoxFuture<'static, Result<Vec<Judged>, Fault>>,
    windows: usize,
    oldest_text: Option<Instant>,
}

impl<E> Answer<E> {
    /// The answer with the number `choice`. `streamed`: the caller gets text as it comes; if not, nothing is won by letting it go
    /// unjudged.
    pub(super) fn new(judge: Judge, call: Arc<Call>, choice: u32, streamed: bool) -> Self {
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
            account: Account::new(judge, call, Some(choice)),
            mode,
            max_hold: rules.max_hold,
            windows,
            judging: None,
            waiting_since: None,
            ledger: Ledger::default(),
            cut: false,
            ended: false,
            end: None,
            out: VecDeque::new(),
        }
    }

    /// The next event that may leave.
    pub(super) fn pop(&mut self) -> Option<Event<E>> {
        self.out.pop_front()
    }

    /// The upstream has said its last word about it.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// What the upstream still says about it matters.
    pub(super) fn is_awaited(&self) -> bool {
        !self.ended && !self.cut
    }

    /// Its end has been given out.
    pub(super) fn is_closed(&self) -> bool {
        self.account.is_closed()
    }

    /// Notes that the call has failed.
    pub(super) fn fail(&mut self) {
        self.account.fail();
    }

    /// Whether more text can be held.
    pub(super) fn has_room(&self) -> bool {
        match self.mode {
            _ if self.cut => true,
            // All of it is needed; `hold` refuses what is too much.
            Some(OutputMode::Buffer) | None => true,
            Some(OutputMode::Windowed | OutputMode::StreamFirst) => {
                self.windows.held_bytes() < MAX_HELD_BYTES
            }
        }
    }

    /// Takes in what the upstream sends.
    ///
    /// # Errors
    /// It is too much, or comes behind the end.
    pub(super) fn arrive(&mut self, piece: Piece<E>) -> Result<(), Fault> {
        if self.ended {
            return Err(Fault::internal("an upstream went on behind the end of an answer"));
        }
        match piece {
            Piece::End(end) => {
                self.ended = true;
                self.end = Some(end);
                self.windows.end();
            }
            // It is written on beside answers that are not cut.
            Piece::Delta { .. } | Piece::Call(_) if self.cut => {}
            Piece::Delta { text, completion_tokens } => {
                self.ledger.arrive(&text, completion_tokens);
                self.hold(&text)?;
            }
            Piece::Call(call) => {
                let reading = call.reading();
                self.ledger.arrive_call(call, &reading);
                self.hold(&reading)?;
            }
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

    /// Has judged what is due, and ends where nothing is left to judge.
    ///
    /// # Errors
    /// The audit trail can't be written.
    pub(super) async fn go_on(&mut self) -> Result<(), Fault> {
        if self.is_closed() || self.judging.is_some() {
            return Ok(());
        }
        if !self.cut {
            self.judge_what_is_due(false);
            if self.judging.is_some() || !self.ended {
                return Ok(());
            }
            let rest = self.windows.rest();
            self.release(&rest);
        }
        let end = End {
            upstream: self.end.take(),
            blocked: self.cut,
            summary: self.account.close(self.cut).await?,
            completion_tokens: self.ledger.arrived_tokens,
        };
        self.out.push_back(Event::End(Box::new(end)));
        Ok(())
    }

    /// Until when text may wait for its window to be full.
    pub(super) fn held_until(&self) -> Option<Instant> {
        match self.mode {
            Some(OutputMode::Windowed | OutputMode::StreamFirst) if self.judging.is_none() && !self.cut => {
                self.waiting_since.map(|since| since + self.max_hold)
            }
            _ => None,
        }
    }

    /// Text has waited long enough.
    pub(super) fn wait_no_longer(&mut self) {
        self.judge_what_is_due(true);
    }

    /// Starts a judgement if windows are due; at most one is in flight.
    fn judge_what_is_due(&mut self, now: bool) {
        let wait_for_all = self.mode == Some(OutputMode::Buffer) && !self.ended;
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
        let verdicts = self.account.judge_windows(windows);
        self.judging = Some(Judging { verdicts, windows: count, oldest_text });
    }

    /// The verdicts on the windows in judgement, if there are any.
    pub(super) fn poll_verdicts(&mut self, context: &mut Context<'_>) -> Poll<Result<Vec<Judged>, Fault>> {
        match &mut self.judging {
            Some(judging) => judging.verdicts.poll_unpin(context),
            None => Poll::Pending,
        }
    }

    /// Acts on verdicts.
    ///
    /// # Errors
    /// A window could not be measured, and the policy lets nothing pass unmeasured.
    pub(super) fn apply(&mut self, verdicts: Vec<Judged>) -> Result<(), Fault> {
        if let Some(judging) = self.judging.take() {
            metrics::windows(judging.windows, judging.oldest_text.map(|since| since.elapsed()));
        }
        for judged in verdicts {
            let outcome = self.account.take(&judged)?;
            if judged.verdict.action > Action::Allow {
                self.out.push_back(Event::Verdict(judged.verdict));
            }
            if outcome != Outcome::Pass {
                self.cut = true;
                return Ok(());
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
}
