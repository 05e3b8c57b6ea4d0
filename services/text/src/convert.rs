//! Between the API's messages and the domain's types. Requests are checked here, field by field.

use std::{sync::Arc, time::Duration};

use atelier_core::{ModelRef, limits};
use atelier_inference::Priority;
use atelier_proto::{
    common::v1::{self as common, ModelTask},
    text::v1 as proto,
};

use crate::{
    TextError,
    catalogue::LoadedModel,
    embedding::Embedded,
    engine::{BeamSearch, FinishReason, Finished},
    files::SamplingDefaults,
    generation::Options,
    grammar::Format,
    sampling::{Sampling, TokenLogprob},
    score::{self, Scored},
    tokens::TextTokenizer,
    truncation::{Cut, Truncation},
};

mod chat;
pub(crate) mod choices;
mod rerank;
mod samplers;

pub(crate) use chat::{chat, tool_call};
pub(crate) use rerank::{question, ranking};

/// Tokens to write where a call does not say.
const DEFAULT_MAX_TOKENS: usize = 256;

/// A text of the length that every field admits.
pub(crate) fn text(text: &str, field: impl FnOnce() -> String) -> Result<(), TextError> {
    if text.len() <= limits::MAX_TEXT_BYTES {
        return Ok(());
    }
    Err(TextError::invalid(
        field(),
        format!("must have at most {} bytes, has {}", limits::MAX_TEXT_BYTES, text.len()),
    ))
}

pub(crate) fn prompt(prompt: &str) -> Result<(), TextError> {
    if prompt.is_empty() {
        return Err(TextError::invalid("prompt", "must not be empty"));
    }
    text(prompt, || "prompt".into())
}

/// Checks a call's options and fills in what it does not say; `seed` gives one if it names none.
pub(crate) fn options(
    config: Option<proto::GenerationConfig>,
    defaults: &SamplingDefaults,
    tokenizer: &TextTokenizer,
    seed: impl FnOnce() -> u64,
) -> Result<Options, TextError> {
    let config = config.unwrap_or_default();
    let truncation = truncation(config.truncation());
    let beams = beams(&config)?;
    let mirostat = samplers::mirostat(&config)?;
    let (xtc_probability, xtc_threshold) = samplers::xtc(&config)?;
    let dry = samplers::dry(&config)?;
    let defaults = &if mirostat.is_some() { samplers::without_filters(defaults) } else { *defaults };
    let sampling = Sampling {
        temperature: within("temperature", config.temperature, defaults.temperature, 0.0, 2.0)?,
        top_k: config.top_k.map_or(defaults.top_k, |k| k as usize),
        top_p: above_zero("top_p", config.top_p, defaults.top_p, 1.0)?,
        min_p: within("min_p", config.min_p, 0.0, 0.0, 1.0)?,
        typical_p: above_zero("typical_p", config.typical_p, 1.0, 1.0)?,
        xtc_probability,
        xtc_threshold,
        mirostat,
        dry,
        no_repeat_ngram_size: config.no_repeat_ngram_size.map_or(0, |size| size as usize),
        min_tokens: config.min_tokens.map_or(0, |tokens| tokens as usize),
        end_tokens: Vec::new(),
        repetition_penalty: above_zero(
            "repetition_penalty",
            config.repetition_penalty,
            defaults.repetition_penalty,
            2.0,
        )?,
        presence_penalty: within("presence_penalty", config.presence_penalty, 0.0, -2.0, 2.0)?,
        frequency_penalty: within("frequency_penalty", config.frequency_penalty, 0.0, -2.0, 2.0)?,
        logit_bias: logit_bias(config.logit_bias, tokenizer)?,
        seed: config.seed.unwrap_or_else(seed),
    };
    let max_tokens = config.max_tokens.map_or(DEFAULT_MAX_TOKENS, |tokens| tokens as usize);
    if max_tokens == 0 {
        return Err(TextError::invalid("generation.max_tokens", "must be 1 or more"));
    }
    if sampling.min_tokens > max_tokens {
        return Err(TextError::invalid(
            "generation.min_tokens",
            format!("must be at most max_tokens, {max_tokens}"),
        ));
    }
    let (answers, tries) = choices::numbers(config.n, config.best_of)?;
    let format = config.format.map(format).transpose()?;
    if format.is_some() {
        let dead_ends = [
            ("min_tokens", sampling.min_tokens > 0),
            ("ignore_eos", config.ignore_eos),
            ("no_repeat_ngram_size", sampling.no_repeat_ngram_size > 0),
        ];
        if let Some((name, _)) = dead_ends.into_iter().find(|(_, set)| *set) {
            return Err(TextError::invalid(format!("generation.{name}"), "must not be set with a format"));
        }
    }
    Ok(Options {
        sampling,
        max_tokens,
        truncation,
        format,
        logprobs: logprobs(config.logprobs, config.top_logprobs)?,
        lookahead: lookahead(config.lookahead_tokens)?,
        beams,
        deterministic: config.deterministic,
        ignore_eos: config.ignore_eos,
        stop_sequences: stop_sequences(config.stop_sequences)?,
        stop_tokens: stop_tokens(config.stop_token_ids, tokenizer)?,
        priority: priority(config.priority, "generation.priority")?,
        answers,
        tries,
        echo: false,
    })
}

