//! The gRPC face of the [`Moderator`]: checks requests, runs their items side by side, converts.

use std::{
    error::Error,
    fmt::{self, Display},
    pin::Pin,
    sync::Arc,
    time::Instant,
};

use atelier_core::{
    CategoryId, Fault, Reason,
    limits::{MAX_BATCH_IMAGES, MAX_BATCH_TEXTS},
};
use atelier_inference::Ticket;
use atelier_proto::{
    common::v1::ModelRef,
    moderation::v1::{self as api, moderation_service_server::ModerationService},
};
use atelier_rpc::{CallContext, fault_of};
use futures::{Stream, StreamExt, TryFutureExt, TryStreamExt, future, stream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    call::Call,
    categories::CategorySet,
    config::Config,
    convert::{self, Wanted},
    error::ModerationError,
    follow::{Follower, Pace},
    metrics,
    moderator::{ImageResult, Modality, Moderator, Picture},
    scores::Scores,
    text::Steps,
};

/// Serves a moderator.
#[derive(Clone, Debug)]
pub struct Service {
    moderator: Arc<Moderator>,
    texts_in_flight: usize,
    images_in_flight: usize,
    pace: Pace,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    /// Serves this moderator with the configuration's bounds on items in flight.
    #[must_use]
    pub fn new(moderator: Arc<Moderator>, config: &Config) -> Self {
        Self {
            moderator,
            texts_in_flight: config.text.max_in_flight.max(1),
            images_in_flight: config.image.max_in_flight.max(1),
            pace: Pace {
                steps: Steps { step: config.text.step_bytes, overlap: config.text.overlap_bytes },
                flush_wait: config.text.flush_wait,
            },
        }
    }

    async fn text(
        &self,
        item: &api::TextItem,
        at: impl Display,
        asked: CategorySet,
        call: &Call,
    ) -> Result<Scores, Fault> {
        let started = Instant::now();
        let scores = self.moderator.score_text(&item.text, asked, call).await;
        measured(Modality::Text, started, at, scores, |scores| scores)
    }

    async fn image(
        &self,
        picture: Picture,
        at: impl Display,
        asked: CategorySet,
        call: &Call,
    ) -> Result<ImageResult, Fault> {
        let started = Instant::now();
        let result = self.moderator.score_image(picture, asked, call).await;
        measured(Modality::Image, started, at, result, |result| &result.scores)
    }

    async fn texts(
        &self,
        request: api::ModerateTextRequest,
        call: &Call,
    ) -> Result<api::ModerateTextResponse, Fault> {
        let asked = convert::categories(&request.categories, self.moderator.usual(call))?;
        convert::batch_size(request.items.len(), MAX_BATCH_TEXTS)?;
        for (n, item) in request.items.iter().enumerate() {
            convert::check_text(item, At(n))?;
        }
        let redact = request.redact;
        let run = async |(n, item): (usize, api::TextItem)| {
            let scores = self.text(&item, At(n), asked, call).await?;
            let redacted_text = match redact {
                true => {
                    let redacted = self.moderator.redact(item.text, call).await;
                    Some(redacted.map_err(|error| error.into_fault(&At(n).to_string()))?)
                }
                false => None,
            };
            Ok::<_, Fault>(api::ItemScores {
                id: item.id,
                scores: Some(convert::scores(scores)),
                redacted_text,
                read_text: None,
            })
        };
        let runs = stream::iter(request.items.into_iter().enumerate()).map(run);
        let results = runs.buffered(call.width()).try_collect().await?;
        Ok(api::ModerateTextResponse { results, models: self.models(asked, call) })
    }

