//! Measuring one piece of content with all the detectors that its categories need.

use std::sync::Arc;

use atelier_core::{CategoryId, ModelRef, TenantId};
use atelier_inference::Ticket;
use atelier_media::DecodePool;
use bytes::Bytes;
use futures::future::try_join_all;
use image::RgbImage;

use crate::{
    call::Call,
    categories::CategorySet,
    detector::{About, Detector, ImageDetector, TextDetector},
    error::ModerationError,
    scores::{Measurement, Scores, merge},
};

/// What a detector reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    /// Text.
    Text,
    /// Pictures.
    Image,
}

/// The loaded detectors.
#[derive(Debug)]
pub struct Moderator {
    texts: Vec<Arc<dyn TextDetector>>,
    images: Vec<Arc<dyn ImageDetector>>,
    pool: DecodePool,
}

impl Moderator {
    /// A moderator with these detectors, decoding pictures in this pool.
    #[must_use]
    pub fn new(detectors: Vec<Detector>, pool: DecodePool) -> Self {
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        for detector in detectors {
            match detector {
                Detector::Text(detector) => texts.push(detector),
                Detector::Image(detector) => images.push(detector),
            }
        }
        Self { texts, images, pool }
    }

    /// Measures something with every detector, so that no caller waits for what models allocate on their first run.
    ///
    /// # Errors
    /// A detector failed.
    pub async fn warm_up(&self) -> Result<(), ModerationError> {
        let call = Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 1);
        self.score_text("A text to warm up with.", CategorySet::all(), &call).await?;
        for detector in &self.images {
            let prepared = detector.prepare(&RgbImage::new(1, 1))?;
            detector.measure(prepared, &call).await?;
        }
        Ok(())
    }

    /// Scores a text.
    ///
    /// # Errors
    /// A detector failed: scores of the others alone would pass for the whole.
    pub async fn score_text(
        &self,
        text: &str,
        asked: CategorySet,
        call: &Call,
    ) -> Result<Scores, ModerationError> {
        let taking_part = self.texts.iter().filter(|detector| takes_part(detector.about(), asked));
        let runs = taking_part.map(async |detector| {
            let measured = detector.measure(text, call).await?;
            Ok::<_, ModerationError>((detector.about(), measured))
        });
        Ok(merged(asked, &try_join_all(runs).await?))
    }

    /// Scores an encoded picture. Without a detector for any category asked for it is not even decoded.
    ///
    /// # Errors
    /// The bytes are no picture that may be decoded, or a detector failed.
    pub async fn score_image(
        &self,
        data: Bytes,
        asked: CategorySet,
        call: &Call,
    ) -> Result<Scores, ModerationError> {
        let taking_part: Vec<_> =
            self.images.iter().filter(|detector| takes_part(detector.about(), asked)).cloned().collect();
        if taking_part.is_empty() {
            return Ok(merged(asked, &[]));
        }
        let preparing = taking_part.clone();
        let prepare = move |picture: &RgbImage| {
            preparing.iter().map(|detector| detector.prepare(picture)).collect::<Result<Vec<_>, _>>()
        };
        let prepared = self.pool.decode::<_, ModerationError, _>(data, prepare).await?;
        let runs = taking_part.iter().zip(prepared).map(async |(detector, prepared)| {
            let measured = detector.measure(prepared, call).await?;
            Ok::<_, ModerationError>((detector.about(), measured))
        });
        Ok(merged(asked, &try_join_all(runs).await?))
    }

    /// The models that measure these categories in this kind of content.
    pub fn models(&self, modality: Modality, asked: CategorySet) -> impl Iterator<Item = &ModelRef> {
        let taking_part =
            self.abouts().filter(move |(of, about)| *of == modality && takes_part(about, asked));
        taking_part.flat_map(|(_, about)| about.models())
    }

    /// The detectors of a category.
    pub fn detectors(&self, category: CategoryId) -> impl Iterator<Item = (Modality, &ModelRef)> {
        let measuring = self.abouts().filter(move |(_, about)| about.categories.contains(category));
        measuring.map(|(modality, about)| (modality, &about.model))
    }

    fn abouts(&self) -> impl Iterator<Item = (Modality, &About)> {
        let texts = self.texts.iter().map(|detector| (Modality::Text, detector.about()));
        texts.chain(self.images.iter().map(|detector| (Modality::Image, detector.about())))
    }
}

fn takes_part(about: &About, asked: CategorySet) -> bool {
    !about.categories.intersection(asked).is_empty()
}

fn merged(asked: CategorySet, measured: &[(&About, Measurement)]) -> Scores {
    merge(asked, measured.iter().map(|(about, measured)| (&about.model.id, measured)))
}
