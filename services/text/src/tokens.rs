//! A model's tokenizer (`tokenizer.json` of the `tokenizers` library).

use std::{collections::HashMap, iter, path::Path, sync::LazyLock};

use tokenizers::{
    DecoderWrapper, Encoding, PostProcessor, Tokenizer, TruncationDirection,
    normalizers::{Lowercase, Sequence},
};

use crate::{encoder::Tokens, error::TextError, truncation::Cut};

/// A token and the bytes of the text that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// The vocabulary's spelling.
    pub text: String,
    /// First byte and one past the last.
    pub bytes: (usize, usize),
}

/// Tokens of a text that was cut to a length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// At most the length asked for, special tokens included.
    pub ids: Vec<u32>,
    /// How many there would have been.
    pub full_length: usize,
}

/// The tokens of a text that others are paired with, special tokens apart.
#[derive(Clone, Debug)]
pub(crate) struct Segment(Encoding);

/// Text to tokens and back.
#[derive(Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
    special: Vec<String>,
    is_byte_level: bool,
}

impl TextTokenizer {
    /// Reads `tokenizer.json`.
    ///
    /// # Errors
    /// The file is missing or no tokenizer.
    pub fn load(path: &Path) -> Result<Self, TextError> {
        let unusable = |cause| TextError::model_file(path.display().to_string(), cause);
        let mut inner = Tokenizer::from_file(path).map_err(unusable)?;
        // Lengths are ours to check: a tokenizer that cuts or pads in silence would hide them.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(unusable)?;
        let mut special: Vec<String> = inner
            .get_added_tokens_decoder()
            .into_values()
            .filter(|token| token.special && !token.content.is_empty())
            .map(|token| token.content)
            .collect();
        special.sort_unstable();
        let is_byte_level = matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
        Ok(Self { inner, special, is_byte_level })
    }

    /// Reads texts in small letters, before whatever it does with them itself.
    ///
    /// # Errors
    /// Its added tokens can't be read so.
    pub(crate) fn lower_case(mut self) -> Result<Self, TextError> {
        let own = self.inner.get_normalizer().cloned();
        let normalizers = iter::once(Lowercase.into()).chain(own).collect();
        self.inner.with_normalizer(Some(Sequence::new(normalizers))).map_err(TextError::Tokenizer)?;
        Ok(self)
    }

    /// Spellings of the special tokens, such as `<|im_end|>`.
    #[must_use]
    pub fn special_tokens(&self) -> &[String] {
        &self.special
    }

    /// Size of the vocabulary, added tokens included.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id of a spelling.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The special token of this spelling.
    #[must_use]
    pub(crate) fn special_id(&self, spelling: &str) -> Option<u32> {
        self.special.iter().any(|special| special == spelling).then(|| self.id_of(spelling)).flatten()
    }

    /// The spelling of an id; `None` outside the vocabulary.
    #[must_use]
    pub fn spelling(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Splits a text; special tokens in it are recognised. Takes up to seconds for a megabyte: not for async workers.
    ///
    /// # Errors
    /// The tokenizer can't spell the text.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        let encoding = self.inner.encode_fast(text, add_special_tokens).map_err(TextError::Tokenizer)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As `encode`, with the place of each token.
    ///
    /// # Errors
    /// As `encode`.
    pub fn tokens(&self, text: &str, add_special_tokens: bool) -> Result<Vec<Token>, TextError> {
        let encoding = self.inner.encode(text, add_special_tokens).map_err(TextError::Tokenizer)?;
        let tokens = encoding.get_ids().iter().zip(encoding.get_tokens()).zip(encoding.get_offsets());
        Ok(tokens.map(|((&id, text), &bytes)| Token { id, text: text.clone(), bytes }).collect())
    }

    /// Splits a text with the special tokens around it, keeping at most `max_length` tokens (more than the special ones).
    ///
    /// # Errors
    /// As `encode`.
    pub fn encode_truncated(&self, text: &str, max_length: usize, cut: Cut) -> Result<Truncated, TextError> {
        let mut encoding = self.inner.encode_fast(text, false).map_err(TextError::Tokenizer)?;
        let added = self.added_tokens(false);
        let full_length = encoding.len() + added;
        shorten(&mut encoding, max_length.saturating_sub(added), cut);
        let encoding = self.inner.post_process(encoding, None, true).map_err(TextError::Tokenizer)?;
        Ok(Truncated { ids: encoding.get_ids().to_vec(), full_length })
    }

    /// Splits a text that others are to be paired with.
    ///
    /// # Errors
    /// As `encode`.
    pub(crate) fn segment(&self, text: &str) -> Result<Segment, TextError> {
        self.inner.encode_fast(text, false).map(Segment).map_err(TextError::Tokenizer)
    }

    /// Tokens of a pair without its second text.
    pub(crate) fn length_before(&self, first: &Segment) -> usize {
        first.0.len() + self.added_tokens(true)
    }

    /// Both texts with the special tokens around them, the second cut to `room` tokens; and how many tokens it has.
    ///
    /// # Errors
    /// As `encode`.
    pub(crate) fn pair(
        &self,
        first: &Segment,
        second: &str,
        room: usize,
        cut: Cut,
    ) -> Result<(Tokens, usize), TextError> {
        let mut encoding = self.inner.encode_fast(second, false).map_err(TextError::Tokenizer)?;
        let full_length = encoding.len();
        shorten(&mut encoding, room, cut);
        let pair = self.inner.post_process(first.0.clone(), Some(encoding), true);
        let pair = pair.map_err(TextError::Tokenizer)?;
        let tokens = Tokens { ids: pair.get_ids().to_vec(), types: pair.get_type_ids().to_vec() };
        Ok((tokens, full_length))
    }

    /// Special tokens around a text, or a pair of them.
    fn added_tokens(&self, pair: bool) -> usize {
        self.inner.get_post_processor().map_or(0, |processor| processor.added_tokens(pair))
    }

    /// Joins tokens; ids outside the vocabulary are left out.
    ///
    /// # Errors
    /// The tokenizer's decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TextError> {
        self.inner.decode(ids, skip_special_tokens).map_err(TextError::Tokenizer)
    }

