//! What a generating model's folder says beside its graph: end tokens, default sampling, chat template. The file
//! formats are those of Hugging Face transformers, and `genai_config.json` of onnxruntime-genai, which stands in for
//! `config.json` and `generation_config.json`.

use atelier_inference::ModelFolder;
use serde::{Deserialize, de::DeserializeOwned};

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

/// `config.json`, or the part of `genai_config.json` that takes its place.
#[derive(Debug, Default, Deserialize)]
struct ModelFile {
    #[serde(default)]
    eos_token_id: Option<OneOrMany>,
}

/// `genai_config.json`.
#[derive(Debug, Default, Deserialize)]
struct GenaiFile {
    #[serde(default)]
    model: ModelFile,
    #[serde(default)]
    search: GenerationFile,
}

impl GenerationFile {
    /// `generation_config.json`; where it is silent about the end, or missing, what the files say that take its place.
    pub(crate) fn read(folder: &ModelFolder) -> Result<Self, TextError> {
        let genai: GenaiFile = read_or_default(folder, "genai_config.json")?;
        let mut file = if folder.has("generation_config.json") {
            folder.json("generation_config.json")?
        } else {
            genai.search
        };
        if file.eos_token_id.is_none() {
            let model: ModelFile = read_or_default(folder, "config.json")?;
            file.eos_token_id = genai.model.eos_token_id.or(model.eos_token_id);
        }
        Ok(file)
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

/// A file of the folder, or what stands for one that is not there.
pub(crate) fn read_or_default<T: Default + DeserializeOwned>(
    folder: &ModelFolder,
    name: &str,
) -> Result<T, TextError> {
    if folder.has(name) { Ok(folder.json(name)?) } else { Ok(T::default()) }
}

/// `tokenizer_config.json`, as far as it concerns us; `special_tokens_map.json` has the first two of it.
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
        let mut file: Self = read_or_default(folder, "tokenizer_config.json")?;
        let special: Self = read_or_default(folder, "special_tokens_map.json")?;
        file.bos_token = file.bos_token.or(special.bos_token);
        file.eos_token = file.eos_token.or(special.eos_token);
        Ok(file)
    }

    /// Spellings of the tokens that templates name. Where no file spells it, the end token is the first of
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

    /// The chat template; `None` for a model without.
    pub(crate) fn template(
        self,
        folder: &ModelFolder,
        named: NamedTokens,
    ) -> Result<Option<ChatTemplate>, TextError> {
        let tool_use = self.tool_use_source(folder)?;
        self.template_source(folder)?.map(|source| ChatTemplate::new(source, tool_use, named)).transpose()
    }

    /// `chat_template.jinja`, else the default one of this file.
    fn template_source(&self, folder: &ModelFolder) -> Result<Option<String>, TextError> {
        if folder.has("chat_template.jinja") {
            return Ok(Some(folder.text("chat_template.jinja")?));
        }
        Ok(match &self.chat_template {
            Some(Templates::One(source)) => Some(source.clone()),
            Some(Templates::Named(_)) | None => self.named_template("default"),
        })
    }

    /// The template for conversations with tools, where there is one of its own.
    fn tool_use_source(&self, folder: &ModelFolder) -> Result<Option<String>, TextError> {
        const APART: &str = "additional_chat_templates/tool_use.jinja";
        if folder.has(APART) {
            return Ok(Some(folder.text(APART)?));
        }
        Ok(self.named_template("tool_use"))
    }

    fn named_template(&self, name: &str) -> Option<String> {
        let Some(Templates::Named(templates)) = &self.chat_template else { return None };
        templates.iter().find(|template| template.name == name).map(|found| found.template.clone())
    }
}

/// A folder of these files, in a temporary one.
#[cfg(test)]
pub(crate) fn written_folder(files: &[(&str, &str)]) -> (tempfile::TempDir, ModelFolder) {
    let made = tempfile::tempdir().expect("a temporary folder can be made");
    let path = made.path().join("model");
    std::fs::create_dir(&path).expect("a folder can be made");
    for (name, text) in files {
        let file = path.join(name);
        std::fs::create_dir_all(file.parent().expect("it is in the folder")).expect("a folder can be made");
        std::fs::write(file, text).expect("the file can be written");
    }
    let opened = ModelFolder::open(&path).expect("the folder is whole");
    (made, opened)
}

