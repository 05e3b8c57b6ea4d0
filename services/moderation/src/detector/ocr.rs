//! PP-OCR: one model finds lines of text in a picture, another reads them; QR codes are read beside them.
//!
//! The recogniser's folder is the one the configuration names. Its `model.onnx` takes lines f32 `[batch, 3, 48, width]` and
//! gives probabilities `[batch, steps, characters]`, the characters being listed in the graph's metadata under `character`.
//! Its manifest's option `detector` names the folder of the other model: a picture f32 `[1, 3, height, width]` to the
//! probability of text `[1, 1, height, width]`.

use std::sync::Arc;

use atelier_core::{CategoryId, ModelId};
use atelier_inference::{BatchModel, Batcher, InferenceError, Model, ModelFolder, RunControl, Tensor};
use atelier_ocr::{
    Charset, LINE_HEIGHT, Line, LineImage, MAX_LINE_WIDTH, OcrError, Page, PictureText, ProbabilityMap,
    QrCode, Reading, qr_codes, text_boxes,
};
use futures::{StreamExt, TryStreamExt, stream};
use image::RgbImage;
use ndarray::Array4;
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{About, Detector, DetectorConfig, Kind, Loader, windows::unfit};
use crate::{call::Call, categories::CategorySet, error::ModerationError};

pub(super) const KIND: Kind = Kind { name: "ocr", open };

/// Mean confidence that a line needs to count as read; `text_score` of rapidocr.
const MIN_CONFIDENCE: f32 = 0.5;
/// Steps of the detector's cost, in pixels: it halves sides five times.
const SQUARE: usize = 32 * 32;
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
    max_lines: usize,
    /// One for each picture that may be held while it is read.
    places: Semaphore,
    detector: Batcher<LineDetector>,
    recogniser: Batcher<Recogniser>,
}

/// A picture ready to be read, and its codes.
#[derive(Debug)]
pub struct Sheet {
    page: Page,
    small: RgbImage,
    codes: Vec<QrCode>,
}

/// What a picture says.
#[derive(Debug)]
pub struct ReadPicture {
    /// Its lines.
    pub text: PictureText,
    /// Its QR codes.
    pub codes: Vec<QrCode>,
}

impl ReadPicture {
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
    let about = About {
        model: reading.model().clone(),
        parts: vec![finding.model().clone()],
        categories: CategorySet::from_iter(std::iter::empty::<CategoryId>()),
    };
    Ok(Detector::Reader(Arc::new(Reader {
        about: Arc::new(about),
        max_side: settings.ocr.max_side,
        max_lines: settings.ocr.max_lines,
        places: Semaphore::new(settings.ocr.max_in_flight.max(1)),
        detector: Batcher::start("ocr-detector", &settings.batch, detectors)?,
        recogniser: Batcher::start("ocr-recogniser", &settings.batch, recognisers)?,
    })))
}

impl Reader {
    /// What it is; its categories are none.
    pub fn about(&self) -> Arc<About> {
        Arc::clone(&self.about)
    }

    /// Waits for a place, which bounds the pictures that are held in memory while they are read. It comes before
    /// [`Reader::prepare`].
    ///
    /// # Errors
    /// None in practice: the semaphore is never closed.
    pub async fn place(&self) -> Result<SemaphorePermit<'_>, ModerationError> {
        Ok(self.places.acquire().await.map_err(|_| InferenceError::Closed)?)
    }

    /// Reduces a picture to what is read, and reads its QR codes. Runs on a blocking thread.
    ///
    /// # Errors
    /// The picture can't be resized.
    pub fn prepare(&self, picture: &RgbImage) -> Result<Sheet, ModerationError> {
        let page = Page::new(picture)?;
        Ok(Sheet { small: page.for_detector(self.max_side)?, codes: qr_codes(&page), page })
    }

    /// Reads the lines of what [`Reader::prepare`] returned.
    ///
    /// # Errors
    /// A model failed.
    pub async fn read(&self, sheet: Sheet, call: &Call) -> Result<ReadPicture, ModerationError> {
        let Sheet { page, small, codes } = sheet;
        let map = call.submit(&self.detector, small).await?;
        let most = self.max_lines;
        let cut = move || {
            let boxes = text_boxes(&map, &page, most).into_iter();
            let line = |found: atelier_ocr::TextBox| {
                let image = LineImage::cut(page.pixels(), &found.quad);
                (image, page.region(&found.quad), found.row)
            };
            boxes.map(line).collect::<Vec<_>>()
        };
        let found = tokio::task::spawn_blocking(cut).await?;
        let read = async |(image, region, row)| {
            let reading = call.submit(&self.recogniser, image).await?;
            let sure = reading.confidence() >= MIN_CONFIDENCE && !reading.text.trim().is_empty();
            Ok::<_, InferenceError>(sure.then_some(Line { text: reading.text, region, row }))
        };
        let lines: Vec<_> = stream::iter(found).map(read).buffered(call.width()).try_collect().await?;
        let lines: Vec<Line> = lines.into_iter().flatten().collect();
        Ok(ReadPicture { text: PictureText::of(&lines), codes })
    }

    /// Runs both models once.
    ///
    /// # Errors
    /// A model failed.
    pub async fn warm_up(&self, call: &Call) -> Result<(), ModerationError> {
        self.read(self.prepare(&RgbImage::new(1, 1))?, call).await?;
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
