//! Documents in the order in which they answer a query: by the cosine of vectors, or by a cross-encoder, which reads a query
//! and a document together.

use std::sync::Arc;

use atelier_core::ModelRef;
use atelier_inference::{Batcher, InferenceError, ModelFolder, Runtime, Ticket};
use atelier_rpc::Workers;
use futures::{StreamExt, TryStreamExt, future::try_join, stream};
use serde::Deserialize;

use crate::{
    TextError,
    catalogue::LoadedModel,
    config::ModelConfig,
    embedding::{EmbeddingModel, Part},
    encoder::{self, Encoder, Output},
    generation::Caller,
    sentence::DEFAULT_MAX_LENGTH,
    tokens::{Segment, TextTokenizer},
    truncation::{Cut, Truncation},
};

/// Documents of one call that are on their way through tokenizer and batcher at once: enough to fill batches, few enough
/// that one call can't fill the queue by itself.
const DOCUMENTS_IN_FLIGHT: usize = 64;

const OUTPUT: &str = "logits";

/// What is asked.
#[derive(Debug)]
pub(crate) struct Question {
    /// Not empty.
    pub query: String,
    /// At least one.
    pub documents: Vec<String>,
    /// Of documents that are too long; a query is never cut.
    pub truncation: Truncation,
    /// Most documents in the answer.
    pub top_n: usize,
}

/// How well a document answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ranked {
    /// Its place among the documents of the question.
    pub index: usize,
    /// The higher the better.
    pub score: f32,
    /// Part of it was left out.
    pub truncated: bool,
}

/// The answer.
#[derive(Debug)]
pub(crate) struct Ranking {
    /// Best first; of equals the earlier one.
    pub results: Vec<Ranked>,
    /// Tokens that the model read.
    pub tokens: usize,
}

/// Ranks documents by a model that embeds or one that reads pairs.
///
/// # Errors
/// The model does neither, a text is too long and may not be cut, the queue is full or the deadline passes.
pub(crate) async fn rank(
    model: &LoadedModel,
    question: Question,
    caller: Caller,
    workers: &Workers,
) -> Result<Ranking, TextError> {
    let top_n = question.top_n;
    let mut ranking = match model {
        LoadedModel::Embedding(model) => by_cosine(model, question, caller, workers).await?,
        LoadedModel::Reranking(model) => by_reading(model, question, caller, workers).await?,
        LoadedModel::Generation(_) => return Err(model.does_not_serve("reranking")),
    };
    ranking.results.sort_by(|one, other| other.score.total_cmp(&one.score).then(one.index.cmp(&other.index)));
    ranking.results.truncate(top_n);
    Ok(ranking)
}

async fn by_cosine(
    model: &EmbeddingModel,
    question: Question,
    caller: Caller,
    workers: &Workers,
) -> Result<Ranking, TextError> {
    let query = model.prefixed(Part::Query, &question.query);
    let query = model.embed(query, "query", Truncation::Refuse, caller.clone(), workers);
    let documents = question.documents.into_iter().enumerate().map(|(index, document)| {
        let (caller, document) = (caller.clone(), model.prefixed(Part::Document, &document));
        async move { model.embed(document, &field(index), question.truncation, caller, workers).await }
    });
    let documents = stream::iter(documents).buffered(DOCUMENTS_IN_FLIGHT).try_collect::<Vec<_>>();
    let (query, documents) = try_join(query, documents).await?;
    let tokens = query.tokens + documents.iter().map(|document| document.tokens).sum::<usize>();
    let results = documents.into_iter().enumerate().map(|(index, document)| Ranked {
        index,
        score: cosine(&query.values, &document.values),
        truncated: document.truncated,
    });
    Ok(Ranking { results: results.collect(), tokens })
}

async fn by_reading(
    model: &CrossEncoder,
    question: Question,
    caller: Caller,
    workers: &Workers,
) -> Result<Ranking, TextError> {
    let query = &model.query(question.query, &caller, workers).await?;
    let documents = question.documents.into_iter().enumerate().map(|(index, document)| {
        let caller = caller.clone();
        async move { model.score(query, index, document, question.truncation, caller, workers).await }
    });
    let read = stream::iter(documents).buffered(DOCUMENTS_IN_FLIGHT).try_collect::<Vec<_>>().await?;
    let tokens = read.iter().map(|(_, tokens)| tokens).sum();
    Ok(Ranking { results: read.into_iter().map(|(ranked, _)| ranked).collect(), tokens })
}

fn field(index: usize) -> String {
    format!("documents[{index}]")
}

/// Of vectors of any length; one of zeros, which points nowhere, gives 0.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let product = |one: &[f32], other: &[f32]| -> f64 {
        one.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = (product(one, one) * product(other, other)).sqrt();
    if lengths > 0.0 { (product(one, other) / lengths).clamp(-1.0, 1.0) as f32 } else { 0.0 }
}