fn format(format: proto::generation_config::Format) -> Result<Format, TextError> {
    let (format, bytes) = match format {
        proto::generation_config::Format::JsonSchema(text) => (Format::JsonSchema(text.clone()), text.len()),
        proto::generation_config::Format::Regex(text) => (Format::Regex(text.clone()), text.len()),
        proto::generation_config::Format::LarkGrammar(text) => (Format::Lark(text.clone()), text.len()),
    };
    if (1..=limits::MAX_GRAMMAR_BYTES).contains(&bytes) {
        return Ok(format);
    }
    Err(TextError::invalid(format.field(), format!("must have 1 to {} bytes", limits::MAX_GRAMMAR_BYTES)))
}

fn logprobs(wanted: bool, top: Option<u32>) -> Result<Option<usize>, TextError> {
    let field = "generation.top_logprobs";
    let top_count = top.map_or(0, |top| top as usize);
    if top_count > limits::MAX_TOP_LOGPROBS {
        return Err(TextError::invalid(field, format!("must be at most {}", limits::MAX_TOP_LOGPROBS)));
    }
    match (wanted, top) {
        (true, _) => Ok(Some(top_count)),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(TextError::invalid(field, "needs logprobs")),
    }
}

fn beams(config: &proto::GenerationConfig) -> Result<Option<BeamSearch>, TextError> {
    let count = config.num_beams.map_or(1, |count| count as usize);
    if !(1..=limits::MAX_BEAMS).contains(&count) {
        let range = format!("must be from 1 to {}", limits::MAX_BEAMS);
        return Err(TextError::invalid("generation.num_beams", range));
    }
    let length_penalty = within("length_penalty", config.length_penalty, 1.0, -2.0, 2.0)?;
    if count == 1 {
        return match config.length_penalty {
            None => Ok(None),
            Some(_) => Err(TextError::invalid("generation.length_penalty", "needs num_beams above 1")),
        };
    }
    let meaningless = [
        ("n or best_of", config.n.max(config.best_of).is_some_and(|answers| answers > 1)),
        ("xtc_probability", config.xtc_probability.is_some_and(|probability| probability > 0.0)),
        ("mirostat_tau", config.mirostat_tau.is_some()),
        ("temperature", config.temperature.is_some_and(|temperature| temperature > 0.0)),
        ("json_schema, regex or lark_grammar", config.format.is_some()),
        ("logprobs", config.logprobs),
        ("lookahead_tokens", config.lookahead_tokens.is_some_and(|tokens| tokens > 0)),
    ];
    match meaningless.into_iter().find(|(_, set)| *set) {
        Some((name, _)) => {
            Err(TextError::invalid("generation.num_beams", format!("must not be set with {name}")))
        }
        None => Ok(Some(BeamSearch { count, length_penalty: length_penalty.into() })),
    }
}

