//! A decoder-only model in the layout of the hub: a cache that grows by concatenation.
//!
//! Inputs: `input_ids [b, s]`, `attention_mask [b, past + s]`, `position_ids [b, s]` and `past_key_values.N.{key,value}
//! [b, heads, past, head_size]`. Outputs: `logits [b, s, vocabulary]` and `present.N.{key,value}` with `past + s` rows.
//! Hugging Face Optimum, onnxruntime-genai and transformers.js write their folders so; some graphs do without the mask
//! or the positions, take `use_cache_branch` (a merged decoder) or `num_logits_to_keep`, or give the last position's
//! logits alone. Of a pair of graphs, the first run of a sequence goes through one that takes no past, and those after it
//! through another, of which older exports take one token at a time.
//!
//! The rows of a run all have one `past`. Decoding slots that hold equally many tokens share a run, as do those that
//! hold fewer, padded and masked, where the graph leaves padding out of account. Graphs that mask attention do so for
//! padding in front; those that attend by `GroupQueryAttention`, as onnxruntime-genai writes them, read lengths off the
//! mask and leave out what stands behind. Padding in front also needs `position_ids`. Which it is, if any, is tried when a graph is loaded.

mod graph;
mod rows;

use std::{array::from_fn, fmt::Debug, ops::Range};

use half::f16;
use ort::{
    session::{Session, SessionInputValue},
    value::{DynValue, PrimitiveTensorElementType, Tensor},
};

use self::{
    graph::{HubGraph, Plane, Takes},
    rows::{Padding, SlotRows},
};
use super::{Decoder, DecoderConfig, Logits, Row, plan};
use crate::{ElementType, InferenceError, ModelFolder, Port, RunControl};

/// Element of a KV cache.
trait Element: PrimitiveTensorElementType + Copy + Debug + Default + Send + 'static {
    /// A key or value like no other: attention to it is seen in the logits.
    const LOUD: Self;
}

impl Element for f32 {
    const LOUD: Self = 64.0;
}

impl Element for f16 {
    const LOUD: Self = Self::from_f32_const(64.0);
}

/// A graph of a model's folder, loaded.
pub(super) struct GraphFile {
    pub(super) name: String,
    pub(super) session: Session,
}

impl GraphFile {
    fn read<G>(
        &self,
        folder: &ModelFolder,
        read: impl FnOnce(&[Port], &[Port]) -> Result<G, String>,
    ) -> Result<G, InferenceError> {
        read(&Port::all(self.session.inputs()), &Port::all(self.session.outputs()))
            .map_err(|problem| InferenceError::unsupported(folder.id(), format!("{}: {problem}", self.name)))
    }
}

/// The decoder of a graph in this layout, or of a pair: `first` is for the first run of a sequence, `file` for those after
/// it.
///
/// # Errors
/// [`InferenceError::ModelUnsupported`] says which graph lacks what; [`InferenceError::RunFailed`] when a graph
/// can't be run.
pub(super) fn open(
    file: GraphFile,
    first: Option<GraphFile>,
    folder: &ModelFolder,
    config: &DecoderConfig,
) -> Result<Box<dyn Decoder>, InferenceError> {
    let graph = file.read(folder, HubGraph::read)?;
    let first_run = |file: GraphFile| {
        let takes = file.read(folder, |inputs, outputs| graph.read_first(inputs, outputs));
        takes.map(|takes| FirstRun { session: file.session, takes })
    };
    let first = first.map(first_run).transpose()?;
    if graph.element_type == ElementType::F16 {
        Ok(Box::new(HubDecoder::<f16>::new(file.session, graph, first, config)?))
    } else {
        Ok(Box::new(HubDecoder::<f32>::new(file.session, graph, first, config)?))
    }
}

/// The half of a pair that takes no past.
struct FirstRun {
    session: Session,
    takes: Takes,
}

