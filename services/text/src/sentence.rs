//! What stands beside a sentence encoder's graph, in the files of sentence-transformers and transformers: what is made of the
//! graph's outputs, and how long a text may be.

use atelier_inference::{InferenceError, ModelFolder, Port};
use serde::Deserialize;

use crate::{TextError, encoder::Output, files::read_or_default, pooling::PoolingFile};

/// Longest text of an encoder that does not say, in tokens: what BERT-like encoders are trained with.
pub(crate) const DEFAULT_MAX_LENGTH: usize = 512;

const MODULES: &str = "modules.json";
/// Where the pooling module is, if no file says so.
const POOLING: &str = "1_Pooling";
/// What graphs call a text's vector.
const ROWS: &str = "sentence_embedding";
/// What they call the vectors of its tokens.
const TOKENS: [&str; 2] = ["last_hidden_state", "token_embeddings"];
/// Names of the transformer module's settings; some are of old models.
const SETTINGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// Longer than any model reads: a length that stands for none.
const UNBOUNDED: f64 = 1e6;

/// A folder that may have been written by sentence-transformers.
pub(crate) struct SentenceFolder<'a> {
    folder: &'a ModelFolder,
    /// In the order in which they run.
    modules: Option<Vec<Module>>,
    settings: Settings,
}

/// A line of `modules.json`.
#[derive(Debug, Deserialize)]
struct Module {
    #[serde(rename = "type")]
    class: String,
    #[serde(default)]
    path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transformer,
    Pooling,
    Normalize,
    Other,
}

/// `sentence_bert_config.json`.
#[derive(Debug, Default, Deserialize)]
struct Settings {
    max_seq_length: Option<f64>,
    do_lower_case: Option<bool>,
}

/// `tokenizer_config.json`, as far as it concerns encoders.
#[derive(Debug, Default, Deserialize)]
struct TokenizerFile {
    model_max_length: Option<f64>,
}

/// `config.json`, as far as it concerns encoders.
#[derive(Debug, Default, Deserialize)]
struct ModelFile {
    #[serde(default)]
    model_type: String,
    max_position_embeddings: Option<f64>,
    pad_token_id: Option<u32>,
}

impl Module {
    fn kind(&self) -> Kind {
        // The path within the package has changed, the class's name has not. A class of the same name from elsewhere is another.
        let class = self.class.strip_prefix("sentence_transformers.");
        match class.and_then(|class| class.rsplit('.').next()) {
            Some("Transformer") => Kind::Transformer,
            Some("Pooling") => Kind::Pooling,
            Some("Normalize") => Kind::Normalize,
            Some(_) | None => Kind::Other,
        }
    }

