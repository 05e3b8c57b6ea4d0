//! A sentence encoder: another model of the store that says what each token of a text means.

use atelier_inference::{ElementType, Model, ModelFolder, Port, RunControl, Runtime, SessionConfig};
use serde::Deserialize;
use tokenizers::{Tokenizer, TruncationParams};

use super::{Encoded, weights::Weighted};
use crate::{PipelineError, ports, values};

/// The manifest's options.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Options {
    prefix: String,
}

pub(crate) struct SentenceEncoder {
    model: Model,
    tokenizer: Tokenizer,
    prefix: String,
    /// Tokens that the denoiser reads at most, special ones included.
    length: usize,
    width: usize,
    ids: ElementType,
}

impl SentenceEncoder {
    /// `length` and `width`: what the denoiser reads.
    pub(crate) fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        session: &SessionConfig,
        (length, width): (usize, usize),
    ) -> Result<Self, PipelineError> {
        let problem = |problem: String| PipelineError::folder(folder.id(), problem);
        let model = Model::load(runtime, folder, session)?;
        let ids = ports::named(model.inputs(), &["input_ids"])
            .ok_or_else(|| problem("model.onnx: it does not read input_ids".to_owned()))?
            .element_type;
        let hidden = ports::named(model.outputs(), &["last_hidden_state"]).ok_or_else(|| {
            problem("model.onnx: it does not give last_hidden_state, which the pipeline reads".to_owned())
        })?;
        if let Some(Some(given)) = hidden.dimensions.last()
            && *given != width
        {
            return Err(problem(format!("model.onnx: vectors of {given} where the pipeline reads {width}")));
        }
        let mut tokenizer =
            Tokenizer::from_file(folder.file("tokenizer.json")?).map_err(PipelineError::Tokenizer)?;
        tokenizer.with_padding(None);
        let truncation = TruncationParams { max_length: length, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(PipelineError::Tokenizer)?;
        let options: Options = folder.options()?;
        Ok(Self { model, tokenizer, prefix: options.prefix, length, width, ids })
    }

    /// A text's tokens, filled up with zeros to the length that the denoiser reads. An empty text is all zeros.
    pub(crate) fn encode(&mut self, text: &Weighted, control: &RunControl) -> Result<Encoded, PipelineError> {
        let (length, width) = (self.length, self.width);
        let mut encoded = Encoded {
            hidden: vec![0.0; length * width],
            tokens: length,
            mask: vec![0.0; length],
            ..Encoded::default()
        };
        if text.text.trim().is_empty() {
            return Ok(encoded);
        }
        let whole = format!("{}{}", self.prefix, text.text);
        let encoding = self.tokenizer.encode(whole, true).map_err(PipelineError::Tokenizer)?;
        let ids: Vec<i64> = encoding.get_ids().iter().map(|&id| i64::from(id)).collect();
        let shape = [1, ids.len()];
        let ones = vec![1; ids.len()];
        let feeds = self.model.inputs().iter().map(|port: &Port| {
            let values: &[i64] = match port.name.as_str() {
                "input_ids" => &ids,
                "attention_mask" => &ones,
                // Token types: a single text is all of type 0.
                _ => &[],
            };
            let element = if port.name == "input_ids" { self.ids } else { port.element_type };
            Ok((port.name.clone(), values::whole(element, &shape, values)?))
        });
        let feeds: Vec<_> = feeds.collect::<Result<_, PipelineError>>()?;
        let feeds: Vec<_> = feeds.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let output = self.model.run(&feeds, &["last_hidden_state"], control)?.swap_remove(0);
        let mut hidden = values::floats(output)?;
        if !text.is_plain() {
            for (hidden, (from, to)) in hidden.chunks_exact_mut(width).zip(encoding.get_offsets()) {
                // Special tokens cover nothing; the prefix counts once.
                let weight =
                    from.checked_sub(self.prefix.len()).filter(|_| to > from).map_or(1.0, |at| text.at(at));
                hidden.iter_mut().for_each(|value| *value *= weight);
            }
        }
        encoded.hidden[..hidden.len()].copy_from_slice(&hidden);
        encoded.mask[..ids.len()].fill(1.0);
        encoded.truncated = !encoding.get_overflowing().is_empty();
        Ok(encoded)
    }
}
