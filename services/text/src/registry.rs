//! The models of a service, by name.

use std::collections::BTreeMap;

use atelier_core::{ModelId, ModelRef};
use atelier_inference::{ModelFolder, ModelStore, Runtime, home};

use crate::{
    TextError,
    config::{Config, ModelConfig, Task},
    embedding::EmbeddingModel,
    generation::GenerationModel,
    tokens::TextTokenizer,
};

/// A loaded model.
pub(crate) enum LoadedModel {
    /// Writes.
    Generation(GenerationModel),
    /// Embeds.
    Embedding(EmbeddingModel),
}

impl LoadedModel {
    /// Name and revision.
    #[must_use]
    pub(crate) fn model(&self) -> &ModelRef {
        match self {
            Self::Generation(model) => &model.model,
            Self::Embedding(model) => &model.model,
        }
    }

    /// Its tokenizer.
    #[must_use]
    pub(crate) fn tokenizer(&self) -> &std::sync::Arc<TextTokenizer> {
        match self {
            Self::Generation(model) => model.tokenizer(),
            Self::Embedding(model) => model.tokenizer(),
        }
    }
}

/// All loaded models.
pub(crate) struct Registry {
    models: BTreeMap<ModelId, LoadedModel>,
    default_generation: Option<ModelId>,
    default_embedding: Option<ModelId>,
}

impl Registry {
    /// Loads the configured models, one after the other: each uses all processors.
    ///
    /// # Errors
    /// A model can't be loaded, two have the same name, or there is none.
    pub(crate) fn load(config: &Config) -> Result<Self, TextError> {
        let runtime = Runtime::start(&config.runtime)?;
        let store = ModelStore::new(config.model_store.clone().unwrap_or_else(|| home().join("models")));
        let mut registry =
            Self { models: BTreeMap::new(), default_generation: None, default_embedding: None };
        for model in &config.models {
            let started = std::time::Instant::now();
            let loaded = load_model(&runtime, &store, model)?;
            let default = match &loaded {
                LoadedModel::Generation(_) => &mut registry.default_generation,
                LoadedModel::Embedding(_) => &mut registry.default_embedding,
            };
            default.get_or_insert_with(|| model.id.clone());
            let revision = loaded.model().revision.clone();
            tracing::info!(model = %model.id, %revision, seconds = started.elapsed().as_secs_f32(), "model loaded");
            if registry.models.insert(model.id.clone(), loaded).is_some() {
                return Err(TextError::Configuration(format!(
                    "two models are named {:?}",
                    model.id.as_str()
                )));
            }
        }
        if registry.models.is_empty() {
            return Err(TextError::Configuration("no model is configured".into()));
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
    pub(crate) fn get(&self, id: &str) -> Result<&LoadedModel, TextError> {
        let found = ModelId::new(id).ok().and_then(|id| self.models.get(&id));
        // The name is the caller's text; a long one is not sent back whole.
        found.ok_or_else(|| TextError::ModelNotFound(id.chars().take(128).collect()))
    }

    /// The model of that name, or the default one of a task.
    fn find(
        &self,
        id: &str,
        default: &Option<ModelId>,
        task: &'static str,
    ) -> Result<&LoadedModel, TextError> {
        match default {
            _ if !id.is_empty() => self.get(id),
            Some(default) => self.get(default.as_str()),
            None => Err(TextError::ModelNotFound(format!("(the default for {task})"))),
        }
    }

    /// A model that writes; the default one if the name is empty.
    ///
    /// # Errors
    /// There is none of that name, or it does not write.
    pub(crate) fn generation(&self, id: &str) -> Result<&GenerationModel, TextError> {
        match self.find(id, &self.default_generation, "generation")? {
            LoadedModel::Generation(model) => Ok(model),
            LoadedModel::Embedding(model) => {
                Err(TextError::TaskUnsupported { model: model.model.id.to_string(), task: "generation" })
            }
        }
    }

    /// A model that embeds; the default one if the name is empty.
    ///
    /// # Errors
    /// There is none of that name, or it does not embed.
    pub(crate) fn embedding(&self, id: &str) -> Result<&EmbeddingModel, TextError> {
        match self.find(id, &self.default_embedding, "embedding")? {
            LoadedModel::Embedding(model) => Ok(model),
            LoadedModel::Generation(model) => {
                Err(TextError::TaskUnsupported { model: model.model.id.to_string(), task: "embedding" })
            }
        }
    }

    /// Any model, for its tokenizer; the default writer, else the default encoder, if the name is empty.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn any(&self, id: &str) -> Result<&LoadedModel, TextError> {
        let default = self.default_generation.as_ref().or(self.default_embedding.as_ref()).cloned();
        self.find(id, &default, "tokenizing")
    }

    /// Ends all engines and waits for their threads.
    pub(crate) async fn close(&self) {
        for model in self.models.values() {
            if let LoadedModel::Generation(model) = model {
                model.engine().close().await;
            }
        }
    }
}

fn load_model(runtime: &Runtime, store: &ModelStore, config: &ModelConfig) -> Result<LoadedModel, TextError> {
    let folder = match &config.path {
        Some(path) => ModelFolder::open(path)?,
        None => store.open(config.id.as_str())?,
    };
    let task = match (config.task, folder.manifest().map(|manifest| manifest.task.as_str())) {
        (Some(task), _) => task,
        (None, Some("text-generation")) => Task::TextGeneration,
        (None, Some("text-embedding")) => Task::TextEmbedding,
        (None, other) => {
            let said = other.map_or_else(|| "says nothing".into(), |task| format!("says {task:?}"));
            let message = format!("models.{}.task is missing, and the model's folder {said}", config.id);
            return Err(TextError::Configuration(message));
        }
    };
    Ok(match task {
        Task::TextGeneration => LoadedModel::Generation(GenerationModel::load(runtime, &folder, config)?),
        Task::TextEmbedding => LoadedModel::Embedding(EmbeddingModel::load(runtime, &folder, config)?),
    })
}
