//! Pictures, with previews while they are made.
//!
//! A finished picture leaves when it is judged, or leaves a gap. Previews are judged one set at a time beside the
//! work: progress never waits for them, and sets that come meanwhile are left out.

use std::{collections::VecDeque, future::pending, sync::Arc};

use atelier_core::Fault;
use atelier_policy::{Action, Medium, Outcome, Previews, Stage, Verdict};
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};

use super::account::{Account, Summary};
use crate::{
    audit::Part,
    judge::Judged,
    picture::{Picture, Progress},
};

/// What an upstream sends; `E` is its account of how the generation ended, which the filter only passes on.
pub(crate) enum Piece<E> {
    Progress(Progress),
    /// The end; sent once, last.
    Result {
        pictures: Vec<Picture>,
        end: E,
    },
}

/// An upstream's answer.
pub(crate) type Pieces<E> = BoxStream<'static, Result<Piece<E>, Fault>>;

/// What the caller gets.
pub(crate) enum Event<E> {
    /// Previews among it have passed.
    Progress(Progress),
    /// A preview or a picture was flagged or blocked.
    Verdict(Verdict),
    /// The end; sent once, last.
    Result(Box<Made<E>>),
}

/// Pictures that were made.
pub(crate) struct Made<E> {
    /// Without data where withheld.
    pub(crate) pictures: Vec<(Picture, Verdict)>,
    /// The upstream's account.
    pub(crate) end: E,
    /// Policy withheld something.
    pub(crate) withheld: bool,
    pub(crate) summary: Summary,
}

/// Moderates the pictures of one call.
pub(crate) struct PictureFilter<E> {
    account: Account,
    previews: Previews,
    /// The policy has rules for made pictures.
    judges: bool,
    upstream: Pieces<E>,
    /// The last progress without its previews.
    latest: Progress,
    judging: Option<Judging>,
    result: Option<(Vec<Picture>, E)>,
    out: VecDeque<Event<E>>,
}

struct Judging {
    previews: Vec<Picture>,
    verdicts: BoxFuture<'static, Result<Vec<Judged>, Fault>>,
}

/// What happened next.
enum Step<E> {
    Judged(Result<Vec<Judged>, Fault>),
    Arrived(Option<Result<Piece<E>, Fault>>),
}

impl<E: Send + 'static> PictureFilter<E> {
    pub(crate) fn new(account: Account, upstream: Pieces<E>) -> Self {
        let policy = &account.call().policy;
        Self {
            previews: policy.previews(),
            judges: policy.judges(Stage::Output, Medium::Image),
            account,
            upstream,
            latest: Progress::default(),
            judging: None,
            result: None,
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
    /// The upstream failed, or a picture could not be judged and the policy fails closed. Nothing leaves after that.
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
            match self.step().await {
                Step::Judged(judged) => self.show(judged?),
                Step::Arrived(Some(piece)) => match piece? {
                    Piece::Progress(progress) => self.progress(progress),
                    Piece::Result { pictures, end } => self.result = Some((pictures, end)),
                },
                // Read to the very end: a stream that is dropped before it looks cancelled to the upstream.
                Step::Arrived(None) => self.finish().await?,
            }
        }
    }

    async fn step(&mut self) -> Step<E> {
        let judged = async {
            match &mut self.judging {
                Some(judging) => (&mut judging.verdicts).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            judged = judged => Step::Judged(judged),
            piece = self.upstream.next() => Step::Arrived(piece),
        }
    }

    fn progress(&mut self, mut progress: Progress) {
        let previews = std::mem::take(&mut progress.previews);
        self.latest = progress.clone();
        match self.previews {
            Previews::Judged if !self.judges => progress.previews = previews,
            Previews::Judged if !previews.is_empty() && self.judging.is_none() => {
                self.judging = Some(self.judge(previews));
            }
            // Withheld, none, or more than can be judged: the next set is as good.
            Previews::Judged | Previews::Withheld => {}
        }
        self.out.push_back(Event::Progress(progress));
    }

    fn judge(&mut self, previews: Vec<Picture>) -> Judging {
        let first = self.account.number(previews.len());
        let (judge, call) = (self.account.judge().clone(), Arc::clone(self.account.call()));
        let skip_text = !judge.reading.previews;
        let pictures: Vec<_> = previews.iter().map(|one| Picture { skip_text, ..one.clone() }).collect();
        let verdicts =
            async move { judge.pictures(&call, Stage::Output, Part::Preview, &pictures, first).await };
        Judging { previews, verdicts: verdicts.boxed() }
    }

    /// Previews have been judged; those that pass go out with the latest progress.
    fn show(&mut self, judged: Vec<Judged>) {
        let Some(Judging { previews, .. }) = self.judging.take() else { return };
        let mut passed = Vec::new();
        for (preview, judged) in previews.into_iter().zip(judged) {
            // One that could not be measured is left out too, but ends nothing: the picture itself will be judged.
            match self.account.take(&judged) {
                Ok(Outcome::Pass) => passed.push(preview),
                Ok(Outcome::Blocked | Outcome::Unavailable) | Err(_) => {}
            }
            self.tell(judged.verdict);
        }
        if !passed.is_empty() {
            self.out.push_back(Event::Progress(Progress { previews: passed, ..self.latest.clone() }));
        }
    }

    fn tell(&mut self, verdict: Verdict) {
        if verdict.action > Action::Allow {
            self.out.push_back(Event::Verdict(verdict));
        }
    }

    async fn finish(&mut self) -> Result<(), Fault> {
        let Some((pictures, end)) = self.result.take() else {
            return Err(Fault::internal("an upstream ended its answer without a result"));
        };
        // Previews of a picture that is done are of no use.
        self.judging = None;
        let verdicts = self.account.pictures(Part::Picture, &pictures).await?;
        let mut judged = Vec::with_capacity(pictures.len());
        for (picture, verdict) in pictures.into_iter().zip(verdicts) {
            let passes = verdict.outcome() == Outcome::Pass;
            if passes {
                self.account.data_leaves(picture.data.clone()).await?;
            }
            self.tell(verdict.clone());
            judged.push((if passes { picture } else { picture.without_data() }, verdict));
        }
        let withheld = judged.iter().any(|(_, verdict)| verdict.outcome() != Outcome::Pass);
        let summary = self.account.close(withheld).await?;
        self.out.push_back(Event::Result(Box::new(Made { pictures: judged, end, withheld, summary })));
        Ok(())
    }
}
