//! Pictures for the lines of a file, several calls at once; each line is answered exactly once, in no order.

use std::path::{Path, PathBuf};

use atelier_client::{
    Client, ClientError,
    proto::gateway::v1::{GenerateImageRequest, StreamGenerateImageRequest},
};
use futures::StreamExt;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_stream::wrappers::ReceiverStream;

use super::{request, save, why};
use crate::cli::{
    CliError,
    args::ImageArgs,
    documents::ImageCompletion,
    files,
    jsonl::{self, BadLine, Key, Record},
    lines::{Count, ErrorDocument},
    output::Output,
};

/// The answer to one line.
#[derive(Serialize)]
struct LineDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Value>,
    line: u64,
    files: Vec<PathBuf>,
    /// They were there before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    resumed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<ImageCompletion>,
}

/// How a line failed.
enum Failure {
    /// It alone.
    Line(ErrorDocument),
    /// And no other will go better.
    Command(CliError),
}

pub(super) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    path: &Path,
    arguments: ImageArgs,
) -> Result<(), CliError> {
    let name = PathBuf::from(format!("x.{}", arguments.bulk.format));
    let template = request(&arguments, String::new(), &name)?;
    files::folder(&arguments.bulk.output_dir)?;
    let lines = ReceiverStream::new(jsonl::read(path, &["prompt", "text"])?);
    let client = connect().await?;
    let (client, template, arguments) = (&client, &template, &arguments);
    let answers = lines.map(|line| async move {
        match line {
            Ok(Ok(record)) => paint(client, record, template, arguments).await,
            Ok(Err(BadLine { key, message })) => Err(Failure::Line(ErrorDocument::bad_line(key, message))),
            Err(cause) => Err(Failure::Command(CliError::Usage(format!("{}: {cause}", path.display())))),
        }
    });
    let mut answers = std::pin::pin!(answers.buffer_unordered(arguments.bulk.concurrency.into()));
    let mut count = Count::new(out);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(document) => {
                out.document(&document)?;
                count.add(true);
            }
            Err(Failure::Line(document)) => {
                out.document(&document)?;
                count.add(false);
            }
            Err(Failure::Command(error)) => {
                out.flush()?;
                return Err(error);
            }
        }
        out.flush()?;
    }
    count.finish("have no pictures")
}

async fn paint(
    client: &Client,
    record: Record,
    template: &StreamGenerateImageRequest,
    arguments: &ImageArgs,
) -> Result<LineDocument, Failure> {
    let Record { key, text, more } = record;
    let made = arguments.count.unwrap_or(1).max(1) as usize;
    let first = arguments.bulk.output_dir.join(file_name(&key, &arguments.bulk.format));
    let paths: Vec<PathBuf> = (1..=made).map(|n| files::numbered(&first, n, made)).collect();
    if arguments.bulk.resume && paths.iter().all(|path| path.exists()) {
        return Ok(LineDocument {
            id: key.id,
            line: key.line,
            files: paths,
            resumed: true,
            completion: None,
        });
    }
    let request = of_line(template, text, &more)
        .map_err(|message| Failure::Line(ErrorDocument::bad_line(key.clone(), message)))?;
    let answer = match client.generate_image(request).await {
        Ok(answer) => answer,
        Err(error) if error.call().is_none() || error.is_connection_refused() => {
            return Err(Failure::Command(error.into()));
        }
        Err(error) => return Err(Failure::Line(of_call(key, &error))),
    };
    let mut saved = Vec::new();
    for (judged, path) in answer.images.into_iter().zip(&paths) {
        let image = judged.image.unwrap_or_default();
        saved.extend(save(&image, path).map_err(Failure::Command)?);
    }
    let completion = answer.completion.map(ImageCompletion::from);
    if saved.is_empty() {
        let why = completion.as_ref().map(why).unwrap_or_default();
        let message = format!("policy withheld the picture{why}");
        let error = ErrorDocument::new(key, "CONTENT_FILTER".to_owned(), message, String::new());
        return Err(Failure::Line(error));
    }
    Ok(LineDocument { id: key.id, line: key.line, files: saved, resumed: false, completion })
}

