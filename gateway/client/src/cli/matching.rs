//! `atelier match`: which text goes with a picture, which picture with a text.

use atelier_client::{
    Client, ClientError,
    proto::{
        common::v1::{Model, ModelTask},
        gateway::v1::EmbedRequest,
    },
};
use serde::Serialize;

use super::{
    CliError, args::MatchArgs, documents::ModelRef, embed::embed_image, generate::named, output::Output,
};

#[derive(Serialize)]
struct MatchesDocument {
    matches: Vec<MatchDocument>,
    image_model: Option<ModelRef>,
    text_model: Option<ModelRef>,
}

#[derive(Serialize)]
struct MatchDocument {
    file: String,
    text: String,
    /// Higher is nearer; to be compared with the others, not with a fixed bound.
    cosine: f32,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: MatchArgs,
) -> Result<(), CliError> {
    let MatchArgs { texts, images, model } = arguments;
    let client = connect().await?;
    let (image_model, text_model) = pair(&client.models().await?, &model)?;
    let request = EmbedRequest { model: text_model, texts: texts.clone(), ..EmbedRequest::default() };
    let embedded = client.embed(request).await?;
    let mut document = MatchesDocument {
        matches: Vec::new(),
        image_model: None,
        text_model: embedded.model.map(Into::into),
    };
    for path in &images {
        let (picture, model) = embed_image(&client, path, &image_model).await?;
        let row = |(text, vector): (&String, &[f32])| MatchDocument {
            file: path.display().to_string(),
            text: text.clone(),
            cosine: cosine(&picture, vector),
        };
        let vectors = embedded.embeddings.iter().map(|embedding| embedding.values.as_slice());
        let mut rows: Vec<_> = texts.iter().zip(vectors).map(row).collect();
        rows.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
        document.matches.extend(rows);
        document.image_model = model;
    }
    if texts.len() == 1 {
        document.matches.sort_by(|a, b| b.cosine.total_cmp(&a.cosine));
    }
    print(out, &document)
}

/// Texts' vectors need not have length 1; one of zeros, which points nowhere, gives 0.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let product = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f32>();
    let lengths = (product(one, one) * product(other, other)).sqrt();
    if lengths > 0.0 { product(one, other) / lengths } else { 0.0 }
}

/// An image model, of this name if one is given, and the text model whose space it shares.
fn pair(models: &[Model], asked: &str) -> Result<(String, String), CliError> {
    let embeds = |model: &&Model, task: ModelTask| model.tasks().any(|one| one == task);
    let pictures = models.iter().filter(|model| embeds(model, ModelTask::ImageEmbedding));
    let texts: Vec<_> = models.iter().filter(|model| embeds(model, ModelTask::TextEmbedding)).collect();
    pictures
        .filter(|model| asked.is_empty() || model.id == asked)
        .find_map(|picture| {
            let shares = |text: &&&Model| text.embedding_space == picture.embedding_space;
            texts.iter().find(shares).map(|text| (picture.id.clone(), text.id.clone()))
        })
        .ok_or_else(|| {
            let which =
                if asked.is_empty() { "no image model shares" } else { "that image model does not share" };
            CliError::Usage(format!(
                "{which} a space with a text model; see embedding_space in `atelier models --json`"
            ))
        })
}

fn print(out: &mut Output, document: &MatchesDocument) -> Result<(), CliError> {
    if out.json {
        return out.document(document);
    }
    let mut rows = vec![["COSINE", "PICTURE", "TEXT"].map(str::to_owned).to_vec()];
    let row = |one: &MatchDocument| vec![format!("{:+.3}", one.cosine), one.file.clone(), one.text.clone()];
    rows.extend(document.matches.iter().map(row));
    out.table(&rows)?;
    match (&document.image_model, &document.text_model) {
        (Some(image), Some(text)) => out.line(&format!("\nmodels {} and {}", named(image), named(text))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_does_not_depend_on_lengths() {
        assert_eq!(cosine(&[3.0, 4.0], &[6.0, 8.0]), 1.0);
        assert_eq!(cosine(&[0.5, 0.0], &[-7.0, 0.0]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), 0.0);
    }
}
