//! Measuring one piece of content with all the detectors that its categories need.

use std::{ops::Range, sync::Arc};

use atelier_core::{CategoryId, ModelRef, TenantId};
use atelier_inference::Ticket;
use atelier_media::{DecodePool, Frame, Frames};
use bytes::Bytes;
use futures::{future::try_join_all, try_join};
use image::RgbImage;

use crate::{
    call::Call,
    categories::CategorySet,
    detector::{
        About, Detector, ImageDetector, ReadPicture, Reader, Sheet, TextDetector,
        copies::{Copies, Quotations},
        rules::Rules,
    },
    error::ModerationError,
    rules::RuleStore,
    sampler::{Sample, Sampler, Sketch},
    scores::{Measurement, Scores, merge},
    text::Reading,
    works::Works,
};

/// What a detector reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modality {
    /// Text.
    Text,
    /// Pictures.
    Image,
}

/// A picture to be scored.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The encoded picture.
    pub data: Bytes,
    /// When it is shown in the clip that it is a frame of, in milliseconds; none: it is of no clip.
    pub time_ms: Option<u64>,
    /// Most tags to give.
    pub tags: usize,
}

/// Where pictures are decoded, and how much of them.
#[derive(Debug)]
pub struct FrameReader {
    /// The threads and the memory.
    pub pool: DecodePool,
    /// Frames of a moving picture that are measured, at most.
    pub most: usize,
}

/// The frames of a picture that are to be measured.
struct Sampled {
    /// How many it has.
    frames: u32,
    /// Each reduced to what the detectors read, in their order.
    samples: Vec<Sample<Vec<Vec<u8>>>>,
    /// Those whose text is to be read.
    sheets: Vec<Sample<Sheet>>,
}

/// The loaded detectors.
#[derive(Debug)]
pub struct Moderator {
    texts: Vec<Arc<dyn TextDetector>>,
    images: Vec<Arc<dyn ImageDetector>>,
    reader: Option<Arc<Reader>>,
    rules: Arc<RuleStore>,
    works: Arc<Works>,
    frames: FrameReader,
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
        frames: FrameReader,
    ) -> Result<Self, ModerationError> {
        let mut texts: Vec<Arc<dyn TextDetector>> =
            vec![Arc::new(Rules(Arc::clone(&rules))), Arc::new(Quotations::new(Arc::clone(&works))?)];
        let (mut images, mut reader) = (Vec::<Arc<dyn ImageDetector>>::new(), None);
        images.push(Arc::new(Copies::new(Arc::clone(&works))?));
        for detector in detectors {
            match detector {
                Detector::Text(detector) => texts.push(detector),
                Detector::Image(detector) => images.push(detector),
                Detector::Reader(detector) => reader = Some(detector),
            }
        }
        Ok(Self { texts, images, reader, rules, works, frames })
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
        Ok(merged(asked, &self.measure_text(text, asked, call).await?))
    }

    async fn measure_text(
        &self,
        text: &str,
        asked: CategorySet,
        call: &Call,
    ) -> Result<Vec<(Arc<About>, Measurement)>, ModerationError> {
        let reading = Reading::of(text).await?;
        let taking_part = self.texts.iter().filter(|detector| takes_part(&detector.about(), asked));
        let runs = taking_part.map(async |detector| {
            let measured = try_join_all(reading.texts().map(|text| detector.measure(text, call))).await?;
            Ok::<_, ModerationError>((detector.about(), reading.joined(measured)))
        });
        try_join_all(runs).await
    }

    /// The text with personal data and secrets replaced, under the rules of the caller's tenant.
    ///
    /// # Errors
    /// The blocking pool is shutting down.
    pub async fn redact(&self, text: String, call: &Call) -> Result<String, ModerationError> {
        let (rules, tenant) = (self.rules.current(), call.tenant().clone());
        Ok(tokio::task::spawn_blocking(move || rules.book.of(&tenant).redact(&text)).await?)
    }

    /// Scores an encoded picture, a moving one in some of its frames, and the text in it where a reader is loaded. Without a
    /// detector that is asked for anything it is not even decoded.
    ///
    /// # Errors
    /// The bytes are no picture that may be decoded, or a detector failed.
    pub async fn score_image(
        &self,
        picture: Picture,
        asked: CategorySet,
        call: &Call,
    ) -> Result<Scores, ModerationError> {
        let Picture { data, time_ms, tags } = picture;
        let wanted = |detector: &&Arc<dyn ImageDetector>| {
            takes_part(&detector.about(), asked) || tags > 0 && detector.gives_tags()
        };
        let taking_part: Vec<_> = self.images.iter().filter(wanted).cloned().collect();
        let reader = self.reader_for(asked);
        if taking_part.is_empty() && reader.is_none() {
            return Ok(merged(asked, &[]));
        }
        let _place = match reader {
            Some(reader) => Some(reader.place().await?),
            None => None,
        };
        let (detectors, reading, places) = (taking_part.clone(), reader.cloned(), self.frames.most);
        let sample = move |frames: Frames<'_>| sample(frames, places, &detectors, reading.as_deref());
        let Sampled { frames, samples, sheets } = self.frames.pool.frames(data, sample).await?;
        // A picture that neither moves nor is of a clip has no times to tell.
        let begins = time_ms.or((frames > 1).then_some(0));
        let time = |since: u64| begins.map(|begins| begins.saturating_add(since));
        let runs = taking_part.iter().enumerate().map(async |(place, detector)| {
            let measure = |sample: &Sample<Vec<Vec<u8>>>| {
                let prepared = sample.content.get(place).cloned().unwrap_or_default();
                async move { detector.measure(prepared, call).await }
            };
            let measured = try_join_all(samples.iter().map(measure)).await?;
            let mut whole = Measurement::default();
            for (sample, frame) in samples.iter().zip(measured) {
                whole.add_frame(frame, time(sample.time_ms));
            }
            Ok::<_, ModerationError>((detector.about(), whole))
        });
        let read = async {
            let (mut texts, mut said) = (Vec::new(), Vec::new());
            for (sheet, reader) in sheets.into_iter().zip(std::iter::repeat(reader)) {
                let Some(reader) = reader else { break };
                let read = reader.read(sheet.content, call).await?;
                texts.extend(self.measure_read(&read, time(sheet.time_ms), asked, call).await?);
                said.push(read.whole());
            }
            said.dedup();
            said.retain(|text| !text.is_empty());
            Ok::<_, ModerationError>((texts, reader.map(|_| said.join("\n"))))
        };
        let (mut measured, (texts, read_text)) = try_join!(try_join_all(runs), read)?;
        measured.extend(texts);
        let mut scores = merged(asked, &measured);
        scores.tags.truncate(tags);
        Ok(Scores { frames, read_text, ..scores })
    }

    /// Measures what was read in a picture that is shown at this time.
    async fn measure_read(
        &self,
        read: &ReadPicture,
        time_ms: Option<u64>,
        asked: CategorySet,
        call: &Call,
    ) -> Result<Vec<(Arc<About>, Measurement)>, ModerationError> {
        let mut all = Vec::new();
        for (about, measured) in self.measure_text(read.text.text(), asked, call).await? {
            let region = |bytes: &Range<usize>| read.text.region(bytes);
            all.push((about, measured.in_picture("text-in-image", time_ms, region)));
        }
        for code in &read.codes {
            for (about, measured) in self.measure_text(&code.payload, asked, call).await? {
                all.push((about, measured.in_picture("qr-code", time_ms, |_| Some(code.region))));
            }
        }
        Ok(all)
    }

    /// The reader, where what it reads can be measured.
    fn reader_for(&self, asked: CategorySet) -> Option<&Arc<Reader>> {
        let measured = self.texts.iter().any(|detector| takes_part(&detector.about(), asked));
        self.reader.as_ref().filter(|_| measured)
    }

    /// The models that measure these categories in this kind of content.
    pub fn models(&self, modality: Modality, asked: CategorySet) -> impl Iterator<Item = ModelRef> {
        let taking_part =
            self.abouts().filter(move |(of, about)| *of == modality && takes_part(about, asked));
        let reader = self.reader_for(asked).filter(|_| modality == Modality::Image);
        let abouts = taking_part.map(|(_, about)| about).chain(reader.map(|reader| reader.about()));
        abouts.flat_map(|about| about.models().cloned().collect::<Vec<_>>())
    }

    /// The detectors of a category.
    pub fn detectors(&self, category: CategoryId) -> impl Iterator<Item = (Modality, ModelRef)> {
        let measuring = self.abouts().filter(move |(_, about)| about.categories.contains(category));
        measuring.map(|(modality, about)| (modality, about.model.clone()))
    }

    /// The detectors by what they read; those of text read the text in pictures too where there is a reader.
    fn abouts(&self) -> impl Iterator<Item = (Modality, Arc<About>)> {
        let texts = |modality| self.texts.iter().map(move |detector| (modality, detector.about()));
        let images = self.images.iter().map(|detector| (Modality::Image, detector.about()));
        let read = self.reader.iter().flat_map(move |_| texts(Modality::Image));
        texts(Modality::Text).chain(images).chain(read)
    }
}

