//! `atelier rerank`: which documents answer a query best.

use atelier_client::{
    Client, ClientError,
    proto::{gateway::v1::RerankRequest, text::v1::Truncation},
};
use serde::Serialize;

use super::{
    CliError,
    args::RerankArgs,
    documents::{ModelRef, TokenUsage},
    embed::{excerpt, lines},
    generate::named,
    input,
    output::Output,
};

#[derive(Serialize)]
struct RankingDocument {
    model: Option<ModelRef>,
    results: Vec<RankedDocument>,
    usage: Option<TokenUsage>,
}

#[derive(Serialize)]
struct RankedDocument {
    /// Its place among the texts and files of the command line, texts first.
    index: u32,
    /// Higher is better; to be compared with the others, not with a fixed bound.
    score: f32,
    truncated: bool,
    /// The file, or the text where there is none.
    document: String,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: RerankArgs,
) -> Result<(), CliError> {
    let RerankArgs { query, texts, files, top, model, truncate } = arguments;
    let mut documents = if texts.is_empty() && files.is_empty() { lines()? } else { texts };
    let mut names = documents.clone();
    for path in &files {
        let content = String::from_utf8(input::file(path)?)
            .map_err(|_| CliError::Usage(format!("{} is not UTF-8 text", path.display())))?;
        documents.push(content);
        names.push(path.display().to_string());
    }
    let truncation = if truncate { Truncation::End } else { Truncation::Refuse };
    let request = RerankRequest { model, query, documents, top_n: top, truncation: truncation.into() };
    let answer = connect().await?.rerank(request).await?;
    let results = answer.results.into_iter().map(|ranked| {
        let document = names.get(ranked.index as usize).cloned();
        let document = document.ok_or(ClientError::Protocol("a document that was not sent"))?;
        Ok(RankedDocument { index: ranked.index, score: ranked.score, truncated: ranked.truncated, document })
    });
    let document = RankingDocument {
        results: results.collect::<Result<_, ClientError>>()?,
        model: answer.model.map(Into::into),
        usage: answer.usage.map(Into::into),
    };
    print(out, &document)
}

fn print(out: &mut Output, document: &RankingDocument) -> Result<(), CliError> {
    if out.json {
        return out.document(document);
    }
    let mut rows = vec![["SCORE", "DOCUMENT"].map(str::to_owned).to_vec()];
    for ranked in &document.results {
        let cut = if ranked.truncated { " (text cut)" } else { "" };
        rows.push(vec![format!("{:.4}", ranked.score), format!("{}{cut}", excerpt(&ranked.document))]);
    }
    out.table(&rows)?;
    match &document.model {
        Some(model) => out.line(&format!("\nmodel {}", named(model))),
        None => Ok(()),
    }
}
