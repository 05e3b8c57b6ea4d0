//! Bytes that arrive in pieces, as text.

/// Decodes UTF-8 piece by piece. Joined, the pieces equal `String::from_utf8_lossy` of all bytes: each ill-formed
/// sequence becomes U+FFFD, and a character whose bytes are not all there yet waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Utf8Decoder {
    /// The beginning of a character, up to three bytes.
    pending: Vec<u8>,
}

impl Utf8Decoder {
    /// Takes more bytes; gives the characters that are complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        self.pending.extend_from_slice(bytes);
        let mut text = String::with_capacity(self.pending.len());
        let mut incomplete = 0;
        let mut chunks = self.pending.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            if chunks.peek().is_none() && may_continue(invalid) {
                incomplete = invalid.len();
            } else if !invalid.is_empty() {
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.pending.drain(..self.pending.len() - incomplete);
        text
    }

    /// No more bytes will come: an incomplete character is ill-formed.
    pub(crate) fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.pending).into_owned();
        self.pending.clear();
        text
    }
}

/// The bytes begin a character and further bytes could complete it.
fn may_continue(bytes: &[u8]) -> bool {
    // `error_len` is `None` exactly if the input ended too early.
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_leaves_with_its_last_byte() {
        let mut decoder = Utf8Decoder::default();
        let pieces: Vec<String> = "a🦀好".bytes().map(|byte| decoder.push(&[byte])).collect();
        assert_eq!(pieces, ["a", "", "", "", "🦀", "", "", "好"]);
        assert_eq!(decoder.finish(), "");
    }

    proptest! {
        #[test]
        fn pieces_equal_the_lossy_whole(
            // Lead and continuation bytes are frequent, so that broken characters are too.
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x80_u8..0xc0, 0xe0_u8..0xf5], 0..24),
            size in 1_usize..4,
        ) {
            let mut decoder = Utf8Decoder::default();
            let mut text: String = bytes.chunks(size).map(|piece| decoder.push(piece)).collect();
            text += &decoder.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