struct HubDecoder<T> {
    session: Session,
    graph: HubGraph,
    /// Of a pair; `session` runs what comes after it.
    first: Option<FirstRun>,
    slots: usize,
    context_length: usize,
    cache_tokens: usize,
    vocabulary_size: usize,
    /// Rows that hold fewer tokens than others may be padded.
    padding: bool,
    /// The graph gives the logits of as many positions as are asked for, not of the last one alone.
    every_position: bool,
    rows: SlotRows<T>,
    held: Vec<Held>,
    /// Memory of an earlier step's logits, for the next one.
    spare: Vec<f32>,
}

/// What a run has left behind: its `present`, ready to be the `past` of the next run of the same slots. A slot is in
/// one of them at most. It spares decoding slots that stay together the gathering of all their rows for each token.
struct Held {
    slots: Vec<usize>,
    /// Tokens that each slot holds; the padding of the shorter ones is in `planes` too.
    kept: Vec<usize>,
    planes: Vec<DynValue>,
}

/// One call of the model: these slots take in as many tokens each.
struct Batch<'a> {
    slots: Vec<usize>,
    /// Tokens that each slot holds before.
    kept: Vec<usize>,
    tokens: Vec<&'a [u32]>,
    /// Most positions of a row, the last ones, whose logits are wanted.
    logits: usize,
}

impl Batch<'_> {
    /// New tokens of a row.
    fn width(&self) -> usize {
        self.tokens[0].len()
    }

    /// Tokens before them, padding included.
    fn past(&self) -> usize {
        self.kept.iter().copied().max().unwrap_or_default()
    }

    /// All inputs but the cache.
    fn small_inputs(
        &self,
        takes: Takes,
        padding: Padding,
    ) -> ort::Result<Vec<(&'static str, SessionInputValue<'static>)>> {
        let (count, width, past) = (self.slots.len(), self.width(), self.past());
        let ids: Vec<i64> = self.tokens.iter().copied().flatten().map(|&token| i64::from(token)).collect();
        let mut feeds = vec![("input_ids", Tensor::from_array(([count, width], ids))?.into())];
        if takes.attention_mask {
            let first = |kept: usize| match padding {
                Padding::Front => past - kept,
                Padding::Back => 0,
            };
            let real = |kept: usize| first(kept)..first(kept) + kept + width;
            let row =
                |kept: usize| (0..past + width).map(move |place| i64::from(real(kept).contains(&place)));
            let mask: Vec<i64> = self.kept.iter().flat_map(|&kept| row(kept)).collect();
            feeds.push(("attention_mask", Tensor::from_array(([count, past + width], mask))?.into()));
        }
        if takes.position_ids {
            let positions = self.kept.iter().flat_map(|&kept| kept as i64..(kept + width) as i64);
            let positions: Vec<i64> = positions.collect();
            feeds.push(("position_ids", Tensor::from_array(([count, width], positions))?.into()));
        }
        if takes.use_cache_branch {
            feeds.push(("use_cache_branch", Tensor::from_array(([1], vec![past > 0]))?.into()));
        }
        if takes.num_logits_to_keep {
            let kept = vec![self.logits.max(1) as i64];
            feeds.push(("num_logits_to_keep", Tensor::from_array(([0_usize; 0], kept))?.into()));
        }
        Ok(feeds)
    }
}

impl<T: Element> HubDecoder<T> {
    fn new(
        session: Session,
        graph: HubGraph,
        first: Option<FirstRun>,
        config: &DecoderConfig,
    ) -> Result<Self, InferenceError> {
        let planes = graph.planes.len();
        let rows = |padding| SlotRows::new(config.slots, planes, T::default(), padding);
        let mut decoder = Self {
            vocabulary_size: 0,
            session,
            graph,
            first,
            slots: config.slots,
            context_length: config.context_length,
            cache_tokens: config.most_tokens(),
            padding: false,
            every_position: false,
            rows: rows(Padding::Front),
            held: Vec::new(),
            spare: Vec::new(),
        };
        // Graphs may leave open how long a row of logits is, and none tells how many come.
        let batch = Batch { slots: vec![0], kept: vec![0], tokens: vec![&[0, 0]], logits: 2 };
        if let [_, positions, size] = **decoder.run(&batch, &RunControl::new())?.shape() {
            decoder.every_position = positions == 2;
            decoder.vocabulary_size = size as usize;
        }
        let mut padding = Padding::Front;
        for tried in [Padding::Front, Padding::Back] {
            if !decoder.padding && decoder.try_padding(tried)? {
                (decoder.padding, padding) = (true, tried);
            }
        }
        // Trials leave no rows behind.
        decoder.rows = rows(padding);
        decoder.held.clear();
        Ok(decoder)
    }

