//! What of an answer has arrived and what has left: tokens, bytes, hash.

use std::collections::VecDeque;

use sha2::{Digest, Sha256};

/// Keeps count of an answer.
#[derive(Default)]
pub(super) struct Ledger {
    /// For each piece that has not wholly left: where it ends in the answer, and the tokens written by then.
    arrived: VecDeque<(usize, u32)>,
    arrived_bytes: usize,
    /// Tokens written when the last piece arrived.
    pub(super) arrived_tokens: u32,
    left_bytes: usize,
    left_tokens: u32,
    hash: Sha256,
}

impl Ledger {
    /// A piece of text has arrived; `tokens` were written by its end.
    pub(super) fn arrive(&mut self, text: &str, tokens: u32) {
        self.arrived_bytes += text.len();
        self.arrived_tokens = tokens;
        self.arrived.push_back((self.arrived_bytes, tokens));
    }

    /// Text leaves; gives the tokens that were written by its end.
    pub(super) fn leave(&mut self, text: &str) -> u32 {
        self.hash.update(text);
        self.left_bytes += text.len();
        while let Some(&(end, tokens)) = self.arrived.front()
            && end <= self.left_bytes
        {
            self.left_tokens = tokens;
            self.arrived.pop_front();
        }
        self.left_tokens
    }

    /// Bytes that have left.
    pub(super) fn left_bytes(&self) -> usize {
        self.left_bytes
    }

    /// SHA-256 in hex of what has left.
    pub(super) fn left_sha256(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_count_when_all_of_their_text_has_left() {
        let mut ledger = Ledger::default();
        for (n, piece) in ["ab", "c", "", "def"].iter().enumerate() {
            ledger.arrive(piece, n as u32 + 1);
        }
        assert_eq!(ledger.leave("a"), 0);
        assert_eq!(ledger.leave("b"), 1);
        assert_eq!(ledger.leave("cd"), 3);
        assert_eq!(ledger.leave("ef"), 4);
        assert_eq!((ledger.left_bytes(), ledger.arrived_tokens), (6, 4));
        assert_eq!(ledger.left_sha256(), atelier_core::ContentHash::of(b"abcdef").to_string());
    }
}
