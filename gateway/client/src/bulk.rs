//! Scoring any number of texts over one stream with many in flight, each answered exactly once.
//!
//! The wire's item ids are positions in the input, so a caller's own keys may repeat and be of any type. What is in
//! flight is kept here until it is answered: an item the gateway puts off is sent again later, and when the stream
//! breaks a new one is opened and is sent all that was unanswered.

use std::{
    collections::HashMap,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use atelier_proto::{
    common::v1::ModelRef,
    gateway::v1::{
        StreamModerateTextRequest, StreamModerateTextResponse, stream_moderate_text_response::Outcome,
    },
    moderation::v1::{ItemError, Scores, TextItem},
};
use futures::{
    FutureExt, Stream, StreamExt, TryStreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, FuturesUnordered},
};
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{ClientError, RawClient, RetryPolicy};

/// Longest text the API takes, in bytes. A longer one could end the stream for all the others.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// How a bulk call goes about it.
#[derive(Clone, Debug)]
pub struct BulkOptions {
    /// Most texts sent and not yet answered; at least 1.
    pub in_flight: usize,
    /// Categories of interest; empty: all of the taxonomy.
    pub categories: Vec<String>,
}

impl Default for BulkOptions {
    /// 64 in flight: two full batches of the moderation service, so that one is ready when the other is done.
    fn default() -> Self {
        Self { in_flight: 64, categories: Vec::new() }
    }
}

/// The answer to one text.
#[derive(Clone, Debug)]
pub struct BulkAnswer<K> {
    /// The caller's key of the text.
    pub key: K,
    /// Its scores, or why it could not be judged (after the retry policy's tries, where another try made sense).
    pub outcome: Result<Scores, ItemError>,
    /// Detectors that took part.
    pub models: Vec<ModelRef>,
}

/// Answers as they come, in no particular order. Ends after an `Err`; dropping it ends the call.
pub struct BulkStream<K>(ReceiverStream<Result<BulkAnswer<K>, ClientError>>);

impl<K> Stream for BulkStream<K> {
    type Item = Result<BulkAnswer<K>, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

pub(crate) fn start<K, S>(
    client: RawClient,
    retry: RetryPolicy,
    texts: S,
    options: BulkOptions,
) -> BulkStream<K>
where
    K: Send + 'static,
    S: Stream<Item = (K, String)> + Send + 'static,
{
    let in_flight = options.in_flight.max(1);
    let (answers, receiver) = mpsc::channel(in_flight);
    let texts = texts.fuse().boxed();
    let bulk = Bulk {
        client,
        retry,
        in_flight,
        categories: options.categories,
        texts,
        texts_ended: false,
        next_index: 0,
        pending: HashMap::new(),
        put_off: FuturesUnordered::new(),
        answers,
    };
    tokio::spawn(bulk.run());
    BulkStream(ReceiverStream::new(receiver))
}

struct Bulk<K> {
    client: RawClient,
    retry: RetryPolicy,
    in_flight: usize,
    categories: Vec<String>,
    texts: BoxStream<'static, (K, String)>,
    texts_ended: bool,
    next_index: u64,
    pending: HashMap<u64, Pending<K>>,
    /// Items that the gateway put off, each until its next try.
    put_off: FuturesUnordered<BoxFuture<'static, u64>>,
    answers: mpsc::Sender<Result<BulkAnswer<K>, ClientError>>,
}

struct Pending<K> {
    key: K,
    text: String,
    failures: u32,
    /// Waits in `put_off`.
    waiting: bool,
}

/// How one stream ended.
enum End {
    /// All is answered.
    Done,
    /// Nobody listens any more.
    Unwanted,
    /// It broke; `progress` says whether it had answered anything.
    Broken { error: ClientError, progress: bool },
}

/// The caller is gone.
struct Gone;

impl<K: Send + 'static> Bulk<K> {
    async fn run(mut self) {
        let mut failures = 0;
        loop {
            let (error, progress) = match self.one_stream().await {
                End::Done | End::Unwanted => return,
                End::Broken { error, progress } => (error, progress),
            };
            failures = if progress { 1 } else { failures + 1 };
            // A stream that has lived as long as the gateway lets any call live is no failure: go on with a new one.
            let again = error.is_retryable() || (progress && error.code() == Code::DeadlineExceeded);
            let asked = error.call().and_then(|call| call.retry_after);
            match self.retry.delay(failures, asked).filter(|_| again) {
                Some(delay) => sleep(delay).await,
                None => {
                    // A caller who has left needs no error.
                    let _ = self.answers.send(Err(error)).await;
                    return;
                }
            }
        }
    }

