//! CLIP's tokens: words in lower case, byte pairs, a frame of start and end, always the full length.

use std::path::Path;

use atelier_inference::ModelFolder;
use serde_json::{Map, Value};
use tokenizers::{
    AddedToken, Tokenizer,
    models::bpe::BPE,
    normalizers::{
        BertNormalizer, Lowercase, NFC, NormalizerWrapper, Replace, Sequence, replace::ReplacePattern,
    },
    pre_tokenizers::{
        PreTokenizerWrapper,
        byte_level::ByteLevel,
        sequence::Sequence as PreTokenizers,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

use super::weights::Weighted;
use crate::PipelineError;

/// Length that CLIP was trained with.
const LENGTH: usize = 77;
/// A word, a digit, or a run of anything else; from CLIP's `simple_tokenizer.py`.
const WORDS: &str = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A text as an encoder reads it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tokens {
    pub(crate) ids: Vec<i64>,
    /// 1 for tokens that are not padding.
    pub(crate) mask: Vec<i64>,
    /// How much each counts.
    pub(crate) weights: Vec<f32>,
    /// Some of the text was left out.
    pub(crate) truncated: bool,
}

/// The tokenizer of one text encoder.
pub(crate) struct ClipTokenizer {
    inner: Tokenizer,
    start: i64,
    end: i64,
    padding: i64,
    length: usize,
}

impl ClipTokenizer {
    /// Reads `<part>/vocab.json` and `merges.txt`, or `<part>/tokenizer.json`. `length`: what the encoder reads at most.
    pub(crate) fn load(
        folder: &ModelFolder,
        part: &str,
        length: Option<usize>,
    ) -> Result<Self, PipelineError> {
        let file = |name: &str| format!("{part}/{name}");
        let inner = if folder.has(&file("vocab.json")) && folder.has(&file("merges.txt")) {
            byte_pairs(&folder.file(&file("vocab.json"))?, &folder.file(&file("merges.txt"))?)
        } else {
            Tokenizer::from_file(folder.file(&file("tokenizer.json"))?)
        };
        let mut inner = inner.map_err(PipelineError::Tokenizer)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(PipelineError::Tokenizer)?;
        let mut settings: Map<String, Value> = Map::new();
        for name in ["special_tokens_map.json", "tokenizer_config.json"] {
            if folder.has(&file(name)) {
                settings.extend(folder.json::<Map<String, Value>>(&file(name))?);
            }
        }
        let spelled = |key: &str, usual: &str| spelling(settings.get(key)).unwrap_or(usual).to_owned();
        let (start, end) = (spelled("bos_token", "<|startoftext|>"), spelled("eos_token", "<|endoftext|>"));
        let padding = spelled("pad_token", &end);
        let id = |token: &str| {
            inner.token_to_id(token).map(i64::from).ok_or_else(|| {
                PipelineError::folder(folder.id(), format!("{part}: the vocabulary has no {token:?}"))
            })
        };
        let (start_id, end_id, padding_id) = (id(&start)?, id(&end)?, id(&padding)?);
        // Spelled out in a text they mean themselves, as in the reference; some pad with "!".
        let special = [start, end, padding].map(|token| AddedToken::from(token, true).normalized(false));
        inner.add_special_tokens(special).map_err(PipelineError::Tokenizer)?;
        let said = settings.get("model_max_length").and_then(Value::as_u64).map(|length| length as usize);
        let length = length.unwrap_or(LENGTH).min(said.unwrap_or(LENGTH)).max(2);
        Ok(Self { inner, start: start_id, end: end_id, padding: padding_id, length })
    }

    /// Tokens that an encoder reads, frame and padding included.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Tokens of a text, with frame and padding.
    pub(crate) fn tokens(&self, text: &Weighted) -> Result<Tokens, PipelineError> {
        let encoding = self.inner.encode(text.text.as_str(), false).map_err(PipelineError::Tokenizer)?;
        let room = self.length - 2;
        let truncated = encoding.len() > room;
        let ids = encoding.get_ids().iter().take(room).map(|&id| i64::from(id));
        let mut ids: Vec<i64> = std::iter::once(self.start).chain(ids).collect();
        ids.push(self.end);
        let weights = encoding.get_offsets().iter().take(room).map(|(from, _)| text.at(*from));
        let mut weights: Vec<f32> = std::iter::once(1.0).chain(weights).collect();
        let mut mask = vec![1; ids.len()];
        ids.resize(self.length, self.padding);
        weights.resize(self.length, 1.0);
        mask.resize(self.length, 0);
        Ok(Tokens { ids, mask, weights, truncated })
    }
}

/// A special token is a string or an object with one.
fn spelling(value: Option<&Value>) -> Option<&str> {
    let value = value?;
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// The tokenizer that `vocab.json` and `merges.txt` stand for: that of transformers' `CLIPTokenizer`.
fn byte_pairs(vocabulary: &Path, merges: &Path) -> tokenizers::Result<Tokenizer> {
    let model = BPE::from_file(&vocabulary.to_string_lossy(), &merges.to_string_lossy())
        .unk_token("<|endoftext|>".to_owned())
        .end_of_word_suffix("</w>".to_owned())
        .build()?;
    let mut tokenizer = Tokenizer::new(model);
    // Control characters go, white space is one kind, Chinese characters are words.
    let clean = BertNormalizer::new(true, true, Some(false), false);
    // Python lower-cases the last sigma of a word on its own.
    let sigma = Replace::new(ReplacePattern::Regex(r"(?<=\p{L})\u{3a3}(?!\p{L})".to_owned()), "\u{3c2}")?;
    let normalizers: Vec<NormalizerWrapper> = vec![clean.into(), NFC.into(), sigma.into(), Lowercase.into()];
    tokenizer.with_normalizer(Some(Sequence::new(normalizers)))?;
    let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Removed, true)?;
    let bytes = ByteLevel::default().add_prefix_space(false).use_regex(false);
    let pre_tokenizers: Vec<PreTokenizerWrapper> = vec![words.into(), bytes.into()];
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(pre_tokenizers)));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What transformers makes of the same texts; see `tokens.py` there.
    #[test]
    fn tokens_are_those_of_the_reference() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/pipelines");
        let expected = std::fs::read_to_string(golden.join("tokens.json")).unwrap();
        let expected: Value = serde_json::from_str(&expected).unwrap();
        for (part, model) in [("shared/tokenizer", "shared"), ("large/tokenizer_2", "large")] {
            let folder = ModelFolder::open(&golden.join(model)).unwrap();
            let tokenizer =
                ClipTokenizer::load(&folder, part.split('/').next_back().unwrap(), Some(77)).unwrap();
            for (n, text) in expected["texts"].as_array().unwrap().iter().enumerate() {
                let text = text.as_str().unwrap();
                // Brackets are text here.
                let plain =
                    text.chars().map(|c| if "()[]\\".contains(c) { format!("\\{c}") } else { c.to_string() });
                let tokens = tokenizer.tokens(&Weighted::parse(&plain.collect::<String>())).unwrap();
                assert_eq!(serde_json::json!(tokens.ids), expected[part][n], "{part}: {text:?}");
                assert_eq!(serde_json::json!(tokens.truncated), expected["truncated"][n], "{text:?}");
            }
        }
    }

    #[test]
    fn weights_follow_their_words() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/pipelines/shared");
        let tokenizer =
            ClipTokenizer::load(&ModelFolder::open(&golden).unwrap(), "tokenizer", Some(77)).unwrap();
        let tokens = tokenizer.tokens(&Weighted::parse("photo of the (red cat:1.5) on [Mars]")).unwrap();
        let expected = [1.0, 1.0, 1.0, 1.0, 1.5, 1.5, 1.0, 1.0 / 1.1, 1.0];
        assert_eq!(tokens.weights[..9], expected, "a token for each word, between start and end");
        assert_eq!(tokens.mask.iter().sum::<i64>(), 9);
    }
}
