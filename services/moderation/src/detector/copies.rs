//! Copies of protected works: the tenants' lists as detectors of texts and of pictures.
//!
//! For a tenant whose list has nothing to compare with, nothing is measured and the category stays unsupported.

use std::sync::Arc;

use async_trait::async_trait;
use atelier_core::{CategoryId, ModelId, ModelRef, Revision};
use atelier_likeness::ImageQuery;
use image::RgbImage;

use super::{About, ImageDetector, Prepared, TextDetector};
use crate::{
    call::Call,
    categories::CategorySet,
    error::ModerationError,
    scores::{Finding, Measurement, NOTABLE},
    works::{List, Match, Works, views::asked},
};

/// What is measured.
const CATEGORY: CategoryId = CategoryId::Copyright;
/// What lists are called among detectors.
const NAME: &str = "works";
/// Follows the way in which works are compared, not the lists: those are each tenant's own affair.
const REVISION: &str = "likeness-001";
/// Works that are named for one piece of content, at most.
const MOST_WORKS: usize = 16;

/// Searches texts for what they quote.
#[derive(Debug)]
pub(crate) struct Quotations(Lists);

/// Compares pictures.
#[derive(Debug)]
pub(crate) struct Copies(Lists);

#[derive(Debug)]
struct Lists {
    works: Arc<Works>,
    about: Arc<About>,
    /// For tenants who have no works of the kind.
    idle: Arc<About>,
}

impl Quotations {
    /// # Errors
    /// None are known: the name is a valid one.
    pub(crate) fn new(works: Arc<Works>) -> Result<Self, ModerationError> {
        Lists::new(works, Vec::new()).map(Self)
    }
}

impl Copies {
    /// # Errors
    /// As [`Quotations::new`].
    pub(crate) fn new(works: Arc<Works>) -> Result<Self, ModerationError> {
        let embedder = works.embedder().map(|embedder| embedder.about().models().cloned().collect());
        Lists::new(works, embedder.unwrap_or_default()).map(Self)
    }
}

impl Lists {
    fn new(works: Arc<Works>, parts: Vec<ModelRef>) -> Result<Self, ModerationError> {
        let unfit = |error: atelier_core::ids::InvalidName| ModerationError::Config(error.to_string());
        let model = ModelRef {
            id: ModelId::new(NAME).map_err(unfit)?,
            revision: Revision::new(REVISION).map_err(unfit)?,
        };
        let idle = About { model, parts, categories: CategorySet::default() };
        let about = About { categories: [CATEGORY].into_iter().collect(), ..idle.clone() };
        Ok(Self { works, about: Arc::new(about), idle: Arc::new(idle) })
    }

    /// A tenant's list is its own affair: no answer to another tells that there is one.
    fn about_in(&self, call: &Call, compares: impl Fn(&List) -> bool) -> Arc<About> {
        let compared = self.works.of(call.tenant()).is_some_and(|list| compares(&list));
        Arc::clone(if compared { &self.about } else { &self.idle })
    }
}

/// Scores of the works found; each is a finding at each of its places.
fn measurement(found: Vec<Match>, score: impl Fn(&Match) -> f32) -> Measurement {
    let mut measured = Measurement::nothing(&[CATEGORY]);
    for found in found {
        let score = score(&found);
        let reason = format!("copy-of:{}", found.label.id);
        // A picture is all of it the place.
        let whole = found.ranges.is_empty().then_some(0..0);
        for place in found.ranges.into_iter().chain(whole) {
            measured.find(Finding::new(CATEGORY, score, place, reason.clone()));
        }
    }
    measured
}

#[async_trait]
impl TextDetector for Quotations {
    fn about(&self) -> Arc<About> {
        Arc::clone(&self.0.about)
    }

    fn about_in(&self, call: &Call) -> Arc<About> {
        self.0.about_in(call, List::has_texts)
    }

    async fn measure(&self, text: &str, call: &Call) -> Result<Measurement, ModerationError> {
        if self.about_in(call).categories.is_empty() {
            return Ok(Measurement::default());
        }
        let found = self.0.works.find_text(text.to_owned(), MOST_WORKS, call).await?;
        // That words were taken over is certain and notable, however few of all they are.
        Ok(measurement(found, |found| NOTABLE + (1.0 - NOTABLE) * found.similarity))
    }
}

#[async_trait]
impl ImageDetector for Copies {
    fn about(&self) -> Arc<About> {
        Arc::clone(&self.0.about)
    }

    fn about_in(&self, call: &Call) -> Arc<About> {
        self.0.about_in(call, List::has_pictures)
    }

    /// The fingerprints, then what the model of vectors reads, if it is to read the picture.
    fn prepare(&self, picture: &RgbImage) -> Result<Prepared, ModerationError> {
        let embedder = self.0.works.embedder().map(Arc::as_ref);
        let (query, input) = asked(picture, embedder)?;
        Ok(std::iter::once(query.to_bytes()).chain(input.into_iter().flatten()).collect())
    }

    async fn measure(&self, mut prepared: Prepared, call: &Call) -> Result<Measurement, ModerationError> {
        if self.about_in(call).categories.is_empty() {
            return Ok(Measurement::default());
        }
        let input = (prepared.len() > 1).then(|| prepared.split_off(1));
        let broken = || ModerationError::Config("a picture was prepared by another detector".to_owned());
        let query = prepared.first().and_then(|query| ImageQuery::from_bytes(query)).ok_or_else(broken)?;
        let vector = self.0.works.vector(input, call).await?;
        let found = self.0.works.find_picture(query, vector, MOST_WORKS, call).await?;
        Ok(measurement(found, |found| found.similarity))
    }
}
