//! Faces, to be counted: BlazeFace, MediaPipe's detector of faces within five metres of the camera.
//!
//! It says where faces are. Nobody is recognised, and nothing is told of whose a face is or what it is like: the model's points
//! of eyes, nose and mouth are cut off when it is converted.
//!
//! The folder has `model.onnx` (`pixels` f32 `[batch, 192, 192, 3]`, red-green-blue, -1 to 1 -> `faces` f32
//! `[batch, 2304, 5]`, see [`boxes`]).

mod boxes;
mod views;

use std::sync::Arc;

use async_trait::async_trait;
use atelier_inference::{BatchModel, Batcher, InferenceError, Model, RunControl, Tensor};
use atelier_ocr::Region;
use futures::future::try_join_all;
use image::RgbImage;
use ndarray::Array4;

use self::views::SIDE;
use super::{About, Detector, DetectorConfig, ImageDetector, Kind, Loader, Prepared, windows::unfit};
use crate::{
    call::Call,
    error::ModerationError,
    scores::{Face, Measurement},
};

pub(super) const KIND: Kind = Kind { name: "faces", open };

const OUTPUT: &str = "faces";

#[derive(Debug)]
struct Faces {
    about: Arc<About>,
    batcher: Batcher<FaceModel>,
}

struct FaceModel {
    model: Model,
    input: String,
}

fn open(loader: &Loader<'_>, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
    if detector.categories.is_some() || !detector.labels.is_empty() {
        return Err(detector.refuse("measures no category"));
    }
    let folder = loader.folder(detector)?;
    let settings = &loader.config.image;
    let load = |_| {
        let model = Model::load(loader.runtime, &folder, &loader.config.session)?;
        let has_output = model.outputs().iter().any(|output| output.name == OUTPUT);
        let ([input], true) = (model.inputs(), has_output) else {
            return Err(unfit(&folder, format!("the graph must have one input, and {OUTPUT}")));
        };
        Ok(FaceModel { input: input.name.clone(), model })
    };
    let models = (0..settings.instances.max(1)).map(load).collect::<Result<Vec<_>, _>>()?;
    let about = About::of(&folder, []);
    // A label of metrics lives as long as the process, and so does a detector.
    let label: &'static str = about.model.id.to_string().leak();
    let batcher = Batcher::start(label, &settings.batch, models)?;
    Ok(Detector::Image(Arc::new(Faces { about: Arc::new(about), batcher })))
}

#[async_trait]
impl ImageDetector for Faces {
    fn about(&self) -> Arc<About> {
        Arc::clone(&self.about)
    }

    fn finds_faces(&self) -> bool {
        true
    }

    /// The picture's width and height, then what each of its views shows.
    fn prepare(&self, picture: &RgbImage) -> Result<Prepared, ModerationError> {
        let sides = [picture.width(), picture.height()].map(|side| side.to_le_bytes().to_vec());
        let views = views::pixels(picture).map_err(ModerationError::Resize)?;
        Ok(sides.into_iter().chain(views).collect())
    }

    async fn measure(&self, prepared: Prepared, call: &Call) -> Result<Measurement, ModerationError> {
        let wrong = |what: &str| InferenceError::InvalidRun(what.to_owned());
        let mut prepared = prepared.into_iter();
        let mut side = || {
            let bytes = prepared.next().and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or_else(|| wrong("a picture without a size"))
        };
        let size = [side()?, side()?];
        let runs = views::views(size).into_iter().zip(prepared).map(async |(view, pixels)| {
            let row = call.submit(&self.batcher, pixels).await?;
            let likely = boxes::likely(&row).ok_or_else(|| wrong("the model wrote no boxes of faces"))?;
            let seen = likely.into_iter().filter_map(|face| view.in_picture(face));
            Ok::<_, InferenceError>(seen.collect::<Vec<_>>())
        });
        let found = try_join_all(runs).await?.concat();
        let face = |found: boxes::FaceBox| {
            let [left, top, right, bottom] = found.edges;
            let region = Region::around(&[[left, top], [right, bottom]], size.into());
            Face { region, score: found.score, time_ms: None }
        };
        let faces = boxes::joined(found).into_iter().map(face);
        // A box of which nothing lies in the picture is of no face in it.
        let faces = faces.filter(|face| face.region.width > 0 && face.region.height > 0).collect();
        Ok(Measurement { faces: Some(faces), windows: 1, ..Measurement::default() })
    }
}

impl BatchModel for FaceModel {
    /// A view.
    type Input = Vec<u8>;
    type Output = Vec<f32>;

    fn cost(_: &Vec<u8>) -> usize {
        1
    }

    fn run(&mut self, batch: &[Vec<u8>], control: &RunControl) -> Result<Vec<Vec<f32>>, InferenceError> {
        let values = batch.iter().flatten().map(|value| f32::from(*value) / 127.5 - 1.0).collect();
        let side = SIDE as usize;
        let input = Array4::from_shape_vec((batch.len(), side, side, 3), values)
            .map_err(|error| InferenceError::InvalidRun(error.to_string()))?;
        let rows = self.model.run(&[(&self.input, input.into())], &[OUTPUT], control)?;
        let rows = rows.into_iter().next().map(Tensor::into_f32).transpose()?.unwrap_or_default();
        Ok(rows.outer_iter().map(|row| row.iter().copied().collect()).collect())
    }
}
