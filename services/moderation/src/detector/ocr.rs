//! PP-OCR: one model finds lines of text in a picture, another reads them; QR codes are read beside them.
//!
//! The recogniser's folder is the one the configuration names. Its `model.onnx` takes lines f32 `[batch, 3, 48, width]` and
//! gives probabilities `[batch, steps, characters]`, the characters being listed in the graph's metadata under `character`.
//! Its manifest's option `detector` names the folder of the other model: a picture f32 `[1, 3, height, width]` to the
//! probability of text `[1, 1, height, width]`.

use std::{sync::Arc, time::Duration};

use atelier_core::ModelId;
use atelier_inference::{BatchModel, Batcher, InferenceError, Model, ModelFolder, RunControl, Tensor};
use atelier_ocr::{
    Boxes, Charset, LINE_HEIGHT, Limits, Line, LineImage, MAX_LINE_WIDTH, OcrError, Page, PictureText,
    ProbabilityMap, QrCode, Reading, qr_codes, text_boxes,
};
use futures::{StreamExt, TryStreamExt, stream};
use image::RgbImage;
use ndarray::Array4;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{About, Detector, DetectorConfig, Kind, Loader, windows::unfit};
use crate::{call::Call, error::ModerationError};

pub(super) const KIND: Kind = Kind { name: "ocr", open };

/// Mean confidence that a line needs to count as read; `text_score` of rapidocr.
const MIN_CONFIDENCE: f32 = 0.5;
/// Steps of the detector's cost, in pixels: it halves sides five times.
const SQUARE: usize = 32 * 32;
/// Memory of pages is shared out in these units, in bytes.
const UNIT: usize = 4 << 10;
/// When pages that wait have likely been read.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Columns of a line for one step of the recogniser's answer.
const COLUMNS_PER_STEP: usize = 8;
/// The key of the graph's metadata that holds the characters, one a line.
const CHARACTERS: &str = "character";

/// What the recogniser's manifest says.
#[derive(Deserialize)]
struct Options {
    detector: ModelId,
}

/// Reads the text in pictures. It measures no category itself: what it read is measured as text.
#[derive(Debug)]
pub struct Reader {
    about: Arc<About>,
    max_side: u32,
    limits: Limits,
    /// One for each page that is being read.
    places: Semaphore,
    /// Memory for the pages that are or wait to be read, in units of [`UNIT`] bytes.
    room: Semaphore,
    detector: Batcher<LineDetector>,
    recogniser: Batcher<Recogniser>,
}

/// What a picture says.
#[derive(Debug)]
pub struct ReadPicture {
    /// Its lines.
    pub text: PictureText,
    /// Its QR codes.
    pub codes: Vec<QrCode>,
    /// It has more lines than are read.
    pub truncated: bool,
}

impl ReadPicture {
    /// Nothing stands in the picture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.text().is_empty() && self.codes.is_empty()
    }

    /// All of it: the lines, then the contents of the codes, one a line.
    #[must_use]
    pub fn whole(&self) -> String {
        let codes = self.codes.iter().map(|code| code.payload.as_str());
        let parts = std::iter::once(self.text.text()).chain(codes).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("\n")
    }
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    if detector.categories.is_some() || !detector.labels.is_empty() {
        return Err(
            detector.refuse("reads text and measures no category: it takes neither categories nor labels")
        );
    }
    let reading = loader.folder(detector)?;
    let options: Options = reading.options()?;
    let finding = loader.store.open(options.detector.as_str())?;
    let settings = &loader.config.image;
    let copies = || 0..settings.instances.max(1);
    let detectors = copies().map(|_| LineDetector::load(loader, &finding)).collect::<Result<Vec<_>, _>>()?;
    let recognisers = copies().map(|_| Recogniser::load(loader, &reading)).collect::<Result<Vec<_>, _>>()?;
    let about = About { parts: vec![finding.model().clone()], ..About::of(&reading, []) };
    Ok(Detector::Reader(Arc::new(Reader {
        about: Arc::new(about),
        max_side: settings.ocr.max_side,
        limits: Limits { lines: settings.ocr.max_lines, columns: settings.ocr.max_columns },
        places: Semaphore::new(settings.ocr.max_in_flight.max(1)),
        room: Semaphore::new((settings.ocr.queue_bytes / UNIT).min(Semaphore::MAX_PERMITS)),
        detector: Batcher::start("ocr-detector", &settings.batch, detectors)?,
        recogniser: Batcher::start("ocr-recogniser", &settings.batch, recognisers)?,
    })))
}

