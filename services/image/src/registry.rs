//! The models of a service, by name.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use atelier_core::{ModelId, ModelRef};
use atelier_inference::{ModelFolder, ModelStore, Runtime, Ticket, home};

use crate::{
    ImageError,
    classifier::{Classifier, Prepared},
    config::{Config, ModelConfig, Task},
    diffusion::DiffusionModel,
    generator::Generator,
    post::{StyleModel, Upscaler},
    projection::Projection,
    rows::RowsLoader,
};

/// A loaded model.
pub(crate) enum LoadedModel {
    Diffusion(DiffusionModel),
    Generator(Generator),
    Classifier(Arc<Classifier>),
    Projection(Projection),
    Upscaler(Upscaler),
    Style(StyleModel),
}

impl LoadedModel {
    /// Name and revision.
    pub(crate) fn model(&self) -> &ModelRef {
        match self {
            Self::Diffusion(model) => &model.model,
            Self::Generator(model) => &model.model,
            Self::Classifier(model) => &model.model,
            Self::Projection(model) => &model.model,
            Self::Upscaler(model) => &model.model,
            Self::Style(model) => &model.model,
        }
    }
}

/// All loaded models.
pub(crate) struct Registry {
    models: BTreeMap<ModelId, LoadedModel>,
    /// In the order of the configuration: the first one of a kind is the default.
    order: Vec<ModelId>,
}

impl Registry {
    /// Loads the configured models, one after the other: each uses all processors.
    ///
    /// # Errors
    /// A model can't be loaded, two have the same name, or there is none.
    pub(crate) async fn load(config: &Config) -> Result<Self, ImageError> {
        let runtime = Runtime::start(&config.runtime)?;
        let store = ModelStore::new(config.model_store.clone().unwrap_or_else(|| home().join("models")));
        let mut registry = Self { models: BTreeMap::new(), order: Vec::new() };
        for model in &config.models {
            let started = Instant::now();
            let loaded = load_model(&runtime, &store, model, &registry).await?;
            let revision = loaded.model().revision.clone();
            tracing::info!(model = %model.id, %revision, seconds = started.elapsed().as_secs_f32(), "model loaded");
            registry.order.push(model.id.clone());
            if registry.models.insert(model.id.clone(), loaded).is_some() {
                return Err(ImageError::Configuration(format!(
                    "two models are named {:?}",
                    model.id.as_str()
                )));
            }
        }
        if registry.models.is_empty() {
            return Err(ImageError::Configuration("no model is configured".into()));
        }
        Ok(registry)
    }

    /// All models, by id.
    pub(crate) fn models(&self) -> impl Iterator<Item = &LoadedModel> {
        self.models.values()
    }

    /// A model by name.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn get(&self, id: &str) -> Result<&LoadedModel, ImageError> {
        let found = ModelId::new(id).ok().and_then(|id| self.models.get(&id));
        // The name is the caller's text; a long one is not sent back whole.
        found.ok_or_else(|| ImageError::ModelNotFound(id.chars().take(128).collect()))
    }

    /// The model of that name if it is of a kind, or the first one of the kind if the name is empty.
    fn find<'a, T>(
        &'a self,
        id: &str,
        task: &'static str,
        kind: impl Fn(&'a LoadedModel) -> Option<T>,
    ) -> Result<T, ImageError> {
        if id.is_empty() {
            let found = self.order.iter().filter_map(|id| self.models.get(id)).find_map(&kind);
            return found.ok_or_else(|| ImageError::ModelNotFound(format!("(the default for {task})")));
        }
        let unsupported = || ImageError::TaskUnsupported { model: id.to_owned(), task };
        kind(self.get(id)?).ok_or_else(unsupported)
    }

    /// A model that makes pictures; the default one if the name is empty.
    ///
    /// # Errors
    /// There is none of that name, or it is of another kind. So for the others.
    pub(crate) fn diffusion(&self, id: &str) -> Result<&DiffusionModel, ImageError> {
        self.find(id, "image generation", |model| match model {
            LoadedModel::Diffusion(model) => Some(model),
            _ => None,
        })
    }

    /// A model that makes clips: of the kind that makes pictures if the name is empty.
    pub(crate) fn video(&self, id: &str) -> Result<&LoadedModel, ImageError> {
        self.find(id, "video generation", |model| match model {
            LoadedModel::Diffusion(_) | LoadedModel::Generator(_) => Some(model),
            _ => None,
        })
    }

    /// A model with a latent space; if the name is empty the first one, or the first that can encode pictures.
    pub(crate) fn generator(&self, id: &str, encodes: bool) -> Result<&Generator, ImageError> {
        if encodes && id.is_empty() {
            return self.find(id, "encoding pictures", |model| match model {
                LoadedModel::Generator(model) if model.encodes() => Some(model),
                _ => None,
            });
        }
        self.find(id, "image exploration", |model| match model {
            LoadedModel::Generator(model) => Some(model),
            _ => None,
        })
    }

    /// A model that says what pictures show.
    pub(crate) fn classifier(&self, id: &str) -> Result<&Arc<Classifier>, ImageError> {
        self.find(id, "image understanding", |model| match model {
            LoadedModel::Classifier(model) => Some(model),
            _ => None,
        })
    }

    /// A model that turns pictures into vectors.
    pub(crate) fn embedder(&self, id: &str) -> Result<Embedder<'_>, ImageError> {
        self.find(id, "image embedding", |model| match model {
            LoadedModel::Classifier(model) => Some(Embedder::Classifier(model)),
            LoadedModel::Projection(model) => Some(Embedder::Projection(model)),
            _ => None,
        })
    }

    /// A super-resolution model of a factor.
    pub(crate) fn upscaler(&self, id: &str, factor: u32) -> Result<&Upscaler, ImageError> {
        let task = if factor == 2 { "upscaling by 2" } else { "upscaling by 4" };
        self.find(id, task, |model| match model {
            LoadedModel::Upscaler(model) if model.factor == factor => Some(model),
            _ => None,
        })
    }

    /// A style-transfer model.
    pub(crate) fn style(&self, id: &str) -> Result<&StyleModel, ImageError> {
        self.find(id, "style transfer", |model| match model {
            LoadedModel::Style(model) => Some(model),
            _ => None,
        })
    }

    /// Ends all engines and waits for their threads.
    pub(crate) async fn close(&self) {
        for model in self.models.values() {
            if let LoadedModel::Diffusion(model) = model {
                model.engine.close().await;
            }
        }
    }
}