fn lookahead(tokens: Option<u32>) -> Result<usize, TextError> {
    let tokens = tokens.map_or(0, |tokens| tokens as usize);
    if tokens <= limits::MAX_LOOKAHEAD_TOKENS {
        return Ok(tokens);
    }
    let most = format!("must be at most {}", limits::MAX_LOOKAHEAD_TOKENS);
    Err(TextError::invalid("generation.lookahead_tokens", most))
}

fn priority(number: i32, field: &str) -> Result<Priority, TextError> {
    match proto::Priority::try_from(number) {
        Ok(proto::Priority::Low) => Ok(Priority::Low),
        Ok(proto::Priority::Unspecified | proto::Priority::Normal) => Ok(Priority::Normal),
        Ok(proto::Priority::High) => Ok(Priority::High),
        Err(_) => Err(TextError::invalid(field, "must be PRIORITY_LOW, PRIORITY_NORMAL or PRIORITY_HIGH")),
    }
}

/// `least` to `most`, both included; NaN is outside.
fn within(name: &str, value: Option<f32>, default: f32, least: f32, most: f32) -> Result<f32, TextError> {
    match value {
        None => Ok(default),
        Some(value) if (least..=most).contains(&value) => Ok(value),
        Some(_) => {
            Err(TextError::invalid(format!("generation.{name}"), format!("must be from {least} to {most}")))
        }
    }
}

fn above_zero(name: &str, value: Option<f32>, default: f32, most: f32) -> Result<f32, TextError> {
    match value {
        None => Ok(default),
        Some(value) if value > 0.0 && value <= most => Ok(value),
        Some(_) => {
            Err(TextError::invalid(format!("generation.{name}"), format!("must be above 0 and up to {most}")))
        }
    }
}

fn logit_bias(
    bias: impl IntoIterator<Item = (u32, f32)>,
    tokenizer: &TextTokenizer,
) -> Result<Vec<(u32, f32)>, TextError> {
    let mut bias: Vec<_> = bias.into_iter().collect();
    if bias.len() > limits::MAX_LOGIT_BIAS {
        let most = format!("must have at most {} entries", limits::MAX_LOGIT_BIAS);
        return Err(TextError::invalid("generation.logit_bias", most));
    }
    // A map comes in any order; errors and sums should not.
    bias.sort_unstable_by_key(|&(token, _)| token);
    for &(token, bias) in &bias {
        let field = || format!("generation.logit_bias[{token}]");
        vocabulary(token, tokenizer, field)?;
        if !(-100.0..=100.0).contains(&bias) {
            return Err(TextError::invalid(field(), "must be from -100 to 100"));
        }
    }
    Ok(bias)
}

fn stop_sequences(sequences: Vec<String>) -> Result<Vec<Arc<str>>, TextError> {
    if sequences.len() > limits::MAX_STOP_SEQUENCES {
        let most = format!("must have at most {} entries", limits::MAX_STOP_SEQUENCES);
        return Err(TextError::invalid("generation.stop_sequences", most));
    }
    for (index, sequence) in sequences.iter().enumerate() {
        if sequence.is_empty() || sequence.len() > limits::MAX_STOP_SEQUENCE_BYTES {
            let field = format!("generation.stop_sequences[{index}]");
            let length = format!("must have 1 to {} bytes", limits::MAX_STOP_SEQUENCE_BYTES);
            return Err(TextError::invalid(field, length));
        }
    }
    Ok(sequences.into_iter().map(Arc::from).collect())
}

fn stop_tokens(tokens: Vec<u32>, tokenizer: &TextTokenizer) -> Result<Vec<u32>, TextError> {
    if tokens.len() > limits::MAX_STOP_TOKENS {
        let most = format!("must have at most {} entries", limits::MAX_STOP_TOKENS);
        return Err(TextError::invalid("generation.stop_token_ids", most));
    }
    for (index, &token) in tokens.iter().enumerate() {
        vocabulary(token, tokenizer, || format!("generation.stop_token_ids[{index}]"))?;
    }
    Ok(tokens)
}

fn vocabulary(
    token: u32,
    tokenizer: &TextTokenizer,
    field: impl FnOnce() -> String,
) -> Result<(), TextError> {
    let size = tokenizer.vocabulary_size();
    if (token as usize) < size {
        return Ok(());
    }
    Err(TextError::invalid(field(), format!("token {token} is outside the vocabulary of {size}")))
}

