//! The gRPC face of the service: checks, calls, answers. No logic of its own.

use std::{
    hash::{BuildHasher, RandomState},
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Instant,
};

use atelier_proto::text::v1::{self as proto, text_service_server::TextService};
use atelier_rpc::{CallContext, Workers, status};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    TextError,
    admin::Admin,
    convert,
    embedding::{Embedded, Part},
    generation::Caller,
    registry::Registry,
    rerank,
    sampling::TokenLogprob,
    score::Item,
    tokens::TextTokenizer,
};

mod running;

use self::running::{Ask, Told, Whole};

/// Texts of one call that are on their way through tokenizer and batcher at once: enough to fill batches, few enough
/// that one call can't fill the queue by itself.
const EMBEDDINGS_IN_FLIGHT: usize = 64;

/// Items of one call that wait or run at once: enough to fill the slots, few enough that one call can't fill the queue.
const SCORES_IN_FLIGHT: usize = 8;

type Reply<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The text service.
pub(crate) struct Text {
    registry: Arc<OnceLock<Arc<Registry>>>,
    admin: Admin,
    workers: Workers,
}

impl Text {
    /// A service of these models, once they are loaded.
    #[must_use]
    pub(crate) fn new(registry: Arc<OnceLock<Arc<Registry>>>, admin: Admin, workers: Workers) -> Self {
        Self { registry, admin, workers }
    }

    fn registry(&self) -> Result<&Arc<Registry>, TextError> {
        self.registry.get().ok_or(TextError::Starting)
    }

    /// Checks that the caller may load and unload models.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), TextError> {
        self.admin.admit(request.metadata().get("authorization").map(|value| value.as_bytes()))
    }

    async fn scores(
        &self,
        request: proto::ScoreRequest,
        caller: Caller,
    ) -> Result<proto::ScoreResponse, TextError> {
        let options = convert::scoring(&request)?;
        let served = self.registry()?.for_generation(&request.model)?;
        let model = served.generation()?;
        let spelled = request.token_logprobs;
        let scores = request.items.into_iter().enumerate().map(|(index, item)| {
            let caller = caller.clone();
            let item = Item { context: item.context, text: item.text };
            async move {
                let deadline = caller.deadline;
                let scored = model.score(index, item, options, caller, &self.workers).await?;
                let tokens = if spelled { scored.logprobs.clone() } else { Vec::new() };
                let tokens = spell(tokens, model.tokenizer(), deadline, &self.workers).await?;
                let score = convert::score(&scored, tokens);
                Ok::<_, TextError>((scored, score))
            }
        });
        let scores = stream::iter(scores).buffered(SCORES_IN_FLIGHT).try_collect().await?;
        Ok(convert::scores(scores, &model.model))
    }

    async fn embed_batch(
        &self,
        request: proto::EmbedRequest,
        caller: Caller,
    ) -> Result<proto::EmbedResponse, TextError> {
        convert::batch(&request.texts)?;
        let served = self.registry()?.for_embedding(&request.model)?;
        let model = served.embedding()?;
        let truncation = convert::truncation(request.truncation());
        let texts =
            request.texts.into_iter().enumerate().map(|(index, text)| {
                let (caller, text) = (caller.clone(), model.prefixed(Part::Text, &text));
                async move {
                    model.embed(text, &format!("texts[{index}]"), truncation, caller, &self.workers).await
                }
            });
        let embedded: Vec<Embedded> =
            stream::iter(texts).buffered(EMBEDDINGS_IN_FLIGHT).try_collect().await?;
        let tokens = embedded.iter().map(|embedded| embedded.tokens).sum();
        Ok(proto::EmbedResponse {
            embeddings: embedded.into_iter().map(convert::embedding).collect(),
            model: Some(convert::model_ref(&model.model)),
            usage: Some(convert::usage(tokens, 0)),
        })
    }

    async fn ranking(
        &self,
        request: proto::RerankRequest,
        caller: Caller,
    ) -> Result<proto::RerankResponse, TextError> {
        let served = self.registry()?.for_reranking(&request.model)?;
        let question = convert::question(request)?;
        let ranking = rerank::rank(&served, question, caller, &self.workers).await?;
        Ok(convert::ranking(ranking, served.model()))
    }

    async fn tokens(
        &self,
        request: proto::TokenizeRequest,
        caller: Caller,
    ) -> Result<proto::TokenizeResponse, TextError> {
        convert::text(&request.text, || "text".into())?;
        let model = self.registry()?.for_tokenizing(&request.model)?;
        let tokenizer = Arc::clone(model.tokenizer());
        let work = move || tokenizer.tokens(&request.text, request.add_special_tokens);
        let tokens = self.workers.run(caller.deadline, work).await?;
        let tokens = tokens.into_iter().map(|token| proto::Token {
            id: token.id,
            text: token.text,
            start_byte: convert::count(token.bytes.0),
            end_byte: convert::count(token.bytes.1),
        });
        Ok(proto::TokenizeResponse {
            tokens: tokens.collect(),
            model: Some(convert::model_ref(model.model())),
        })
    }

    async fn text(
        &self,
        request: proto::DetokenizeRequest,
        caller: Caller,
    ) -> Result<proto::DetokenizeResponse, TextError> {
        let model = self.registry()?.for_tokenizing(&request.model)?;
        convert::token_ids(&request.token_ids, model.tokenizer())?;
        let tokenizer = Arc::clone(model.tokenizer());
        let work = move || tokenizer.decode(&request.token_ids, request.skip_special_tokens);
        let text = self.workers.run(caller.deadline, work).await?;
        Ok(proto::DetokenizeResponse { text, model: Some(convert::model_ref(model.model())) })
    }
}

