//! One CLIP text encoder, or the two of Stable Diffusion XL.

use atelier_inference::{ElementType, Model, ModelFolder, Port, RunControl, Runtime, SessionConfig};
use serde::Deserialize;

use super::{
    Encoded,
    clip::{ClipTokenizer, Tokens},
    norm::FinalNorm,
    weights::Weighted,
};
use crate::{PipelineError, ports, values};

/// `text_encoder/config.json`.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct Config {
    max_position_embeddings: Option<usize>,
    layer_norm_eps: f64,
    vocab_size: usize,
    use_attention_mask: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_position_embeddings: None,
            layer_norm_eps: 1e-5,
            vocab_size: 49_408,
            use_attention_mask: None,
        }
    }
}

/// Which layer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// The last one, behind the final layer norm.
    Last,
    /// So many before the last, and the final layer norm on top (Stable Diffusion).
    Normed(usize),
    /// So many before the last, as it is (Stable Diffusion XL).
    Plain(usize),
}

struct ClipEncoder {
    model: Model,
    tokenizer: ClipTokenizer,
    config: Config,
    ids: ElementType,
    /// Type of the attention mask, where the graph reads one.
    mask: Option<ElementType>,
    last: String,
    /// Outputs of all layers, the embeddings first; empty where the graph does not give them.
    layers: Vec<String>,
    pooled: Option<String>,
    norm: Option<FinalNorm>,
    /// What an empty text says at a layer: weighted parts move away from it or towards it.
    empty: Vec<(Layer, Vec<f32>)>,
}

impl ClipEncoder {
    fn load(
        (runtime, session): (&Runtime, &SessionConfig),
        folder: &ModelFolder,
        (part, tokenizer): (&str, &str),
    ) -> Result<Self, PipelineError> {
        let file = format!("{part}/model.onnx");
        let config: Config = ports::config(folder, &[part])?.unwrap_or_default();
        let model = Model::load_file(runtime, folder, &file, session)?;
        let problem = |problem: &str| PipelineError::folder(folder.id(), format!("{file}: {problem}"));
        let input = |name: &str| ports::named(model.inputs(), &[name]).map(|port| port.element_type);
        let ids = input("input_ids").ok_or_else(|| problem("it does not read input_ids"))?;
        let unknown = |port: &&Port| !["input_ids", "attention_mask"].contains(&port.name.as_str());
        if let Some(port) = model.inputs().iter().find(unknown) {
            return Err(problem(&format!("it reads {:?}, which is not known", port.name)));
        }
        let last = ports::named(model.outputs(), &["last_hidden_state"])
            .ok_or_else(|| problem("it does not give last_hidden_state"))?;
        let is_layer = |port: &&Port| port.name.starts_with("hidden_states");
        let layers = ports::numbered(model.outputs().iter().filter(is_layer));
        let pooled = ports::named(model.outputs(), &["text_embeds"]).map(|port| port.name.clone());
        let tokenizer = ClipTokenizer::load(folder, tokenizer, config.max_position_embeddings)?;
        let (mask, last) = (input("attention_mask"), last.name.clone());
        Ok(Self { model, tokenizer, config, ids, mask, last, layers, pooled, norm: None, empty: Vec::new() })
    }

    /// A vector for each token, and the whole text's if the encoder gives one.
    fn encode(
        &mut self,
        text: &Weighted,
        layer: Layer,
        control: &RunControl,
    ) -> Result<(Tokens, Vec<f32>, Vec<f32>), PipelineError> {
        let tokens = self.tokenizer.tokens(text)?;
        let (mut hidden, pooled) = self.run(&tokens, layer, control)?;
        if !text.is_plain() {
            let empty = self.empty(layer, control)?;
            let width = hidden.len() / tokens.ids.len();
            let pairs = hidden.chunks_exact_mut(width).zip(empty.chunks_exact(width)).zip(&tokens.weights);
            for ((hidden, empty), weight) in pairs.filter(|(_, weight)| **weight != 1.0) {
                hidden
                    .iter_mut()
                    .zip(empty)
                    .for_each(|(hidden, empty)| *hidden = empty + weight * (*hidden - empty));
            }
        }
        Ok((tokens, hidden, pooled))
    }

    fn empty(&mut self, layer: Layer, control: &RunControl) -> Result<&[f32], PipelineError> {
        let at = match self.empty.iter().position(|(known, _)| *known == layer) {
            Some(at) => at,
            None => {
                let tokens = self.tokenizer.tokens(&Weighted::parse(""))?;
                let (hidden, _) = self.run(&tokens, layer, control)?;
                self.empty.push((layer, hidden));
                self.empty.len() - 1
            }
        };
        Ok(&self.empty[at].1)
    }

    fn run(
        &mut self,
        tokens: &Tokens,
        layer: Layer,
        control: &RunControl,
    ) -> Result<(Vec<f32>, Vec<f32>), PipelineError> {
        let before_last =
            |skipped: usize| self.layers.len().checked_sub(skipped + 1).and_then(|n| self.layers.get(n));
        let missing =
            || PipelineError::invalid("diffusion.clip_skip", "must leave a layer of the text encoder");
        let output = match layer {
            Layer::Last => self.last.clone(),
            Layer::Normed(skipped) | Layer::Plain(skipped) => {
                before_last(skipped).ok_or_else(missing)?.clone()
            }
        };
        let mut outputs =
            self.outputs(tokens, &[Some(output.as_str()), self.pooled.clone().as_deref()], control)?;
        let pooled = if self.pooled.is_some() { outputs.pop().unwrap_or_default() } else { Vec::new() };
        let mut hidden = outputs.pop().unwrap_or_default();
        if matches!(layer, Layer::Normed(_)) {
            if self.norm.is_none() {
                self.norm = Some(self.find_norm(control)?);
            }
            if let Some(norm) = &self.norm {
                norm.apply(&mut hidden);
            }
        }
        Ok((hidden, pooled))
    }