/// A model that says how well a document answers a query.
pub(crate) struct CrossEncoder {
    /// Name and revision.
    pub model: ModelRef,
    /// SPDX identifier of its licence, or empty.
    pub license: String,
    /// Most tokens of query and document, special tokens included.
    pub max_length: usize,
    tokenizer: Arc<TextTokenizer>,
    batcher: Batcher<Encoder>,
}

/// `options` of the model's manifest.
#[derive(Debug, Default, Deserialize)]
struct ManifestOptions {
    max_length: Option<usize>,
}

/// A query that documents are read with.
struct Query {
    segment: Segment,
    /// Tokens that a document may have.
    room: usize,
}

impl CrossEncoder {
    /// Loads a model and runs it once.
    ///
    /// # Errors
    /// A file is missing, broken or of a kind that can't be served: a pair is to get one logit.
    pub(crate) fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        config: &ModelConfig,
    ) -> Result<Self, TextError> {
        let tokenizer = Arc::new(TextTokenizer::load(&folder.file("tokenizer.json")?)?);
        let options: ManifestOptions = folder.options()?;
        let settings = &config.reranking;
        let graph = encoder::load_graph(runtime, folder, &config.session)?;
        if graph.outputs().iter().all(|port| port.name != OUTPUT) {
            let problem = format!("its graph has no output {OUTPUT:?}");
            return Err(InferenceError::ModelUnsupported { model: config.id.to_string(), problem }.into());
        }
        let mut encoder = Encoder::new(graph, Output::Rows(OUTPUT));
        let segment = tokenizer.segment("warm-up")?;
        let (probe, _) = tokenizer.pair(&segment, "warm-up", DEFAULT_MAX_LENGTH, Cut::End)?;
        let logits = encoder.probe(probe)?.len();
        if logits != 1 {
            let problem = format!("it tells {logits} classes apart instead of giving one score");
            return Err(InferenceError::ModelUnsupported { model: config.id.to_string(), problem }.into());
        }
        Ok(Self {
            model: ModelRef { id: config.id.clone(), revision: folder.model().revision.clone() },
            license: folder.license().to_owned(),
            max_length: settings.max_length.or(options.max_length).unwrap_or(DEFAULT_MAX_LENGTH),
            tokenizer,
            batcher: encoder.start(config.id.as_str(), &settings.batcher)?,
        })
    }

    /// Its tokenizer.
    #[must_use]
    pub(crate) fn tokenizer(&self) -> &Arc<TextTokenizer> {
        &self.tokenizer
    }

    async fn query(&self, text: String, caller: &Caller, workers: &Workers) -> Result<Query, TextError> {
        let tokenizer = Arc::clone(&self.tokenizer);
        let segment = workers.run(caller.deadline, move || tokenizer.segment(&text)).await?;
        let tokens = self.tokenizer.length_before(&segment);
        match self.max_length.checked_sub(tokens).filter(|&room| room > 0) {
            Some(room) => Ok(Query { segment, room }),
            None => {
                let field = "query".to_owned();
                Err(TextError::ContextLengthExceeded { field, tokens, limit: self.max_length })
            }
        }
    }

    /// A document's score, and how many tokens were read for it.
    async fn score(
        &self,
        query: &Query,
        index: usize,
        document: String,
        truncation: Truncation,
        caller: Caller,
        workers: &Workers,
    ) -> Result<(Ranked, usize), TextError> {
        let (tokenizer, segment, room) = (Arc::clone(&self.tokenizer), query.segment.clone(), query.room);
        let cut = match truncation {
            Truncation::Cut(cut) => cut,
            Truncation::Refuse => Cut::End,
        };
        let encode = move || tokenizer.pair(&segment, &document, room, cut);
        let (pair, tokens) = workers.run(caller.deadline, encode).await?;
        let truncated = tokens > room;
        if truncated && truncation == Truncation::Refuse {
            return Err(TextError::ContextLengthExceeded { field: field(index), tokens, limit: room });
        }
        let read = pair.ids.len();
        let ticket = Ticket { deadline: caller.deadline, tenant: caller.tenant };
        let row = self.batcher.submit(pair, ticket).await?;
        let logit = row.first().copied().filter(|logit| logit.is_finite()).ok_or(TextError::BrokenLogits)?;
        Ok((Ranked { index, score: logistic(logit), truncated }, read))
    }
}

/// What makes a probability of a logit.
fn logistic(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosine_does_not_depend_on_lengths() {
        assert_eq!(cosine(&[3.0, 4.0], &[6.0, 8.0]), 1.0);
        assert_eq!(cosine(&[0.5, 0.0], &[-7.0, 0.0]), -1.0);
        assert!((cosine(&[2.0, 0.0], &[3.0, 3.0]) - 0.5_f32.sqrt()).abs() < 1e-6);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 2.0]), 0.0);
    }
}
