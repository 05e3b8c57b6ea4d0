//! Which tokens of an answer have arrived, and which have left with their text.

use std::collections::VecDeque;

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
        self.left_bytes += text.len();
        while let Some(&(end, tokens)) = self.arrived.front()
            && end <= self.left_bytes
        {
            self.left_tokens = tokens;
            self.arrived.pop_front();
        }
        self.left_tokens
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
        assert_eq!(ledger.arrived_tokens, 4);
    }
}
