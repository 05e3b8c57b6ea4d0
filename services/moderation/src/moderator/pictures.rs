//! Measuring a picture: its frames are decoded, looked at by detectors and read, the last two side by side.

use std::{ops::Range, sync::Arc};

use atelier_core::ModelRef;
use atelier_media::{DecodePool, Frame, Frames};
use atelier_ocr::Page;
use atelier_rpc::Workers;
use bytes::Bytes;
use futures::{future::try_join_all, try_join};
use image::RgbImage;

use super::{Measured, Moderator, merged, takes_part};
use crate::{
    call::Call,
    categories::CategorySet,
    detector::{ImageDetector, Prepared, ReadPicture, Reader},
    error::ModerationError,
    image::at_most,
    sampler::{Sample, Sampler, Sketch, chosen},
    scores::{Measurement, Scores},
};

/// A picture to be scored.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// The encoded picture.
    pub data: Bytes,
    /// When it is shown in the clip that it is a frame of, in milliseconds; none: it is of no clip.
    pub time_ms: Option<u64>,
    /// Most tags to give.
    pub tags: usize,
    /// Whether faces are looked for.
    pub faces: bool,
    /// Whether the text in it is read.
    pub text: TextInPicture,
}

/// Whether the text in a picture is read, where a reader is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextInPicture {
    /// If something is asked about that texts are measured for.
    #[default]
    Measured,
    /// Whatever is asked about.
    Read,
    /// Not at all, which is many times faster.
    Skipped,
}

/// What was measured in a picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageResult {
    /// The scores.
    pub scores: Scores,
    /// What was read in it; none where it was not looked for.
    pub read_text: Option<String>,
    /// The models that took part.
    pub models: Vec<ModelRef>,
}

/// Where content is made ready for the detectors, and how much of it.
#[derive(Debug)]
pub struct Readers {
    /// The threads that read texts and search them for rules.
    pub texts: Workers,
    /// The threads and the memory that pictures are decoded in.
    pub pool: DecodePool,
    /// Frames of a moving picture that are measured, at most.
    pub most: usize,
}

/// The frames of a picture that are to be measured.
struct Sampled {
    /// How many it has.
    frames: u32,
    /// Their width and height, and those that they are looked at in.
    sizes: [(u32, u32); 2],
    /// Each reduced to what the detectors read, in their order.
    samples: Vec<Sample<Vec<Prepared>>>,
    /// Those whose text is to be read.
    pages: Vec<Sample<Page>>,
}

/// What is done with frames.
struct Plan {
    places: usize,
    detectors: Vec<Arc<dyn ImageDetector>>,
    reads: bool,
}

/// When frames are shown.
#[derive(Clone, Copy)]
struct Clock {
    /// None for what neither moves nor is of a clip.
    begins: Option<u64>,
}

impl Clock {
    fn time(self, since: u64) -> Option<u64> {
        self.begins.map(|begins| begins.saturating_add(since))
    }
}

/// Frames of a moving picture whose text is read, at most: reading takes many times as long as classifying.
const READ_FRAMES: usize = 4;
/// Pixels of a frame of a moving picture while it may yet be replaced by another; larger ones are shrunk.
const FRAME_PIXELS: u32 = 1 << 20;

impl Moderator {
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
    ) -> Result<ImageResult, ModerationError> {
        let Picture { data, time_ms, tags, faces, text } = picture;
        let wanted = |detector: &&Arc<dyn ImageDetector>| {
            takes_part(detector.about_in(call).categories, asked)
                || tags > 0 && detector.gives_tags()
                || faces && detector.finds_faces()
        };
        let detectors: Vec<_> = self.images.iter().filter(wanted).cloned().collect();
        let reader = self.reader_for(text, asked, call);
        if detectors.is_empty() && reader.is_none() {
            return Ok(ImageResult { scores: merged(asked, &[]), ..ImageResult::default() });
        }
        let plan = Plan { places: self.readers.most, detectors: detectors.clone(), reads: reader.is_some() };
        let sampled = self.readers.pool.frames(data, move |frames: Frames<'_>| plan.sample(frames)).await?;
        let Sampled { frames, sizes: [size, seen], samples, pages } = sampled;
        let clock = Clock { begins: time_ms.or((frames > 1).then_some(0)) };
        let read = async {
            Ok::<_, ModerationError>(match reader {
                Some(reader) => Some(read(reader, pages, call).await?),
                None => None,
            })
        };
        let (mut measured, pages) = try_join!(look(&detectors, &samples, clock, call), read)?;
        for page in pages.iter().flatten() {
            measured.extend(self.measure_read(&page.content, clock.time(page.time_ms), asked, call).await?);
        }
        let mut scores = merged(asked, &measured);
        if seen != size {
            scores.resize(seen, size);
        }
        scores.tags.truncate(tags);
        scores.frames = frames;
        scores.text_truncated = pages.iter().flatten().any(|page| page.content.truncated);
        let taken_part = measured.iter().map(|(about, _)| Arc::clone(about));
        let mut models = Vec::<ModelRef>::new();
        for about in taken_part.chain(reader.map(|reader| reader.about())) {
            for model in about.models() {
                if !models.contains(model) {
                    models.push(model.clone());
                }
            }
        }
        Ok(ImageResult { scores, read_text: pages.map(said), models })
    }

    /// Measures what was read in a picture that is shown at this time. Where nothing stands, nothing is measured: no text is
    /// not a harmless text.
    async fn measure_read(
        &self,
        read: &ReadPicture,
        time_ms: Option<u64>,
        asked: CategorySet,
        call: &Call,
    ) -> Result<Vec<Measured>, ModerationError> {
        let mut all = Vec::new();
        if !read.text.text().is_empty() {
            let text = self.read(read.text.text(), call).await?;
            for (about, measured) in self.measure_text(&text, asked, call).await? {
                let region = |bytes: &Range<usize>| read.text.region(bytes);
                all.push((about, measured.in_picture("text-in-image", time_ms, region)));
            }
        }
        for code in &read.codes {
            let text = self.read(&code.payload, call).await?;
            for (about, measured) in self.measure_text(&text, asked, call).await? {
                all.push((about, measured.in_picture("qr-code", time_ms, |_| Some(code.region))));
            }
        }
        Ok(all)
    }

    fn reader_for(&self, text: TextInPicture, asked: CategorySet, call: &Call) -> Option<&Arc<Reader>> {
        let reads = match text {
            TextInPicture::Read => true,
            TextInPicture::Skipped => false,
            TextInPicture::Measured => {
                self.texts.iter().any(|detector| takes_part(detector.about_in(call).categories, asked))
            }
        };
        self.reader.as_ref().filter(|_| reads)
    }
}

