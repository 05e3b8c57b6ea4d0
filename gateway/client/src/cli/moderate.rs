//! `atelier moderate`: scores of texts and pictures, a few or very many.

use std::{io, iter, path::Path};

use atelier_client::{
    BulkAnswer, BulkOptions, Client, ClientError,
    proto::{
        common::v1::ModelRef as WireModelRef,
        gateway::v1::{ModerateImageRequest, ModerateTextRequest},
        moderation::v1::{Finding, ImageItem, ItemError, ItemScores, TextItem, image_item},
    },
};
use futures::{FutureExt, StreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    CliError,
    args::ModerateArgs,
    documents::{ModelRef, Scores},
    input,
    jsonl::{self, BadLine, Key, Record},
    lines::{Count, ErrorDocument},
    output::Output,
};

/// One answer.
#[derive(Serialize)]
struct ScoresDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(flatten)]
    scores: Scores,
    #[serde(skip_serializing_if = "Option::is_none")]
    redacted_text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_text: Option<String>,
    models: Vec<ModelRef>,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: ModerateArgs,
) -> Result<(), CliError> {
    if let Some(path) = arguments.jsonl {
        let options = BulkOptions { in_flight: arguments.concurrency.into(), categories: arguments.category };
        return bulk(connect, out, &path, options).await;
    }
    if arguments.image.is_empty() {
        of_texts(connect, out, arguments).await
    } else {
        of_images(connect, out, arguments).await
    }
}

async fn of_texts(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: ModerateArgs,
) -> Result<(), CliError> {
    let ModerateArgs { texts, category: categories, redact, .. } = arguments;
    let texts = match texts.as_slice() {
        [] => vec![input::required_text(&[], "text")?],
        [only] if only == "-" => vec![input::required_text(&texts, "text")?],
        _ => texts,
    };
    let items = texts.into_iter().zip(1..).map(|(text, n)| TextItem { id: n.to_string(), text }).collect();
    let answer = connect().await?.moderate_text(ModerateTextRequest { items, categories, redact }).await?;
    print(out, answer.results, &answer.models)
}

/// Pictures go one by one: a request of several could exceed what the gateway takes in one message.
async fn of_images(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: ModerateArgs,
) -> Result<(), CliError> {
    let ModerateArgs { image: paths, category, tags, read_text, faces, time: times, .. } = arguments;
    if !times.is_empty() && times.len() != paths.len() {
        return Err(CliError::Usage("--time: give none, or one for each --image".to_owned()));
    }
    let client = connect().await?;
    let many = paths.len() > 1;
    let times = times.into_iter().map(Some).chain(iter::repeat(None));
    for (path, time_ms) in paths.into_iter().zip(times) {
        let source = Some(image_item::Source::Data(input::file(&path)?.into()));
        // The path is the caller's name for it, and may be longer than the API's ids.
        let items = vec![ImageItem { source, time_ms, ..ImageItem::default() }];
        let categories = category.clone();
        let request = ModerateImageRequest { items, categories, tags, read_text, count_faces: faces };
        let mut answer = client.moderate_image(request).await?;
        for result in &mut answer.results {
            result.id = path.display().to_string();
        }
        if many && !out.json {
            out.line(&format!("{}:", path.display()))?;
        }
        print(out, answer.results, &answer.models)?;
        out.flush()?;
    }
    Ok(())
}

/// Where a finding stands, in words.
fn place(finding: &Finding) -> String {
    let Finding { start_byte, end_byte, region, time_ms, .. } = finding;
    let time = time_ms.map(|time| format!("at {time} ms"));
    let region = region.map(|at| format!("{} x {} pixels from {}, {}", at.width, at.height, at.left, at.top));
    let bytes = (end_byte > start_byte).then(|| format!("bytes {start_byte} to {end_byte}"));
    let known: Vec<_> = [time, region, bytes].into_iter().flatten().collect();
    if known.is_empty() { "all of it".to_owned() } else { known.join(", ") }
}

