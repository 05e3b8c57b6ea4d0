//! The calls about pictures.

use atelier_proto::gateway::v1::{
    ClassifyImageRequest, ClassifyImageResponse, EmbedImageRequest, EmbedImageResponse, ExploreRequest,
    ExploreResponse, GenerateImageRequest, GenerateImageResponse, GenerateVideoRequest,
    StreamGenerateImageRequest,
};

use crate::{
    Client, ClientError, EventStream, ImageEvent, VideoEvent,
    client::{Cost, bounded, with_deadline},
};

impl Client {
    /// Makes pictures. One that policy withholds is there without its data, and its verdict says why.
    ///
    /// # Errors
    /// As the gateway says; refused input is [`crate::reason::CONTENT_BLOCKED`].
    pub async fn generate_image(
        &self,
        request: GenerateImageRequest,
    ) -> Result<GenerateImageResponse, ClientError> {
        self.unary(
            Cost::Generation,
            request,
            |mut raw, request| async move { raw.generate_image(request).await },
        )
        .await
    }

    /// Makes pictures with progress, and with previews where they are asked for. Opening the stream is not tried again.
    ///
    /// # Errors
    /// As [`Client::generate_image`].
    pub async fn stream_generate_image(
        &self,
        request: StreamGenerateImageRequest,
    ) -> Result<EventStream<ImageEvent>, ClientError> {
        let deadline = self.deadline();
        let request = with_deadline(request, deadline);
        let answer = bounded(deadline, self.raw().stream_generate_image(request)).await?;
        Ok(EventStream::of_pictures(answer, deadline))
    }

    /// Makes a clip. Opening the stream is not tried again.
    ///
    /// # Errors
    /// As the gateway says; refused prompts are [`crate::reason::CONTENT_BLOCKED`].
    pub async fn generate_video(
        &self,
        request: GenerateVideoRequest,
    ) -> Result<EventStream<VideoEvent>, ClientError> {
        let deadline = self.deadline();
        let request = with_deadline(request, deadline);
        let answer = bounded(deadline, self.raw().generate_video(request)).await?;
        Ok(EventStream::of_clip(answer, deadline))
    }

    /// Explores the latent space of a GAN or a VAE.
    ///
    /// # Errors
    /// As the gateway says; refused pictures are [`crate::reason::CONTENT_BLOCKED`].
    pub async fn explore(&self, request: ExploreRequest) -> Result<ExploreResponse, ClientError> {
        self.unary(Cost::Generation, request, |mut raw, request| async move { raw.explore(request).await })
            .await
    }

    /// Turns pictures into unit vectors.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn embed_image(&self, request: EmbedImageRequest) -> Result<EmbedImageResponse, ClientError> {
        self.unary(Cost::Reading, request, |mut raw, request| async move { raw.embed_image(request).await })
            .await
    }

    /// Says what pictures show.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn classify_image(
        &self,
        request: ClassifyImageRequest,
    ) -> Result<ClassifyImageResponse, ClientError> {
        self.unary(
            Cost::Reading,
            request,
            |mut raw, request| async move { raw.classify_image(request).await },
        )
        .await
    }
}
