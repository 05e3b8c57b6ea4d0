//! The account of one answer: what was decided about it and what left.

use std::sync::Arc;

use atelier_core::{Fault, ModelRef};
use atelier_policy::{Outcome, Stage, Verdict};
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use sha2::{Digest, Sha256};

use crate::{
    audit::{Left, Part},
    judge::{Call, Judge, Judged},
    picture::{Picture, off_worker},
    tools::ToolCall,
};

/// Pictures that are measured with one request at most, and their bytes: what a moderation service takes in one
/// message.
const MAX_BATCH: usize = 16;
const MAX_BATCH_BYTES: usize = 16 << 20;

/// Keeps the account of one answer. When it is dropped before [`Account::close`] (the caller went away, or the call
/// failed) the answer has its end on the trail all the same.
pub(crate) struct Account {
    judge: Judge,
    call: Arc<Call>,
    /// Which of the answers to a prompt it is.
    choice: Option<u32>,
    verdict: Verdict,
    detectors: Vec<ModelRef>,
    hash: Sha256,
    /// What calls that have left say; it is hashed behind the text.
    calls: String,
    bytes: usize,
    /// Number of the next piece.
    next: u32,
    closed: bool,
    failed: bool,
}

/// An account that is closed.
#[derive(Debug)]
pub(crate) struct Summary {
    /// The gravest, category by category.
    pub(crate) verdict: Verdict,
    /// Models that judged.
    pub(crate) detectors: Vec<ModelRef>,
    /// Of what left, in hex.
    pub(crate) content_sha256: String,
}

impl Account {
    pub(crate) fn new(judge: Judge, call: Arc<Call>, choice: Option<u32>) -> Self {
        Self {
            judge,
            call,
            choice,
            verdict: Verdict::allow(Stage::Output),
            detectors: Vec::new(),
            hash: Sha256::new(),
            calls: String::new(),
            bytes: 0,
            next: 0,
            closed: false,
            failed: false,
        }
    }

    pub(crate) fn call(&self) -> &Arc<Call> {
        &self.call
    }

    pub(crate) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Numbers for so many pieces; gives the first one.
    pub(crate) fn number(&mut self, pieces: usize) -> u32 {
        let first = self.next;
        self.next = first.saturating_add(u32::try_from(pieces).unwrap_or(u32::MAX));
        first
    }