pub(crate) fn token_ids(tokens: &[u32], tokenizer: &TextTokenizer) -> Result<(), TextError> {
    if tokens.len() > limits::MAX_DETOKENIZE_TOKENS {
        let most = format!("must have at most {} entries", limits::MAX_DETOKENIZE_TOKENS);
        return Err(TextError::invalid("token_ids", most));
    }
    let bad = tokens.iter().enumerate().max_by_key(|&(_, &token)| token);
    bad.map_or(Ok(()), |(index, &token)| vocabulary(token, tokenizer, || format!("token_ids[{index}]")))
}

pub(crate) fn batch(texts: &[String]) -> Result<(), TextError> {
    if texts.is_empty() || texts.len() > limits::MAX_BATCH_TEXTS {
        return Err(TextError::invalid(
            "texts",
            format!("must have 1 to {} entries", limits::MAX_BATCH_TEXTS),
        ));
    }
    texts.iter().enumerate().try_for_each(|(index, entry)| text(entry, || format!("texts[{index}]")))
}

/// Checks what is to be scored.
pub(crate) fn scoring(request: &proto::ScoreRequest) -> Result<score::Options, TextError> {
    if request.items.is_empty() || request.items.len() > limits::MAX_SCORE_ITEMS {
        let entries = format!("must have 1 to {} entries", limits::MAX_SCORE_ITEMS);
        return Err(TextError::invalid("items", entries));
    }
    for (index, item) in request.items.iter().enumerate() {
        let field = |name: &str| format!("items[{index}].{name}");
        text(&item.context, || field("context"))?;
        text(&item.text, || field("text"))?;
        if item.text.is_empty() {
            return Err(TextError::invalid(field("text"), "must not be empty"));
        }
    }
    Ok(score::Options {
        truncation: truncation(request.truncation()),
        priority: priority(request.priority, "priority")?,
    })
}

pub(crate) fn item_id(id: &str) -> Result<(), TextError> {
    if id.len() <= limits::MAX_ITEM_ID_BYTES {
        return Ok(());
    }
    Err(TextError::invalid("id", format!("must have at most {} bytes", limits::MAX_ITEM_ID_BYTES)))
}

pub(crate) fn truncation(truncation: proto::Truncation) -> Truncation {
    match truncation {
        proto::Truncation::Unspecified | proto::Truncation::Refuse => Truncation::Refuse,
        proto::Truncation::Start => Truncation::Cut(Cut::Start),
        proto::Truncation::Middle => Truncation::Cut(Cut::Middle),
        proto::Truncation::End => Truncation::Cut(Cut::End),
    }
}

pub(crate) fn model_ref(model: &ModelRef) -> common::ModelRef {
    common::ModelRef { id: model.id.to_string(), revision: model.revision.to_string() }
}

/// `called`: the answer calls tools; `truncated_tokens`: those of the prompt that were left out; `tokens`: those written, where
/// they are asked for.
pub(crate) fn completion(
    finished: Finished,
    called: bool,
    truncated_tokens: usize,
    tokens: Vec<proto::TokenLogprob>,
    model: &ModelRef,
) -> proto::Completion {
    let (finish_reason, stop_sequence) = match finished.reason {
        FinishReason::StopToken if called => (common::FinishReason::ToolCalls, String::new()),
        FinishReason::StopToken => (common::FinishReason::Stop, String::new()),
        FinishReason::StopSequence(sequence) => (common::FinishReason::Stop, sequence.as_ref().to_owned()),
        FinishReason::Length => (common::FinishReason::Length, String::new()),
    };
    let timings = finished.timings;
    proto::Completion {
        model: Some(model_ref(model)),
        finish_reason: finish_reason.into(),
        stop_sequence,
        seed: finished.seed,
        usage: Some(common::Usage {
            truncated_tokens: count(truncated_tokens),
            cached_tokens: count(finished.cached_tokens),
            ..usage(finished.prompt_tokens, finished.completion_tokens)
        }),
        timings: Some(common::Timings {
            queue: Some(duration(timings.queue)),
            prefill: Some(duration(timings.prefill)),
            decode: Some(duration(timings.decode)),
            total: Some(duration(timings.total)),
        }),
        tokens,
        choice: 0,
    }
}

