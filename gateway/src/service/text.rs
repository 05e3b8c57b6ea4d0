//! What the text services do without writing: it is passed on to the upstream that has the model, unjudged, since
//! neither tokens, vectors nor rankings are content.

use atelier_core::Fault;
use atelier_proto::{gateway::v1 as api, text::v1 as text};
use atelier_rpc::{fault_of, status};
use futures::{StreamExt, stream};
use tonic::{Request, Streaming};

use super::{Answers, Gateway};
use crate::upstream::{Task, TextClient, call, open};

pub(super) async fn tokenize(
    gateway: &Gateway,
    request: Request<api::TokenizeRequest>,
) -> Result<api::TokenizeResponse, Fault> {
    let context = gateway.admit(&request, "Tokenize")?.context;
    let request = request.into_inner();
    let route = gateway.text.route(&request.model, Task::Generate)?;
    let message = text::TokenizeRequest {
        model: route.model.id.to_string(),
        text: request.text,
        add_special_tokens: request.add_special_tokens,
    };
    let send = |mut client: TextClient, request| async move { client.tokenize(request).await };
    let answer = call(&route, &context, message, send).await?;
    Ok(api::TokenizeResponse { tokens: answer.tokens, model: answer.model })
}

pub(super) async fn detokenize(
    gateway: &Gateway,
    request: Request<api::DetokenizeRequest>,
) -> Result<api::DetokenizeResponse, Fault> {
    let context = gateway.admit(&request, "Detokenize")?.context;
    let request = request.into_inner();
    let route = gateway.text.route(&request.model, Task::Generate)?;
    let message = text::DetokenizeRequest {
        model: route.model.id.to_string(),
        token_ids: request.token_ids,
        skip_special_tokens: request.skip_special_tokens,
    };
    let send = |mut client: TextClient, request| async move { client.detokenize(request).await };
    let answer = call(&route, &context, message, send).await?;
    Ok(api::DetokenizeResponse { text: answer.text, model: answer.model })
}

pub(super) async fn embed(
    gateway: &Gateway,
    request: Request<api::EmbedRequest>,
) -> Result<api::EmbedResponse, Fault> {
    let context = gateway.admit(&request, "Embed")?.context;
    let request = request.into_inner();
    let route = gateway.text.route(&request.model, Task::Embed)?;
    let message = text::EmbedRequest {
        model: route.model.id.to_string(),
        texts: request.texts,
        truncation: request.truncation,
    };
    let send = |mut client: TextClient, request| async move { client.embed(request).await };
    let answer = call(&route, &context, message, send).await?;
    Ok(api::EmbedResponse { embeddings: answer.embeddings, model: answer.model, usage: answer.usage })
}

pub(super) async fn rerank(
    gateway: &Gateway,
    request: Request<api::RerankRequest>,
) -> Result<api::RerankResponse, Fault> {
    let context = gateway.admit(&request, "Rerank")?.context;
    let request = request.into_inner();
    let route = gateway.text.route(&request.model, Task::Rerank)?;
    let message = text::RerankRequest {
        model: route.model.id.to_string(),
        query: request.query,
        documents: request.documents,
        top_n: request.top_n,
        truncation: request.truncation,
    };
    let send = |mut client: TextClient, request| async move { client.rerank(request).await };
    let answer = call(&route, &context, message, send).await?;
    Ok(api::RerankResponse { results: answer.results, model: answer.model, usage: answer.usage })
}

/// All texts of a stream go to the upstream that has the model of the first.
pub(super) async fn stream_embed(
    gateway: &Gateway,
    request: Request<Streaming<api::StreamEmbedRequest>>,
) -> Result<Answers<api::StreamEmbedResponse>, Fault> {
    let context = gateway.admit(&request, "StreamEmbed")?.context;
    let mut items = request.into_inner();
    let Some(first) = items.message().await.map_err(|status| fault_of(&status))? else {
        return Ok(stream::empty().boxed());
    };
    let route = gateway.text.route(&first.model, Task::Embed)?;
    let default = route.model.id.to_string();
    let message = move |item: api::StreamEmbedRequest| text::StreamEmbedRequest {
        id: item.id,
        model: if item.model.is_empty() { default.clone() } else { item.model },
        text: item.text,
        truncation: item.truncation,
    };
    // A caller whose stream breaks gets no more answers in any case, so the upstream is just told of the end.
    let rest = items.scan((), |(), item| futures::future::ready(item.ok()));
    let messages = stream::iter([first]).chain(rest).map(message);
    let send = |mut client: TextClient, request| async move { client.stream_embed(request).await };
    let answers = open(&route, &context, messages, send).await?;
    let answer = |answer: Result<text::StreamEmbedResponse, _>| match answer {
        Ok(answer) => Ok(api::StreamEmbedResponse {
            id: answer.id,
            embedding: answer.embedding,
            model: answer.model,
            usage: answer.usage,
        }),
        Err(error) => Err(status(fault_of(&error))),
    };
    Ok(answers.map(answer).boxed())
}
