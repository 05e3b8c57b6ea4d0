//! What a generating model's folder says beside its graph: end tokens, default sampling, chat template. The file
//! formats are those of Hugging Face transformers.

use atelier_inference::ModelFolder;
use serde::Deserialize;

use crate::{
    TextError,
    template::{ChatTemplate, NamedTokens},
    tokens::TextTokenizer,
};

/// How a model writes where a call does not say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SamplingDefaults {
    /// 0 to 2.
    pub temperature: f32,
    /// 0 keeps all tokens.
    pub top_k: usize,
    /// Above 0 and up to 1.
    pub top_p: f32,
    /// Above 0 and up to 2.
    pub repetition_penalty: f32,
}

/// `generation_config.json`, as far as it concerns us.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct GenerationFile {
    #[serde(default)]
    eos_token_id: Option<OneOrMany>,
    do_sample: Option<bool>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(u32),
    Many(Vec<u32>),
}

impl GenerationFile {
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, TextError> {
        if folder.has("generation_config.json") {
            Ok(folder.json("generation_config.json")?)
        } else {
            Ok(Self::default())
        }
    }

    /// The model's own defaults, else those that the API documents.
    pub(crate) fn sampling(&self) -> Result<SamplingDefaults, TextError> {
        // Only an explicit `false` asks for greedy writing: the absent key means it too in transformers, but most
        // models leave it out and are meant to be sampled from.
        let greedy = self.do_sample == Some(false);
        let defaults = SamplingDefaults {
            temperature: if greedy { 0.0 } else { self.temperature.unwrap_or(1.0) },
            top_k: self.top_k.unwrap_or(0),
            top_p: self.top_p.unwrap_or(1.0),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
        };
        let fits = (0.0..=2.0).contains(&defaults.temperature)
            && defaults.top_p > 0.0
            && defaults.top_p <= 1.0
            && defaults.repetition_penalty > 0.0
            && defaults.repetition_penalty <= 2.0;
        if fits {
            Ok(defaults)
        } else {
            Err(TextError::model_file("generation_config.json", "sampling out of range"))
        }
    }

    /// Tokens that end an answer.
    pub(crate) fn end_tokens(&self, named: &NamedTokens, tokenizer: &TextTokenizer) -> Vec<u32> {
        match &self.eos_token_id {
            Some(OneOrMany::One(id)) => vec![*id],
            Some(OneOrMany::Many(ids)) => ids.clone(),
            None => named.eos.iter().filter_map(|eos| tokenizer.id_of(eos)).collect(),
        }
    }
}

/// `tokenizer_config.json`, as far as it concerns us.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TokenizerFile {
    #[serde(default)]
    bos_token: Option<Spelling>,
    #[serde(default)]
    eos_token: Option<Spelling>,
    #[serde(default)]
    chat_template: Option<Templates>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Spelling {
    Plain(String),
    Added { content: String },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Debug, Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

impl TokenizerFile {
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, TextError> {
        if folder.has("tokenizer_config.json") {
            Ok(folder.json("tokenizer_config.json")?)
        } else {
            Ok(Self::default())
        }
    }

    /// Spellings of the tokens that templates name. Where this file says nothing, the end token is the first of
    /// `generation_config.json`.
    pub(crate) fn named_tokens(&self, generation: &GenerationFile, tokenizer: &TextTokenizer) -> NamedTokens {
        let spelled = |token: &Option<Spelling>| {
            token.as_ref().map(|token| match token {
                Spelling::Plain(content) | Spelling::Added { content } => content.clone(),
            })
        };
        let first_end = || match generation.eos_token_id.as_ref()? {
            OneOrMany::One(id) => tokenizer.spelling(*id),
            OneOrMany::Many(ids) => ids.first().and_then(|id| tokenizer.spelling(*id)),
        };
        NamedTokens { bos: spelled(&self.bos_token), eos: spelled(&self.eos_token).or_else(first_end) }
    }

    /// The chat template: `chat_template.jinja`, else the default one of this file; `None` for a model without.
    pub(crate) fn template(
        self,
        folder: &ModelFolder,
        named: NamedTokens,
    ) -> Result<Option<ChatTemplate>, TextError> {
        let source = if folder.has("chat_template.jinja") {
            Some(folder.text("chat_template.jinja")?)
        } else {
            match self.chat_template {
                Some(Templates::One(source)) => Some(source),
                Some(Templates::Named(templates)) => templates
                    .into_iter()
                    .find(|template| template.name == "default")
                    .map(|found| found.template),
                None => None,
            }
        };
        source.map(|source| ChatTemplate::new(source, named)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_file_leaves_the_documented_defaults() {
        let file: GenerationFile =
            serde_json::from_str(r#"{"eos_token_id": [2, 0], "bos_token_id": 1}"#).expect("it parses");
        let defaults = file.sampling().expect("they are in range");
        assert_eq!(
            defaults,
            SamplingDefaults { temperature: 1.0, top_k: 0, top_p: 1.0, repetition_penalty: 1.0 }
        );
    }

    #[test]
    fn a_models_own_defaults_are_taken_and_checked() {
        let file: GenerationFile = serde_json::from_str(
            r#"{"eos_token_id": 2, "do_sample": true, "temperature": 0.2, "top_k": 50, "top_p": 0.9}"#,
        )
        .expect("it parses");
        let defaults = file.sampling().expect("they are in range");
        assert_eq!((defaults.temperature, defaults.top_k, defaults.top_p), (0.2, 50, 0.9));
        let file: GenerationFile = serde_json::from_str(r#"{"top_p": 0}"#).expect("it parses");
        assert!(file.sampling().is_err());
    }

    #[test]
    fn tokenizer_configs_of_both_kinds_parse() {
        let text = r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>",
            "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]}"#;
        let file: TokenizerFile = serde_json::from_str(text).expect("it parses");
        assert!(matches!(file.bos_token, Some(Spelling::Added { ref content }) if content == "<s>"));
        assert!(matches!(file.chat_template, Some(Templates::Named(ref templates)) if templates.len() == 2));
        let file: TokenizerFile =
            serde_json::from_str(r#"{"chat_template": "x", "bos_token": null}"#).expect("it parses");
        assert!(matches!(file.chat_template, Some(Templates::One(_))) && file.bos_token.is_none());
    }
}