/// Tokens with their bytes. Some 20 spellings a token: not for async workers.
pub(crate) fn token_logprobs(
    tokens: Vec<TokenLogprob>,
    tokenizer: &TextTokenizer,
) -> Vec<proto::TokenLogprob> {
    let bytes = |token| tokenizer.token_bytes(token, None);
    let alternative = |(token_id, logprob)| proto::Alternative { token_id, text: bytes(token_id), logprob };
    let token = |token: TokenLogprob| proto::TokenLogprob {
        token_id: token.token,
        text: bytes(token.token),
        logprob: token.logprob,
        top: token.top.into_iter().map(alternative).collect(),
    };
    tokens.into_iter().map(token).collect()
}

pub(crate) fn score(scored: &Scored, tokens: Vec<proto::TokenLogprob>) -> proto::Score {
    proto::Score {
        logprob: scored.logprob(),
        scored_tokens: count(scored.logprobs.len()),
        perplexity: scored.perplexity(),
        tokens,
        truncated_tokens: count(scored.truncated_tokens),
    }
}

pub(crate) fn scores(scores: Vec<(Scored, proto::Score)>, model: &ModelRef) -> proto::ScoreResponse {
    let sum = |tokens: fn(&Scored) -> usize| scores.iter().map(|(scored, _)| tokens(scored)).sum();
    let usage = common::Usage {
        cached_tokens: count(sum(|scored| scored.cached_tokens)),
        truncated_tokens: count(sum(|scored| scored.truncated_tokens)),
        ..usage(sum(|scored| scored.tokens), 0)
    };
    proto::ScoreResponse {
        scores: scores.into_iter().map(|(_, score)| score).collect(),
        model: Some(model_ref(model)),
        usage: Some(usage),
    }
}

pub(crate) fn usage(prompt_tokens: usize, completion_tokens: usize) -> common::Usage {
    common::Usage {
        prompt_tokens: count(prompt_tokens),
        completion_tokens: count(completion_tokens),
        total_tokens: count(prompt_tokens + completion_tokens),
        ..common::Usage::default()
    }
}

/// Counts of tokens are far below 2^32; should one not be, the largest number says so best.
pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn duration(duration: Duration) -> prost_types::Duration {
    // Seconds since some moment of this process fit into 63 bits.
    prost_types::Duration::try_from(duration).unwrap_or_default()
}

/// `number`: which answer's it is.
pub(crate) fn delta(number: usize, text: String, completion_tokens: usize) -> proto::Delta {
    proto::Delta { text, completion_tokens: count(completion_tokens), choice: count(number) }
}

pub(crate) fn embedding(embedded: Embedded) -> proto::Embedding {
    proto::Embedding { values: embedded.values, truncated: embedded.truncated }
}

pub(crate) fn model(loaded: &LoadedModel) -> common::Model {
    let reference = model_ref(loaded.model());
    // What a model is made for comes first.
    let (tasks, context_length, dimensions, license): (&[ModelTask], _, _, _) = match loaded {
        LoadedModel::Generation(model) => {
            (&[ModelTask::TextGeneration], model.context_length(), 0, &model.license)
        }
        LoadedModel::Embedding(model) => {
            let tasks = &[ModelTask::TextEmbedding, ModelTask::TextReranking];
            (tasks, model.max_length, model.dimensions, &model.license)
        }
        LoadedModel::Reranking(model) => (&[ModelTask::TextReranking], model.max_length, 0, &model.license),
    };
    let embedding_space = if dimensions > 0 { reference.id.clone() } else { String::new() };
    common::Model {
        id: reference.id,
        revision: reference.revision,
        tasks: tasks.iter().map(|&task| task.into()).collect(),
        context_length: count(context_length),
        vocabulary_size: count(loaded.tokenizer().vocabulary_size()),
        embedding_dimensions: count(dimensions),
        embedding_space,
        license: license.clone(),
        image: None,
    }
}

#[cfg(test)]
mod tests;
