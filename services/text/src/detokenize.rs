//! Tokens to text as they come.

use std::sync::Arc;

use crate::{tokens::TextTokenizer, utf8::Utf8Decoder};

/// Tokens of context that keep a decoder from treating the next token as the start of a text.
const CONTEXT: usize = 4;
/// A character takes at most four byte tokens; text that still ends in U+FFFD after twice as many is broken for good.
const MAX_HELD: usize = 8;

/// Gives a generation's text piece by piece. Joined, the pieces are the text of all tokens together, special tokens left
/// out; each piece is valid UTF-8, and a character that is spread over tokens leaves with the last of them.
#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Arc<TextTokenizer>,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    /// A token is bytes, whatever stands beside it.
    Bytes { decoder: Utf8Decoder, buffer: Vec<u8> },
    /// A token's text depends on its neighbours (the first one's leading space is dropped, say), so a short window is
    /// decoded with and without what is new.
    Window { ids: Vec<u32>, read: usize },
}

impl Detokenizer {
    /// For text that continues a prompt with these tokens.
    #[must_use]
    pub fn new(tokenizer: Arc<TextTokenizer>, prompt: &[u32]) -> Self {
        let mode = if tokenizer.is_byte_level() {
            Mode::Bytes { decoder: Utf8Decoder::default(), buffer: Vec::new() }
        } else {
            let ids = prompt[prompt.len().saturating_sub(CONTEXT)..].to_vec();
            Mode::Window { read: ids.len(), ids }
        };
        Self { tokenizer, mode }
    }

    /// Takes the next token.
    pub fn push(&mut self, token: u32) -> String {
        match &mut self.mode {
            Mode::Bytes { decoder, buffer } => {
                buffer.clear();
                self.tokenizer.append_bytes(token, buffer);
                decoder.push(buffer)
            }
            Mode::Window { ids, read } => {
                ids.push(token);
                let text = fresh(&self.tokenizer, ids, *read);
                let broken = text.ends_with(char::REPLACEMENT_CHARACTER) && ids.len() - *read < MAX_HELD;
                if text.is_empty() || broken {
                    return String::new();
                }
                ids.drain(..ids.len().saturating_sub(CONTEXT));
                *read = ids.len();
                text
            }
        }
    }

    /// No token follows: gives what was held back.
    pub fn finish(&mut self) -> String {
        match &mut self.mode {
            Mode::Bytes { decoder, .. } => decoder.finish(),
            Mode::Window { ids, read } => {
                let text = fresh(&self.tokenizer, ids, *read);
                *read = ids.len();
                text
            }
        }
    }
}

/// Text that the tokens from `read` on add to those before.
fn fresh(tokenizer: &TextTokenizer, ids: &[u32], read: usize) -> String {
    // The decoders in use don't fail on tokens of their own vocabulary; text of one that did would be lost, not wrong.
    let decode = |ids: &[u32]| tokenizer.decode(ids, true).unwrap_or_default();
    let (before, after) = (decode(&ids[..read]), decode(ids));
    after.strip_prefix(&before).map(str::to_owned).unwrap_or_default()
}
