//! Measuring one piece of content with all the detectors that its categories need.

mod pictures;

use std::{ops::Range, sync::Arc};

use atelier_core::{CategoryId, ModelRef, TenantId};
use atelier_inference::Ticket;
use futures::future::try_join_all;
use image::RgbImage;

use crate::{
    call::Call,
    categories::CategorySet,
    detector::{
        About, Detector, ImageDetector, Reader, TextDetector,
        copies::{Copies, Quotations},
        rules::Rules,
    },
    error::ModerationError,
    rules::{RuleStore, mark_of},
    scores::{Finding, Measurement, Scores, merge},
    text::{Reading, Version},
    works::Works,
};

pub use self::pictures::{ImageResult, Picture, Readers, TextInPicture};

/// What a detector reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    /// Text.
    Text,
    /// Pictures.
    Image,
    /// The text that is read in pictures.
    TextInImage,
}

/// Up to here a text is read on the async worker: well below half a millisecond.
const INLINE_BYTES: usize = 1 << 10;
/// Exercises each table that texts are read with: lookalikes, styles, Chinese, English pairs of letters, spellings.
const UNUSUAL: &str = "ｆ 🇫 ʇ сука f.u.c.k k1ll 習氵去 傻b ZnVjayB5b3U= \u{202e}a";

/// What a detector measured.
type Measured = (Arc<About>, Measurement);

/// The loaded detectors.
#[derive(Debug)]
pub struct Moderator {
    texts: Vec<Arc<dyn TextDetector>>,
    images: Vec<Arc<dyn ImageDetector>>,
    reader: Option<Arc<Reader>>,
    rules: Arc<RuleStore>,
    works: Arc<Works>,
    readers: Readers,
}

impl Moderator {
    /// A moderator with these detectors, rules and protected works, reading pictures so.
    ///
    /// # Errors
    /// None are known.
    pub fn new(
        detectors: Vec<Detector>,
        rules: Arc<RuleStore>,
        works: Arc<Works>,
        readers: Readers,
    ) -> Result<Self, ModerationError> {
        let own = Rules { store: Arc::clone(&rules), workers: readers.texts.clone() };
        let mut texts: Vec<Arc<dyn TextDetector>> =
            vec![Arc::new(own), Arc::new(Quotations::new(Arc::clone(&works))?)];
        let (mut images, mut reader) = (Vec::<Arc<dyn ImageDetector>>::new(), None);
        images.push(Arc::new(Copies::new(Arc::clone(&works))?));
        for detector in detectors {
            match detector {
                Detector::Text(detector) => texts.push(detector),
                Detector::Image(detector) => images.push(detector),
                Detector::Reader(detector) => reader = Some(detector),
            }
        }
        Ok(Self { texts, images, reader, rules, works, readers })
    }

    /// The rules of the tenants.
    #[must_use]
    pub fn rules(&self) -> &Arc<RuleStore> {
        &self.rules
    }

    /// The protected works of the tenants.
    #[must_use]
    pub fn works(&self) -> &Arc<Works> {
        &self.works
    }

    /// Measures something with every detector, so that no caller waits for what models allocate on their first run.
    ///
    /// # Errors
    /// A detector failed.
    pub async fn warm_up(&self) -> Result<(), ModerationError> {
        let call = Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 1);
        // Tables that reading builds when it first needs them, which is no work for an async worker.
        let rules = Arc::clone(call.rules(&self.rules));
        let read = move || {
            let reading = Reading::of(UNUSUAL)?;
            let of = rules.book.of(&TenantId::default_tenant());
            reading.versions().for_each(|version| drop(of.measure(version.text())));
            Ok::<_, ModerationError>(())
        };
        self.readers.texts.run(None, read).await?;
        self.score_text("A text to warm up with.", CategorySet::all(), &call).await?;
        for detector in &self.images {
            let prepared = detector.prepare(&RgbImage::new(1, 1))?;
            detector.measure(prepared, &call).await?;
        }
        if let Some(reader) = &self.reader {
            reader.warm_up(&call).await?;
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
        let _room = call.room(text).await;
        let reading = self.read(text, call).await?;
        let scores = merged(asked, &self.measure_text(&reading, asked, call).await?);
        Ok(Scores { language: reading.language(), ..scores })
    }