#[cfg(test)]
mod tests {
    use super::{written_folder as folder, *};

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

    #[test]
    fn end_tokens_come_from_the_first_file_that_tells_them() {
        let ends = |files: &[(&str, &str)]| {
            let (_made, folder) = folder(files);
            match GenerationFile::read(&folder).expect("it reads").eos_token_id {
                Some(OneOrMany::One(id)) => vec![id],
                Some(OneOrMany::Many(ids)) => ids,
                None => Vec::new(),
            }
        };
        let generation = ("generation_config.json", r#"{"eos_token_id": [5, 6]}"#);
        let silent = ("generation_config.json", r#"{"temperature": 0.6, "eos_token_id": null}"#);
        let model = ("config.json", r#"{"eos_token_id": 7, "hidden_size": 8}"#);
        let genai = ("genai_config.json", r#"{"model": {"eos_token_id": [8, 9], "type": "llama"}}"#);
        assert_eq!(ends(&[generation, model, genai]), [5, 6]);
        assert_eq!(ends(&[silent, model]), [7]);
        assert_eq!(ends(&[silent, model, genai]), [8, 9]);
        assert_eq!(ends(&[genai]), [8, 9]);
        assert_eq!(ends(&[]), [0_u32; 0]);
    }

    #[test]
    fn onnxruntime_genai_keeps_its_sampling_elsewhere() {
        let genai = r#"{"model": {}, "search": {"do_sample": true, "temperature": 0.5, "top_k": 20, "max_length": 9}}"#;
        let (_made, folder) = folder(&[("genai_config.json", genai)]);
        let defaults = GenerationFile::read(&folder).expect("it reads").sampling().expect("in range");
        assert_eq!((defaults.temperature, defaults.top_k, defaults.top_p), (0.5, 20, 1.0));
    }

    #[test]
    fn tokens_are_spelled_by_the_map_where_the_tokenizer_is_silent() {
        let config = ("tokenizer_config.json", r#"{"bos_token": "<a>", "chat_template": "t"}"#);
        let map = ("special_tokens_map.json", r#"{"bos_token": "<b>", "eos_token": {"content": "</b>"}}"#);
        let (_made, folder) = folder(&[config, map]);
        let file = TokenizerFile::read(&folder).expect("it reads");
        assert!(matches!(file.bos_token, Some(Spelling::Plain(ref token)) if token == "<a>"));
        assert!(matches!(file.eos_token, Some(Spelling::Added { ref content }) if content == "</b>"));
    }

    #[test]
    fn templates_are_found_in_each_of_their_places() {
        let found = |files: &[(&str, &str)]| {
            let (_made, folder) = folder(files);
            let file = TokenizerFile::read(&folder).expect("it reads");
            file.template_source(&folder).expect("it reads")
        };
        let one = ("tokenizer_config.json", r#"{"chat_template": "one"}"#);
        let named = r#"{"chat_template": [{"name": "rag", "template": "r"}, {"name": "default", "template": "named"}]}"#;
        let named = ("tokenizer_config.json", named);
        let apart = ("chat_template.jinja", "apart");
        assert_eq!(found(&[one]).as_deref(), Some("one"));
        assert_eq!(found(&[named]).as_deref(), Some("named"));
        assert_eq!(found(&[one, apart]).as_deref(), Some("apart"));
        assert_eq!(found(&[apart]).as_deref(), Some("apart"));
        assert_eq!(found(&[]), None);
    }

    #[test]
    fn a_template_for_tools_may_stand_apart() {
        let found = |files: &[(&str, &str)]| {
            let (_made, folder) = folder(files);
            let file = TokenizerFile::read(&folder).expect("it reads");
            file.tool_use_source(&folder).expect("it reads")
        };
        let named = r#"{"chat_template": [{"name": "default", "template": "d"}, {"name": "tool_use", "template": "named"}]}"#;
        let named = ("tokenizer_config.json", named);
        let apart = ("additional_chat_templates/tool_use.jinja", "apart");
        assert_eq!(found(&[named]).as_deref(), Some("named"));
        assert_eq!(found(&[named, apart]).as_deref(), Some("apart"));
        assert_eq!(found(&[("tokenizer_config.json", r#"{"chat_template": "one"}"#)]), None);
    }
}
