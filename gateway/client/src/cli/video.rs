//! `atelier video`.

use std::path::PathBuf;

use atelier_client::{
    Client, ClientError, VideoEvent,
    proto::{
        common::v1::FinishReason,
        gateway::v1::{GenerateVideoRequest, VideoCompletion},
        image::v1::{Keyframe, OutputConfig, VideoConfig},
    },
};
use futures::StreamExt;
use serde::Serialize;

use super::{
    CliError,
    args::VideoArgs,
    documents::{ImageCompletion, Verdict, milliseconds},
    files::{self, Part},
    image::{stats, why},
    output::{Output, note},
    progress::Bar,
};

/// A line of a stream.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum EventDocument {
    Progress { step: u32, total_steps: u32, remaining_ms: f64 },
    Frame { index: u32, file: PathBuf },
    Verdict(Verdict),
    Completion(Box<ClipDocument>),
}

/// How a clip ended.
#[derive(Serialize)]
struct ClipDocument {
    /// Where it is; none where policy cut it.
    file: Option<PathBuf>,
    num_frames: u32,
    frames_per_second: u32,
    width: u32,
    height: u32,
    file_bytes: u64,
    completion: ImageCompletion,
}

pub(crate) async fn run(
    connect: impl AsyncFn() -> Result<Client, ClientError>,
    out: &mut Output,
    arguments: VideoArgs,
) -> Result<(), CliError> {
    let request = request(&arguments)?;
    if let Some(folder) = &arguments.frames_dir {
        files::folder(folder)?;
    }
    let mut file = Part::create(&arguments.output)?;
    let mut events = connect().await?.generate_video(request).await?;
    let mut bar = Bar::new(out.json, "frame");
    while let Some(event) = events.next().await {
        match event? {
            VideoEvent::Progress(progress) => {
                bar.show(&progress);
                if out.json {
                    out.document(&EventDocument::Progress {
                        step: progress.step,
                        total_steps: progress.total_steps,
                        remaining_ms: milliseconds(progress.remaining),
                    })?;
                    out.flush()?;
                }
            }
            VideoEvent::Frame(frame) => {
                let (Some(folder), Some(image)) = (&arguments.frames_dir, frame.image) else { continue };
                let extension = files::extension_of(image.format());
                let path = folder.join(format!("frame-{:04}.{extension}", frame.index));
                files::write(&path, &image.data)?;
                if out.json {
                    out.document(&EventDocument::Frame { index: frame.index, file: path })?;
                    out.flush()?;
                }
            }
            VideoEvent::Verdict(verdict) if out.json => {
                out.document(&EventDocument::Verdict(verdict.into()))?;
                out.flush()?;
            }
            // People are told at the end.
            VideoEvent::Verdict(_) => {}
            VideoEvent::Chunk(chunk) => file.write(&chunk.data)?,
            VideoEvent::Completion(completion) => {
                drop(bar);
                return conclude(out, file, *completion, &arguments);
            }
        }
    }
    Err(ClientError::Protocol("the answer ended without a completion").into())
}

fn request(arguments: &VideoArgs) -> Result<GenerateVideoRequest, CliError> {
    let places = arguments.prompts.len().max(arguments.seed.len());
    if places == 0 {
        return Err(CliError::Usage("no prompts and no seeds: a walk needs places".to_owned()));
    }
    let keyframe = |n: usize| Keyframe {
        prompt: arguments.prompts.get(n).cloned().unwrap_or_default(),
        negative_prompt: if n == 0 { arguments.painting.negative.clone() } else { String::new() },
        seed: arguments.seed.get(n).copied(),
    };
    Ok(GenerateVideoRequest {
        model: arguments.painting.model.clone(),
        keyframes: (0..places).map(keyframe).collect(),
        diffusion: Some(arguments.painting.config()),
        video: Some(VideoConfig {
            format: files::video_format(&arguments.output)?.into(),
            frames_per_second: arguments.fps,
            num_frames: arguments.frames,
            r#loop: arguments.returns,
            quality: arguments.quality,
        }),
        frames: arguments.frames_dir.is_some().then(OutputConfig::default),
        drift: arguments.drift,
    })
}

fn conclude(
    out: &mut Output,
    file: Part,
    completion: VideoCompletion,
    arguments: &VideoArgs,
) -> Result<(), CliError> {
    let video = completion.video.clone().unwrap_or_default();
    let finish_reason = video.completion.as_ref().map(|generation| generation.finish_reason());
    let withheld = finish_reason == Some(FinishReason::ContentFilter);
    let completion = ImageCompletion::from(completion);
    let (why, stats) = (why(&completion), stats(&completion));
    let kept = if withheld {
        None
    } else {
        file.finish()?;
        Some(arguments.output.clone())
    };
    if let (Some(path), false) = (&kept, out.json) {
        let (width, height) = (video.width, video.height);
        let (frames, rate) = (video.num_frames, video.frames_per_second);
        out.line(&format!("{}  {width}x{height}  {frames} frames at {rate}/s", path.display()))?;
    }
    if out.json {
        out.document(&EventDocument::Completion(Box::new(ClipDocument {
            file: kept,
            num_frames: video.num_frames,
            frames_per_second: video.frames_per_second,
            width: video.width,
            height: video.height,
            file_bytes: video.file_bytes,
            completion,
        })))?;
    }
    out.flush()?;
    if arguments.stats {
        note(&stats);
    }
    if withheld {
        return Err(CliError::Withheld(format!("policy withheld the clip{why}")));
    }
    Ok(())
}