fn print(out: &mut Output, results: Vec<ItemScores>, models: &[WireModelRef]) -> Result<(), CliError> {
    let many = results.len() > 1;
    for ItemScores { id, scores, redacted_text, read_text, .. } in results {
        let scores = scores.unwrap_or_default();
        if out.json {
            let models = models.iter().cloned().map(Into::into).collect();
            let (id, scores) = (Some(id.into()), scores.into());
            let document = ScoresDocument { id, line: None, scores, redacted_text, read_text, models };
            out.document(&document)?;
            continue;
        }
        if many {
            out.line(&format!("{id}:"))?;
        }
        let mut rows = vec![["CATEGORY", "SCORE", "SEVERITY", "DETECTOR"].map(str::to_owned).to_vec()];
        rows.extend(scores.categories.into_iter().map(|score| {
            vec![score.category, format!("{:.3}", score.score), score.severity.to_string(), score.detector]
        }));
        out.table(&rows)?;
        if !scores.language.is_empty() {
            out.line(&format!("language: {}", scores.language))?;
        }
        for tag in scores.tags {
            out.line(&format!("shows: {} ({:.3})", tag.label, tag.score))?;
        }
        if let Some(faces) = scores.faces {
            out.line(&format!("faces: {}", faces.faces.len()))?;
        }
        for finding in scores.findings {
            out.line(&format!("{}: {} ({})", place(&finding), finding.category, finding.reason))?;
        }
        if let Some(text) = redacted_text {
            out.line(&format!("redacted: {text}"))?;
        }
        if let Some(text) = read_text {
            out.line(&format!("read: {text}"))?;
        }
        if !scores.unsupported_categories.is_empty() {
            out.line(&format!("no detector for: {}", scores.unsupported_categories.join(", ")))?;
        }
        if many {
            out.line("")?;
        }
    }
    Ok(())
}

/// What comes back from bulk moderation.
enum Outcome {
    Answer(BulkAnswer<Key>),
    Bad(BadLine),
    /// The input can't be read on.
    Unreadable(io::Error),
    /// No further answers will come.
    Failed(ClientError),
}

async fn bulk(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    path: &Path,
    options: BulkOptions,
) -> Result<(), CliError> {
    let lines = ReceiverStream::new(jsonl::read(path, &["text"])?);
    let client = connect().await?;
    // Bad lines go around the gateway; bounded as all else, so a file of nothing but bad lines fills no memory.
    let (bad, bad_lines) = mpsc::channel(options.in_flight);
    let texts = lines.filter_map(move |line| {
        let bad = bad.clone();
        async move {
            let outcome = match line {
                Ok(Ok(Record { key, text, .. })) => return Some((key, text)),
                Ok(Err(line)) => Outcome::Bad(line),
                Err(cause) => Outcome::Unreadable(cause),
            };
            // Nobody receives when printing has failed; then nothing matters any more.
            let _ = bad.send(outcome).await;
            None
        }
    });
    let answers = client
        .moderate_texts(texts, options)
        .map(|answer| answer.map_or_else(Outcome::Failed, Outcome::Answer));
    let mut outcomes = stream::select(answers, ReceiverStream::new(bad_lines));
    let mut count = Count::new(out);
    loop {
        let next = match outcomes.next().now_or_never() {
            Some(next) => next,
            None => {
                // Nothing more at the moment: whoever reads along should see what there is.
                out.flush()?;
                outcomes.next().await
            }
        };
        match next {
            None => break,
            Some(Outcome::Answer(BulkAnswer { key, outcome: Ok(scores), models })) => {
                let models = models.into_iter().map(Into::into).collect();
                out.document(&ScoresDocument {
                    id: key.id,
                    line: Some(key.line),
                    scores: scores.into(),
                    redacted_text: None,
                    read_text: None,
                    models,
                })?;
                count.add(true);
            }
            Some(Outcome::Answer(BulkAnswer { key, outcome: Err(error), .. })) => {
                let ItemError { reason, message, field, retryable: _ } = error;
                out.document(&ErrorDocument::new(key, reason, message, field))?;
                count.add(false);
            }
            Some(Outcome::Bad(BadLine { key, message })) => {
                out.document(&ErrorDocument::bad_line(key, message))?;
                count.add(false);
            }
            Some(Outcome::Unreadable(cause)) => {
                out.flush()?;
                return Err(CliError::Usage(format!("{}: {cause}", path.display())));
            }
            Some(Outcome::Failed(error)) => {
                out.flush()?;
                return Err(error.into());
            }
        }
    }
    out.flush()?;
    count.finish("have no scores")
}