/// A model that turns pictures into vectors of length 1.
#[derive(Clone, Copy)]
pub(crate) enum Embedder<'a> {
    /// Compared with one another.
    Classifier(&'a Arc<Classifier>),
    /// Compared with texts too.
    Projection(&'a Projection),
}

impl<'a> Embedder<'a> {
    /// Name and revision.
    pub(crate) fn model(self) -> &'a ModelRef {
        match self {
            Self::Classifier(model) => &model.model,
            Self::Projection(model) => &model.model,
        }
    }

    /// What reads the pictures.
    pub(crate) fn reader(self) -> &'a Arc<Classifier> {
        match self {
            Self::Classifier(model) => model,
            Self::Projection(model) => &model.classifier,
        }
    }

    /// The picture's vector.
    ///
    /// # Errors
    /// As any run.
    pub(crate) async fn embed(self, picture: Prepared, ticket: &Ticket) -> Result<Vec<f32>, ImageError> {
        match self {
            Self::Classifier(model) => model.embed(picture, ticket).await,
            Self::Projection(model) => model.embed(picture, ticket).await,
        }
    }
}

async fn load_model(
    runtime: &Runtime,
    store: &ModelStore,
    config: &ModelConfig,
    before: &Registry,
) -> Result<LoadedModel, ImageError> {
    let folder = match &config.path {
        Some(path) => ModelFolder::open_named(path, &config.id)?,
        None => store.open(config.id.as_str())?,
    };
    let loader = RowsLoader { runtime, folder: &folder, session: &config.session, batcher: &config.batcher };
    Ok(match task(config, &folder)? {
        Task::ImageGeneration => {
            LoadedModel::Diffusion(DiffusionModel::load(runtime, store, &folder, config)?)
        }
        Task::ImageExploration => LoadedModel::Generator(Generator::load(&loader).await?),
        Task::ImageUnderstanding => LoadedModel::Classifier(Arc::new(Classifier::load(&loader).await?)),
        Task::ImageTextMatching => {
            let classifier = |id: &ModelId| before.classifier(id.as_str()).ok().map(Arc::clone);
            LoadedModel::Projection(Projection::load(&loader, classifier).await?)
        }
        Task::ImageUpscaling => LoadedModel::Upscaler(Upscaler::load(&loader).await?),
        Task::StyleTransfer => LoadedModel::Style(StyleModel::load(&loader).await?),
    })
}

fn task(config: &ModelConfig, folder: &ModelFolder) -> Result<Task, ImageError> {
    let said = folder.manifest().map(|manifest| manifest.task.as_str());
    match (config.task, said) {
        (Some(task), _) => Ok(task),
        (None, Some("image-generation")) => Ok(Task::ImageGeneration),
        (None, Some("image-exploration")) => Ok(Task::ImageExploration),
        (None, Some("image-understanding")) => Ok(Task::ImageUnderstanding),
        (None, Some("image-text-matching")) => Ok(Task::ImageTextMatching),
        (None, Some("image-upscaling")) => Ok(Task::ImageUpscaling),
        (None, Some("style-transfer")) => Ok(Task::StyleTransfer),
        (None, _) if folder.has("model_index.json") => Ok(Task::ImageGeneration),
        (None, other) => {
            let said = other.map_or_else(|| "says nothing".into(), |task| format!("says {task:?}"));
            let message = format!("models.{}.task is missing, and the model's folder {said}", config.id);
            Err(ImageError::Configuration(message))
        }
    }
}