    async fn images(
        &self,
        request: api::ModerateImageRequest,
        call: &Call,
    ) -> Result<api::ModerateImageResponse, Fault> {
        let asked = convert::categories(&request.categories, self.moderator.usual(call))?;
        convert::batch_size(request.items.len(), MAX_BATCH_IMAGES)?;
        let (read_text, faces) = (request.read_text, request.count_faces);
        let wanted = Wanted { tags: convert::tags(request.tags)?, read_text, faces };
        let checked = request.items.into_iter().enumerate().map(|(n, mut item)| {
            let id = std::mem::take(&mut item.id);
            Ok((n, id, convert::picture(item, At(n), wanted)?))
        });
        let items = checked.collect::<Result<Vec<_>, Fault>>()?;
        let run = async |(n, id, picture)| {
            let ImageResult { scores, read_text, models } = self.image(picture, At(n), asked, call).await?;
            let (scores, read_text) = (Some(convert::scores(scores)), read_text.filter(|_| wanted.read_text));
            Ok::<_, Fault>((api::ItemScores { id, scores, redacted_text: None, read_text }, models))
        };
        let runs: Vec<_> = stream::iter(items).map(run).buffered(call.width()).try_collect().await?;
        let (results, models): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        let mut taken_part = Vec::new();
        for model in models.into_iter().flatten().map(convert::model) {
            if !taken_part.contains(&model) {
                taken_part.push(model);
            }
        }
        Ok(api::ModerateImageResponse { results, models: taken_part })
    }

    fn models(&self, asked: CategorySet, call: &Call) -> Vec<ModelRef> {
        self.moderator.models(asked, call).map(convert::model).collect()
    }

    async fn answer_text(
        &self,
        request: api::StreamModerateTextRequest,
        call: &Call,
    ) -> api::StreamModerateTextResponse {
        use api::stream_moderate_text_response::Outcome;
        let id = request.item.as_ref().map(|item| convert::echo(item.id.clone())).unwrap_or_default();
        let outcome = async {
            let asked = convert::categories(&request.categories, self.moderator.usual(call))?;
            let item = convert::required(request.item, ITEM)?;
            convert::check_text(&item, ITEM)?;
            let scores = self.text(&item, ITEM, asked, call).await?;
            Ok((convert::scores(scores), self.models(asked, call)))
        };
        let (outcome, models) = match outcome.await {
            Ok((scores, models)) => (Outcome::Scores(scores), models),
            Err(fault) => (Outcome::Error(item_error(fault)), Vec::new()),
        };
        api::StreamModerateTextResponse { id, outcome: Some(outcome), models }
    }

    /// The verdicts on a growing text. The first message is read in the stream of answers: a caller may wait for the call to
    /// stand before it writes anything.
    async fn follow(
        self,
        mut requests: Streaming<api::FollowTextRequest>,
        call: Arc<Call>,
    ) -> Result<impl Stream<Item = Result<api::FollowTextResponse, Fault>>, Fault> {
        let first = requests.message().await.map_err(|status| fault_of(&status))?.unwrap_or_default();
        let asked = convert::categories(&first.categories, self.moderator.usual(&call))?;
        let requests = stream::iter([Ok(first)]).chain(requests).map_err(|status| fault_of(&status));
        let pieces = requests.enumerate().scan(0, |before, (n, request)| {
            let piece = request.and_then(|request| convert::piece(request, n > 0, *before));
            *before += piece.as_ref().map_or(0, |piece| piece.text.len() as u64);
            future::ready(Some(piece))
        });
        let models = self.models(asked, &call);
        let follower = Follower { moderator: self.moderator, asked, call };
        let verdicts = follower.follow(Box::pin(pieces), self.pace);
        Ok(verdicts.map_ok(move |verdict| convert::verdict(verdict, models.clone())))
    }

