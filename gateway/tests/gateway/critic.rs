//! A scripted moderation service, which scores by keyword and can be switched off.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use atelier_core::{CategoryId, Fault, Reason};
use atelier_proto::{
    common::v1 as common,
    moderation::v1::{self as moderation, moderation_service_server::ModerationService},
};
use atelier_rpc::status;
use futures::{StreamExt, stream::BoxStream};
use tonic::{Request, Response, Status, Streaming};

/// What a fake moderation service does.
#[derive(Default)]
pub(crate) struct Rules {
    /// No answers while this is set.
    pub(crate) down: AtomicBool,
    pub(crate) delay: Mutex<Duration>,
    /// All texts that were measured, in their order.
    pub(crate) texts: Mutex<Vec<String>>,
    /// All pictures that were, as far as they could be read.
    pub(crate) pictures: Mutex<Vec<String>>,
    /// Of each of them: when it is shown in a clip, and whether the text in it is to be left unread.
    pub(crate) shown: Mutex<Vec<(Option<u64>, bool)>>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeModeration(pub(crate) Arc<Rules>);

/// Category and score that a word stands for.
const WORDS: [(&str, CategoryId, f32); 3] = [
    ("BLOCKME", CategoryId::Hate, 0.95),
    ("FLAGME", CategoryId::Hate, 0.6),
    ("SPLIT\nME", CategoryId::Violence, 0.99),
];

impl FakeModeration {
    pub(crate) fn switch_off(&self, off: bool) {
        self.0.down.store(off, Ordering::SeqCst);
    }

    pub(crate) fn take(&self, delay: Duration) {
        *self.0.delay.lock().unwrap() = delay;
    }

    async fn answer(&self) -> Result<(), Status> {
        let delay = *self.0.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        if self.0.down.load(Ordering::SeqCst) {
            return Err(status(Fault::new(Reason::UpstreamUnavailable, "switched off")));
        }
        Ok(())
    }

    fn scores(text: &str, asked: &[String]) -> moderation::Scores {
        let named = |category: CategoryId| asked.iter().any(|a| a == category.as_str() || a == "*");
        let wanted = |category: CategoryId| asked.is_empty() || named(category);
        let supported = [CategoryId::Hate, CategoryId::Violence];
        let score = |category: CategoryId| {
            let found = WORDS.iter().filter(|(word, of, _)| *of == category && text.contains(word));
            moderation::CategoryScore {
                category: category.as_str().to_owned(),
                score: found.map(|(_, _, score)| *score).fold(0.01, f32::max),
                detector: "keywords".to_owned(),
                severity: 0,
            }
        };
        let unsupported = CategoryId::ALL.iter().copied().filter(|c| wanted(*c) && !supported.contains(c));
        moderation::Scores {
            categories: supported.into_iter().filter(|c| wanted(*c)).map(score).collect(),
            unsupported_categories: unsupported.map(|category| category.as_str().to_owned()).collect(),
            windows: 1,
            language: "en".to_owned(),
            ..moderation::Scores::default()
        }
    }

    fn models() -> Vec<common::ModelRef> {
        vec![common::ModelRef { id: "keywords".to_owned(), revision: "ba9876543210".to_owned() }]
    }
}

#[tonic::async_trait]
impl ModerationService for FakeModeration {
    type FollowTextStream = BoxStream<'static, Result<moderation::FollowTextResponse, Status>>;
    type StreamModerateTextStream =
        BoxStream<'static, Result<moderation::StreamModerateTextResponse, Status>>;
    type StreamModerateImageStream =
        BoxStream<'static, Result<moderation::StreamModerateImageResponse, Status>>;

    async fn moderate_text(
        &self,
        request: Request<moderation::ModerateTextRequest>,
    ) -> Result<Response<moderation::ModerateTextResponse>, Status> {
        self.answer().await?;
        let request = request.into_inner();
        self.0.texts.lock().unwrap().extend(request.items.iter().map(|item| item.text.clone()));
        let scores = |item: moderation::TextItem| moderation::ItemScores {
            scores: Some(Self::scores(&item.text, &request.categories)),
            id: item.id,
            redacted_text: request.redact.then(|| item.text.replace("@example.org", "[EMAIL]")),
            ..moderation::ItemScores::default()
        };
        let results = request.items.into_iter().map(scores).collect();
        Ok(Response::new(moderation::ModerateTextResponse { results, models: Self::models() }))
    }

    async fn stream_moderate_text(
        &self,
        request: Request<Streaming<moderation::StreamModerateTextRequest>>,
    ) -> Result<Response<Self::StreamModerateTextStream>, Status> {
        use moderation::stream_moderate_text_response::Outcome;
        let answers = request.into_inner().map(|message| {
            let message = message?;
            let item = message.item.unwrap_or_default();
            let outcome = Some(Outcome::Scores(Self::scores(&item.text, &message.categories)));
            Ok(moderation::StreamModerateTextResponse { id: item.id, outcome, models: Self::models() })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn follow_text(
        &self,
        request: Request<Streaming<moderation::FollowTextRequest>>,
    ) -> Result<Response<Self::FollowTextStream>, Status> {
        let mut end_byte = 0;
        let answers = request.into_inner().map(move |message| {
            let message = message?;
            let start_byte = end_byte;
            end_byte += message.text.len() as u64;
            let scores = Some(Self::scores(&message.text, &message.categories));
            Ok(moderation::FollowTextResponse { start_byte, end_byte, scores, models: Self::models() })
        });
        Ok(Response::new(answers.boxed()))
    }

    /// A picture is its text here; one that is no UTF-8 can't be read.
    async fn moderate_image(
        &self,
        request: Request<moderation::ModerateImageRequest>,
    ) -> Result<Response<moderation::ModerateImageResponse>, Status> {
        self.answer().await?;
        let request = request.into_inner();
        let mut results = Vec::new();
        for item in request.items {
            let Some(moderation::image_item::Source::Data(data)) = item.source else { continue };
            let Ok(text) = std::str::from_utf8(&data) else {
                return Err(status(Fault::invalid("items[0].data", "is no picture")));
            };
            self.0.pictures.lock().unwrap().push(text.to_owned());
            self.0.shown.lock().unwrap().push((item.time_ms, item.skip_text));
            let tag = |n| moderation::Tag { label: format!("word {n}"), score: 0.5 };
            let tags = (0..request.tags).map(tag).collect();
            results.push(moderation::ItemScores {
                id: item.id,
                scores: Some(moderation::Scores { tags, ..Self::scores(text, &request.categories) }),
                read_text: request.read_text.then(|| text.to_owned()),
                ..moderation::ItemScores::default()
            });
        }
        Ok(Response::new(moderation::ModerateImageResponse { results, models: Self::models() }))
    }

    async fn stream_moderate_image(
        &self,
        request: Request<Streaming<moderation::StreamModerateImageRequest>>,
    ) -> Result<Response<Self::StreamModerateImageStream>, Status> {
        let answers = request.into_inner().map(|message| {
            let message = message?;
            let id = message.item.unwrap_or_default().id;
            let read_text = message.read_text.then(|| "a sign".to_owned());
            Ok(moderation::StreamModerateImageResponse {
                id,
                outcome: None,
                models: Self::models(),
                read_text,
            })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn list_categories(
        &self,
        _: Request<moderation::ListCategoriesRequest>,
    ) -> Result<Response<moderation::ListCategoriesResponse>, Status> {
        self.answer().await?;
        let category = moderation::Category { id: "hate".to_owned(), ..Default::default() };
        Ok(Response::new(moderation::ListCategoriesResponse { categories: vec![category] }))
    }
}