impl Reader {
    /// What it is; its categories are none.
    pub fn about(&self) -> Arc<About> {
        Arc::clone(&self.about)
    }

    /// Room for these pages until they have been read, given back when it is dropped.
    ///
    /// # Errors
    /// Too many others wait.
    pub fn admit<'a>(
        &self,
        pages: impl Iterator<Item = &'a Page>,
    ) -> Result<SemaphorePermit<'_>, ModerationError> {
        let units = pages.map(|page| page.pixels().len().div_ceil(UNIT)).sum::<usize>();
        let full = |_| InferenceError::QueueFull { retry_after: RETRY_AFTER };
        Ok(self.room.try_acquire_many(u32::try_from(units).unwrap_or(u32::MAX)).map_err(full)?)
    }

    /// Reads a page and its QR codes, when its turn has come.
    ///
    /// # Errors
    /// A model failed, or the page can't be resized.
    pub async fn read(&self, page: Page, call: &Call) -> Result<ReadPicture, ModerationError> {
        // Only closing a semaphore makes this fail, and nobody does.
        let _place = self.places.acquire().await.map_err(|_| InferenceError::Closed)?;
        let (page, max_side) = (Arc::new(page), self.max_side);
        let whole = Arc::clone(&page);
        let reduce = move || Ok::<_, OcrError>((whole.for_detector(max_side)?, qr_codes(&whole)));
        let (small, codes) = tokio::task::spawn_blocking(reduce).await??;
        let map = call.submit(&self.detector, small).await?;
        let limits = self.limits;
        let cut = move || {
            let Boxes { boxes, truncated } = text_boxes(&map, &page, limits);
            let line = |found: atelier_ocr::TextBox| {
                let image = LineImage::cut(page.pixels(), &found.quad);
                (image, page.region(&found.quad), found.row)
            };
            (boxes.into_iter().map(line).collect::<Vec<_>>(), truncated)
        };
        let (found, truncated) = tokio::task::spawn_blocking(cut).await?;
        let read = async |(image, region, row)| {
            let reading = call.submit(&self.recogniser, image).await?;
            let sure = reading.confidence() >= MIN_CONFIDENCE && !reading.text.trim().is_empty();
            Ok::<_, InferenceError>(sure.then_some(Line { text: reading.text, region, row }))
        };
        let lines: Vec<_> = stream::iter(found).map(read).buffered(call.width()).try_collect().await?;
        let lines: Vec<Line> = lines.into_iter().flatten().collect();
        Ok(ReadPicture { text: PictureText::of(&lines), codes, truncated })
    }

    /// Runs both models once.
    ///
    /// # Errors
    /// A model failed.
    pub async fn warm_up(&self, call: &Call) -> Result<(), ModerationError> {
        self.read(Page::new(&RgbImage::new(1, 1))?, call).await?;
        call.submit(&self.recogniser, LineImage::blank()).await?;
        Ok(())
    }
}

/// A model of one input and one output, with their names.
struct Graph {
    model: Model,
    input: String,
    output: String,
}

impl Graph {
    fn load(loader: &Loader<'_>, folder: &ModelFolder) -> Result<Self, ModerationError> {
        let model = Model::load(loader.runtime, folder, &loader.config.session)?;
        let ([input], [output]) = (model.inputs(), model.outputs()) else {
            return Err(unfit(folder, "the graph must have one input and one output".to_owned()));
        };
        let (input, output) = (input.name.clone(), output.name.clone());
        Ok(Self { model, input, output })
    }

    /// A run; the output's values with their shape.
    fn run(
        &mut self,
        shape: (usize, usize, usize, usize),
        values: Vec<f32>,
        control: &RunControl,
    ) -> Result<(Vec<usize>, Vec<f32>), InferenceError> {
        let input = Array4::from_shape_vec(shape, values).map_err(|error| invalid(&error))?;
        let answer = self.model.run(&[(&self.input, input.into())], &[&self.output], control)?;
        let answer = answer.into_iter().next().map(Tensor::into_f32).transpose()?.unwrap_or_default();
        let shape = answer.shape().to_vec();
        let (values, _) = answer.into_raw_vec_and_offset();
        Ok((shape, values))
    }
}

