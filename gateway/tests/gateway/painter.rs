//! A scripted image service: its pictures are their own description, "a calm sea" being a picture of one.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use atelier_proto::{
    common::v1 as common,
    image::v1::{self as image, image_service_server::ImageService},
};
use futures::{StreamExt, stream, stream::BoxStream};
use tonic::{Request, Response, Status};

/// What a fake image service does.
#[derive(Default)]
pub(crate) struct Script {
    /// Pictures, or the frames of a clip.
    pub(crate) pictures: Mutex<Vec<Vec<u8>>>,
    /// What judges are shown in their place, where that was asked for; picture by picture.
    pub(crate) copies: Mutex<Vec<String>>,
    /// One for each step.
    pub(crate) previews: Mutex<Vec<String>>,
    /// Pieces of a clip's file.
    pub(crate) file: Mutex<Vec<Vec<u8>>>,
    /// Frames a clip claims to have besides those it has sent.
    pub(crate) unseen_frames: AtomicUsize,
    /// Before each event.
    pub(crate) pace: Mutex<Duration>,
    pub(crate) open: AtomicUsize,
    /// Events that were handed out, over all calls.
    pub(crate) sent: AtomicUsize,
    pub(crate) asked: Mutex<Vec<image::StreamGenerateImageRequest>>,
    pub(crate) asked_clip: Mutex<Option<image::GenerateVideoRequest>>,
    pub(crate) asked_exploration: Mutex<Option<image::ExploreRequest>>,
}

#[derive(Clone, Default)]
pub(crate) struct FakeImage(pub(crate) Arc<Script>);