/// Tokens as messages, with their bytes.
async fn spell(
    tokens: Vec<TokenLogprob>,
    tokenizer: &Arc<TextTokenizer>,
    deadline: Option<Instant>,
    workers: &Workers,
) -> Result<Vec<proto::TokenLogprob>, TextError> {
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    let tokenizer = Arc::clone(tokenizer);
    workers.run(deadline, move || Ok(convert::token_logprobs(tokens, &tokenizer))).await
}

fn caller<T>(request: &Request<T>) -> Caller {
    let context = CallContext::of(request);
    Caller { tenant: context.tenant, arrived: Instant::now(), deadline: context.deadline }
}

/// A seed for calls that name none. The standard library's hasher keys are random, which is all it takes: nothing
/// secret hangs on a seed, and the answer reports it.
fn random_seed() -> u64 {
    RandomState::new().hash_one(0)
}

async fn embed_one(
    registry: &OnceLock<Arc<Registry>>,
    workers: &Workers,
    request: proto::StreamEmbedRequest,
    caller: Caller,
) -> Result<proto::StreamEmbedResponse, TextError> {
    convert::item_id(&request.id)?;
    convert::text(&request.text, || "text".into())?;
    let served = registry.get().ok_or(TextError::Starting)?.for_embedding(&request.model)?;
    let model = served.embedding()?;
    let truncation = convert::truncation(request.truncation());
    let text = model.prefixed(Part::Text, &request.text);
    let embedded = model.embed(text, "text", truncation, caller, workers).await?;
    Ok(proto::StreamEmbedResponse {
        id: request.id,
        usage: Some(convert::usage(embedded.tokens, 0)),
        embedding: Some(convert::embedding(embedded)),
        model: Some(convert::model_ref(&model.model)),
    })
}

#[tonic::async_trait]
impl TextService for Text {
    type StreamChatStream = Answers<proto::StreamChatResponse>;
    type StreamGenerateStream = Answers<proto::StreamGenerateResponse>;
    type StreamEmbedStream = Answers<proto::StreamEmbedResponse>;

    async fn chat(&self, request: Request<proto::ChatRequest>) -> Reply<proto::ChatResponse> {
        let caller = caller(&request);
        let running = self.begin(Ask::chat(request.into_inner()), caller).await.map_err(status)?;
        let Whole { text: content, tool_calls, completion, choices } =
            running.whole().await.map_err(status)?;
        let role = proto::Role::Assistant.into();
        let message = Some(proto::Message { role, content, tool_calls, tool_call_id: String::new() });
        Ok(Response::new(proto::ChatResponse { message, completion: Some(completion), choices }))
    }

    async fn stream_chat(&self, request: Request<proto::StreamChatRequest>) -> Reply<Self::StreamChatStream> {
        use proto::{StreamChatResponse as Answer, stream_chat_response::Event};
        let caller = caller(&request);
        let proto::StreamChatRequest { model, messages, generation, tools, tool_choice } =
            request.into_inner();
        let request = proto::ChatRequest { model, messages, generation, tools, tool_choice };
        let running = self.begin(Ask::chat(request).map(Ask::streamed), caller).await.map_err(status)?;
        Ok(Response::new(running.stream(|choice, told| Answer {
            choice,
            event: Some(match told {
                Told::Delta(delta) => Event::Delta(delta),
                Told::Call(call) => Event::ToolCall(call),
                Told::Completion(completion) => Event::Completion(completion),
            }),
        })))
    }

