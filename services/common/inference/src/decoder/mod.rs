//! What a text engine steps: rows of tokens over slots of a shared KV cache.

pub(crate) mod binding;
pub(crate) mod graph;
mod hub;
pub(crate) mod kv;
pub(crate) mod onnx;
mod open;
mod plan;

pub use onnx::OnnxDecoder;
pub use open::{DecoderConfig, load_decoder};

use std::ops::Range;

use crate::{InferenceError, RunControl};

/// Tokens that one slot takes in during a step: one while decoding, several while prefilling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Which slot, below [`Decoder::slots`].
    pub slot: usize,
    /// What comes next in it; at least one.
    pub tokens: &'a [u32],
    /// How many tokens the slot holds already: the KV rows below this stay, those above are overwritten.
    pub position: usize,
    /// After how many of `tokens`, the last ones, logits are wanted: 0 while more of a prompt follows, 1 to write a token, up to
    /// all of them to score those that follow each.
    pub logits: usize,
}

/// A language model that several calls share.
pub trait Decoder: Send {
    /// How many sequences fit side by side.
    fn slots(&self) -> usize;

    /// How many tokens each of them may hold.
    fn context_length(&self) -> usize;

    /// Length of one row of logits.
    fn vocabulary_size(&self) -> usize;

    /// Tokens whose KV rows all slots may hold together.
    fn cache_tokens(&self) -> usize {
        self.slots() * self.context_length()
    }

    /// Bytes of the KV cache when it holds [`cache_tokens`](Self::cache_tokens).
    fn cache_bytes(&self) -> usize;

    /// Runs one step. Rows name distinct slots; single-token rows share runs as far as the layout allows, a row of
    /// several tokens has one of its own, so a mixed step costs no padding. The answer has as many rows of logits as
    /// each row asks for, in the order of `rows` and of their tokens.
    ///
    /// After an error the step's tokens count as not taken in: the KV rows below each `position` are intact.
    ///
    /// # Errors
    /// [`InferenceError::Cancelled`] when `control` was cancelled, [`InferenceError::InvalidRun`] for rows that make
    /// no sense, [`InferenceError::RunFailed`] otherwise.
    fn step(&mut self, rows: &[Row<'_>], control: &RunControl) -> Result<Logits, InferenceError>;

    /// Whether a prompt may be cut into pieces of any size above one: the rows are the same to the last bit, and a token costs
    /// about as much in each. Where not, rows of several tokens pay at the beginning of a slot alone.
    fn takes_any_piece(&self) -> bool {
        true
    }

    /// Takes back a step's logits when they have been read: the next step may use their memory.
    fn recycle(&mut self, _logits: Logits) {}

    /// Copies the KV rows of the first `tokens` tokens of a slot (a shared prefix, compaction). Slots or a length
    /// out of range are a defect of the caller and panic.
    fn copy(&mut self, from: usize, to: usize, tokens: usize);

    /// The KV rows of these tokens of a slot, and of all after them, are not needed any more: their memory may go to others.
    /// None were written beyond. A slot or tokens out of range are a defect of the caller and panic.
    fn release(&mut self, _slot: usize, _tokens: Range<usize>) {}
}

/// Rows of logits, each over the vocabulary. The rows may be changed in place by a sampler.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    vocabulary_size: usize,
    /// Where in `values` each row stands: runs write one after another, callers read in the order of their rows.
    order: Vec<usize>,
}

impl Logits {
    /// Rows that stand one after another in `values`.
    #[must_use]
    pub fn new(vocabulary_size: usize, values: Vec<f32>) -> Self {
        let rows = values.len().checked_div(vocabulary_size).unwrap_or_default();
        Self { values, vocabulary_size, order: (0..rows).collect() }
    }

    pub(crate) fn ordered(vocabulary_size: usize, values: Vec<f32>, order: Vec<usize>) -> Self {
        Self { values, vocabulary_size, order }
    }

    pub(crate) fn into_values(self) -> Vec<f32> {
        self.values
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// There are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The logits of one row; panics where there is none.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[self.order[row] * self.vocabulary_size..][..self.vocabulary_size]
    }

    /// The logits of one row, to be changed; panics where there is none.
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[self.order[row] * self.vocabulary_size..][..self.vocabulary_size]
    }

    /// Some rows in order, to be changed; panics where there are none.
    pub fn rows_mut(&mut self, rows: Range<usize>) -> impl Iterator<Item = &mut [f32]> {
        let places: Vec<usize> = self.order[rows].to_vec();
        let mut all: Vec<Option<&mut [f32]>> =
            self.values.chunks_mut(self.vocabulary_size.max(1)).map(Some).collect();
        places.into_iter().filter_map(move |place| all[place].take())
    }

    /// All rows in order.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.len()).map(|row| self.row(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_callers_order() {
        let mut logits = Logits::ordered(2, vec![0.0, 1.0, 2.0, 3.0], vec![1, 0]);
        assert_eq!(logits.rows().collect::<Vec<_>>(), [[2.0, 3.0], [0.0, 1.0]]);
        logits.row_mut(0)[1] = -1.0;
        assert_eq!(logits.row(0), [2.0, -1.0]);
        assert_eq!(Logits::new(2, vec![5.0; 6]).len(), 3);
    }
}
