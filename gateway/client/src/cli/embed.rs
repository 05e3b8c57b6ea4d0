//! `atelier embed` and `atelier tokenize`.

use std::{
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
};

use atelier_client::{
    Client, ClientError,
    proto::{
        gateway::v1::{EmbedImageRequest, EmbedRequest, TokenizeRequest},
        text::v1::Truncation,
    },
};
use serde::Serialize;

use super::{
    CliError,
    args::{EmbedArgs, TokenizeArgs},
    documents::{ModelRef, TokenUsage},
    generate::named,
    input,
    output::Output,
};

#[derive(Serialize)]
struct EmbeddingsDocument {
    model: Option<ModelRef>,
    embeddings: Vec<EmbeddingDocument>,
    usage: Option<TokenUsage>,
}

#[derive(Serialize)]
struct EmbeddingDocument {
    values: Vec<f32>,
    truncated: bool,
}

#[derive(Serialize)]
struct TokensDocument {
    model: Option<ModelRef>,
    tokens: Vec<TokenDocument>,
}

#[derive(Serialize)]
struct TokenDocument {
    id: u32,
    text: String,
    start_byte: u32,
    end_byte: u32,
}

pub(crate) async fn embed(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: EmbedArgs,
) -> Result<(), CliError> {
    let EmbedArgs { mut texts, image, model, truncate } = arguments;
    if !image.is_empty() {
        return embed_images(connect, out, image, model).await;
    }
    if texts.is_empty() {
        texts = lines()?;
    }
    let truncation = if truncate { Truncation::End } else { Truncation::Refuse };
    let request = EmbedRequest { model, texts: texts.clone(), truncation: truncation.into() };
    let answer = connect().await?.embed(request).await?;
    let embeddings = answer.embeddings.into_iter();
    let document = EmbeddingsDocument {
        model: answer.model.map(Into::into),
        embeddings: embeddings
            .map(|embedding| EmbeddingDocument { values: embedding.values, truncated: embedding.truncated })
            .collect(),
        usage: answer.usage.map(Into::into),
    };
    print(out, "TEXT", &texts, &document)
}

async fn embed_images(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    paths: Vec<PathBuf>,
    model: String,
) -> Result<(), CliError> {
    let client = connect().await?;
    let mut document = EmbeddingsDocument { model: None, embeddings: Vec::new(), usage: None };
    for path in &paths {
        let (values, model) = embed_image(&client, path, &model).await?;
        document.model = model;
        document.embeddings.push(EmbeddingDocument { values, truncated: false });
    }
    let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    print(out, "PICTURE", &names, &document)
}

/// The vector of a picture, and the model that made it. Pictures go one by one: a request of several could exceed what
/// the gateway takes in one message.
pub(super) async fn embed_image(
    client: &Client,
    path: &Path,
    model: &str,
) -> Result<(Vec<f32>, Option<ModelRef>), CliError> {
    let images = vec![input::file(path)?.into()];
    let answer = client.embed_image(EmbedImageRequest { model: model.to_owned(), images }).await?;
    let vector = answer.embeddings.into_iter().next();
    let vector = vector.ok_or(ClientError::Protocol("no vector in the answer"))?;
    Ok((vector.values, answer.model.map(Into::into)))
}

fn print(
    out: &mut Output,
    what: &str,
    names: &[String],
    document: &EmbeddingsDocument,
) -> Result<(), CliError> {
    if out.json {
        return out.document(document);
    }
    // The whole vectors are for programs; people see that they are there and how they begin.
    let mut rows = vec![[what, "DIMENSIONS", "VECTOR"].map(str::to_owned).to_vec()];
    for (name, EmbeddingDocument { values, truncated }) in names.iter().zip(&document.embeddings) {
        let beginning: Vec<_> = values.iter().take(4).map(|value| format!("{value:+.4}")).collect();
        let cut = if *truncated { " (text cut)" } else { "" };
        rows.push(vec![excerpt(name), values.len().to_string(), format!("{} ...{cut}", beginning.join(" "))]);
    }
    out.table(&rows)?;
    match &document.model {
        Some(model) => out.line(&format!("\nmodel {}; --json shows whole vectors", named(model))),
        None => Ok(()),
    }
}

pub(crate) async fn tokenize(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: TokenizeArgs,
) -> Result<(), CliError> {
    let TokenizeArgs { text, model, special } = arguments;
    let text = input::required_text(&text, "text")?;
    let request = TokenizeRequest { model, text, add_special_tokens: special };
    let answer = connect().await?.tokenize(request).await?;
    let tokens = answer.tokens.into_iter().map(|token| TokenDocument {
        id: token.id,
        text: token.text,
        start_byte: token.start_byte,
        end_byte: token.end_byte,
    });
    let document = TokensDocument { model: answer.model.map(Into::into), tokens: tokens.collect() };
    if out.json {
        return out.document(&document);
    }
    let mut rows = vec![["ID", "BYTES", "TOKEN"].map(str::to_owned).to_vec()];
    rows.extend(document.tokens.iter().map(|token| {
        vec![token.id.to_string(), format!("{}..{}", token.start_byte, token.end_byte), visible(&token.text)]
    }));
    out.table(&rows)?;
    let model = document.model.as_ref().map_or_else(String::new, |model| format!(" of {}", named(model)));
    out.line(&format!("\n{} tokens{model}", document.tokens.len()))
}

/// The lines of stdin that are not empty, a text each.
pub(super) fn lines() -> Result<Vec<String>, CliError> {
    let mut stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(CliError::Usage("no texts: give them as arguments, or one a line on stdin".into()));
    }
    let mut all = String::new();
    stdin.read_to_string(&mut all).map_err(|cause| CliError::Usage(format!("stdin: {cause}")))?;
    Ok(all.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

/// The beginning of a text, on one line.
pub(super) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 40;
    let visible = visible(text);
    match visible.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{}...", &visible[..cut]),
        None => visible,
    }
}

/// Text with its control characters escaped, so that a cell stays on its line.
fn visible(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}