/// Finds lines.
struct LineDetector(Graph);

impl LineDetector {
    fn load(loader: &Loader<'_>, folder: &ModelFolder) -> Result<Self, ModerationError> {
        Graph::load(loader, folder).map(Self)
    }

    fn find(&mut self, picture: &RgbImage, control: &RunControl) -> Result<ProbabilityMap, InferenceError> {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        // Blue, green, red, each -1 to 1.
        let plane =
            |channel: usize| picture.pixels().map(move |pixel| f32::from(pixel.0[channel]) / 127.5 - 1.0);
        let values = [2, 1, 0].into_iter().flat_map(plane).collect();
        let (_, map) = self.0.run((1, 3, height, width), values, control)?;
        ProbabilityMap::new(width, height, map).map_err(|error| invalid(&error))
    }
}

impl BatchModel for LineDetector {
    type Input = RgbImage;
    type Output = ProbabilityMap;

    fn cost(picture: &RgbImage) -> usize {
        picture.width() as usize * picture.height() as usize / SQUARE
    }

    /// Pictures differ in size, so each is a run of its own.
    fn run(
        &mut self,
        batch: &[RgbImage],
        control: &RunControl,
    ) -> Result<Vec<ProbabilityMap>, InferenceError> {
        batch.iter().map(|picture| self.find(picture, control)).collect()
    }
}

/// Reads lines.
struct Recogniser {
    graph: Graph,
    charset: Charset,
}

impl Recogniser {
    fn load(loader: &Loader<'_>, folder: &ModelFolder) -> Result<Self, ModerationError> {
        let graph = Graph::load(loader, folder)?;
        let list = graph.model.metadata(CHARACTERS).unwrap_or_default();
        let charset = Charset::parse(&list).map_err(|error| unfit(folder, error.to_string()))?;
        Ok(Self { graph, charset })
    }

    /// One run over lines of one width.
    fn read_alike(
        &mut self,
        lines: &[&LineImage],
        control: &RunControl,
    ) -> Result<Vec<Reading>, InferenceError> {
        let width = lines.first().map_or(0, |line| line.filled_width());
        let values = lines.iter().flat_map(|line| line.values()).collect();
        let (shape, probabilities) = self.graph.run((lines.len(), 3, LINE_HEIGHT, width), values, control)?;
        let [rows, steps, _] = shape[..] else {
            return Err(InferenceError::InvalidRun("a recogniser's answer has three dimensions".to_owned()));
        };
        let row = (steps * self.charset.columns()).max(1);
        if rows != lines.len() || probabilities.len() != rows * row {
            return Err(InferenceError::InvalidRun("the recogniser knows other characters".to_owned()));
        }
        let readings = probabilities.chunks_exact(row).map(|row| self.charset.read(row));
        readings.collect::<Result<_, OcrError>>().map_err(|error| invalid(&error))
    }
}

impl BatchModel for Recogniser {
    type Input = LineImage;
    type Output = Reading;

    fn cost(line: &LineImage) -> usize {
        line.filled_width() / COLUMNS_PER_STEP
    }

    fn run(&mut self, batch: &[LineImage], control: &RunControl) -> Result<Vec<Reading>, InferenceError> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.sort_by_key(|place| batch[*place].filled_width());
        let mut readings = vec![Reading::default(); batch.len()];
        for places in order.chunk_by(|a, b| batch[*a].filled_width() == batch[*b].filled_width()) {
            // The answer has a number for each of some 19,000 characters and step: 30 MB for the longest line.
            let width = places.first().map_or(1, |place| batch[*place].filled_width());
            for places in places.chunks((MAX_LINE_WIDTH / width).max(1)) {
                let lines: Vec<&LineImage> = places.iter().map(|place| &batch[*place]).collect();
                for (place, reading) in places.iter().zip(self.read_alike(&lines, control)?) {
                    readings[*place] = reading;
                }
            }
        }
        Ok(readings)
    }
}

fn invalid(error: &dyn std::error::Error) -> InferenceError {
    InferenceError::InvalidRun(error.to_string())
}
