//! The table of detectors: which models measure which categories.
//!
//! To add a moderation model:
//! 1. Write a file beside this one with `pub(super) const KIND: Kind`. Its `open` loads the model with the
//!    [`Loader`] and returns a [`Detector`]: a [`TextDetector`] or an [`ImageDetector`] that says which
//!    categories it measures and measures them, its runs going through an [`atelier_inference::Batcher`]
//!    (`nsfw.rs` is the shortest example).
//! 2. Add its `KIND` to [`KINDS`].
//! 3. Name it in the configuration: `detectors: [{ kind: <name of the kind>, model: <folder of the model> }]`.
//!
//! Nothing else knows the models: scores are merged by category, and what no detector measures is reported as
//! unsupported by itself. A category that the taxonomy lacks is added in `atelier_core::category`.

mod combined;
pub(crate) mod copies;
mod faces;
mod image_classifier;
mod image_tags;
mod labels;
mod nsfw;
mod nsfwjs;
mod ocr;
mod pictures;
pub(crate) mod rules;
mod text_classifier;
mod text_heads;
pub(crate) mod token_classifier;
mod windows;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use async_trait::async_trait;
use atelier_core::{CategoryId, ModelId, ModelRef};
use atelier_inference::{ModelFolder, ModelStore, Runtime};
use atelier_likeness::UnitVector;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::{
    call::Call,
    categories::CategorySet,
    config::Config,
    error::ModerationError,
    scores::{Finding, Measurement, NOTABLE},
};

pub use self::ocr::{ReadPicture, Reader};

/// All kinds of detectors.
pub const KINDS: &[Kind] = &[
    text_heads::KIND,
    combined::KIND,
    image_tags::KIND,
    ocr::KIND,
    faces::KIND,
    nsfw::KIND,
    nsfwjs::KIND,
    text_classifier::KIND,
    token_classifier::KIND,
    image_classifier::KIND,
];

/// A way of measuring that models can be loaded for.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Loads a model for it.
    pub open: fn(&Loader<'_>, &DetectorConfig) -> Result<Detector, ModerationError>,
}

/// One line of the configuration's table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetectorConfig {
    /// Name of one of [`KINDS`].
    pub kind: String,
    /// The model: the name of its folder in the store.
    pub model: ModelId,
    /// A model folder outside the store. Default: none.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// What the detector is used for. Default: everything that it measures.
    #[serde(default)]
    pub categories: Option<Vec<CategoryId>>,
    /// Of a classifier of your own: the category that each of its labels means; labels left out count for none. Default:
    /// labels that are named like categories.
    #[serde(default)]
    pub labels: BTreeMap<String, CategoryId>,
    /// Of a classifier of your own: the score, above 0 and below 1, from which on a category counts as shown. The category's scores
    /// are moved so that this one becomes 0.5, the others along two straight lines, from 0 to it and from it to 1. Default: 0.5.
    #[serde(default)]
    pub thresholds: BTreeMap<CategoryId, f32>,
    /// Of a token classifier: labels that belong to a find beside others and make none by themselves, as a city does in an
    /// address. Default: none.
    #[serde(default)]
    pub supporting_labels: BTreeSet<String>,
    /// Of a token classifier: it runs only where a text is to be redacted or a request names a category that it measures. What
    /// it alone measures is not measured where a request names no categories. Default: false.
    #[serde(default)]
    pub on_request: bool,
}

/// What a kind needs to load a model.
#[derive(Debug)]
pub struct Loader<'a> {
    /// The process's ONNX Runtime.
    pub runtime: &'a Runtime,
    /// Where models are.
    pub store: &'a ModelStore,
    /// The service's settings.
    pub config: &'a Config,
}

/// A loaded detector.
#[derive(Debug)]
pub enum Detector {
    /// Reads text.
    Text(Arc<dyn TextDetector>),
    /// Reads pictures.
    Image(Arc<dyn ImageDetector>),
    /// Reads the text in pictures, for the detectors of text.
    Reader(Arc<Reader>),
}

impl Detector {
    /// The detector, if it turns pictures into vectors.
    #[must_use]
    pub fn embedder(&self) -> Option<Arc<dyn ImageDetector>> {
        match self {
            Self::Image(detector) if detector.gives_vectors() => Some(Arc::clone(detector)),
            Self::Text(_) | Self::Image(_) | Self::Reader(_) => None,
        }
    }
}

/// What a detector says about itself.
#[derive(Clone, Debug)]
pub struct About {
    /// The model that gives the detector its name.
    pub model: ModelRef,
    /// Further models that its scores come from.
    pub parts: Vec<ModelRef>,
    /// What it measures: one score of a [`Measurement`] each.
    pub categories: CategorySet,
}

/// Measures text.
#[async_trait]
pub trait TextDetector: std::fmt::Debug + Send + Sync {
    /// What it is.
    fn about(&self) -> Arc<About>;

