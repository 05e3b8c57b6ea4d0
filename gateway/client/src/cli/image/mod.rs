//! `atelier image`: a picture or a few, or very many.

mod bulk;

use std::path::{Path, PathBuf};

use atelier_client::{
    Client, ClientError, ImageEvent,
    proto::{
        gateway::v1::{GeneratedImages, StreamGenerateImageRequest},
        image::v1::{
            Background, ControlImage, Image, InitImage, OutputConfig, PostProcess, PreviewConfig, Progress,
            Upscale, post_process::Step,
        },
    },
};
use futures::StreamExt;
use serde::Serialize;

use super::{
    CliError,
    args::ImageArgs,
    documents::{ImageCompletion, Verdict, milliseconds},
    files,
    generate::{findings, named},
    input,
    output::{Output, note},
    progress::Bar,
};

/// A line of a stream.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum EventDocument {
    Progress { step: u32, total_steps: u32, remaining_ms: f64, previews: Vec<PathBuf> },
    Verdict(Verdict),
    Result { images: Vec<ImageDocument>, completion: Option<Box<ImageCompletion>> },
}

/// A picture that was made.
#[derive(Serialize)]
struct ImageDocument {
    /// Where it is; none where it was withheld.
    file: Option<PathBuf>,
    width: u32,
    height: u32,
    seed: String,
    verdict: Option<Verdict>,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    mut arguments: ImageArgs,
) -> Result<(), CliError> {
    if let Some(path) = arguments.bulk.jsonl.take() {
        return bulk::run(connect, out, &path, arguments).await;
    }
    let prompt = input::required_text(&arguments.prompt, "prompt")?;
    let request = StreamGenerateImageRequest {
        preview: arguments
            .preview_dir
            .is_some()
            .then_some(PreviewConfig { every_steps: arguments.preview_every }),
        ..request(&arguments, prompt, &arguments.output)?
    };
    if let Some(folder) = &arguments.preview_dir {
        files::folder(folder)?;
    }
    let mut events = connect().await?.stream_generate_image(request).await?;
    let mut bar = Bar::new(out.json, "step");
    while let Some(event) = events.next().await {
        match event? {
            ImageEvent::Progress(progress) => {
                bar.show(&progress);
                let previews = match &arguments.preview_dir {
                    Some(folder) => save_previews(folder, &progress)?,
                    None => Vec::new(),
                };
                if out.json {
                    out.document(&EventDocument::Progress {
                        step: progress.step,
                        total_steps: progress.total_steps,
                        remaining_ms: milliseconds(progress.remaining),
                        previews,
                    })?;
                    out.flush()?;
                }
            }
            ImageEvent::Verdict(verdict) if out.json => {
                out.document(&EventDocument::Verdict(verdict.into()))?;
                out.flush()?;
            }
            // People are told at the end.
            ImageEvent::Verdict(_) => {}
            ImageEvent::Result(result) => {
                drop(bar);
                return conclude(out, *result, &arguments);
            }
        }
    }
    Err(ClientError::Protocol("the answer ended without a result").into())
}

/// What the command line asks for, with a prompt and a file to be.
fn request(
    arguments: &ImageArgs,
    prompt: String,
    output: &Path,
) -> Result<StreamGenerateImageRequest, CliError> {
    let picture = |path: &PathBuf| input::file(path);
    let init_image = match &arguments.init {
        Some(path) => Some(InitImage {
            data: picture(path)?.into(),
            strength: arguments.strength,
            mask: arguments.mask.as_ref().map(picture).transpose()?.unwrap_or_default().into(),
        }),
        None => None,
    };
    let mut control_images = Vec::new();
    for path in &arguments.control {
        control_images.push(ControlImage { data: picture(path)?.into(), ..ControlImage::default() });
    }
    let upscale =
        |factor| PostProcess { step: Some(Step::Upscale(Upscale { factor, model: String::new() })) };
    let mut diffusion = arguments.painting.config();
    diffusion.seed = arguments.seed;
    diffusion.num_images = arguments.count;
    let background = if arguments.transparent { Background::Transparent } else { Background::Unspecified };
    Ok(StreamGenerateImageRequest {
        model: arguments.painting.model.clone(),
        prompt,
        negative_prompt: arguments.painting.negative.clone(),
        init_image,
        control_images,
        diffusion: Some(diffusion),
        post_processing: arguments.upscale.map(upscale).into_iter().collect(),
        output: Some(OutputConfig {
            format: files::image_format(output)?.into(),
            quality: arguments.quality,
            background: background.into(),
            moderation_copy: false,
        }),
        preview: None,
    })
}