    async fn answer_image(
        &self,
        request: api::StreamModerateImageRequest,
        call: &Call,
    ) -> api::StreamModerateImageResponse {
        use api::stream_moderate_image_response::Outcome;
        let id = request.item.as_ref().map(|item| convert::echo(item.id.clone())).unwrap_or_default();
        let outcome = async {
            let asked = convert::categories(&request.categories, self.moderator.usual(call))?;
            let (read_text, faces) = (request.read_text, request.count_faces);
            let wanted = Wanted { tags: convert::tags(request.tags)?, read_text, faces };
            let picture = convert::picture(convert::required(request.item, ITEM)?, ITEM, wanted)?;
            let result = self.image(picture, ITEM, asked, call).await?;
            Ok(ImageResult { read_text: result.read_text.filter(|_| wanted.read_text), ..result })
        };
        let (outcome, read_text, models) = match outcome.await {
            Ok(ImageResult { scores, read_text, models }) => {
                (Outcome::Scores(convert::scores(scores)), read_text, models)
            }
            Err(fault) => (Outcome::Error(item_error(fault)), None, Vec::new()),
        };
        let models = models.into_iter().map(convert::model).collect();
        api::StreamModerateImageResponse { id, outcome: Some(outcome), models, read_text }
    }
}

#[tonic::async_trait]
impl ModerationService for Service {
    type FollowTextStream = Answers<api::FollowTextResponse>;
    type StreamModerateTextStream = Answers<api::StreamModerateTextResponse>;
    type StreamModerateImageStream = Answers<api::StreamModerateImageResponse>;

    async fn moderate_text(
        &self,
        request: Request<api::ModerateTextRequest>,
    ) -> Result<Response<api::ModerateTextResponse>, Status> {
        let call = call(&request, self.texts_in_flight);
        let answer = self.texts(request.into_inner(), &call).await;
        answer.map(Response::new).map_err(atelier_rpc::status)
    }

