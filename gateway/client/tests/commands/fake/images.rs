//! What the scripted gateway does about pictures: a picture is its prompt, in capitals.

use atelier_client::proto::{
    common::v1::FinishReason,
    gateway::v1::{
        self as wire, Action, GeneratedImages, ImageCompletion, JudgedImage, Provenance, Stage,
        generate_video_response, stream_generate_image_response,
    },
    image::v1::{
        Completion, ExploredImage, Image, ImageEmbedding, ImageFormat, ImageLabel, ImageLabels, Latent,
        Progress, VideoChunk, VideoFrame,
    },
};
use tonic::Status;

use super::{Service, blocked, model, queue_full, verdict};

fn image(data: &str, format: i32, seed: u64) -> Image {
    Image { data: data.to_owned().into(), format, width: 64, height: 48, seed, ..Image::default() }
}

fn completion(finish: FinishReason) -> ImageCompletion {
    let output = if finish == FinishReason::ContentFilter { Action::Block } else { Action::Allow };
    let generation = Completion {
        model: model(),
        finish_reason: finish.into(),
        seed: 7,
        steps: 2,
        scheduler: "euler".into(),
        ..Completion::default()
    };
    ImageCompletion {
        generation: Some(generation),
        input_verdict: Some(verdict(Action::Allow, Stage::Input)),
        output_verdict: Some(verdict(output, Stage::Output)),
        provenance: Some(Provenance { request_id: "0192-fake".into(), ..Provenance::default() }),
    }
}

/// "evil" is refused, of what "turns evil" the last picture is withheld, and "later:n" has the queue full n times.
fn made(
    service: &Service,
    request: wire::StreamGenerateImageRequest,
) -> Result<(Vec<JudgedImage>, ImageCompletion), Status> {
    let prompt = request.prompt.clone();
    if prompt == "evil" {
        return Err(blocked());
    }
    if service.later(&prompt) {
        return Err(queue_full());
    }
    let diffusion = request.diffusion.clone().unwrap_or_default();
    let (count, seed) = (diffusion.num_images.unwrap_or(1), diffusion.seed.unwrap_or(7));
    let format = request.output.map(|output| output.format).unwrap_or_default();
    service.0.paintings.lock().unwrap().push(request);
    let turns = prompt == "turns evil";
    let picture = |n: u32| {
        let withheld = turns && n + 1 == count;
        let data = if withheld { String::new() } else { prompt.to_uppercase() };
        let action = if withheld { Action::Block } else { Action::Allow };
        let image = Some(image(&data, format, seed + u64::from(n)));
        JudgedImage { image, verdict: Some(verdict(action, Stage::Output)) }
    };
    let finish = if turns { FinishReason::ContentFilter } else { FinishReason::Stop };
    Ok(((0..count).map(picture).collect(), completion(finish)))
}

pub(super) fn paint(
    service: &Service,
    request: wire::GenerateImageRequest,
) -> Result<wire::GenerateImageResponse, Status> {
    let request = wire::StreamGenerateImageRequest {
        model: request.model,
        prompt: request.prompt,
        negative_prompt: request.negative_prompt,
        init_image: request.init_image,
        control_images: request.control_images,
        diffusion: request.diffusion,
        post_processing: request.post_processing,
        output: request.output,
        preview: None,
    };
    let (images, completion) = made(service, request)?;
    Ok(wire::GenerateImageResponse { images, completion: Some(completion) })
}

pub(super) fn paint_slowly(
    service: &Service,
    request: wire::StreamGenerateImageRequest,
) -> Result<Vec<wire::StreamGenerateImageResponse>, Status> {
    use stream_generate_image_response::Event;
    let previews = request.preview.is_some();
    let (images, completion) = made(service, request)?;
    let progress = |step| {
        let previews = if previews { vec![image("fog", ImageFormat::Png.into(), 0)] } else { Vec::new() };
        Event::Progress(Progress { step, total_steps: 2, previews, remaining: None })
    };
    let mut events = vec![progress(1), progress(2)];
    if let Some(judged) =
        images.iter().find(|judged| judged.image.as_ref().is_some_and(|i| i.data.is_empty()))
    {
        events.extend(judged.verdict.clone().map(Event::Verdict));
    }
    events.push(Event::Result(GeneratedImages { images, completion: Some(completion) }));
    Ok(events.into_iter().map(|event| wire::StreamGenerateImageResponse { event: Some(event) }).collect())
}

