//! Which tokens of an answer have arrived, and which have left with their text.

use std::collections::VecDeque;

use crate::tools::ToolCall;

/// Keeps count of an answer.
#[derive(Default)]
pub(super) struct Ledger {
    /// Pieces that have not wholly left.
    arrived: VecDeque<Piece>,
    arrived_bytes: usize,
    /// Tokens written when the last piece arrived.
    pub(super) arrived_tokens: u32,
    left_bytes: usize,
    left_tokens: u32,
}

struct Piece {
    /// Where it ends in what is judged of the answer.
    end: usize,
    /// Written by then.
    tokens: u32,
    /// The piece is what a call says.
    call: Option<ToolCall>,
}

/// What has left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Text, not empty, and the tokens written by its end.
    Text(String, u32),
    /// A call, of which all has left.
    Call(ToolCall),
}

impl Ledger {
    /// A piece of text has arrived; `tokens` were written by its end.
    pub(super) fn arrive(&mut self, text: &str, tokens: u32) {
        self.arrived_bytes += text.len();
        self.arrived_tokens = tokens;
        self.arrived.push_back(Piece { end: self.arrived_bytes, tokens, call: None });
    }

    /// A call has arrived, of which this is judged.
    pub(super) fn arrive_call(&mut self, call: ToolCall, reading: &str) {
        self.arrived_bytes += reading.len();
        let piece = Piece { end: self.arrived_bytes, tokens: self.arrived_tokens, call: Some(call) };
        self.arrived.push_back(piece);
    }

    /// The next part of what has arrived leaves.
    pub(super) fn leave(&mut self, mut judged: &str) -> Vec<Left> {
        let mut left = Vec::new();
        while let Some(piece) = self.arrived.front() {
            let (part, rest) = judged.split_at(judged.len().min(piece.end - self.left_bytes));
            judged = rest;
            self.left_bytes += part.len();
            if piece.call.is_none() && !part.is_empty() {
                match left.last_mut() {
                    Some(Left::Text(before, _)) => before.push_str(part),
                    _ => left.push(Left::Text(part.to_owned(), self.left_tokens)),
                }
            }
            if self.left_bytes < piece.end {
                break;
            }
            self.left_tokens = piece.tokens;
            if let Some(Left::Text(_, tokens)) = left.last_mut() {
                *tokens = self.left_tokens;
            }
            left.extend(self.arrived.pop_front().and_then(|piece| piece.call).map(Left::Call));
        }
        left
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
        let text = |text: &str, tokens| vec![Left::Text(text.to_owned(), tokens)];
        assert_eq!(ledger.leave("a"), text("a", 0));
        assert_eq!(ledger.leave("b"), text("b", 1));
        assert_eq!(ledger.leave("cd"), text("cd", 3));
        assert_eq!(ledger.leave("ef"), text("ef", 4));
        assert_eq!(ledger.arrived_tokens, 4);
    }

    #[test]
    fn calls_leave_when_all_they_say_has() {
        let call = |id: &str| ToolCall { id: id.into(), name: "n".into(), arguments_json: "{}".into() };
        let mut ledger = Ledger::default();
        ledger.arrive("ab", 1);
        ledger.arrive_call(call("1"), "\nn\n");
        ledger.arrive_call(call("2"), "\nn\n");
        ledger.arrive("c", 9);
        assert_eq!(ledger.leave("ab\nn"), [Left::Text("ab".into(), 1)]);
        assert_eq!(ledger.leave(""), []);
        assert_eq!(ledger.leave("\n\n"), [Left::Call(call("1"))]);
        assert_eq!(ledger.leave("n\nc"), [Left::Call(call("2")), Left::Text("c".into(), 9)]);
    }
}
