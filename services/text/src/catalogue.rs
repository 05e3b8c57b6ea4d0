//! The models that may be served, and how one is loaded.

use std::{collections::BTreeMap, sync::Arc};

use atelier_core::{ModelId, ModelRef};
use atelier_inference::{ModelFolder, ModelStore, Runtime, home};

use crate::{
    TextError,
    config::{Config, Load, ModelConfig, Task},
    embedding::EmbeddingModel,
    generation::GenerationModel,
    rerank::CrossEncoder,
    tokens::TextTokenizer,
};

/// A loaded model.
pub(crate) enum LoadedModel {
    /// Writes.
    Generation(GenerationModel),
    /// Embeds.
    Embedding(EmbeddingModel),
    /// Reads a query and a document together.
    Reranking(CrossEncoder),
}

impl LoadedModel {
    /// Name and revision.
    #[must_use]
    pub(crate) fn model(&self) -> &ModelRef {
        match self {
            Self::Generation(model) => &model.model,
            Self::Embedding(model) => &model.model,
            Self::Reranking(model) => &model.model,
        }
    }

    /// Its tokenizer.
    #[must_use]
    pub(crate) fn tokenizer(&self) -> &Arc<TextTokenizer> {
        match self {
            Self::Generation(model) => model.tokenizer(),
            Self::Embedding(model) => model.tokenizer(),
            Self::Reranking(model) => model.tokenizer(),
        }
    }

    /// It as a model that writes.
    ///
    /// # Errors
    /// It does not write.
    pub(crate) fn generation(&self) -> Result<&GenerationModel, TextError> {
        match self {
            Self::Generation(model) => Ok(model),
            Self::Embedding(_) | Self::Reranking(_) => Err(self.does_not_serve("generation")),
        }
    }

    /// It as a model that embeds.
    ///
    /// # Errors
    /// It does not embed.
    pub(crate) fn embedding(&self) -> Result<&EmbeddingModel, TextError> {
        match self {
            Self::Embedding(model) => Ok(model),
            Self::Generation(_) | Self::Reranking(_) => Err(self.does_not_serve("embedding")),
        }
    }

    /// Bytes that its KV cache takes when every slot is full; 0 for an encoder.
    #[must_use]
    pub(crate) fn cache_bytes(&self) -> u64 {
        match self {
            Self::Generation(model) => model.cache_bytes as u64,
            Self::Embedding(_) | Self::Reranking(_) => 0,
        }
    }

    /// The error of a call for what it does not do.
    #[must_use]
    pub(crate) fn does_not_serve(&self, task: &'static str) -> TextError {
        TextError::TaskUnsupported { model: self.model().id.to_string(), task }
    }
}

/// What may be loaded.
pub(crate) struct Catalogue {
    runtime: Runtime,
    store: ModelStore,
    configured: BTreeMap<ModelId, ModelConfig>,
    /// Any folder of the store may be loaded.
    whole_store: bool,
}

impl Catalogue {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// ONNX Runtime can't be started, two models have the same name, or there is none.
    pub(crate) fn new(config: &Config) -> Result<Self, TextError> {
        let mut configured = BTreeMap::new();
        for model in &config.models {
            if configured.insert(model.id.clone(), model.clone()).is_some() {
                let message = format!("two models are named {:?}", model.id.as_str());
                return Err(TextError::Configuration(message));
            }
        }
        if configured.is_empty() && !config.allow_store_models {
            return Err(TextError::Configuration("no model is configured".into()));
        }
        Ok(Self {
            runtime: Runtime::start(&config.runtime)?,
            store: ModelStore::new(config.model_store.clone().unwrap_or_else(|| home().join("models"))),
            configured,
            whole_store: config.allow_store_models,
        })
    }

    /// How a model is configured.
    ///
    /// # Errors
    /// No model of that name may be loaded.
    pub(crate) fn find(&self, id: &str) -> Result<ModelConfig, TextError> {
        let name = ModelId::new(id).ok();
        let configured = name.as_ref().and_then(|id| self.configured.get(id)).cloned();
        let in_store = || {
            let id = name.clone().filter(|_| self.whole_store)?;
            Some(ModelConfig { load: Load::OnDemand, ..ModelConfig::new(id) })
        };
        // The name is the caller's text; a long one is not sent back whole.
        configured
            .or_else(in_store)
            .ok_or_else(|| TextError::ModelNotConfigured(id.chars().take(128).collect()))
    }

    /// Opens a model's folder and checks its files.
    ///
    /// # Errors
    /// There is none, or a file of it is not what its manifest says.
    pub(crate) fn open(&self, config: &ModelConfig) -> Result<ModelFolder, TextError> {
        Ok(match &config.path {
            Some(path) => ModelFolder::open_named(path, &config.id)?,
            None => self.store.open(config.id.as_str())?,
        })
    }

    /// Loads a model and runs it once.
    ///
    /// # Errors
    /// A file is missing, broken or of a kind that can't be served.
    pub(crate) fn load(&self, folder: &ModelFolder, config: &ModelConfig) -> Result<LoadedModel, TextError> {
        let runtime = &self.runtime;
        Ok(match task(folder, config)? {
            Task::TextGeneration => LoadedModel::Generation(GenerationModel::load(runtime, folder, config)?),
            Task::TextEmbedding => LoadedModel::Embedding(EmbeddingModel::load(runtime, folder, config)?),
            Task::TextReranking => LoadedModel::Reranking(CrossEncoder::load(runtime, folder, config)?),
        })
    }
}

fn task(folder: &ModelFolder, config: &ModelConfig) -> Result<Task, TextError> {
    match (config.task, folder.manifest().map(|manifest| manifest.task.as_str())) {
        (Some(task), _) => Ok(task),
        (None, Some("text-generation")) => Ok(Task::TextGeneration),
        (None, Some("text-embedding")) => Ok(Task::TextEmbedding),
        (None, Some("text-reranking")) => Ok(Task::TextReranking),
        (None, other) => {
            let said = other.map_or_else(|| "says nothing".into(), |task| format!("says {task:?}"));
            let message = format!("models.{}.task is missing, and the model's folder {said}", config.id);
            Err(TextError::Configuration(message))
        }
    }
}
