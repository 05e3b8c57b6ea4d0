//! `atelier classify`.

use atelier_client::{Client, ClientError, proto::gateway::v1::ClassifyImageRequest};
use serde::Serialize;

use super::{CliError, args::ClassifyArgs, documents::ModelRef, input, output::Output};

#[derive(Serialize)]
struct LabelsDocument {
    file: String,
    labels: Vec<LabelDocument>,
    model: Option<ModelRef>,
}

#[derive(Serialize)]
struct LabelDocument {
    name: String,
    index: u32,
    probability: f32,
}

/// Pictures go one by one: a request of several could exceed what the gateway takes in one message.
pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: ClassifyArgs,
) -> Result<(), CliError> {
    let client = connect().await?;
    let many = arguments.images.len() > 1;
    for path in &arguments.images {
        let request = ClassifyImageRequest {
            model: arguments.model.clone(),
            images: vec![input::file(path)?.into()],
            top_k: arguments.top_k,
        };
        let answer = client.classify_image(request).await?;
        let Some(result) = answer.results.into_iter().next() else {
            return Err(ClientError::Protocol("no labels in the answer").into());
        };
        let label = |label: atelier_client::proto::image::v1::ImageLabel| LabelDocument {
            name: label.name,
            index: label.index,
            probability: label.probability,
        };
        let document = LabelsDocument {
            file: path.display().to_string(),
            labels: result.labels.into_iter().map(label).collect(),
            model: answer.model.map(Into::into),
        };
        if out.json {
            out.document(&document)?;
        } else {
            if many {
                out.line(&format!("{}:", document.file))?;
            }
            let mut rows = vec![["LABEL", "PROBABILITY"].map(str::to_owned).to_vec()];
            let row = |label: LabelDocument| vec![label.name, format!("{:.3}", label.probability)];
            rows.extend(document.labels.into_iter().map(row));
            out.table(&rows)?;
        }
        out.flush()?;
    }
    Ok(())
}
