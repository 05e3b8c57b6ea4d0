//! Text to token ids: short texts where they arrive, long ones piece by piece on the blocking pool.

use std::{fmt, ops::Range, path::Path, sync::Arc};

use tokio::sync::Semaphore;

use crate::error::ModerationError;

/// Up to here a text is tokenised on the async worker: half a millisecond at the 2 MB/s of the E5 tokenizer.
const INLINE_BYTES: usize = 1024;
/// A long text is tokenised in pieces of at most this, so that one job takes some 10 ms and a caller who leaves
/// stops the rest.
const PIECE_BYTES: usize = 16 << 10;

/// Control tokens of the usual vocabularies. A unigram vocabulary lists them as pieces, so that text may spell
/// them.
const CONTROL_TOKENS: [&str; 8] = ["<s>", "</s>", "<pad>", "<mask>", "[CLS]", "[SEP]", "[PAD]", "[MASK]"];

/// The tokens around a window's content: the model's special tokens and the prefix it was trained with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    head: Vec<u32>,
    tail: Vec<u32>,
}

/// A tokenizer for classification: text never becomes control tokens, and every window gets the model's frame.
#[derive(Clone)]
pub struct Tokenizer {
    vocabulary: Arc<Vocabulary>,
    frame: Frame,
    jobs: Arc<Semaphore>,
}

/// The tokens of a text, and where in it each stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<u32>,
    places: Vec<(usize, usize)>,
}

impl Tokens {
    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The tokens' numbers.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The bytes of the text that these tokens come from; empty for no tokens.
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> Range<usize> {
        match self.places.get(range).unwrap_or_default() {
            [] => 0..0,
            [(start, end)] | [(start, _), .., (_, end)] => *start..*end,
        }
    }

    /// Adds the tokens of a piece that begins at this byte.
    fn append(&mut self, mut piece: Self, at: usize) {
        self.ids.append(&mut piece.ids);
        self.places.extend(piece.places.iter().map(|(start, end)| (start + at, end + at)));
    }
}

struct Vocabulary {
    tokenizer: tokenizers::Tokenizer,
    control: Vec<u32>,
    padding: u32,
    unknown: Option<u32>,
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The vocabulary is some 250,000 entries.
        f.debug_struct("Tokenizer").field("frame", &self.frame).finish_non_exhaustive()
    }
}

impl Frame {
    /// Tokens a window spends on the frame.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Those of them that stand before the content.
    #[must_use]
    pub fn head_tokens(&self) -> usize {
        self.head.len()
    }

    /// The window over this part of a text's tokens, as the model reads it.
    #[must_use]
    pub fn window(&self, tokens: &[u32], range: Range<usize>) -> Vec<u32> {
        let content = tokens.get(range).unwrap_or_default();
        [self.head.as_slice(), content, &self.tail].concat()
    }
}

impl Tokenizer {
    /// Loads a `tokenizer.json`. `prefix` is put before each window ("query: " for the E5 family); `jobs` bounds
    /// the long texts that are tokenised at once.
    ///
    /// # Errors
    /// The file is no tokenizer.
    pub fn load(file: &Path, prefix: &str, jobs: usize) -> Result<Self, ModerationError> {
        let inner = tokenizers::Tokenizer::from_file(file).map_err(ModerationError::Tokenizer)?;
        Self::new(inner, prefix, jobs)
    }

    fn new(mut inner: tokenizers::Tokenizer, prefix: &str, jobs: usize) -> Result<Self, ModerationError> {
        inner.with_padding(None).with_truncation(None).map_err(ModerationError::Tokenizer)?;
        inner.set_encode_special_tokens(true);
        let encode = |special| {
            let encoding = inner.encode_fast(prefix, special).map_err(ModerationError::Tokenizer)?;
            Ok::<_, ModerationError>(encoding.get_ids().to_vec())
        };
        let frame = frame_of(&encode(true)?, &encode(false)?);
        let control = CONTROL_TOKENS.iter().filter_map(|token| inner.token_to_id(token)).collect();
        let padding = ["<pad>", "[PAD]"].iter().find_map(|token| inner.token_to_id(token)).unwrap_or(0);
        let unknown = ["<unk>", "[UNK]"].iter().find_map(|token| inner.token_to_id(token));
        let vocabulary = Arc::new(Vocabulary { tokenizer: inner, control, padding, unknown });
        Ok(Self { vocabulary, frame, jobs: Arc::new(Semaphore::new(jobs.max(1))) })
    }

    /// What surrounds the content of each window.
    #[must_use]
    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The token that fills up a batch.
    #[must_use]
    pub fn padding(&self) -> u32 {
        self.vocabulary.padding
    }

    /// The token of all that the vocabulary has no other for.
    #[must_use]
    pub fn unknown(&self) -> Option<u32> {
        self.vocabulary.unknown
    }

    /// The tokens of a text without frame; none for a text of white space.
    ///
    /// # Errors
    /// The tokenizer failed, which no text is known to cause.
    pub async fn tokens(&self, text: &str) -> Result<Tokens, ModerationError> {
        if text.len() <= INLINE_BYTES {
            return self.vocabulary.encode(text);
        }
        let mut tokens = Tokens::default();
        for (at, piece) in pieces(text, PIECE_BYTES) {
            // The semaphore is never closed; without a permit the job merely runs unbounded.
            let permit = Arc::clone(&self.jobs).acquire_owned().await.ok();
            let (vocabulary, piece) = (Arc::clone(&self.vocabulary), piece.to_owned());
            let job = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                vocabulary.encode(&piece)
            });
            tokens.append(job.await??, at);
        }
        Ok(tokens)
    }
}