    fn outputs(
        &mut self,
        tokens: &Tokens,
        outputs: &[Option<&str>],
        control: &RunControl,
    ) -> Result<Vec<Vec<f32>>, PipelineError> {
        let shape = [1, tokens.ids.len()];
        let mut inputs = vec![("input_ids", values::whole(self.ids, &shape, &tokens.ids)?)];
        if let Some(element) = self.mask {
            // The reference hands a mask over only where the configuration says so.
            let all = vec![1; tokens.ids.len()];
            let mask = if self.config.use_attention_mask.unwrap_or(false) { &tokens.mask } else { &all };
            inputs.push(("attention_mask", values::whole(element, &shape, mask)?));
        }
        let outputs: Vec<&str> = outputs.iter().copied().flatten().collect();
        let tensors = self.model.run(&inputs, &outputs, control)?;
        Ok(tensors.into_iter().map(values::floats).collect::<Result<_, _>>()?)
    }

    /// The final layer norm, from what goes into it and what comes out.
    fn find_norm(&mut self, control: &RunControl) -> Result<FinalNorm, PipelineError> {
        let length = self.tokenizer.length();
        // Tokens all over the vocabulary.
        let stride = (self.config.vocab_size / length).max(1);
        let ids = (0..length).map(|n| (n * stride % self.config.vocab_size) as i64).collect();
        let tokens = Tokens { ids, mask: vec![1; length], weights: vec![1.0; length], truncated: false };
        let (before, after) = (self.layers.last().cloned(), self.last.clone());
        let outputs = self.outputs(&tokens, &[before.as_deref(), Some(&after)], control)?;
        let norm = match outputs.as_slice() {
            [before, after] => {
                FinalNorm::fit(before, after, before.len() / length, self.config.layer_norm_eps)
            }
            _ => None,
        };
        norm.ok_or_else(|| {
            PipelineError::invalid(
                "diffusion.clip_skip",
                "this model's text encoder has no layers that can be left out",
            )
        })
    }
}

/// The text encoders of a pipeline; what they say of a token is put side by side.
pub(crate) struct ClipEncoders {
    encoders: Vec<ClipEncoder>,
    /// The last layer is left out even where nothing is skipped (Stable Diffusion XL).
    penultimate: bool,
}

impl ClipEncoders {
    /// The encoder of Stable Diffusion.
    pub(crate) fn one(
        runtime: &Runtime,
        folder: &ModelFolder,
        session: &SessionConfig,
    ) -> Result<Self, PipelineError> {
        let encoder = ClipEncoder::load((runtime, session), folder, ("text_encoder", "tokenizer"))?;
        Ok(Self { encoders: vec![encoder], penultimate: false })
    }

    /// The encoders of Stable Diffusion XL; its refiner has the second one alone.
    pub(crate) fn two(
        runtime: &Runtime,
        folder: &ModelFolder,
        session: &SessionConfig,
    ) -> Result<Self, PipelineError> {
        let mut encoders = Vec::new();
        for parts in [("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")] {
            if folder.has(&format!("{}/model.onnx", parts.0)) {
                encoders.push(ClipEncoder::load((runtime, session), folder, parts)?);
            }
        }
        let problem = |problem: &str| PipelineError::folder(folder.id(), problem);
        match encoders.last() {
            Some(last) if last.pooled.is_some() => {}
            _ => return Err(problem("text_encoder_2/model.onnx: it does not give text_embeds")),
        }
        if encoders.iter().any(|encoder| encoder.layers.len() < 2) {
            return Err(problem(
                "a text encoder does not give its hidden_states, of which the last but one is read",
            ));
        }
        Ok(Self { encoders, penultimate: true })
    }

    pub(crate) fn max_clip_skip(&self) -> usize {
        // The embeddings are listed too; one layer stays.
        let skippable =
            |encoder: &ClipEncoder| encoder.layers.len().saturating_sub(2 + usize::from(self.penultimate));
        self.encoders.iter().map(skippable).min().unwrap_or(0)
    }

    pub(crate) fn encode(
        &mut self,
        text: &Weighted,
        clip_skip: usize,
        control: &RunControl,
    ) -> Result<Encoded, PipelineError> {
        let layer = match (self.penultimate, clip_skip) {
            (true, skipped) => Layer::Plain(skipped + 1),
            (false, 0) => Layer::Last,
            (false, skipped) => Layer::Normed(skipped),
        };
        let mut sides = Vec::with_capacity(self.encoders.len());
        let mut encoded = Encoded::default();
        for encoder in &mut self.encoders {
            let (tokens, hidden, pooled) = encoder.encode(text, layer, control)?;
            encoded.tokens = tokens.ids.len();
            encoded.truncated |= tokens.truncated;
            if self.penultimate {
                encoded.pooled = pooled;
            }
            sides.push(hidden);
        }
        encoded.hidden = side_by_side(sides, encoded.tokens);
        Ok(encoded)
    }
}

/// What several encoders say of each token, in one vector a token.
fn side_by_side(mut sides: Vec<Vec<f32>>, tokens: usize) -> Vec<f32> {
    if sides.len() == 1 {
        return sides.pop().unwrap_or_default();
    }
    let mut all = Vec::with_capacity(sides.iter().map(Vec::len).sum());
    for token in 0..tokens {
        for side in &sides {
            let width = side.len() / tokens;
            all.extend_from_slice(&side[token * width..(token + 1) * width]);
        }
    }
    all
}
