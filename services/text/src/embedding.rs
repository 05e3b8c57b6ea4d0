//! A loaded sentence encoder: texts in, vectors out, many texts in one run.

use std::{collections::BTreeMap, sync::Arc};

use atelier_core::ModelRef;
use atelier_inference::{Batcher, ModelFolder, Runtime, Ticket};
use atelier_rpc::Workers;
use serde::Deserialize;

use crate::{
    TextError,
    config::{EmbeddingConfig, ModelConfig},
    encoder::{self, Encoder, Tokens},
    files::read_or_default,
    generation::Caller,
    sentence::SentenceFolder,
    tokens::TextTokenizer,
    truncation::{Cut, Truncation},
};

const SENTENCE_TRANSFORMERS: &str = "config_sentence_transformers.json";

/// A vector and what it was made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Embedded {
    /// The vector, of length 1 (L2) unless the model's folder says otherwise.
    pub values: Vec<f32>,
    /// Tokens that the model read.
    pub tokens: usize,
    /// Part of the text was left out.
    pub truncated: bool,
}

/// A model that embeds.
pub(crate) struct EmbeddingModel {
    /// Name and revision.
    pub model: ModelRef,
    /// SPDX identifier of its licence, or empty.
    pub license: String,
    /// Length of a vector.
    pub dimensions: usize,
    /// Most tokens of a text, prefix and special tokens included.
    pub max_length: usize,
    /// Vectors are scaled to length 1.
    normalised: bool,
    prefixes: Prefixes,
    tokenizer: Arc<TextTokenizer>,
    batcher: Batcher<Encoder>,
}

/// `options` of the model's manifest.
#[derive(Debug, Default, Deserialize)]
struct ManifestOptions {
    prefix: Option<String>,
    query_prefix: Option<String>,
    document_prefix: Option<String>,
    max_length: Option<usize>,
}

/// `config_sentence_transformers.json`, as far as it concerns us.
#[derive(Debug, Default, Deserialize)]
struct SentenceTransformersFile {
    /// What is put before texts, by what they are for.
    #[serde(default)]
    prompts: BTreeMap<String, String>,
    /// Which of them is put before texts of no special purpose.
    default_prompt_name: Option<String>,
}

/// What a text is to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// One of many of its kind.
    Text,
    /// Asks.
    Query,
    /// May answer.
    Document,
}

/// What is put before texts.
#[derive(Debug, PartialEq, Eq)]
struct Prefixes {
    text: String,
    query: String,
    document: String,
}

impl Prefixes {
    /// As the configuration says, else the model's manifest, else what sentence-transformers wrote beside it. Where none of them
    /// tells queries and documents from other texts, neither does the model.
    fn new(config: &EmbeddingConfig, options: ManifestOptions, mut file: SentenceTransformersFile) -> Self {
        let usual = file.default_prompt_name.and_then(|name| file.prompts.get(&name).cloned());
        let text = config.prefix.clone().or(options.prefix).or(usual).unwrap_or_default();
        let query = config.query_prefix.clone().or(options.query_prefix);
        let document = config.document_prefix.clone().or(options.document_prefix);
        let mut prompt = |names: &[&str]| names.iter().find_map(|name| file.prompts.remove(*name));
        Self {
            query: query.or_else(|| prompt(&["query"])).unwrap_or_else(|| text.clone()),
            // E5 calls them passages.
            document: document.or_else(|| prompt(&["document", "passage"])).unwrap_or_else(|| text.clone()),
            text,
        }
    }

    fn before(&self, part: Part) -> &str {
        match part {
            Part::Text => &self.text,
            Part::Query => &self.query,
            Part::Document => &self.document,
        }
    }
}