    /// What it is in a call: what it measures may depend on whose call it is, and a call ends under the rules that it began
    /// with.
    fn about_in(&self, _: &Call) -> Arc<About> {
        self.about()
    }

    /// Whether it runs only where a request names what it measures; see [`DetectorConfig::on_request`].
    fn on_request(&self) -> bool {
        false
    }

    /// The places of names, addresses and the like in a text, all of them, for whoever takes them out; in order and apart.
    ///
    /// # Errors
    /// As [`TextDetector::measure`].
    async fn personal(&self, _: &str, _: &Call) -> Result<Vec<Finding>, ModerationError> {
        Ok(Vec::new())
    }

    /// Whether it undoes disguises by itself, so that it is not shown what disguised words say.
    fn undoes_disguises(&self) -> bool {
        false
    }

    /// Measures a text of up to 1 MiB; one without anything to read has scores of 0 and no windows.
    ///
    /// # Errors
    /// The text could not be measured. No error carries any of it.
    async fn measure(&self, text: &str, call: &Call) -> Result<Measurement, ModerationError>;
}

/// What a detector needs of a picture: the bytes that its models read, in an order of its own.
pub type Prepared = Vec<Vec<u8>>;

/// Measures pictures.
#[async_trait]
pub trait ImageDetector: std::fmt::Debug + Send + Sync {
    /// What it is.
    fn about(&self) -> Arc<About>;

    /// What it is in a call: what it measures may depend on whose call it is.
    fn about_in(&self, _: &Call) -> Arc<About> {
        self.about()
    }

    /// Reduces a picture to the bytes its models read. Runs on a blocking thread; the picture is gone afterwards.
    ///
    /// # Errors
    /// The picture can't be reduced.
    fn prepare(&self, picture: &RgbImage) -> Result<Prepared, ModerationError>;

    /// Whether its measurements carry tags.
    fn gives_tags(&self) -> bool {
        false
    }

    /// Whether its measurements carry faces.
    fn finds_faces(&self) -> bool {
        false
    }

    /// Whether it turns pictures into vectors.
    fn gives_vectors(&self) -> bool {
        false
    }

    /// The vector by which a picture is compared with others; `None` unless it gives vectors. Takes what
    /// [`ImageDetector::prepare`] returned.
    ///
    /// # Errors
    /// The model failed, or what it wrote is no vector of length 1.
    async fn embed(&self, _: Prepared, _: &Call) -> Result<Option<UnitVector>, ModerationError> {
        Ok(None)
    }

    /// Measures what [`ImageDetector::prepare`] returned.
    ///
    /// # Errors
    /// The picture could not be measured.
    async fn measure(&self, prepared: Prepared, call: &Call) -> Result<Measurement, ModerationError>;
}

impl About {
    /// A detector of one model.
    pub(crate) fn of(folder: &ModelFolder, categories: impl IntoIterator<Item = CategoryId>) -> Self {
        Self {
            model: folder.model().clone(),
            parts: Vec::new(),
            categories: categories.into_iter().collect(),
        }
    }

    /// All models that its scores come from.
    pub fn models(&self) -> impl Iterator<Item = &ModelRef> {
        std::iter::once(&self.model).chain(&self.parts)
    }
}

impl Loader<'_> {
    /// Loads all detectors of the configuration.
    ///
    /// # Errors
    /// A kind is unknown, or a model is missing, corrupt or not what its kind needs; or two read the text in pictures.
    pub fn open_all(&self) -> Result<Vec<Detector>, ModerationError> {
        let mut readers = self.config.detectors.iter().filter(|detector| detector.kind == ocr::KIND.name);
        if let Some(second) = readers.nth(1) {
            return Err(second.refuse("text in pictures is read by one detector of kind \"ocr\" alone"));
        }
        self.config.detectors.iter().map(|detector| self.open(detector)).collect()
    }

    fn open(&self, detector: &DetectorConfig) -> Result<Detector, ModerationError> {
        let kind = KINDS.iter().find(|kind| kind.name == detector.kind).ok_or_else(|| {
            let known: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
            ModerationError::Config(format!(
                "no detector kind {:?}; there are {}",
                detector.kind,
                known.join(", ")
            ))
        })?;
        let classifiers = [text_classifier::KIND, token_classifier::KIND, image_classifier::KIND];
        let of_ones_own = classifiers.iter().any(|classifier| classifier.name == kind.name);
        if !detector.thresholds.is_empty() && !of_ones_own {
            return Err(detector.refuse("thresholds: only a classifier of your own has them"));
        }
        if kind.name != token_classifier::KIND.name
            && (detector.on_request || !detector.supporting_labels.is_empty())
        {
            return Err(detector.refuse("on_request, supporting_labels: only a token classifier has them"));
        }
        (kind.open)(self, detector)
    }

    /// The folder of a detector's model.
    ///
    /// # Errors
    /// There is no such folder, or a file in it is missing or altered.
    pub fn folder(&self, detector: &DetectorConfig) -> Result<ModelFolder, ModerationError> {
        Ok(match &detector.path {
            Some(path) => ModelFolder::open_named(path, &detector.model)?,
            None => self.store.open(detector.model.as_str())?,
        })
    }
}

