//! Pictures among words: a classifier's features carried into a text encoder's space.

use std::sync::Arc;

use atelier_core::{ModelId, ModelRef};
use atelier_inference::Ticket;
use serde::Deserialize;

use crate::{
    ImageError,
    classifier::{Classifier, Prepared},
    rows::{self, Rows, RowsLoader, own_ticket},
};

/// `config.json` of the model.
#[derive(Debug, Deserialize)]
struct Form {
    /// The model whose features it reads.
    features_of: ModelId,
    /// The model that embeds the texts its vectors are compared with.
    embedding_space: ModelId,
}

/// A small network behind a classifier: `features` `[batch, n]` of length 1 to `embedding` `[batch, m]` of length 1.
pub(crate) struct Projection {
    pub(crate) model: ModelRef,
    /// SPDX identifier, or empty.
    pub(crate) license: String,
    /// Length of a vector.
    pub(crate) dimensions: usize,
    /// Whose vectors of texts its own can be compared with.
    pub(crate) space: ModelId,
    /// Reads the pictures.
    pub(crate) classifier: Arc<Classifier>,
    rows: Rows,
}

impl Projection {
    /// Loads a model behind the loaded classifier that it names, and runs it once.
    ///
    /// # Errors
    /// A file is missing, the classifier is not loaded, or the graph does not read its features.
    pub(crate) async fn load(
        loader: &RowsLoader<'_>,
        loaded: impl Fn(&ModelId) -> Option<Arc<Classifier>>,
    ) -> Result<Self, ImageError> {
        let folder = loader.folder;
        let Form { features_of, embedding_space } = folder.json("config.json")?;
        let classifier = loaded(&features_of).ok_or_else(|| {
            let message =
                format!("models: {} reads features of {features_of}: list that before it", folder.id());
            ImageError::Configuration(message)
        })?;
        let rows = loader.load("model.onnx", "features", &["embedding"])?;
        let mut projection = Self {
            model: folder.model().clone(),
            license: folder.license().to_owned(),
            dimensions: 0,
            space: embedding_space,
            classifier,
            rows,
        };
        let blank = vec![0.0; projection.classifier.dimensions];
        projection.dimensions = projection.project(blank, &own_ticket()).await?.len();
        Ok(projection)
    }

    /// The picture's vector, of length 1.
    ///
    /// # Errors
    /// As any run.
    pub(crate) async fn embed(&self, picture: Prepared, ticket: &Ticket) -> Result<Vec<f32>, ImageError> {
        self.project(self.classifier.embed(picture, ticket).await?, ticket).await
    }

    async fn project(&self, features: Vec<f32>, ticket: &Ticket) -> Result<Vec<f32>, ImageError> {
        let answer = self.rows.submit(rows::row(features), ticket.clone()).await?;
        let embedding = answer.into_iter().next().ok_or(ImageError::TaskLost("a run"))?;
        Ok(embedding.into_iter().collect())
    }
}