/// What a line asks for: all that the command line says, and what the line says itself.
fn of_line(
    template: &StreamGenerateImageRequest,
    prompt: String,
    more: &Map<String, Value>,
) -> Result<GenerateImageRequest, String> {
    let text = |name: &str| match more.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{name:?} must be a string")),
    };
    let seed = match more.get("seed") {
        None | Some(Value::Null) => None,
        Some(seed) => {
            let read = seed.as_u64().or_else(|| seed.as_str()?.parse().ok());
            Some(read.ok_or("\"seed\" must be a whole number from 0, or a string of one")?)
        }
    };
    let StreamGenerateImageRequest {
        model,
        prompt: _,
        negative_prompt,
        init_image,
        control_images,
        diffusion,
        post_processing,
        output,
        preview: _,
    } = template.clone();
    let mut diffusion = diffusion.unwrap_or_default();
    diffusion.seed = seed.or(diffusion.seed);
    if let Some(style) = text("style")? {
        diffusion.style = style;
    }
    Ok(GenerateImageRequest {
        model,
        prompt,
        negative_prompt: text("negative_prompt")?.unwrap_or(negative_prompt),
        init_image,
        control_images,
        diffusion: Some(diffusion),
        post_processing,
        output,
    })
}

/// A failed call as the failure of its line.
fn of_call(key: Key, error: &ClientError) -> ErrorDocument {
    let reason = error.reason().unwrap_or("UNKNOWN").to_owned();
    let call = error.call();
    let message = call.map_or_else(|| error.to_string(), |call| call.message.clone());
    let field = call.and_then(|call| call.violations.first()).map(|violation| violation.field.clone());
    ErrorDocument::new(key, reason, message, field.unwrap_or_default())
}

/// The file of a line: its number, and its id as far as that makes a name.
fn file_name(key: &Key, extension: &str) -> String {
    /// Longest piece of an id in a name.
    const LONGEST: usize = 80;
    let id = match &key.id {
        Some(Value::String(id)) => id.clone(),
        Some(id) => id.to_string(),
        None => String::new(),
    };
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let id: String = id.chars().take(LONGEST).map(plain).collect();
    let dash = if id.is_empty() { "" } else { "-" };
    format!("{:06}{dash}{id}.{extension}", key.line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_stay_in_their_folder_and_differ() {
        let name = |line, id: Value| file_name(&Key { line, id: Some(id) }, "png");
        assert_eq!(name(12, json!("red apple")), "000012-red_apple.png");
        assert_eq!(name(13, json!("../../etc/passwd")), "000013-.._.._etc_passwd.png");
        assert_eq!(name(7, json!(42)), "000007-42.png");
        assert_eq!(file_name(&Key { line: 1, id: None }, "webp"), "000001.webp");
    }

    #[test]
    fn lines_say_more_than_their_prompt() {
        let more = json!({"seed": "18446744073709551615", "style": "flat", "negative_prompt": "fog", "x": 1});
        let Value::Object(more) = more else { panic!("an object") };
        let template = StreamGenerateImageRequest { negative_prompt: "n".into(), ..Default::default() };
        let request = of_line(&template, "p".into(), &more).expect("a good line");
        let diffusion = request.diffusion.expect("there is one");
        assert_eq!((diffusion.seed, diffusion.style.as_str()), (Some(u64::MAX), "flat"));
        assert_eq!((request.prompt.as_str(), request.negative_prompt.as_str()), ("p", "fog"));
        let Value::Object(wrong) = json!({"seed": -1}) else { panic!("an object") };
        assert!(of_line(&template, "p".into(), &wrong).is_err());
        let request = of_line(&template, "p".into(), &Map::new()).expect("a good line");
        assert_eq!(request.negative_prompt, "n");
    }
}