fn save_previews(folder: &Path, progress: &Progress) -> Result<Vec<PathBuf>, CliError> {
    let mut saved = Vec::new();
    for (preview, n) in progress.previews.iter().zip(1..) {
        let name = format!("step-{:04}.{}", progress.step, files::extension_of(preview.format()));
        let path = files::numbered(&folder.join(name), n, progress.previews.len());
        files::write(&path, &preview.data)?;
        saved.push(path);
    }
    Ok(saved)
}

fn conclude(out: &mut Output, result: GeneratedImages, arguments: &ImageArgs) -> Result<(), CliError> {
    let made = result.images.len();
    let mut images = Vec::with_capacity(made);
    for (judged, n) in result.images.into_iter().zip(1..) {
        let image = judged.image.unwrap_or_default();
        let file = save(&image, &files::numbered(&arguments.output, n, made))?;
        let Image { width, height, seed, .. } = image;
        if let (Some(file), false) = (&file, out.json) {
            out.line(&format!("{}  {width}x{height}  seed {seed}", file.display()))?;
        }
        let verdict = judged.verdict.map(Into::into);
        images.push(ImageDocument { file, width, height, seed: seed.to_string(), verdict });
    }
    let withheld = images.iter().filter(|image| image.file.is_none()).count();
    let completion = result.completion.map(ImageCompletion::from);
    let told = completion.as_ref().map(|completion| (why(completion), stats(completion)));
    if out.json {
        out.document(&EventDocument::Result { images, completion: completion.map(Box::new) })?;
    }
    out.flush()?;
    let (why, stats) = told.unwrap_or_default();
    if arguments.stats {
        note(&stats);
    }
    if withheld > 0 {
        return Err(CliError::Withheld(format!("policy withheld {withheld} of {made} pictures{why}")));
    }
    Ok(())
}

/// Writes a picture; nothing where there is none.
fn save(image: &Image, path: &Path) -> Result<Option<PathBuf>, CliError> {
    if image.data.is_empty() {
        return Ok(None);
    }
    files::write(path, &image.data)?;
    Ok(Some(path.to_owned()))
}

/// Why something was withheld, and under which request, in words that follow others.
pub(crate) fn why(completion: &ImageCompletion) -> String {
    let found = completion.output_verdict.as_ref().map(findings).filter(|found| !found.is_empty());
    let found = found.map_or_else(String::new, |found| format!(": {found}"));
    let id = completion.provenance.as_ref().map(|provenance| format!(" (request {})", provenance.request_id));
    found + &id.unwrap_or_default()
}

/// The facts of a generation, a line each.
pub(crate) fn stats(completion: &ImageCompletion) -> String {
    let mut lines = Vec::new();
    if let Some(model) = &completion.model {
        lines.push(format!("model    {}", named(model)));
    }
    lines.push(format!("finish   {}", completion.finish_reason));
    lines.push(format!("steps    {} {}", completion.steps, completion.scheduler).trim_end().to_owned());
    if completion.prompt_truncated {
        lines.push("prompt   cut: the model reads no more of it".to_owned());
    }
    lines.extend(completion.time().map(|time| format!("time     {time}")));
    lines.push(format!("seed     {}", completion.seed));
    for (name, verdict) in [("input", &completion.input_verdict), ("output", &completion.output_verdict)] {
        let Some(verdict) = verdict else { continue };
        let (found, unmeasured) = (findings(verdict), if verdict.unmeasured { " (unmeasured)" } else { "" });
        let separator = if found.is_empty() { "" } else { ": " };
        lines.push(format!("{name:8} {}{unmeasured}{separator}{found}", verdict.action));
    }
    if let Some(provenance) = &completion.provenance {
        lines.push(format!("policy   {}@{}", provenance.policy, provenance.policy_version));
        lines.push(format!("request  {}", provenance.request_id));
    }
    lines.join("\n")
}
