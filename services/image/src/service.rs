//! The gRPC face of the service: checks, calls, answers. No logic of its own.

use std::{
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::Arc,
};

use atelier_proto::image::v1::{self as proto, image_service_server::ImageService};
use atelier_rpc::status;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

use crate::{
    ImageError,
    caller::Caller,
    classifier::{Classifier, Prepared},
    clip, convert,
    convert::answer,
    explore,
    generation::{Generation, Update},
    studio::Studio,
};

/// Pictures of one call that are decoded and run at once.
const PICTURES_IN_FLIGHT: usize = 16;
/// Updates of a clip that may wait for a caller who is slow to read; then the clip waits.
const CLIP_UPDATES: usize = 4;

type Reply<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The image service.
pub(crate) struct Images {
    studio: Studio,
}

impl Images {
    pub(crate) fn new(studio: Studio) -> Self {
        Self { studio }
    }

    async fn start(
        &self,
        request: proto::StreamGenerateImageRequest,
        caller: Caller,
    ) -> Result<Generation, ImageError> {
        let order = convert::generation::order(request)?;
        let started = caller.clone();
        started.in_time(Generation::start(&self.studio, order, caller, random_seed)).await
    }

    async fn pictures(
        &self,
        request: proto::GenerateImageRequest,
        caller: Caller,
    ) -> Result<proto::GenerateImageResponse, ImageError> {
        let generation = self.start(convert::generation::without_progress(request), caller).await?;
        let (images, completion) = answer::finished(generation.finished().await?);
        Ok(proto::GenerateImageResponse { images, completion: Some(completion) })
    }

    /// Decodes pictures and asks the classifier about each, in their order.
    async fn each<T, F: Future<Output = Result<T, ImageError>>>(
        &self,
        classifier: &Arc<Classifier>,
        images: Vec<bytes::Bytes>,
        ask: impl Fn(Prepared) -> F,
    ) -> Result<Vec<T>, ImageError> {
        let asked = images.into_iter().enumerate().map(|(n, data)| {
            let (reader, ask) = (Arc::clone(classifier), &ask);
            async move {
                let field = format!("images[{n}]");
                ask(self.studio.decode(data, &field, move |picture| reader.prepare(picture)).await?).await
            }
        });
        stream::iter(asked).buffered(PICTURES_IN_FLIGHT).try_collect().await
    }

    async fn vectors(
        &self,
        request: proto::EmbedImageRequest,
        caller: Caller,
    ) -> Result<proto::EmbedImageResponse, ImageError> {
        let images = convert::images(request.images)?;
        let model = self.studio.registry()?.embedder(&request.model)?;
        let ticket = &caller.ticket();
        let values = self.each(model.reader(), images, |picture| model.embed(picture, ticket)).await?;
        Ok(proto::EmbedImageResponse {
            embeddings: values.into_iter().map(|values| proto::ImageEmbedding { values }).collect(),
            model: Some(answer::model_ref(model.model())),
        })
    }

    async fn labels(
        &self,
        request: proto::ClassifyImageRequest,
        caller: Caller,
    ) -> Result<proto::ClassifyImageResponse, ImageError> {
        let images = convert::images(request.images)?;
        let top_k = convert::within(request.top_k, 1..=1000, "top_k")?.unwrap_or(5) as usize;
        let model = self.studio.registry()?.classifier(&request.model)?;
        let (classifier, ticket) = (model.as_ref(), &caller.ticket());
        let labels = self.each(model, images, |picture| classifier.classify(picture, top_k, ticket)).await?;
        Ok(proto::ClassifyImageResponse {
            results: labels.into_iter().map(answer::labels).collect(),
            model: Some(answer::model_ref(&model.model)),
        })
    }

    async fn exploration(
        &self,
        request: proto::ExploreRequest,
        caller: Caller,
    ) -> Result<proto::ExploreResponse, ImageError> {
        let order = convert::explore::order(request)?;
        Ok(answer::explored(explore::explore(&self.studio, order, caller, random_seed).await?))
    }
}

/// A seed for calls that name none. The standard library's hasher keys are random, which is all it takes: nothing
/// secret hangs on a seed, and the answer reports it.
fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}

#[tonic::async_trait]
impl ImageService for Images {
    type StreamGenerateImageStream = Answers<proto::StreamGenerateImageResponse>;
    type GenerateVideoStream = Answers<proto::GenerateVideoResponse>;

    async fn generate_image(
        &self,
        request: Request<proto::GenerateImageRequest>,
    ) -> Reply<proto::GenerateImageResponse> {
        let caller = Caller::of(&request);
        self.pictures(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn stream_generate_image(
        &self,
        request: Request<proto::StreamGenerateImageRequest>,
    ) -> Reply<Self::StreamGenerateImageStream> {
        let caller = Caller::of(&request);
        let generation = self.start(request.into_inner(), caller).await.map_err(status)?;
        let answers = stream::unfold(Some(generation), |generation| async move {
            let mut generation = generation?;
            match generation.next().await {
                Ok(update @ Update::Progress { .. }) => Some((Ok(answer::update(update)), Some(generation))),
                Ok(update @ Update::Finished(_)) => Some((Ok(answer::update(update)), None)),
                Err(error) => Some((Err(status(error)), None)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn generate_video(
        &self,
        request: Request<proto::GenerateVideoRequest>,
    ) -> Reply<Self::GenerateVideoStream> {
        let caller = Caller::of(&request);
        let order = convert::video::order(request.into_inner(), random_seed).map_err(status)?;
        let (updates, receiver) = mpsc::channel(CLIP_UPDATES);
        let studio = self.studio.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = clip::make(&studio, order, &caller, &updates).await {
                // Nobody to tell is nothing to tell.
                let _ = updates.send(Err(error)).await;
            }
        }));
        let answers = ReceiverStream::new(receiver).map(move |update| {
            // The clip is made as long as the stream lives.
            let _alive = &task;
            update.map(answer::clip_update).map_err(status)
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn explore(&self, request: Request<proto::ExploreRequest>) -> Reply<proto::ExploreResponse> {
        let caller = Caller::of(&request);
        self.exploration(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn embed_image(
        &self,
        request: Request<proto::EmbedImageRequest>,
    ) -> Reply<proto::EmbedImageResponse> {
        let caller = Caller::of(&request);
        self.vectors(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn classify_image(
        &self,
        request: Request<proto::ClassifyImageRequest>,
    ) -> Reply<proto::ClassifyImageResponse> {
        let caller = Caller::of(&request);
        self.labels(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn list_models(&self, _: Request<proto::ListModelsRequest>) -> Reply<proto::ListModelsResponse> {
        let registry = self.studio.registry().map_err(status)?;
        let models = registry.models().map(answer::model).collect();
        Ok(Response::new(proto::ListModelsResponse { models }))
    }

    async fn get_model(&self, request: Request<proto::GetModelRequest>) -> Reply<proto::GetModelResponse> {
        let registry = self.studio.registry().map_err(status)?;
        let model = registry.get(&request.get_ref().model).map_err(status)?;
        Ok(Response::new(proto::GetModelResponse { model: Some(answer::model(model)) }))
    }
}