    /// Whether a row says the same padded, among longer ones. Its padding is loud in this trial, so that attention to it
    /// can't be mistaken for the error of another order of sums.
    fn try_padding(&mut self, padding: Padding) -> Result<bool, InferenceError> {
        const LENGTH: usize = 8;
        const TOLERANCE: f32 = 0.01;
        // Padding in front moves what a run adds away from the rows before it, unless the graph is told positions.
        let moves = padding == Padding::Front && !self.graph.takes.position_ids;
        if self.slots == 1 || self.context_length <= LENGTH || !self.graph.takes.attention_mask || moves {
            return Ok(false);
        }
        // Of tokens that are all the same, attention gives the same mean whatever their positions.
        let prompt: [u32; LENGTH] = from_fn(|n| (n % self.vocabulary_size.max(1)) as u32);
        let control = RunControl::new();
        let row = |slot, tokens, position| Row { slot, tokens, position, logits: 1 };
        let decoding = [row(0, &prompt[..1], LENGTH), row(1, &prompt[..1], 2)];
        (self.rows.filler, self.rows.padding) = (T::LOUD, padding);
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        self.step_together(&[row(0, &prompt, 0)], &mut alone, &control)?;
        self.step_together(&[row(1, &prompt[..2], 0)], &mut alone, &control)?;
        alone.clear();
        for row in decoding {
            self.step_together(&[row], &mut alone, &control)?;
        }
        // A graph may as well refuse it.
        if self.step_together(&decoding, &mut together, &control).is_err() {
            return Ok(false);
        }
        let largest = alone.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
        Ok(alone.iter().zip(&together).all(|(one, other)| (one - other).abs() <= TOLERANCE * largest))
    }

    /// Runs a batch and keeps its rows; gives the graph's logits.
    fn run(&mut self, batch: &Batch<'_>, control: &RunControl) -> Result<DynValue, InferenceError> {
        let past = self.past(batch).map_err(InferenceError::run_failed)?;
        let (session, takes, past) = match &mut self.first {
            Some(first) if batch.past() == 0 => (&mut first.session, first.takes, Vec::new()),
            _ => (&mut self.session, self.graph.takes, past),
        };
        let mut feeds = batch.small_inputs(takes, self.rows.padding).map_err(InferenceError::run_failed)?;
        let names = self.graph.planes.iter().map(|plane| plane.past.as_str());
        feeds.extend(names.zip(past.into_iter().map(SessionInputValue::from)));
        let mut outputs =
            session.run_with_options(feeds, control.options()?).map_err(|error| control.run_error(error))?;
        let mut output = |name: &str| {
            let missing = || InferenceError::run_failed(format!("no output {name:?}"));
            outputs.remove(name).ok_or_else(missing)
        };
        let logits = output("logits")?;
        let planes: Vec<DynValue> =
            self.graph.planes.iter().map(|plane| output(&plane.present)).collect::<Result<_, _>>()?;
        drop(outputs);

        let tokens = batch.past() + batch.width();
        for (plane, value) in planes.iter().enumerate() {
            let sizes = &self.graph.planes[plane];
            let (shape, values) = value.try_extract_tensor::<T>().map_err(InferenceError::run_failed)?;
            let expected = [batch.slots.len(), sizes.heads, tokens, sizes.head_size];
            if !shape.iter().map(|&dimension| dimension as usize).eq(expected) {
                let problem = format!("output {:?} is {shape:?} instead of {expected:?}", sizes.present);
                return Err(InferenceError::run_failed(problem));
            }
            self.rows.extend(plane, sizes, &batch.slots, &batch.kept, values);
        }
        let kept = batch.kept.iter().map(|kept| kept + batch.width()).collect();
        self.held.push(Held { slots: batch.slots.clone(), kept, planes });
        Ok(logits)
    }