/// Frames of a moving picture whose text is read, at most: reading takes many times as long as classifying.
const READ_FRAMES: usize = 4;
/// Pixels of a frame whose text is read; the first is read whatever its size. The frames are held until they are read.
const READ_FRAME_PIXELS: u64 = 4 << 20;

/// Chooses frames and prepares them, on a blocking thread.
fn sample(
    frames: Frames<'_>,
    places: usize,
    detectors: &[Arc<dyn ImageDetector>],
    reader: Option<&Reader>,
) -> Result<Sampled, ModerationError> {
    let (mut sampler, mut reading, mut count) = (Sampler::new(places), Sampler::new(READ_FRAMES), 0);
    for frame in frames {
        let Frame { picture, time_ms } = frame?;
        let sketch = Sketch::of(&picture).map_err(ModerationError::Resize)?;
        let pixels = u64::from(picture.width()) * u64::from(picture.height());
        if let Some(reader) = reader.filter(|_| count == 0 || pixels <= READ_FRAME_PIXELS) {
            reading.offer(time_ms, sketch.clone(), || reader.prepare(&picture))?;
        }
        let prepare = || detectors.iter().map(|detector| detector.prepare(&picture)).collect();
        sampler.offer::<ModerationError>(time_ms, sketch, prepare)?;
        count += 1;
    }
    Ok(Sampled { frames: count, samples: sampler.into_samples(), sheets: reading.into_samples() })
}

fn takes_part(about: &About, asked: CategorySet) -> bool {
    !about.categories.intersection(asked).is_empty()
}

fn merged(asked: CategorySet, measured: &[(Arc<About>, Measurement)]) -> Scores {
    merge(asked, measured.iter().map(|(about, measured)| (&about.model.id, measured)))
}
