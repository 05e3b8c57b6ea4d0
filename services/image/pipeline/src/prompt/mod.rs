//! From words to what a denoiser reads.

mod cache;
mod clip;
mod clip_encoder;
mod norm;
mod sentence;
mod weights;

use std::sync::Arc;

use atelier_inference::RunControl;

use self::{
    cache::{Cache, Key},
    weights::Weighted,
};
pub(crate) use self::{clip_encoder::ClipEncoders, sentence::SentenceEncoder};
use crate::{Conditioning, PipelineError};

/// What a denoiser reads of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Encoded {
    /// A vector for each token.
    pub(crate) hidden: Vec<f32>,
    /// Tokens, padding included.
    pub(crate) tokens: usize,
    /// 1 for tokens that are not padding; empty where the denoiser reads them all.
    pub(crate) mask: Vec<f32>,
    /// A vector for the whole text; empty where the denoiser reads none.
    pub(crate) pooled: Vec<f32>,
    /// Some of the text was left out.
    pub(crate) truncated: bool,
}

impl Encoded {
    /// Nothing was said: all zeros.
    pub(crate) fn zeros_like(&self) -> Self {
        Self {
            hidden: vec![0.0; self.hidden.len()],
            tokens: self.tokens,
            mask: vec![0.0; self.mask.len()],
            pooled: vec![0.0; self.pooled.len()],
            truncated: false,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        (self.hidden.len() + self.mask.len() + self.pooled.len()) * size_of::<f32>()
    }

    /// On the line between two texts. A token that only one of them has is read in part.
    fn between(from: &Self, to: &Self, weight: f32) -> Self {
        let line = |from: &[f32], to: &[f32]| {
            from.iter().zip(to).map(|(from, to)| from + weight * (to - from)).collect::<Vec<_>>()
        };
        Self {
            hidden: line(&from.hidden, &to.hidden),
            tokens: from.tokens,
            mask: from.mask.iter().zip(&to.mask).map(|(from, to)| from.max(*to)).collect(),
            pooled: line(&from.pooled, &to.pooled),
            truncated: from.truncated || to.truncated,
        }
    }
}

enum Encoder {
    Clip(ClipEncoders),
    Sentence(Box<SentenceEncoder>),
}

/// The text side of a pipeline.
pub(crate) struct Prompts {
    encoder: Encoder,
    cache: Cache,
}

impl Prompts {
    pub(crate) fn clip(encoders: ClipEncoders) -> Self {
        Self { encoder: Encoder::Clip(encoders), cache: Cache::default() }
    }

    pub(crate) fn sentence(encoder: SentenceEncoder) -> Self {
        Self { encoder: Encoder::Sentence(Box::new(encoder)), cache: Cache::default() }
    }

    /// Most layers that can be left out.
    pub(crate) fn max_clip_skip(&self) -> usize {
        match &self.encoder {
            Encoder::Clip(encoders) => encoders.max_clip_skip(),
            Encoder::Sentence(_) => 0,
        }
    }

    /// What the denoiser reads of these words.
    pub(crate) fn encode(
        &mut self,
        words: &Conditioning,
        clip_skip: usize,
        control: &RunControl,
    ) -> Result<Arc<Encoded>, PipelineError> {
        match words {
            Conditioning::Prompt(text) => self.text(text, clip_skip, control),
            Conditioning::Between { from, weight, .. } if *weight <= 0.0 => {
                self.text(from, clip_skip, control)
            }
            Conditioning::Between { to, weight, .. } if *weight >= 1.0 => self.text(to, clip_skip, control),
            Conditioning::Between { from, to, weight } => {
                let from = self.text(from, clip_skip, control)?;
                let to = self.text(to, clip_skip, control)?;
                Ok(Arc::new(Encoded::between(&from, &to, *weight)))
            }
        }
    }

    fn text(
        &mut self,
        text: &str,
        clip_skip: usize,
        control: &RunControl,
    ) -> Result<Arc<Encoded>, PipelineError> {
        let key = Key { text: text.to_owned(), clip_skip };
        if let Some(encoded) = self.cache.get(&key) {
            return Ok(encoded);
        }
        let weighted = Weighted::parse(text);
        let encoded = match &mut self.encoder {
            Encoder::Clip(encoders) => encoders.encode(&weighted, clip_skip, control)?,
            Encoder::Sentence(encoder) => encoder.encode(&weighted, control)?,
        };
        let encoded = Arc::new(encoded);
        self.cache.put(key, Arc::clone(&encoded));
        Ok(encoded)
    }
}