    /// The cache of a batch as the graph takes it.
    fn past(&mut self, batch: &Batch<'_>) -> ort::Result<Vec<DynValue>> {
        let same = |held: &Held| held.slots == batch.slots && held.kept == batch.kept;
        let held = self.held.iter().position(same).map(|place| self.held.swap_remove(place));
        // Whatever else holds rows of these slots is out of date after the run.
        self.held.retain(|held| held.slots.iter().all(|slot| !batch.slots.contains(slot)));
        if let Some(held) = held {
            return Ok(held.planes);
        }
        let gathered = self.graph.planes.iter().enumerate().map(|(plane, sizes)| {
            let values = self.rows.gather(plane, sizes, &batch.slots, &batch.kept);
            let shape = [batch.slots.len(), sizes.heads, batch.past(), sizes.head_size];
            Ok(Tensor::from_array((shape, values))?.into_dyn())
        });
        gathered.collect()
    }

    /// What takes a past, of a merged decoder or a pair, was traced with one token, and may hold no causal mask or take no more.
    fn continues_by_one(&self) -> bool {
        self.graph.takes.use_cache_branch || self.first.is_some()
    }

    /// Runs rows that share a run; the logits that they ask for go to the end of `values`.
    fn step_together(
        &mut self,
        rows: &[Row<'_>],
        values: &mut Vec<f32>,
        control: &RunControl,
    ) -> Result<(), InferenceError> {
        let width = rows[0].tokens.len();
        let one_by_one =
            self.continues_by_one() && rows[0].position > 0 || !self.every_position && rows[0].logits > 1;
        let piece = if one_by_one { 1 } else { width };
        for at in (0..width).step_by(piece) {
            // Rows of several tokens run alone, so that what one asks for comes in its order.
            let wanted = |row: &Row<'_>| row.logits.saturating_sub(width - at - piece).min(piece);
            let wanted: Vec<usize> = rows.iter().map(wanted).collect();
            let batch = Batch {
                slots: rows.iter().map(|row| row.slot).collect(),
                kept: rows.iter().map(|row| row.position + at).collect(),
                tokens: rows.iter().map(|row| &row.tokens[at..at + piece]).collect(),
                logits: wanted.iter().copied().max().unwrap_or_default(),
            };
            let logits = self.run(&batch, control)?;
            if batch.logits == 0 {
                continue;
            }
            if self.graph.logits_type == ElementType::F16 {
                self.read_logits(&logits, &wanted, values, f16::to_f32)?;
            } else {
                self.read_logits(&logits, &wanted, values, |value: f32| value)?;
            }
        }
        Ok(())
    }

    /// The logits of so many positions of each row, the last ones.
    fn read_logits<L: Element>(
        &self,
        logits: &DynValue,
        wanted: &[usize],
        values: &mut Vec<f32>,
        number: impl Fn(L) -> f32,
    ) -> Result<(), InferenceError> {
        let (shape, all) = logits.try_extract_tensor::<L>().map_err(InferenceError::run_failed)?;
        let positions = match **shape {
            [count, positions, size]
                if count as usize == wanted.len()
                    && positions > 0
                    && size as usize == self.vocabulary_size =>
            {
                positions as usize
            }
            _ => {
                let problem = format!("output \"logits\" is {shape:?} for {} rows", wanted.len());
                return Err(InferenceError::run_failed(problem));
            }
        };
        for (&wanted, all) in wanted.iter().zip(all.chunks_exact(positions * self.vocabulary_size)) {
            let first = positions.checked_sub(wanted).ok_or_else(|| {
                InferenceError::run_failed(format!("logits of {positions} positions instead of {wanted}"))
            })?;
            values.extend(all[first * self.vocabulary_size..].iter().map(|&value| number(value)));
        }
        Ok(())
    }

    /// Rows below each position must be there: unlike a buffer, a slot holds no more than it was given.
    fn check(&self, rows: &[Row<'_>]) -> Result<(), String> {
        plan::check(rows, self.slots, self.context_length, self.vocabulary_size)?;
        for row in rows {
            for (plane, sizes) in self.graph.planes.iter().enumerate() {
                let tokens = self.rows.tokens(plane, sizes, row.slot);
                if row.position > tokens {
                    return Err(format!(
                        "position {} of slot {}, which holds {tokens}",
                        row.position, row.slot
                    ));
                }
            }
        }
        Ok(())
    }
}

impl<T: Element> Decoder for HubDecoder<T> {
    fn slots(&self) -> usize {
        self.slots
    }

    fn context_length(&self) -> usize {
        self.context_length
    }

    fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    fn cache_tokens(&self) -> usize {
        self.cache_tokens
    }

    fn cache_bytes(&self) -> usize {
        let row: usize = self.graph.planes.iter().map(Plane::row).sum();
        self.cache_tokens * row * size_of::<T>()
    }

    fn step(&mut self, rows: &[Row<'_>], control: &RunControl) -> Result<Logits, InferenceError> {
        self.check(rows).map_err(InferenceError::InvalidRun)?;
        let runs = plan::alike(rows, self.padding);
        let order = plan::order(rows, runs.iter().flatten().copied());
        let mut values = std::mem::take(&mut self.spare);
        values.clear();
        values.reserve(order.len() * self.vocabulary_size);
        for run in &runs {
            let rows: Vec<Row<'_>> = run.iter().map(|&row| rows[row]).collect();
            self.step_together(&rows, &mut values, control)?;
        }
        Ok(Logits::ordered(self.vocabulary_size, values, order))
    }

    fn takes_any_piece(&self) -> bool {
        !self.continues_by_one() && self.every_position
    }

    fn recycle(&mut self, logits: Logits) {
        self.spare = logits.into_values();
    }

    fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        self.rows.copy(&self.graph.planes, from, to, tokens);
        self.held.retain(|held| !held.slots.contains(&to));
    }

    fn release(&mut self, slot: usize, tokens: Range<usize>) {
        self.rows.release(&self.graph.planes, slot, tokens.start);
        self.held.retain(|held| !held.slots.contains(&slot));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Runtime, RuntimeConfig, SessionConfig, session::open_session};

    #[test]
    fn padding_is_for_graphs_that_leave_it_out_of_account() {
        let hub = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/text/hub");
        let runtime = Runtime::start(&RuntimeConfig::default()).unwrap();
        let padding = |model: &str, file: &str, slots: usize| {
            let folder = ModelFolder::open(&hub.join(model)).unwrap();
            let open = |file: &str| {
                let session = open_session(&runtime, &folder, file, &SessionConfig::default()).unwrap();
                let (inputs, outputs) = (Port::all(session.inputs()), Port::all(session.outputs()));
                (session, inputs, outputs)
            };
            let (session, inputs, outputs) = open(file);
            let graph = HubGraph::read(&inputs, &outputs).unwrap();
            let first = folder.has("decoder_model.onnx").then(|| {
                let (session, inputs, outputs) = open("decoder_model.onnx");
                FirstRun { session, takes: graph.read_first(&inputs, &outputs).unwrap() }
            });
            let config = DecoderConfig { slots, context_length: 16, tokens: None };
            let decoder = HubDecoder::<f32>::new(session, graph, first, &config).unwrap();
            decoder.padding.then_some(decoder.rows.padding)
        };
        assert_eq!(padding("llama", "model.onnx", 2), Some(Padding::Front));
        assert_eq!(padding("gpt2-merged", "decoder_model_merged.onnx", 2), Some(Padding::Front));
        assert_eq!(padding("llama-pair", "decoder_with_past_model.onnx", 2), Some(Padding::Front));
        assert_eq!(padding("phi3", "model.onnx", 2), Some(Padding::Front));
        assert_eq!(padding("qwen3-genai", "model.onnx", 2), Some(Padding::Back));
        // These count positions by the rows of their cache.
        assert_eq!(padding("gemma", "model.onnx", 2), None);
        assert_eq!(padding("llama-pair-one", "decoder_with_past_model.onnx", 2), None);
        assert_eq!(padding("gemma-genai", "model.onnx", 2), Some(Padding::Back));
        assert_eq!(padding("llama", "model.onnx", 1), None);
    }
}