impl DetectorConfig {
    /// A line that uses the model for everything that it measures.
    ///
    /// # Errors
    /// `model` is no valid name.
    pub fn new(kind: &Kind, model: &str) -> Result<Self, ModerationError> {
        let model = ModelId::new(model).map_err(|error| ModerationError::Config(error.to_string()))?;
        Ok(Self {
            kind: kind.name.to_owned(),
            model,
            path: None,
            categories: None,
            labels: BTreeMap::new(),
            thresholds: BTreeMap::new(),
            supporting_labels: BTreeSet::new(),
            on_request: false,
        })
    }

    /// The category that a label of a classifier means, if it is used for one.
    fn meaning(&self, label: &str) -> Option<CategoryId> {
        let own = || label.to_lowercase().replace(['_', ' '], "-").parse().ok();
        let category = if self.labels.is_empty() { own() } else { self.labels.get(label).copied() };
        category.filter(|category| self.categories.as_ref().is_none_or(|all| all.contains(category)))
    }

    /// The columns of the model's output that are used, with their categories.
    fn columns(&self, measured: &[CategoryId]) -> Result<Vec<(usize, CategoryId)>, ModerationError> {
        let wanted =
            |category: &CategoryId| self.categories.as_ref().is_none_or(|all| all.contains(category));
        let columns: Vec<_> = measured.iter().copied().enumerate().filter(|(_, c)| wanted(c)).collect();
        let unmeasured = self.categories.iter().flatten().find(|category| !measured.contains(category));
        match unmeasured {
            Some(category) => Err(self.refuse(&format!("does not measure {category}"))),
            None if columns.is_empty() => Err(self.refuse("is used for no category")),
            None => Ok(columns),
        }
    }

    /// The thresholds of the categories that a classifier measures, in their order.
    fn thresholds(&self, measured: &[CategoryId]) -> Result<Vec<f32>, ModerationError> {
        for (category, threshold) in &self.thresholds {
            if !(*threshold > 0.0 && *threshold < 1.0) {
                let problem = format!("thresholds.{category}: must be above 0 and below 1, is {threshold}");
                return Err(self.refuse(&problem));
            }
            if !measured.contains(category) {
                return Err(self.refuse(&format!("thresholds: does not measure {category}")));
            }
        }
        let of = |category| self.thresholds.get(category).copied().unwrap_or(NOTABLE);
        Ok(measured.iter().map(of).collect())
    }

    fn refuse(&self, problem: &str) -> ModerationError {
        ModerationError::Config(format!("detector {}: {problem}", self.model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: [CategoryId; 3] = [CategoryId::Hate, CategoryId::Sexual, CategoryId::Violence];

    fn detector(categories: Option<Vec<CategoryId>>) -> DetectorConfig {
        DetectorConfig { categories, ..DetectorConfig::new(&KINDS[0], "heads").unwrap() }
    }

    #[test]
    fn a_detector_may_be_used_for_some_of_what_it_measures() {
        let all = detector(None).columns(&MEASURED).unwrap();
        assert_eq!(all, [(0, CategoryId::Hate), (1, CategoryId::Sexual), (2, CategoryId::Violence)]);
        let one = detector(Some(vec![CategoryId::Violence])).columns(&MEASURED).unwrap();
        assert_eq!(one, [(2, CategoryId::Violence)]);
    }

    #[test]
    fn a_detector_is_not_used_for_what_it_does_not_measure() {
        for wrong in [vec![], vec![CategoryId::Hate, CategoryId::SelfHarm]] {
            let refused = detector(Some(wrong)).columns(&MEASURED);
            assert!(matches!(refused, Err(ModerationError::Config(_))), "{refused:?}");
        }
    }

    #[test]
    fn thresholds_are_shares_of_categories_that_are_measured() {
        let told = |category, threshold| {
            let thresholds = [(category, threshold)].into_iter().collect();
            DetectorConfig { thresholds, ..detector(None) }.thresholds(&MEASURED)
        };
        assert_eq!(told(CategoryId::Sexual, 0.8).unwrap(), [NOTABLE, 0.8, NOTABLE]);
        for wrong in [0.0, 1.0, -0.5, 7.0, f32::NAN, f32::INFINITY] {
            let refused = told(CategoryId::Sexual, wrong);
            assert!(
                matches!(&refused, Err(ModerationError::Config(problem)) if problem.contains("thresholds.sexual"))
            );
        }
        assert!(matches!(told(CategoryId::Spam, 0.8), Err(ModerationError::Config(_))));
    }

    #[test]
    fn kinds_have_names_of_their_own() {
        for (n, kind) in KINDS.iter().enumerate() {
            assert!(KINDS[..n].iter().all(|other| other.name != kind.name));
        }
    }
}