    /// The tokens' text is the concatenation of their bytes.
    pub(crate) fn is_byte_level(&self) -> bool {
        self.is_byte_level
    }

    /// The bytes that a token adds to a text; of a special token the mark, if there is one, and its spelling, of an id without a
    /// token none.
    pub(crate) fn token_bytes(&self, id: u32, special_mark: Option<u8>) -> Vec<u8> {
        let Some(spelling) = self.inner.id_to_token(id) else { return Vec::new() };
        let mut bytes = Vec::new();
        if self.special.binary_search(&spelling).is_ok() {
            bytes.extend(special_mark);
            bytes.extend_from_slice(spelling.as_bytes());
        } else if self.is_byte_level {
            self.append_bytes(id, &mut bytes);
        } else {
            // SentencePiece spells a space as U+2581, and bytes of characters it has no token for as `<0x0A>`.
            let byte = spelling.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
            match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => bytes.push(byte),
                None => bytes.extend_from_slice(spelling.replace('\u{2581}', " ").as_bytes()),
            }
        }
        bytes
    }

    /// Appends the bytes of a token of a byte-level vocabulary; special tokens have none.
    pub(crate) fn append_bytes(&self, id: u32, bytes: &mut Vec<u8>) {
        let Some(spelling) = self.inner.id_to_token(id) else { return };
        if self.special.binary_search(&spelling).is_ok() {
            return;
        }
        let start = bytes.len();
        for character in spelling.chars() {
            let Some(&byte) = BYTE_OF.get(&character) else {
                // An added token is spelled as it reads, as in the library's own decoder.
                bytes.truncate(start);
                bytes.extend_from_slice(spelling.as_bytes());
                return;
            };
            bytes.push(byte);
        }
    }
}

/// Keeps at most so many tokens.
fn shorten(encoding: &mut Encoding, most: usize, cut: Cut) {
    let left_out = cut.of(encoding.len(), most);
    let mut rest = encoding.clone();
    encoding.truncate(left_out.start, 0, TruncationDirection::Right);
    rest.truncate(rest.len() - left_out.end, 0, TruncationDirection::Left);
    encoding.merge_with(rest, false);
}

/// GPT-2's spelling of bytes as printable characters (`bytes_to_unicode` in its `encoder.py`), reversed: printable
/// Latin-1 stands for itself, the other bytes take the characters from U+0100 on.
static BYTE_OF: LazyLock<HashMap<char, u8>> = LazyLock::new(|| {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=u8::MAX).filter(|byte| !printable(byte));
    let mut bytes: HashMap<char, u8> = ('\u{100}'..).zip(others).collect();
    bytes.extend((0..=u8::MAX).filter(printable).map(|byte| (char::from(byte), byte)));
    bytes
});

/// Every byte's spelling, for vocabularies of tests.
#[cfg(test)]
pub(crate) fn byte_spellings() -> impl Iterator<Item = char> {
    BYTE_OF.keys().copied()
}

/// A byte-level tokenizer of single bytes and these special tokens, whose ids are 256 and up.
#[cfg(test)]
pub(crate) fn byte_tokenizer(special: &[&str]) -> TextTokenizer {
    let vocabulary: serde_json::Map<String, serde_json::Value> =
        byte_spellings().zip(0..256).map(|(spelling, id)| (spelling.to_string(), id.into())).collect();
    let special: Vec<_> = special
        .iter()
        .zip(256..)
        .map(|(content, id)| {
            serde_json::json!({"id": id, "content": content, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false})
        })
        .collect();
    let byte_level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": special, "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    });
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, file.to_string()).expect("the file can be written");
    TextTokenizer::load(&path).expect("the tokenizer is valid")
}
