//! The models that the fake lists.

use atelier_client::proto::{
    common::v1::{Model, ModelTask},
    gateway::v1 as wire,
};

fn model(id: &str, task: ModelTask) -> Model {
    let revision = "0123456789ab".into();
    Model { id: id.into(), revision, tasks: vec![task.into()], ..Model::default() }
}

/// One that writes, and two whose vectors share a space.
pub(super) fn list() -> wire::ListModelsResponse {
    let embedder = |id: &str, task: ModelTask| Model {
        embedding_dimensions: 2,
        embedding_space: "shared".into(),
        ..model(id, task)
    };
    let models = vec![
        Model { context_length: 8192, ..model("fake", ModelTask::TextGeneration) },
        embedder("texts", ModelTask::TextEmbedding),
        embedder("pictures", ModelTask::ImageEmbedding),
    ];
    wire::ListModelsResponse { models }
}