    async fn one_stream(&mut self) -> End {
        // One place for each item that may be in flight: sending never waits.
        let (requests, receiver) = mpsc::channel(self.in_flight);
        for (index, pending) in &self.pending {
            if !pending.waiting {
                self.send(&requests, *index, &pending.text);
            }
        }
        let mut client = self.client.clone();
        let call = async move { client.stream_moderate_text(ReceiverStream::new(receiver)).await };
        // The gateway's headers may come only with its first answer: items are sent while they are awaited.
        let answers = stream::once(call).map_ok(tonic::Response::into_inner).try_flatten();
        let mut answers = std::pin::pin!(answers);
        let mut progress = false;
        loop {
            if self.texts_ended && self.pending.is_empty() {
                return End::Done;
            }
            let room = !self.texts_ended && self.pending.len() < self.in_flight;
            tokio::select! {
                answer = answers.next() => match answer {
                    Some(Ok(answer)) => {
                        progress = true;
                        if let Err(Gone) = self.take(answer).await {
                            return End::Unwanted;
                        }
                    }
                    Some(Err(status)) => return End::Broken { error: status.into(), progress },
                    None => {
                        let error = tonic::Status::unavailable("the stream ended with texts unanswered").into();
                        return End::Broken { error, progress };
                    }
                },
                Some(index) = self.put_off.next() => {
                    if let Some(pending) = self.pending.get_mut(&index) {
                        pending.waiting = false;
                        let text = pending.text.clone();
                        self.send(&requests, index, &text);
                    }
                }
                next = self.texts.next(), if room => match next {
                    Some((key, text)) => {
                        if let Err(Gone) = self.accept(&requests, key, text).await {
                            return End::Unwanted;
                        }
                    }
                    None => self.texts_ended = true,
                },
                () = self.answers.closed() => return End::Unwanted,
            }
        }
    }

    async fn accept(
        &mut self,
        requests: &mpsc::Sender<StreamModerateTextRequest>,
        key: K,
        text: String,
    ) -> Result<(), Gone> {
        let index = self.next_index;
        self.next_index += 1;
        if text.len() > MAX_TEXT_BYTES {
            let error = ItemError {
                reason: "INVALID_ARGUMENT".into(),
                message: format!("text must have at most {MAX_TEXT_BYTES} bytes, not {}", text.len()),
                field: "text".into(),
                retryable: false,
            };
            return self.answer(key, Err(error), Vec::new()).await;
        }
        self.send(requests, index, &text);
        self.pending.insert(index, Pending { key, text, failures: 0, waiting: false });
        Ok(())
    }

    fn send(&self, requests: &mpsc::Sender<StreamModerateTextRequest>, index: u64, text: &str) {
        let item = TextItem { id: index.to_string(), text: text.to_owned() };
        // Fails only when the stream has broken; the item stays in `pending` and the next stream is sent it.
        let _ = requests
            .try_send(StreamModerateTextRequest { item: Some(item), categories: self.categories.clone() });
    }

    async fn take(&mut self, answer: StreamModerateTextResponse) -> Result<(), Gone> {
        let StreamModerateTextResponse { id, outcome, models } = answer;
        let Some(index) = id.parse().ok().filter(|index| self.pending.contains_key(index)) else {
            // Answered already: exactly once is what the caller is promised.
            return Ok(());
        };
        let outcome = match outcome {
            Some(Outcome::Scores(scores)) => Ok(scores),
            Some(Outcome::Error(error)) if error.retryable => match self.put_off(index) {
                true => return Ok(()),
                false => Err(error),
            },
            Some(Outcome::Error(error)) => Err(error),
            None => Err(ItemError {
                reason: "INTERNAL".into(),
                message: "the gateway answered with neither scores nor an error".into(),
                ..ItemError::default()
            }),
        };
        match self.pending.remove(&index) {
            Some(pending) => self.answer(pending.key, outcome, models).await,
            None => Ok(()),
        }
    }

    /// Plans another try of an item; `false`: it has had its tries.
    fn put_off(&mut self, index: u64) -> bool {
        let Some(pending) = self.pending.get_mut(&index) else { return true };
        pending.failures += 1;
        let Some(delay) = self.retry.delay(pending.failures, None::<Duration>) else { return false };
        pending.waiting = true;
        self.put_off.push(sleep(delay).map(move |()| index).boxed());
        true
    }

    async fn answer(
        &mut self,
        key: K,
        outcome: Result<Scores, ItemError>,
        models: Vec<ModelRef>,
    ) -> Result<(), Gone> {
        let answer = BulkAnswer { key, outcome, models };
        self.answers.send(Ok(answer)).await.map_err(|_| Gone)
    }
}
