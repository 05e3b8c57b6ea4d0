//! Between the messages of `Rerank` and what they mean.

use atelier_core::{ModelRef, limits};
use atelier_proto::text::v1 as proto;

use super::{count, model_ref, text, truncation, usage};
use crate::{
    TextError,
    rerank::{Question, Ranking},
};

/// Checks what is asked.
pub(crate) fn question(request: proto::RerankRequest) -> Result<Question, TextError> {
    let truncation = truncation(request.truncation());
    let proto::RerankRequest { query, documents, top_n, .. } = request;
    if query.is_empty() {
        return Err(TextError::invalid("query", "must not be empty"));
    }
    text(&query, || "query".into())?;
    if documents.is_empty() || documents.len() > limits::MAX_BATCH_TEXTS {
        let entries = format!("must have 1 to {} entries", limits::MAX_BATCH_TEXTS);
        return Err(TextError::invalid("documents", entries));
    }
    for (index, document) in documents.iter().enumerate() {
        text(document, || format!("documents[{index}]"))?;
    }
    let top_n = match top_n {
        Some(0) => return Err(TextError::invalid("top_n", "must be 1 or more")),
        Some(most) => most as usize,
        None => documents.len(),
    };
    Ok(Question { query, documents, truncation, top_n })
}

/// The answer as a message.
pub(crate) fn ranking(ranking: Ranking, model: &ModelRef) -> proto::RerankResponse {
    let results = ranking.results.into_iter().map(|ranked| proto::RankedDocument {
        index: count(ranked.index),
        score: ranked.score,
        truncated: ranked.truncated,
    });
    proto::RerankResponse {
        results: results.collect(),
        model: Some(model_ref(model)),
        usage: Some(usage(ranking.tokens, 0)),
    }
}