    /// Measures windows of the answer and decides about each, apart from the account itself.
    pub(crate) fn judge_windows(
        &mut self,
        windows: Vec<String>,
    ) -> BoxFuture<'static, Result<Vec<Judged>, Fault>> {
        let first = self.number(windows.len());
        let (judge, call, choice) = (self.judge.clone(), Arc::clone(&self.call), self.choice);
        async move { judge.windows(&call, choice, windows, first).await }.boxed()
    }

    /// Takes a decision into account.
    ///
    /// # Errors
    /// The piece could not be measured, and the policy lets nothing pass unmeasured.
    pub(crate) fn take(&mut self, judged: &Judged) -> Result<Outcome, Fault> {
        self.verdict =
            std::mem::replace(&mut self.verdict, Verdict::allow(Stage::Output)).join(&judged.verdict);
        for detector in &judged.detectors {
            if !self.detectors.contains(detector) {
                self.detectors.push(detector.clone());
            }
        }
        match judged.verdict.outcome() {
            Outcome::Unavailable => {
                Err(self.call.refusal(&judged.verdict).unwrap_or_else(|| Fault::internal("no refusal")))
            }
            outcome @ (Outcome::Pass | Outcome::Blocked) => Ok(outcome),
        }
    }

    /// Decides about pictures, each on its own, and takes that into account.
    ///
    /// # Errors
    /// As [`Account::take`]; or the audit trail can't be written.
    pub(crate) async fn pictures(&mut self, part: Part, pictures: &[Picture]) -> Result<Vec<Verdict>, Fault> {
        let mut verdicts = Vec::with_capacity(pictures.len());
        for batch in batches(pictures) {
            let first = self.number(batch.len());
            let (judge, call) = (self.judge.clone(), Arc::clone(&self.call));
            for judged in judge.pictures(&call, Stage::Output, part, batch, first).await? {
                self.take(&judged)?;
                verdicts.push(judged.verdict);
            }
        }
        Ok(verdicts)
    }

    /// Text leaves.
    pub(crate) fn text_leaves(&mut self, text: &str) {
        self.hash.update(text);
        self.bytes += text.len();
    }

    /// A call leaves.
    pub(crate) fn call_leaves(&mut self, call: &ToolCall) {
        for part in [&call.name, &call.arguments_json] {
            self.calls.push_str(part);
            self.bytes += part.len();
        }
    }

    /// Encoded content leaves.
    ///
    /// # Errors
    /// A defect on our side.
    pub(crate) async fn data_leaves(&mut self, data: Bytes) -> Result<(), Fault> {
        let (mut hash, length) = (self.hash.clone(), data.len());
        let updated = off_worker(length, move || {
            hash.update(&data);
            hash
        });
        self.hash = updated.await?;
        self.bytes += length;
        Ok(())
    }

    /// The answer is over, and what follows is sent; `blocked`: policy withheld something.
    ///
    /// # Errors
    /// The audit trail can't be written.
    pub(crate) async fn close(&mut self, blocked: bool) -> Result<Summary, Fault> {
        let summary = Summary {
            verdict: self.verdict.clone(),
            detectors: self.detectors.clone(),
            content_sha256: self.left_sha256(),
        };
        let reason = if blocked { "content_filter" } else { "complete" };
        self.judge.audit.left(&self.call, self.left(reason, &summary.content_sha256)).await?;
        self.closed = true;
        Ok(summary)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Notes that the call has failed.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }

    /// Notes whether the call has failed, and gives the outcome back.
    pub(crate) fn note<T>(&mut self, outcome: Result<T, Fault>) -> Result<T, Fault> {
        self.failed = outcome.is_err();
        outcome
    }

    fn left<'a>(&'a self, finish_reason: &'static str, content_sha256: &'a str) -> Left<'a> {
        Left {
            choice: self.choice,
            verdict: &self.verdict,
            detectors: &self.detectors,
            finish_reason,
            content_sha256,
            content_bytes: self.bytes,
        }
    }

    fn left_sha256(&self) -> String {
        hex::encode(self.hash.clone().chain_update(&self.calls).finalize())
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if !self.closed {
            let reason = if self.failed { "error" } else { "cancelled" };
            self.judge.audit.left_behind(&self.call, self.left(reason, &self.left_sha256()));
        }
    }
}

/// Pictures in pieces that one request can carry.
fn batches(pictures: &[Picture]) -> impl Iterator<Item = &[Picture]> {
    let mut rest = pictures;
    std::iter::from_fn(move || {
        let (batch, behind) = rest.split_at(batch_len(rest.iter()));
        rest = behind;
        (!batch.is_empty()).then_some(batch)
    })
}

/// How many of these pictures one request can carry: at least one, where there is one.
pub(crate) fn batch_len<'a>(pictures: impl Iterator<Item = &'a Picture>) -> usize {
    let mut bytes = 0;
    let fit = pictures.take(MAX_BATCH).enumerate().take_while(|(n, picture)| {
        bytes += picture.measured().len();
        *n == 0 || bytes <= MAX_BATCH_BYTES
    });
    fit.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sizes: &[usize]) -> Vec<usize> {
        let picture = |size: &usize| Picture { data: vec![0; *size].into(), ..Picture::default() };
        let pictures: Vec<_> = sizes.iter().map(picture).collect();
        batches(&pictures).map(<[_]>::len).collect()
    }

    #[test]
    fn batches_keep_to_count_and_bytes() {
        assert_eq!(of(&[1; 40]), [16, 16, 8]);
        assert_eq!(of(&[10 << 20, 7 << 20, 9 << 20, 6 << 20]), [1, 2, 1]);
        assert_eq!(of(&[20 << 20, 1]), [1, 1], "one that is too large alone is the service's to refuse");
        assert!(of(&[]).is_empty());
    }
}