    fn file(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

impl ModelFile {
    /// Most tokens that it has positions for.
    fn positions(&self) -> Option<f64> {
        // These count positions from behind that of padding.
        let counts_padding = matches!(
            self.model_type.as_str(),
            "roberta" | "xlm-roberta" | "xlm-roberta-xl" | "camembert" | "mpnet" | "longformer"
        );
        let before = if counts_padding { f64::from(self.pad_token_id.unwrap_or(1)) + 1.0 } else { 0.0 };
        self.max_position_embeddings.map(|positions| positions - before)
    }
}

impl<'a> SentenceFolder<'a> {
    /// Reads what there is; nothing has to be.
    ///
    /// # Errors
    /// A file is broken.
    pub(crate) fn read(folder: &'a ModelFolder) -> Result<Self, TextError> {
        let modules: Option<Vec<Module>> =
            if folder.has(MODULES) { Some(folder.json(MODULES)?) } else { None };
        let transformer = modules.iter().flatten().find(|module| module.kind() == Kind::Transformer);
        let place = |name: &str| transformer.map_or_else(|| name.to_owned(), |module| module.file(name));
        let settings = match SETTINGS.map(place).into_iter().find(|name| folder.has(name)) {
            Some(name) => folder.json(&name)?,
            None => Settings::default(),
        };
        Ok(Self { folder, modules, settings })
    }

    /// What is made of a graph's outputs.
    ///
    /// # Errors
    /// It has none of those that are known, or only vectors of tokens and the folder does not say how they are pooled, or has a
    /// module other than those that pool and scale.
    pub(crate) fn output(&self, graph: &[Port]) -> Result<Output, TextError> {
        let has = |name: &&str| graph.iter().any(|port| port.name == *name);
        if has(&ROWS) {
            return Ok(Output::Rows(ROWS));
        }
        let [one, other] = TOKENS;
        let none =
            || self.unsupported(format!("its graph has none of the outputs {ROWS}, {one} and {other}"));
        let tokens = TOKENS.into_iter().find(has).ok_or_else(none)?;
        let file = self.pooling_file()?;
        if !self.folder.has(&file) {
            let problem = format!(
                "its graph gives vectors of tokens, and there is no {file} to say how they are pooled"
            );
            return Err(self.unsupported(problem));
        }
        let pooling = self.folder.json::<PoolingFile>(&file)?.pooling();
        Ok(Output::Pooled(tokens, pooling.map_err(|problem| TextError::model_file(file, problem))?))
    }

    /// The pooling module's, where nothing else is between it and the graph.
    fn pooling_file(&self) -> Result<String, TextError> {
        const FILE: &str = "config.json";
        let Some(modules) = &self.modules else { return Ok(format!("{POOLING}/{FILE}")) };
        let refused = |problem: String| Err(TextError::model_file(MODULES, problem));
        if let Some(other) = modules.iter().find(|module| module.kind() == Kind::Other) {
            return refused(format!(
                "module {:?} is not in the graph, and only Pooling and Normalize are served beside it",
                other.class
            ));
        }
        let mut pooling = modules.iter().filter(|module| module.kind() == Kind::Pooling);
        match (pooling.next(), pooling.next()) {
            (Some(module), None) => Ok(module.file(FILE)),
            (None, _) => {
                refused("the graph gives vectors of tokens, and there is no module Pooling".to_owned())
            }
            (Some(_), Some(_)) => refused("there are two modules Pooling".to_owned()),
        }
    }

    /// Whether vectors are scaled to length 1: as the last of the modules says; those of a folder without modules are.
    #[must_use]
    pub(crate) fn is_normalised(&self) -> bool {
        let Some(modules) = &self.modules else { return true };
        modules.last().is_some_and(|module| module.kind() == Kind::Normalize)
    }

    /// Texts are read in small letters.
    #[must_use]
    pub(crate) fn is_lower_case(&self) -> bool {
        self.settings.do_lower_case == Some(true)
    }

    /// Most tokens of a text, special ones included: as the transformer module's settings say, else the tokenizer's limit or the
    /// model's positions, whichever is less, else [`DEFAULT_MAX_LENGTH`].
    ///
    /// # Errors
    /// A file is broken.
    pub(crate) fn max_length(&self) -> Result<usize, TextError> {
        if let Some(length) = self.settings.max_seq_length.and_then(bounded) {
            return Ok(length);
        }
        let tokenizer: TokenizerFile = read_or_default(self.folder, "tokenizer_config.json")?;
        let model: ModelFile = read_or_default(self.folder, "config.json")?;
        let known = [tokenizer.model_max_length, model.positions()].into_iter().flatten().filter_map(bounded);
        Ok(known.min().unwrap_or(DEFAULT_MAX_LENGTH))
    }

    fn unsupported(&self, problem: String) -> TextError {
        InferenceError::ModelUnsupported { model: self.folder.id().to_string(), problem }.into()
    }
}

/// A length, if it is one: files say -1 or 1e30 for none.
fn bounded(length: f64) -> Option<usize> {
    (1.0..=UNBOUNDED).contains(&length).then_some(length as usize)
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use atelier_inference::ElementType;

    use super::*;
    use crate::files::written_folder;

    const NORMALISED: &str = r#"[
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;
    const MEAN: (&str, &str) = ("1_Pooling/config.json", r#"{"pooling_mode": "mean"}"#);

    fn max_length(files: &[(&str, &str)]) -> usize {
        let (_made, folder) = written_folder(files);
        SentenceFolder::read(&folder).expect("it reads").max_length().expect("it reads")
    }

    #[test]
    fn the_longest_text_comes_from_the_first_file_that_tells_it() {
        let module = ("sentence_bert_config.json", r#"{"max_seq_length": 128, "do_lower_case": false}"#);
        let old = ("sentence_roberta_config.json", r#"{"max_seq_length": 96}"#);
        let silent = ("sentence_bert_config.json", r#"{"max_seq_length": null}"#);
        let tokenizer = ("tokenizer_config.json", r#"{"model_max_length": 256}"#);
        let any = ("tokenizer_config.json", r#"{"model_max_length": 1000000000000000019884624838656}"#);
        let model = ("config.json", r#"{"model_type": "bert", "max_position_embeddings": 384}"#);
        let roberta = (
            "config.json",
            r#"{"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}"#,
        );
        let boundless = ("config.json", r#"{"max_position_embeddings": -1}"#);
        assert_eq!(max_length(&[module, tokenizer, model]), 128);
        assert_eq!(max_length(&[old, tokenizer]), 96);
        assert_eq!(max_length(&[silent, tokenizer, model]), 256);
        assert_eq!(max_length(&[any, model]), 384);
        assert_eq!(max_length(&[model]), 384);
        assert_eq!(max_length(&[any, roberta]), 512);
        assert_eq!(max_length(&[any, boundless]), DEFAULT_MAX_LENGTH);
        assert_eq!(max_length(&[]), DEFAULT_MAX_LENGTH);
    }

    #[test]
    fn a_transformer_in_a_folder_of_its_own_has_its_settings_there() {
        let modules =
            r#"[{"idx": 0, "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]"#;
        let settings = r#"{"max_seq_length": 32, "do_lower_case": true}"#;
        let files = [(MODULES, modules), ("0_Transformer/sentence_bert_config.json", settings)];
        let (_made, folder) = written_folder(&files);
        let read = SentenceFolder::read(&folder).expect("it reads");
        assert_eq!((read.max_length().expect("it reads"), read.is_lower_case()), (32, true));
    }

    #[test]
    fn modules_say_whether_vectors_are_scaled() {
        let is_normalised = |files: &[(&str, &str)]| {
            let (_made, folder) = written_folder(files);
            SentenceFolder::read(&folder).expect("it reads").is_normalised()
        };
        let current =
            NORMALISED.replace("models.Normalize", "sentence_transformer.modules.normalize.Normalize");
        let raw = NORMALISED.replace("models.Normalize", "models.Dense");
        assert!(is_normalised(&[]));
        assert!(is_normalised(&[(MODULES, NORMALISED)]));
        assert!(is_normalised(&[(MODULES, &current)]));
        assert!(!is_normalised(&[(MODULES, &raw)]));
    }

    fn output(graph: &[&str], files: &[(&str, &str)]) -> Result<Output, String> {
        let (_made, folder) = written_folder(files);
        let port = |name: &&str| Port {
            name: (*name).to_owned(),
            element_type: ElementType::F32,
            dimensions: Vec::new(),
        };
        let ports: Vec<_> = graph.iter().map(port).collect();
        SentenceFolder::read(&folder).expect("it reads").output(&ports).map_err(|error| {
            let cause = error.source().map(ToString::to_string).unwrap_or_default();
            format!("{error}: {cause}")
        })
    }

    #[test]
    fn outputs_are_taken_as_they_are_or_pooled() {
        let whole = output(&["token_embeddings", "sentence_embedding"], &[]);
        assert!(matches!(whole, Ok(Output::Rows("sentence_embedding"))), "{whole:?}");
        let pooled = output(&["token_embeddings"], &[MEAN]);
        assert!(matches!(pooled, Ok(Output::Pooled("token_embeddings", _))), "{pooled:?}");
        let pooled = output(&["last_hidden_state"], &[(MODULES, NORMALISED), MEAN]);
        assert!(matches!(pooled, Ok(Output::Pooled("last_hidden_state", _))), "{pooled:?}");
        let elsewhere = NORMALISED.replace("1_Pooling", "2_Pooling");
        let files = [(MODULES, elsewhere.as_str()), ("2_Pooling/config.json", MEAN.1)];
        assert!(output(&["last_hidden_state"], &files).is_ok());
        // What is in the graph already need not be served beside it.
        let dense = NORMALISED.replace("models.Pooling", "models.Dense");
        assert!(output(&["sentence_embedding"], &[(MODULES, &dense)]).is_ok());
    }

    #[test]
    fn what_is_missing_or_not_served_is_named() {
        let tokens = &["last_hidden_state"];
        let with = |class: &str| NORMALISED.replace("sentence_transformers.models.Normalize", class);
        let dense = with("sentence_transformers.models.Dense");
        let foreign = with("custom.Normalize");
        let twice = with("sentence_transformers.models.Pooling");
        let none = NORMALISED.replace("models.Pooling", "models.Normalize");
        let median = (MEAN.0, r#"{"pooling_mode": "median"}"#);
        for (graph, files, name) in [
            (&["logits"], &[MEAN][..], "sentence_embedding, last_hidden_state and token_embeddings"),
            (tokens, &[], "1_Pooling/config.json"),
            (tokens, &[(MODULES, NORMALISED)], "1_Pooling/config.json"),
            (tokens, &[(MODULES, &dense), MEAN], "sentence_transformers.models.Dense"),
            (tokens, &[(MODULES, &foreign), MEAN], "custom.Normalize"),
            (tokens, &[(MODULES, &twice), MEAN], "two modules Pooling"),
            (tokens, &[(MODULES, &none), MEAN], "no module Pooling"),
            (tokens, &[median], "1_Pooling/config.json: pooling_mode: no mode \"median\""),
        ] {
            let problem = output(graph, files).expect_err(name);
            assert!(problem.contains(name), "{name}: {problem}");
        }
    }
}
