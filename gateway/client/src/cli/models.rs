//! `atelier models` and `atelier categories`.

use atelier_client::Client;
use serde::Serialize;

use super::{
    CliError,
    documents::{Category, Model},
    output::Output,
};

#[derive(Serialize)]
struct ModelsDocument {
    models: Vec<Model>,
}

#[derive(Serialize)]
struct CategoriesDocument {
    categories: Vec<Category>,
}

pub(crate) async fn models(client: &Client, out: &mut Output) -> Result<(), CliError> {
    let models: Vec<Model> = client.models().await?.into_iter().map(Into::into).collect();
    if out.json {
        return out.document(&ModelsDocument { models });
    }
    let head = ["MODEL", "REVISION", "TASKS", "CONTEXT", "VOCABULARY", "DIMENSIONS", "LICENCE"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    // 0 means that the notion does not apply.
    let number = |number: u32| if number == 0 { "-".to_owned() } else { number.to_string() };
    rows.extend(models.into_iter().map(|model| {
        let license = if model.license.is_empty() { "unknown".to_owned() } else { model.license };
        let sizes = [model.context_length, model.vocabulary_size, model.embedding_dimensions].map(number);
        let [context, vocabulary, dimensions] = sizes;
        vec![model.id, model.revision, model.tasks.join(", "), context, vocabulary, dimensions, license]
    }));
    out.table(&rows)
}

pub(crate) async fn categories(client: &Client, out: &mut Output) -> Result<(), CliError> {
    let categories: Vec<Category> = client.categories().await?.into_iter().map(Into::into).collect();
    if out.json {
        return out.document(&CategoriesDocument { categories });
    }
    let mut rows = vec![["CATEGORY", "DETECTORS", "DESCRIPTION"].map(str::to_owned).to_vec()];
    rows.extend(categories.into_iter().map(|category| {
        let detectors = category
            .detectors
            .iter()
            .map(|detector| format!("{} ({})", detector.model.id, detector.modality));
        let detectors: Vec<_> = detectors.collect();
        let detectors =
            if detectors.is_empty() { "none: unsupported".to_owned() } else { detectors.join(", ") };
        vec![category.id, detectors, category.description]
    }));
    out.table(&rows)
}