impl EmbeddingModel {
    /// Loads a model and runs it once.
    ///
    /// # Errors
    /// A file is missing, broken or of a kind that can't be served.
    pub(crate) fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        config: &ModelConfig,
    ) -> Result<Self, TextError> {
        let sentence = SentenceFolder::read(folder)?;
        let tokenizer = TextTokenizer::load(&folder.file("tokenizer.json")?)?;
        let tokenizer = if sentence.is_lower_case() { tokenizer.lower_case()? } else { tokenizer };
        let options: ManifestOptions = folder.options()?;
        let settings = &config.embedding;
        let max_length = match settings.max_length.or(options.max_length) {
            Some(length) => length,
            None => sentence.max_length()?,
        };
        let graph = encoder::load_graph(runtime, folder, &config.session)?;
        let output = sentence.output(graph.outputs())?;
        let mut encoder = Encoder::new(graph, output);
        let probe = tokenizer.encode_truncated("warm-up", max_length, Cut::End)?;
        let dimensions = encoder.probe(Tokens { ids: probe.ids, types: Vec::new() })?.len();
        let batcher = encoder.start(config.id.as_str(), &settings.batcher)?;
        let file = read_or_default(folder, SENTENCE_TRANSFORMERS)?;
        Ok(Self {
            model: ModelRef { id: config.id.clone(), revision: folder.model().revision.clone() },
            license: folder.license().to_owned(),
            dimensions,
            max_length,
            normalised: sentence.is_normalised(),
            prefixes: Prefixes::new(settings, options, file),
            tokenizer: Arc::new(tokenizer),
            batcher,
        })
    }

    /// Its tokenizer.
    #[must_use]
    pub(crate) fn tokenizer(&self) -> &Arc<TextTokenizer> {
        &self.tokenizer
    }

    /// A text as the model reads it.
    #[must_use]
    pub(crate) fn prefixed(&self, part: Part, text: &str) -> String {
        [self.prefixes.before(part), text].concat()
    }

    /// Embeds a text that is prefixed already, in a batch with others. `field` names it in an error.
    ///
    /// # Errors
    /// The text is too long and may not be cut, the queue is full or the deadline passes.
    pub(crate) async fn embed(
        &self,
        text: String,
        field: &str,
        truncation: Truncation,
        caller: Caller,
        workers: &Workers,
    ) -> Result<Embedded, TextError> {
        let (tokenizer, max_length) = (Arc::clone(&self.tokenizer), self.max_length);
        let cut = match truncation {
            Truncation::Cut(cut) => cut,
            Truncation::Refuse => Cut::End,
        };
        let encode = move || tokenizer.encode_truncated(&text, max_length, cut);
        let kept = workers.run(caller.deadline, encode).await?;
        let truncated = kept.full_length > kept.ids.len();
        if truncated && truncation == Truncation::Refuse {
            let (field, tokens) = (field.to_owned(), kept.full_length);
            return Err(TextError::ContextLengthExceeded { field, tokens, limit: self.max_length });
        }
        let tokens = kept.ids.len();
        let ticket = Ticket { deadline: caller.deadline, tenant: caller.tenant };
        let values = self.batcher.submit(Tokens { ids: kept.ids, types: Vec::new() }, ticket).await?;
        let values = if self.normalised { unit(&values) } else { values };
        Ok(Embedded { values, tokens, truncated })
    }
}

/// Scales to length 1; graphs that do so already differ in the last bits.
fn unit(values: &[f32]) -> Vec<f32> {
    let length = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        values.iter().map(|&value| (f64::from(value) / length) as f32).collect()
    } else {
        values.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(config: &str, options: &str, file: &str) -> [String; 3] {
        let read = Prefixes::new(
            &serde_json::from_str(config).unwrap(),
            serde_json::from_str(options).unwrap(),
            serde_json::from_str(file).unwrap(),
        );
        [Part::Text, Part::Query, Part::Document].map(|part| read.before(part).to_owned())
    }

    #[test]
    fn prefixes_come_from_the_first_place_that_tells_them() {
        let e5 =
            r#"{"prompts": {"query": "query: ", "passage": "passage: "}, "similarity_fn_name": "cosine"}"#;
        assert_eq!(prefixes("{}", "{}", "{}"), ["", "", ""]);
        assert_eq!(prefixes("{}", "{}", e5), ["", "query: ", "passage: "]);
        assert_eq!(prefixes("{}", r#"{"prefix": "q: "}"#, "{}"), ["q: ", "q: ", "q: "]);
        let options = r#"{"prefix": "q: ", "document_prefix": "d: ", "dimensions": 8}"#;
        assert_eq!(prefixes("{}", options, e5), ["q: ", "query: ", "d: "]);
        let usual = r#"{"prompts": {"query": "query: ", "usual": "u: "}, "default_prompt_name": "usual"}"#;
        assert_eq!(prefixes("{}", "{}", usual), ["u: ", "query: ", "u: "]);
        assert_eq!(prefixes("{}", r#"{"prefix": ""}"#, usual), ["", "query: ", ""]);
        let config = r#"{"query_prefix": "", "document_prefix": "doc: "}"#;
        assert_eq!(prefixes(config, options, e5), ["q: ", "", "doc: "]);
    }
}