/// Measures frames with each detector.
async fn look(
    detectors: &[Arc<dyn ImageDetector>],
    samples: &[Sample<Vec<Prepared>>],
    clock: Clock,
    call: &Call,
) -> Result<Vec<Measured>, ModerationError> {
    let runs = detectors.iter().enumerate().map(async |(place, detector)| {
        let measure = |sample: &Sample<Vec<Prepared>>| {
            let prepared = sample.content.get(place).cloned().unwrap_or_default();
            async move { detector.measure(prepared, call).await }
        };
        let measured = try_join_all(samples.iter().map(measure)).await?;
        let mut whole = Measurement::default();
        for (sample, frame) in samples.iter().zip(measured) {
            whole.add_frame(frame, clock.time(sample.time_ms));
        }
        Ok((detector.about(), whole))
    });
    try_join_all(runs).await
}

/// Reads pages one after another: one picture does not take the reader from all others.
async fn read(
    reader: &Reader,
    pages: Vec<Sample<Page>>,
    call: &Call,
) -> Result<Vec<Sample<ReadPicture>>, ModerationError> {
    let _room = reader.admit(pages.iter().map(|page| &page.content))?;
    let mut all = Vec::with_capacity(pages.len());
    for page in pages {
        let Sample { time_ms, content, sketch } = page;
        all.push(Sample { time_ms, content: reader.read(content, call).await?, sketch });
    }
    Ok(all)
}

/// All that was read; what stands in several frames in a row, once.
fn said(pages: Vec<Sample<ReadPicture>>) -> String {
    let mut said: Vec<_> = pages.iter().map(|page| page.content.whole()).collect();
    said.retain(|text| !text.is_empty());
    said.dedup();
    said.join("\n")
}

impl Plan {
    /// Chooses frames and prepares them, on a blocking thread.
    fn sample(&self, mut frames: Frames<'_>) -> Result<Sampled, ModerationError> {
        let Some(first) = frames.next().transpose()? else {
            // Nobody waits for the outcome any more.
            return Ok(Sampled { frames: 0, sizes: [(0, 0); 2], samples: Vec::new(), pages: Vec::new() });
        };
        let Some(second) = frames.next() else { return self.still(first.picture) };
        let size = first.picture.dimensions();
        // Frames that come later take the places of others, so they are prepared at the end, when all are chosen.
        let (mut sampler, mut count) = (Sampler::new(self.places), 0);
        for frame in [Ok(first), second].into_iter().chain(frames) {
            let Frame { picture, time_ms } = frame?;
            let sketch = Sketch::of(&picture).map_err(ModerationError::Resize)?;
            let small = || Ok(at_most(&picture, FRAME_PIXELS).map_err(ModerationError::Resize)?.into_owned());
            sampler.offer::<ModerationError>(time_ms, sketch, small)?;
            count += 1;
        }
        let frames = sampler.into_samples();
        let sizes = [size, frames.first().map_or(size, |frame| frame.content.dimensions())];
        let samples = frames.iter().map(|frame| Ok(frame.with(self.prepare(&frame.content)?)));
        let samples = samples.collect::<Result<_, ModerationError>>()?;
        let pages = match self.reads {
            true => chosen(frames, READ_FRAMES),
            false => Vec::new(),
        };
        let pages = pages.iter().map(|frame| Ok(frame.with(Page::new(&frame.content)?)));
        let pages = pages.collect::<Result<_, ModerationError>>()?;
        Ok(Sampled { frames: count, sizes, samples, pages })
    }

    fn still(&self, picture: RgbImage) -> Result<Sampled, ModerationError> {
        // Nothing is chosen, so nothing compared.
        let only = Sample { time_ms: 0, content: picture, sketch: Sketch::default() };
        let samples = vec![only.with(self.prepare(&only.content)?)];
        let pages = match self.reads {
            true => vec![only.with(Page::new(&only.content)?)],
            false => Vec::new(),
        };
        Ok(Sampled { frames: 1, sizes: [only.content.dimensions(); 2], samples, pages })
    }

    fn prepare(&self, picture: &RgbImage) -> Result<Vec<Prepared>, ModerationError> {
        self.detectors.iter().map(|detector| detector.prepare(picture)).collect()
    }
}
