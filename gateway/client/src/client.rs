//! The client: one method for each call of the gateway.

use std::time::Duration;

use atelier_proto::{
    common::v1::Model,
    gateway::v1::{
        ChatRequest, ChatResponse, CheckRequest, CheckResponse, DetokenizeRequest, DetokenizeResponse,
        EmbedRequest, EmbedResponse, GenerateRequest, GenerateResponse, GetModelRequest,
        ListCategoriesRequest, ListModelsRequest, ModerateImageRequest, ModerateImageResponse,
        ModerateTextRequest, ModerateTextResponse, RerankRequest, RerankResponse, StreamChatRequest,
        StreamGenerateRequest, TokenizeRequest, TokenizeResponse,
        gateway_service_client::GatewayServiceClient,
    },
    moderation::v1::Category,
    text::v1::GenerationConfig,
};
use futures::Stream;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{
    Request, Response, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

pub use tonic_health::pb::health_check_response::ServingStatus;

use crate::{
    BulkOptions, BulkStream, ClientError, ClientOptions, EventStream, RetryPolicy, bulk, options::Headers,
};

/// The generated client, with the options' headers and limits applied.
pub type RawClient = GatewayServiceClient<InterceptedService<Channel, Identify>>;

/// A connection to a gateway. Clones share it; it is made anew when it breaks.
#[derive(Clone)]
pub struct Client {
    gateway: RawClient,
    health: HealthClient<InterceptedService<Channel, Identify>>,
    timeout: Option<Duration>,
    retry: RetryPolicy,
}

/// Adds the caller's key and tenant to each call.
#[derive(Clone)]
pub struct Identify(Headers);

/// What a second try would cost.
#[derive(Clone, Copy)]
pub(crate) enum Cost {
    /// Little: the call only reads or measures.
    Reading,
    /// A whole generation, if the first try got that far.
    Generation,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// The options can't work, or nothing answers at the endpoint.
    pub async fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        let connected = options.endpoint()?.connect().await;
        let channel = connected
            .map_err(|source| ClientError::Connect { endpoint: options.endpoint.clone(), source })?;
        Self::over(channel, options)
    }

    /// Connects when the first call is made; for services that may start before their gateway.
    ///
    /// # Errors
    /// The options can't work.
    pub fn connect_lazy(options: ClientOptions) -> Result<Self, ClientError> {
        let channel = options.endpoint()?.connect_lazy();
        Self::over(channel, options)
    }

    fn over(channel: Channel, options: ClientOptions) -> Result<Self, ClientError> {
        let identify = Identify(options.headers()?);
        let service = InterceptedService::new(channel, identify);
        Ok(Self {
            gateway: GatewayServiceClient::new(service.clone())
                .max_decoding_message_size(options.max_response_bytes),
            health: HealthClient::new(service),
            timeout: options.timeout,
            retry: options.retry,
        })
    }

    /// The generated client, for calls that have no method here.
    #[must_use]
    pub fn raw(&self) -> RawClient {
        self.gateway.clone()
    }

    /// Answers a conversation as it is written. Opening the stream is not tried again.
    ///
    /// # Errors
    /// As the gateway says; refused input is [`crate::reason::CONTENT_BLOCKED`].
    pub async fn stream_chat(&self, request: ChatRequest) -> Result<EventStream, ClientError> {
        let ChatRequest { model, messages, generation, tools, tool_choice } = request;
        let deadline = self.deadline();
        let answers = answers(generation.as_ref());
        let request = StreamChatRequest { model, messages, generation, tools, tool_choice };
        let request = with_deadline(request, deadline);
        let response = bounded(deadline, self.raw().stream_chat(request)).await?;
        Ok(EventStream::of_chat(response, answers, deadline))
    }

    /// Answers a conversation in one message.
    ///
    /// # Errors
    /// As the gateway says; refused input is [`crate::reason::CONTENT_BLOCKED`].
    pub async fn chat(&self, request: ChatRequest) -> Result<ChatResponse, ClientError> {
        self.unary(Cost::Generation, request, |mut raw, request| async move { raw.chat(request).await }).await
    }

    /// Continues a raw prompt as it is written. Opening the stream is not tried again.
    ///
    /// # Errors
    /// As the gateway says; refused input is [`crate::reason::CONTENT_BLOCKED`].
    pub async fn stream_generate(&self, request: GenerateRequest) -> Result<EventStream, ClientError> {
        let GenerateRequest { model, prompt, generation, echo } = request;
        let deadline = self.deadline();
        let answers = answers(generation.as_ref());
        let request = with_deadline(StreamGenerateRequest { model, prompt, generation, echo }, deadline);
        let response = bounded(deadline, self.raw().stream_generate(request)).await?;
        Ok(EventStream::of_generate(response, answers, deadline))
    }

    /// Continues a raw prompt.
    ///
    /// # Errors
    /// As the gateway says; refused input is [`crate::reason::CONTENT_BLOCKED`].
    pub async fn generate(&self, request: GenerateRequest) -> Result<GenerateResponse, ClientError> {
        self.unary(Cost::Generation, request, |mut raw, request| async move { raw.generate(request).await })
            .await
    }

    /// Turns texts into vectors.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse, ClientError> {
        self.unary(Cost::Reading, request, |mut raw, request| async move { raw.embed(request).await }).await
    }

    /// Puts documents in the order in which they answer a query.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn rerank(&self, request: RerankRequest) -> Result<RerankResponse, ClientError> {
        self.unary(Cost::Reading, request, |mut raw, request| async move { raw.rerank(request).await }).await
    }

    /// Splits text into a model's tokens.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn tokenize(&self, request: TokenizeRequest) -> Result<TokenizeResponse, ClientError> {
        self.unary(Cost::Reading, request, |mut raw, request| async move { raw.tokenize(request).await })
            .await
    }

    /// Joins tokens to text.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn detokenize(&self, request: DetokenizeRequest) -> Result<DetokenizeResponse, ClientError> {
        self.unary(Cost::Reading, request, |mut raw, request| async move { raw.detokenize(request).await })
            .await
    }

    /// Scores up to 1,024 texts; no policy is applied.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn moderate_text(
        &self,
        request: ModerateTextRequest,
    ) -> Result<ModerateTextResponse, ClientError> {
        self.unary(Cost::Reading, request, |mut raw, request| async move { raw.moderate_text(request).await })
            .await
    }

    /// Scores up to 64 pictures; no policy is applied.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn moderate_image(
        &self,
        request: ModerateImageRequest,
    ) -> Result<ModerateImageResponse, ClientError> {
        self.unary(
            Cost::Reading,
            request,
            |mut raw, request| async move { raw.moderate_image(request).await },
        )
        .await
    }

    /// Scores any number of texts with many in flight; each is answered exactly once, by its key, as soon as it is
    /// ready. Needs a tokio runtime. The options' `timeout` does not apply: a stream goes on while it makes progress, and is opened
    /// anew when it breaks.
    pub fn moderate_texts<K, S>(&self, texts: S, options: BulkOptions) -> BulkStream<K>
    where
        K: Send + 'static,
        S: Stream<Item = (K, String)> + Send + 'static,
    {
        bulk::start(self.raw(), self.retry.clone(), texts, options)
    }

    /// Judges content under the tenant's policy without generating anything.
    ///
    /// # Errors
    /// As the gateway says; blocked content is no error here but a verdict.
    pub async fn check(&self, request: CheckRequest) -> Result<CheckResponse, ClientError> {
        self.unary(Cost::Reading, request, |mut raw, request| async move { raw.check(request).await }).await
    }

    /// Models that callers can name.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn models(&self) -> Result<Vec<Model>, ClientError> {
        let request = ListModelsRequest {};
        let call = |mut raw: RawClient, request| async move { raw.list_models(request).await };
        Ok(self.unary(Cost::Reading, request, call).await?.models)
    }

    /// One model.
    ///
    /// # Errors
    /// As the gateway says; [`crate::reason::MODEL_NOT_FOUND`] where there is none.
    pub async fn model(&self, id: impl Into<String>) -> Result<Model, ClientError> {
        let request = GetModelRequest { model: id.into() };
        let call = |mut raw: RawClient, request| async move { raw.get_model(request).await };
        let answer = self.unary(Cost::Reading, request, call).await?;
        answer.model.ok_or(ClientError::Protocol("no model in the answer"))
    }

    /// The moderation taxonomy and its detectors.
    ///
    /// # Errors
    /// As the gateway says.
    pub async fn categories(&self) -> Result<Vec<Category>, ClientError> {
        let request = ListCategoriesRequest {};
        let call = |mut raw: RawClient, request| async move { raw.list_categories(request).await };
        Ok(self.unary(Cost::Reading, request, call).await?.categories)
    }

    /// Health of a service by its full name, e.g. `atelier.gateway.v1.GatewayService`; "" asks for the whole.
    /// Asked once: a caller that wants to wait for health asks again.
    ///
    /// # Errors
    /// The gateway can't be reached, or does not know the service (`NOT_FOUND`).
    pub async fn health(&self, service: impl Into<String>) -> Result<ServingStatus, ClientError> {
        let deadline = self.deadline();
        let request = with_deadline(HealthCheckRequest { service: service.into() }, deadline);
        let answer = bounded(deadline, self.health.clone().check(request)).await?;
        Ok(answer.into_inner().status())
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    pub(crate) async fn unary<M, A, C, F>(&self, cost: Cost, message: M, call: C) -> Result<A, ClientError>
    where
        M: Clone,
        C: Fn(RawClient, Request<M>) -> F,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let deadline = self.deadline();
        let mut failures = 0;
        loop {
            let request = with_deadline(message.clone(), deadline);
            let error = match bounded(deadline, call(self.raw(), request)).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(error) => error,
            };
            failures += 1;
            let again = match cost {
                Cost::Reading => error.is_retryable(),
                Cost::Generation => error.is_refused_unstarted(),
            };
            let asked = error.call().and_then(|call| call.retry_after);
            let delay = if again { self.retry.delay(failures, asked) } else { None };
            match delay {
                Some(delay) if deadline.is_none_or(|deadline| Instant::now() + delay < deadline) => {
                    sleep(delay).await
                }
                Some(_) | None => return Err(error),
            }
        }
    }
}

impl Interceptor for Identify {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let Headers { authorization, tenant } = &self.0;
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.clone());
        }
        if let Some(value) = tenant {
            request.metadata_mut().insert("atelier-tenant", value.clone());
        }
        Ok(request)
    }
}

/// How many answers a stream brings.
fn answers(generation: Option<&GenerationConfig>) -> u32 {
    generation.and_then(|generation| generation.n).unwrap_or(1).max(1)
}

/// Tells the gateway how much time is left.
pub(crate) fn with_deadline<M>(message: M, deadline: Option<Instant>) -> Request<M> {
    let mut request = Request::new(message);
    if let Some(deadline) = deadline {
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
    }
    request
}

/// Keeps the deadline on this side too: a gateway that hangs would not.
pub(crate) async fn bounded<A>(
    deadline: Option<Instant>,
    call: impl Future<Output = Result<A, Status>>,
) -> Result<A, ClientError> {
    let outcome = match deadline {
        Some(deadline) => timeout_at(deadline, call).await.map_err(|_| ClientError::deadline_exceeded())?,
        None => call.await,
    };
    outcome.map_err(ClientError::from)
}