    async fn measure_text(
        &self,
        reading: &Reading,
        asked: CategorySet,
        call: &Call,
    ) -> Result<Vec<Measured>, ModerationError> {
        let taking_part =
            self.texts.iter().filter(|detector| takes_part(detector.about_in(call).categories, asked));
        let runs = taking_part.map(async |detector| {
            let shown =
                reading.versions().filter(|one| !(one.is_undisguised() && detector.undoes_disguises()));
            let measure = async |one: Version<'_>| {
                detector.measure(one.text(), call).await.map(|part| one.placed(part))
            };
            let mut whole = Measurement::default();
            for part in try_join_all(shown.map(measure)).await? {
                whole.add(part);
            }
            Ok::<_, ModerationError>((detector.about_in(call), whole))
        });
        try_join_all(runs).await
    }

    /// Reads a text where that holds nobody up.
    async fn read(&self, text: &str, call: &Call) -> Result<Reading, ModerationError> {
        if text.len() <= INLINE_BYTES {
            return Reading::of(text);
        }
        let text = text.to_owned();
        self.readers.texts.run(call.deadline(), move || Reading::of(&text)).await
    }

    /// The text with personal data and secrets replaced, under the rules of the caller's tenant; where those leave personal data
    /// alone, names and addresses stay too.
    ///
    /// # Errors
    /// The deadline passes before its turn comes, or the text can't be read, or a detector failed.
    pub async fn redact(&self, text: String, call: &Call) -> Result<String, ModerationError> {
        let _room = call.room(&text).await;
        let (rules, tenant) = (Arc::clone(call.rules(&self.rules)), call.tenant().clone());
        let reading = self.read(&text, call).await?;
        let others = match rules.book.of(&tenant).hides_personal_data() {
            true => self.personal(&reading, call).await?,
            false => Vec::new(),
        };
        let redact = move || Ok(rules.book.of(&tenant).redact(&text, &reading, others));
        self.readers.texts.run(call.deadline(), redact).await
    }

    /// Bytes of the original with names and addresses, and the marks that may stand for them.
    async fn personal(
        &self,
        reading: &Reading,
        call: &Call,
    ) -> Result<Vec<(Range<usize>, &'static str)>, ModerationError> {
        let versions = reading.versions().filter(|version| !version.is_undisguised());
        let runs = versions.flat_map(|version| self.texts.iter().map(move |detector| (version, detector)));
        let runs = runs.map(async |(version, detector)| {
            let found = detector.personal(version.text(), call).await?;
            let part = |finding: Finding| Some((version.original(finding.place), mark_of(finding.category)?));
            Ok::<_, ModerationError>(found.into_iter().filter_map(part).collect::<Vec<_>>())
        });
        Ok(try_join_all(runs).await?.concat())
    }

    /// What is measured in a call where a request names no categories: all but what is measured on request alone.
    #[must_use]
    pub fn usual(&self, call: &Call) -> CategorySet {
        let texts = |on_request| {
            let detectors = self.texts.iter().filter(move |detector| detector.on_request() == on_request);
            detectors.map(|detector| detector.about_in(call).categories)
        };
        let images = self.images.iter().map(|detector| detector.about_in(call).categories);
        let always = texts(false).chain(images).fold(CategorySet::default(), CategorySet::union);
        let on_request = texts(true).fold(CategorySet::default(), CategorySet::union);
        CategorySet::all().difference(on_request.difference(always))
    }

    /// The models that measure these categories in the texts of a call.
    pub fn models(&self, asked: CategorySet, call: &Call) -> impl Iterator<Item = ModelRef> {
        let abouts = self.texts.iter().map(|detector| detector.about_in(call));
        let taking_part = abouts.filter(move |about| takes_part(about.categories, asked));
        taking_part.flat_map(|about| about.models().cloned().collect::<Vec<_>>())
    }

    /// The detectors of a category in a call; those of texts also for the text in pictures, where there is a reader.
    pub fn detectors(&self, category: CategoryId, call: &Call) -> impl Iterator<Item = (Modality, ModelRef)> {
        let texts =
            move |modality| self.texts.iter().map(move |detector| (modality, detector.about_in(call)));
        let images = self.images.iter().map(move |detector| (Modality::Image, detector.about_in(call)));
        let read = self.reader.iter().flat_map(move |_| texts(Modality::TextInImage));
        let all = texts(Modality::Text).chain(images).chain(read);
        let measuring = all.filter(move |(_, about)| about.categories.contains(category));
        measuring.map(|(modality, about)| (modality, about.model.clone()))
    }
}

fn takes_part(measures: CategorySet, asked: CategorySet) -> bool {
    !measures.intersection(asked).is_empty()
}

fn merged(asked: CategorySet, measured: &[Measured]) -> Scores {
    merge(asked, measured.iter().map(|(about, measured)| (&about.model.id, measured)))
}