struct Open(Arc<Script>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl FakeImage {
    pub(crate) fn paint(&self, pictures: &[&str]) {
        *self.0.pictures.lock().unwrap() = pictures.iter().map(|text| text.as_bytes().to_vec()).collect();
    }

    pub(crate) fn preview(&self, previews: &[&str], pace: Duration) {
        *self.0.previews.lock().unwrap() = previews.iter().map(|text| (*text).to_owned()).collect();
        *self.0.pace.lock().unwrap() = pace;
    }

    /// As AVIF, which no judge can read: pictures that go by these copies.
    pub(crate) fn paint_unreadably(&self, copies: &[&str]) {
        *self.0.pictures.lock().unwrap() = copies.iter().map(|_| vec![0xff, 0xfe]).collect();
        *self.0.copies.lock().unwrap() = copies.iter().map(|text| (*text).to_owned()).collect();
    }

    fn images(&self, output: Option<&image::OutputConfig>) -> Vec<image::Image> {
        let copies = self.0.copies.lock().unwrap().clone();
        let wanted = output.is_some_and(|output| output.moderation_copy);
        let pictures = self.0.pictures.lock().unwrap().clone();
        let picture = |(n, data): (usize, Vec<u8>)| {
            let copy = copies.get(n).filter(|_| wanted).cloned().unwrap_or_default();
            image::Image { moderation_copy: copy.into(), ..of(data, n as u64) }
        };
        pictures.into_iter().enumerate().map(picture).collect()
    }

    fn play<T: Send + 'static>(&self, events: Vec<T>) -> BoxStream<'static, Result<T, Status>> {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        let (open, pace) = (Open(Arc::clone(&self.0)), *self.0.pace.lock().unwrap());
        let played = stream::iter(events).then(move |event| {
            let script = Arc::clone(&open.0);
            async move {
                tokio::time::sleep(pace).await;
                script.sent.fetch_add(1, Ordering::SeqCst);
                Ok(event)
            }
        });
        played.boxed()
    }
}

fn of(data: impl Into<Vec<u8>>, seed: u64) -> image::Image {
    image::Image { data: data.into().into(), width: 64, height: 64, seed, ..Default::default() }
}

fn completion() -> image::Completion {
    image::Completion {
        model: Some(common::ModelRef { id: "painter".to_owned(), revision: "abcdef012345".to_owned() }),
        finish_reason: common::FinishReason::Stop.into(),
        seed: 7,
        steps: 3,
        ..Default::default()
    }
}

#[tonic::async_trait]
impl ImageService for FakeImage {
    type StreamGenerateImageStream = BoxStream<'static, Result<image::StreamGenerateImageResponse, Status>>;
    type GenerateVideoStream = BoxStream<'static, Result<image::GenerateVideoResponse, Status>>;

    async fn generate_image(
        &self,
        _: Request<image::GenerateImageRequest>,
    ) -> Result<Response<image::GenerateImageResponse>, Status> {
        Err(Status::unimplemented("the gateway streams from its upstreams"))
    }

    async fn stream_generate_image(
        &self,
        request: Request<image::StreamGenerateImageRequest>,
    ) -> Result<Response<Self::StreamGenerateImageStream>, Status> {
        use image::stream_generate_image_response::Event;
        let request = request.into_inner();
        let wants_previews = request.preview.is_some_and(|preview| preview.every_steps > 0);
        let previews = self.0.previews.lock().unwrap().clone();
        let total_steps = previews.len() as u32;
        let mut events = Vec::new();
        for (text, step) in previews.into_iter().zip(1..) {
            let previews = if wants_previews { vec![of(text, 0)] } else { Vec::new() };
            events.push(Event::Progress(image::Progress { step, total_steps, previews, remaining: None }));
        }
        let images = self.images(request.output.as_ref());
        events.push(Event::Result(image::GeneratedImages { images, completion: Some(completion()) }));
        self.0.asked.lock().unwrap().push(request);
        let message = |event| image::StreamGenerateImageResponse { event: Some(event) };
        Ok(Response::new(self.play(events.into_iter().map(message).collect())))
    }

    async fn generate_video(
        &self,
        request: Request<image::GenerateVideoRequest>,
    ) -> Result<Response<Self::GenerateVideoStream>, Status> {
        use image::generate_video_response::Event;
        let request = request.into_inner();
        let images = self.images(request.frames.as_ref());
        let total_steps = images.len() as u32;
        let mut events = Vec::new();
        for (image, index) in images.into_iter().zip(0..) {
            let step = index + 1;
            events.push(Event::Progress(image::Progress { step, total_steps, ..Default::default() }));
            if request.frames.is_some() {
                events.push(Event::Frame(image::VideoFrame { index, image: Some(image) }));
            }
        }
        let mut offset = 0;
        for data in self.0.file.lock().unwrap().clone() {
            events.push(Event::Chunk(image::VideoChunk { offset, data: data.clone().into() }));
            offset += data.len() as u64;
        }
        events.push(Event::Completion(image::VideoCompletion {
            completion: Some(completion()),
            num_frames: total_steps + self.0.unseen_frames.load(Ordering::SeqCst) as u32,
            file_bytes: offset,
            ..Default::default()
        }));
        *self.0.asked_clip.lock().unwrap() = Some(request);
        let message = |event| image::GenerateVideoResponse { event: Some(event) };
        Ok(Response::new(self.play(events.into_iter().map(message).collect())))
    }

    async fn explore(
        &self,
        request: Request<image::ExploreRequest>,
    ) -> Result<Response<image::ExploreResponse>, Status> {
        let request = request.into_inner();
        let images = self.images(request.output.as_ref()).into_iter().zip(0..);
        let explored = |(image, column)| image::ExploredImage {
            image: Some(image),
            latent: Some(image::Latent { values: vec![0.5] }),
            column,
            ..Default::default()
        };
        let images = images.map(explored).collect();
        let sheet = request.sheet.then(|| of("all of them", 0));
        *self.0.asked_exploration.lock().unwrap() = Some(request);
        Ok(Response::new(image::ExploreResponse { images, sheet, completion: Some(completion()) }))
    }

    async fn embed_image(
        &self,
        request: Request<image::EmbedImageRequest>,
    ) -> Result<Response<image::EmbedImageResponse>, Status> {
        let request = request.into_inner();
        let embedding = |_| image::ImageEmbedding { values: vec![1.0] };
        let model = Some(common::ModelRef { id: request.model, revision: String::new() });
        let embeddings = request.images.iter().map(embedding).collect();
        Ok(Response::new(image::EmbedImageResponse { embeddings, model }))
    }

    async fn classify_image(
        &self,
        request: Request<image::ClassifyImageRequest>,
    ) -> Result<Response<image::ClassifyImageResponse>, Status> {
        let request = request.into_inner();
        let label = |data: &bytes::Bytes| image::ImageLabel {
            name: String::from_utf8_lossy(data).into_owned(),
            index: request.top_k.unwrap_or_default(),
            probability: 1.0,
        };
        let results = request.images.iter().map(|data| image::ImageLabels { labels: vec![label(data)] });
        let model = Some(common::ModelRef { id: request.model.clone(), revision: String::new() });
        Ok(Response::new(image::ClassifyImageResponse { results: results.collect(), model }))
    }

    async fn list_models(
        &self,
        _: Request<image::ListModelsRequest>,
    ) -> Result<Response<image::ListModelsResponse>, Status> {
        use common::ModelTask as Task;
        let model = |id: &str, tasks: &[Task]| common::Model {
            id: id.to_owned(),
            revision: "abcdef012345".to_owned(),
            tasks: tasks.iter().map(|task| (*task).into()).collect(),
            ..Default::default()
        };
        let image =
            common::ImageModel { max_size: 512, schedulers: vec!["euler".to_owned()], ..Default::default() };
        let tasks = [Task::ImageGeneration, Task::VideoGeneration, Task::ImageExploration];
        let painter = common::Model { image: Some(image), ..model("painter", &tasks) };
        let seer = model("seer", &[Task::ImageEmbedding, Task::ImageClassification]);
        Ok(Response::new(image::ListModelsResponse { models: vec![painter, seer] }))
    }

    async fn get_model(
        &self,
        _: Request<image::GetModelRequest>,
    ) -> Result<Response<image::GetModelResponse>, Status> {
        Err(Status::unimplemented("the gateway lists"))
    }
}