    async fn stream_moderate_text(
        &self,
        request: Request<Streaming<api::StreamModerateTextRequest>>,
    ) -> Result<Response<Self::StreamModerateTextStream>, Status> {
        let call = Arc::new(call(&request, self.texts_in_flight));
        let service = self.clone();
        let answers = answers(request.into_inner(), self.texts_in_flight, move |request| {
            let (service, call) = (service.clone(), Arc::clone(&call));
            async move { service.answer_text(request, &call).await }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn follow_text(
        &self,
        request: Request<Streaming<api::FollowTextRequest>>,
    ) -> Result<Response<Self::FollowTextStream>, Status> {
        let call = Arc::new(call(&request, self.texts_in_flight));
        let verdicts = self.clone().follow(request.into_inner(), call).try_flatten_stream();
        Ok(Response::new(Box::pin(verdicts.map_err(atelier_rpc::status))))
    }

    async fn moderate_image(
        &self,
        request: Request<api::ModerateImageRequest>,
    ) -> Result<Response<api::ModerateImageResponse>, Status> {
        let call = call(&request, self.images_in_flight);
        let answer = self.images(request.into_inner(), &call).await;
        answer.map(Response::new).map_err(atelier_rpc::status)
    }

    async fn stream_moderate_image(
        &self,
        request: Request<Streaming<api::StreamModerateImageRequest>>,
    ) -> Result<Response<Self::StreamModerateImageStream>, Status> {
        let call = Arc::new(call(&request, self.images_in_flight));
        let service = self.clone();
        let answers = answers(request.into_inner(), self.images_in_flight, move |request| {
            let (service, call) = (service.clone(), Arc::clone(&call));
            async move { service.answer_image(request, &call).await }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn list_categories(
        &self,
        request: Request<api::ListCategoriesRequest>,
    ) -> Result<Response<api::ListCategoriesResponse>, Status> {
        let call = call(&request, 1);
        let usual = self.moderator.usual(&call);
        let category = |category: &CategoryId| {
            let names = category.elsewhere();
            let detectors = self.moderator.detectors(*category, &call);
            let name = |name: Option<&str>| name.unwrap_or_default().to_owned();
            api::Category {
                id: category.to_string(),
                description: category.description().to_owned(),
                detectors: detectors.into_iter().map(convert::detector).collect(),
                openai: name(names.openai),
                llama_guard: name(names.llama_guard),
                azure: name(names.azure),
                on_request: !usual.contains(*category),
            }
        };
        let categories = CategoryId::ALL.iter().map(category).collect();
        Ok(Response::new(api::ListCategoriesResponse { categories }))
    }
}

/// The place of an item in a request of a stream.
const ITEM: &str = "item";

/// The place of an item in a batch.
struct At(usize);

impl Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "items[{}]", self.0)
    }
}

/// Answers requests as they come, `width` at once, each answer sent when it is ready.
///
/// The next request is read when an answer has been taken, so a caller who does not read its answers is not read
/// from either. Everything lives in the returned stream: when the call ends, for whatever reason, dropping it
/// stops all of its work. A request that can't be read ends the call, because nothing after it can be read.
fn answers<Q, A, F>(
    requests: impl Stream<Item = Result<Q, Status>>,
    width: usize,
    answer: impl Fn(Q) -> F,
) -> impl Stream<Item = Result<A, Status>>
where
    F: Future<Output = A>,
{
    let one = move |request: Result<Q, Status>| {
        let answer = request.map(&answer);
        async move { Ok(answer?.await) }
    };
    requests.map(one).buffer_unordered(width)
}

pub(crate) fn call<T>(request: &Request<T>, width: usize) -> Call {
    let context = CallContext::of(request);
    Call::new(Ticket { deadline: context.deadline, tenant: context.tenant }, width)
}

fn measured<T>(
    modality: Modality,
    started: Instant,
    at: impl Display,
    outcome: Result<T, ModerationError>,
    scores: impl Fn(&T) -> &Scores,
) -> Result<T, Fault> {
    let outcome = outcome.map_err(|error| error.into_fault(&at.to_string()));
    metrics::item(modality, started, outcome.as_ref().map(scores).map_err(Fault::reason));
    outcome
}

/// The error of one item of a stream. It is logged here: its call goes on and ends well.
fn item_error(fault: Fault) -> api::ItemError {
    if let Some(cause) = fault.source().filter(|_| fault.reason() == Reason::Internal) {
        tracing::error!(reason = fault.reason().as_str(), cause, "item failed");
    }
    convert::item_error(&fault)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Poll,
    };

    use futures::poll;

    use super::*;

    /// Counts its live clones.
    struct Counted(Arc<AtomicUsize>);

    impl Counted {
        fn new(count: &Arc<AtomicUsize>) -> Self {
            count.fetch_add(1, Ordering::SeqCst);
            Self(Arc::clone(count))
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_stream_reads_no_further_than_its_width_and_ends_its_work_when_dropped() {
        let (read, live) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let reading = Arc::clone(&read);
        let requests = stream::repeat_with(move || Ok(reading.fetch_add(1, Ordering::SeqCst)));
        let counting = Arc::clone(&live);
        let mut all = Box::pin(answers(requests, 8, move |n| {
            let counted = Counted::new(&counting);
            async move {
                if n < 3 {
                    return n;
                }
                std::future::pending::<()>().await;
                drop(counted);
                n
            }
        }));
        for _ in 0..3 {
            assert!(all.next().await.unwrap().unwrap() < 3);
        }
        assert!(matches!(poll!(all.next()), Poll::Pending));
        assert_eq!((read.load(Ordering::SeqCst), live.load(Ordering::SeqCst)), (11, 8));
        drop(all);
        assert_eq!(live.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_read_ends_the_stream_with_its_status() {
        let requests = stream::iter([Ok(1), Err(Status::out_of_range("too large"))]);
        let all: Vec<_> = answers(requests, 4, |n: i32| async move { n }).collect().await;
        assert_eq!(all[0].as_ref().unwrap(), &1);
        assert_eq!(all[1].as_ref().unwrap_err().code(), tonic::Code::OutOfRange);
    }
}