    async fn generate(&self, request: Request<proto::GenerateRequest>) -> Reply<proto::GenerateResponse> {
        let caller = caller(&request);
        let running = self.begin(Ask::generate(request.into_inner()), caller).await.map_err(status)?;
        let Whole { text, completion, choices, .. } = running.whole().await.map_err(status)?;
        Ok(Response::new(proto::GenerateResponse { text, completion: Some(completion), choices }))
    }

    async fn stream_generate(
        &self,
        request: Request<proto::StreamGenerateRequest>,
    ) -> Reply<Self::StreamGenerateStream> {
        use proto::{StreamGenerateResponse as Answer, stream_generate_response::Event};
        let caller = caller(&request);
        let proto::StreamGenerateRequest { model, prompt, generation, echo } = request.into_inner();
        let ask = Ask::generate(proto::GenerateRequest { model, prompt, generation, echo });
        let running = self.begin(ask.map(Ask::streamed), caller).await.map_err(status)?;
        Ok(Response::new(running.stream(|_, told| Answer {
            event: match told {
                Told::Delta(delta) => Some(Event::Delta(delta)),
                // A raw prompt offers no tools.
                Told::Call(_) => None,
                Told::Completion(completion) => Some(Event::Completion(completion)),
            },
        })))
    }

    async fn tokenize(&self, request: Request<proto::TokenizeRequest>) -> Reply<proto::TokenizeResponse> {
        let caller = caller(&request);
        self.tokens(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn detokenize(
        &self,
        request: Request<proto::DetokenizeRequest>,
    ) -> Reply<proto::DetokenizeResponse> {
        let caller = caller(&request);
        self.text(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn score(&self, request: Request<proto::ScoreRequest>) -> Reply<proto::ScoreResponse> {
        let caller = caller(&request);
        self.scores(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn rerank(&self, request: Request<proto::RerankRequest>) -> Reply<proto::RerankResponse> {
        let caller = caller(&request);
        self.ranking(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn embed(&self, request: Request<proto::EmbedRequest>) -> Reply<proto::EmbedResponse> {
        let caller = caller(&request);
        self.embed_batch(request.into_inner(), caller).await.map(Response::new).map_err(status)
    }

    async fn stream_embed(
        &self,
        request: Request<Streaming<proto::StreamEmbedRequest>>,
    ) -> Reply<Self::StreamEmbedStream> {
        let caller = caller(&request);
        let (registry, workers) = (Arc::clone(&self.registry), self.workers.clone());
        let answers = request.into_inner().map(move |item| {
            let (registry, workers) = (Arc::clone(&registry), workers.clone());
            let caller = Caller { arrived: Instant::now(), ..caller.clone() };
            async move { embed_one(&registry, &workers, item?, caller).await.map_err(status) }
        });
        Ok(Response::new(Box::pin(answers.buffer_unordered(EMBEDDINGS_IN_FLIGHT))))
    }

    async fn list_models(&self, _: Request<proto::ListModelsRequest>) -> Reply<proto::ListModelsResponse> {
        let registry = self.registry().map_err(status)?;
        Ok(Response::new(proto::ListModelsResponse {
            models: registry.list(convert::model),
            loading: registry.loading(),
        }))
    }

    async fn get_model(&self, request: Request<proto::GetModelRequest>) -> Reply<proto::GetModelResponse> {
        let registry = self.registry().map_err(status)?;
        let model = registry.get(&request.get_ref().model).map_err(status)?;
        Ok(Response::new(proto::GetModelResponse { model: Some(convert::model(&model)) }))
    }

    async fn load_model(&self, request: Request<proto::LoadModelRequest>) -> Reply<proto::LoadModelResponse> {
        let deadline = caller(&request).deadline;
        self.admit(&request).map_err(status)?;
        let registry = self.registry().map_err(status)?;
        let proto::LoadModelRequest { model, revision } = request.into_inner();
        let served = registry.load(&model, revision, deadline).await.map_err(status)?;
        Ok(Response::new(proto::LoadModelResponse { model: Some(convert::model(&served)) }))
    }

    async fn unload_model(
        &self,
        request: Request<proto::UnloadModelRequest>,
    ) -> Reply<proto::UnloadModelResponse> {
        self.admit(&request).map_err(status)?;
        let registry = self.registry().map_err(status)?;
        registry.unload(&request.get_ref().model).await.map_err(status)?;
        Ok(Response::new(proto::UnloadModelResponse {}))
    }
}
