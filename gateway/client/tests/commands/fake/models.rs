//! The models that the fake lists, and what one of them says.

use atelier_client::proto::{
    common::v1::{Model, ModelRef, ModelTask},
    gateway::v1 as wire,
    text::v1::RankedDocument,
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

/// The longer a document, the better.
pub(super) fn rank(request: wire::RerankRequest) -> wire::RerankResponse {
    let wire::RerankRequest { documents, top_n, .. } = request;
    let ranked = |(index, text): (usize, &String)| RankedDocument {
        index: index as u32,
        score: text.len() as f32 / 100.0,
        truncated: false,
    };
    let mut results: Vec<_> = documents.iter().enumerate().map(ranked).collect();
    results.sort_by(|one, other| other.score.total_cmp(&one.score));
    results.truncate(top_n.map_or(results.len(), |most| most as usize));
    let model = ModelRef { id: "texts".into(), revision: "0123456789ab".into() };
    wire::RerankResponse { results, model: Some(model), usage: None }
}