impl Vocabulary {
    /// Control tokens that a text spells out are dropped: "</s>" would end the text for the model, and what
    /// follows would be read as nothing.
    fn encode(&self, text: &str) -> Result<Tokens, ModerationError> {
        let encoding = self.tokenizer.encode(text, false).map_err(ModerationError::Tokenizer)?;
        let all = encoding.get_ids().iter().copied().zip(encoding.get_offsets().iter().copied());
        let (ids, places) = all.filter(|(id, _)| !self.control.contains(id)).unzip();
        Ok(Tokens { ids, places })
    }
}

/// Splits the framed prefix around the end of the plain one.
fn frame_of(framed: &[u32], plain: &[u32]) -> Frame {
    let end = match plain.len() {
        // No prefix: what the model puts before a text is, in all known models, one token at most.
        0 => framed.len().min(1),
        n => framed.windows(n).position(|window| window == plain).map_or(framed.len(), |at| at + n),
    };
    Frame { head: framed[..end].to_vec(), tail: framed[end..].to_vec() }
}

/// Pieces of at most `most` bytes, cut at white space where there is any: there the tokens of the pieces are the
/// tokens of the whole. In a longer run without white space the cut falls between characters and may split a
/// word. Each with the byte of the text at which it begins.
fn pieces(whole: &str, most: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut text = whole;
    std::iter::from_fn(move || {
        text = text.trim_start();
        let at = whole.len() - text.len();
        if text.is_empty() {
            return None;
        }
        let end = if text.len() <= most {
            text.len()
        } else {
            let limit = text.floor_char_boundary(most);
            text[..limit].rfind(char::is_whitespace).unwrap_or(limit)
        };
        let (piece, rest) = text.split_at(end);
        text = rest;
        Some((at, piece))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORDS: &str = r#"{"version":"1.0","truncation":null,"padding":null,
        "added_tokens":[{"id":2,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,
                         "normalized":false,"special":true}],
        "normalizer":null,"pre_tokenizer":{"type":"WhitespaceSplit"},"decoder":null,
        "post_processor":{"type":"TemplateProcessing","pair":[],
            "single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
                      {"SpecialToken":{"id":"</s>","type_id":0}}],
            "special_tokens":{"<s>":{"id":"<s>","ids":[1],"tokens":["<s>"]},
                              "</s>":{"id":"</s>","ids":[2],"tokens":["</s>"]}}},
        "model":{"type":"WordLevel","unk_token":"?",
                 "vocab":{"?":0,"<s>":1,"</s>":2,"query:":3,"a":4,"b":5}}}"#;

    fn words(prefix: &str) -> Tokenizer {
        Tokenizer::new(WORDS.parse().unwrap(), prefix, 1).unwrap()
    }

    #[tokio::test]
    async fn windows_carry_prefix_and_special_tokens() {
        let tokenizer = words("query: ");
        let tokens = tokenizer.tokens("a b").await.unwrap();
        assert_eq!(tokens.ids(), [4, 5]);
        assert_eq!((tokens.bytes(1..2), tokens.bytes(0..2), tokens.bytes(2..3)), (2..3, 0..3, 0..0));
        assert_eq!(tokenizer.frame().window(tokens.ids(), 0..2), [1, 3, 4, 5, 2]);
        assert_eq!(tokenizer.frame().tokens(), 3);
        assert_eq!(words("").frame().window(tokens.ids(), 1..2), [1, 5, 2]);
    }

    #[tokio::test]
    async fn text_does_not_become_control_tokens() {
        assert_eq!(words("query: ").tokens("a </s> <s> b").await.unwrap().ids(), [4, 5]);
    }

    #[tokio::test]
    async fn long_text_has_the_tokens_of_its_words() {
        let text = "a b \n".repeat(20_000);
        let tokens = words("query: ").tokens(&text).await.unwrap();
        assert_eq!(tokens.ids().len(), 40_000);
        assert!(tokens.ids().chunks(2).all(|pair| pair == [4, 5]));
        assert!((0..40_000).all(|n| ["a", "b"].contains(&&text[tokens.bytes(n..n + 1)])));
    }

    #[tokio::test]
    async fn white_space_has_no_tokens() {
        for text in ["", "  \n\t\u{3000}"] {
            assert!(words("query: ").tokens(text).await.unwrap().is_empty());
        }
    }

    proptest! {
        #[test]
        fn pieces_are_small_and_lose_only_white_space(text in "[ \n文éa-c]{0,200}", most in 4_usize..40) {
            let placed: Vec<(usize, &str)> = pieces(&text, most).collect();
            prop_assert!(placed.iter().all(|(at, piece)| text[*at..].starts_with(piece)));
            let all: Vec<&str> = placed.into_iter().map(|(_, piece)| piece).collect();
            prop_assert!(all.iter().all(|piece| !piece.is_empty() && piece.len() <= most));
            let without_spaces = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(without_spaces(&all.concat()), without_spaces(&text));
            if text.split_whitespace().all(|word| word.len() <= most) {
                let words: Vec<&str> = all.iter().flat_map(|piece| piece.split_whitespace()).collect();
                prop_assert_eq!(words, text.split_whitespace().collect::<Vec<_>>());
            }
        }
    }
}