pub(super) fn film(
    service: &Service,
    request: wire::GenerateVideoRequest,
) -> Vec<wire::GenerateVideoResponse> {
    use generate_video_response::Event;
    let evil = request.keyframes.iter().any(|keyframe| keyframe.prompt == "turns evil");
    let mut events = Vec::new();
    for index in 0..2 {
        events.push(Event::Progress(Progress { step: index + 1, total_steps: 2, ..Progress::default() }));
        if request.frames.is_some() {
            let image = Some(image("frame", ImageFormat::Png.into(), 0));
            events.push(Event::Frame(VideoFrame { index, image }));
        }
    }
    let finish = if evil { FinishReason::ContentFilter } else { FinishReason::Stop };
    if evil {
        events.push(Event::Verdict(verdict(Action::Block, Stage::Output)));
    } else {
        events.push(Event::Chunk(VideoChunk { offset: 0, data: "RIFF".into() }));
        events.push(Event::Chunk(VideoChunk { offset: 4, data: "moving".into() }));
    }
    let ImageCompletion { generation, input_verdict, output_verdict, provenance } = completion(finish);
    let video = atelier_client::proto::image::v1::VideoCompletion {
        completion: generation,
        num_frames: 2,
        frames_per_second: 12,
        width: 64,
        height: 48,
        ..Default::default()
    };
    let video = Some(video);
    events.push(Event::Completion(wire::VideoCompletion {
        video,
        input_verdict,
        output_verdict,
        provenance,
    }));
    service.0.clips.lock().unwrap().push(request);
    events.into_iter().map(|event| wire::GenerateVideoResponse { event: Some(event) }).collect()
}

/// A seed of 666 is withheld, and the sheet with it.
pub(super) fn explore(service: &Service, request: wire::ExploreRequest) -> wire::ExploreResponse {
    use wire::explore_request::Exploration;
    let evil = matches!(&request.exploration, Some(Exploration::Grid(grid)) if grid.seed == Some(666));
    let format = request.output.map(|output| output.format).unwrap_or_default();
    let explored = |column: u32| ExploredImage {
        image: Some(image(if evil { "" } else { "a face" }, format, column.into())),
        latent: Some(Latent { values: vec![0.5, -0.5] }),
        column,
        ..ExploredImage::default()
    };
    let images = (0..2).map(explored).collect();
    let sheet = (request.sheet && !evil).then(|| image("faces", format, 0));
    let finish = if evil { FinishReason::ContentFilter } else { FinishReason::Stop };
    service.0.explorations.lock().unwrap().push(request);
    wire::ExploreResponse { images, sheet, completion: Some(completion(finish)) }
}

pub(super) fn classify(request: wire::ClassifyImageRequest) -> wire::ClassifyImageResponse {
    let label = |data: &[u8]| ImageLabel {
        name: String::from_utf8_lossy(data).into_owned(),
        index: request.top_k.unwrap_or_default(),
        probability: 0.9,
    };
    let results = request.images.iter().map(|data| ImageLabels { labels: vec![label(data)] });
    wire::ClassifyImageResponse { results: results.collect(), model: model() }
}

pub(super) fn embed(request: wire::EmbedImageRequest) -> wire::EmbedImageResponse {
    let embedding = |data: &[u8]| ImageEmbedding { values: vec![data.len() as f32, 0.5] };
    let embeddings = request.images.iter().map(|data| embedding(data)).collect();
    wire::EmbedImageResponse { embeddings, model: model() }
}
