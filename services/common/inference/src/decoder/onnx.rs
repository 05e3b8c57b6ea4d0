//! A decoder-only model in the layout of `GroupQueryAttention` with shared past and present buffers.
//!
//! Inputs: `input_ids [b, s]`, `seqlens_k [b]` (tokens in the slot after the run, less one),
//! `total_sequence_length`, `query_seqlens [b]` (new tokens of each row, 0 for a row that idles), `logits_index [n]`
//! (flat positions whose logits are wanted) and `past_key_values.N.{key,value}`. Outputs: `logits [n, vocabulary]` and
//! `present.N.{key,value}`, bound to the same memory as the past, so that nothing is copied between steps.

#![expect(unsafe_code, reason = "the run's memory is bound by pointers; see `binding`")]

use std::{ffi::CString, ops::Range};

use half::f16;
use ort::{session::Session, value::PrimitiveTensorElementType};

use super::{
    Decoder, DecoderConfig, Logits, Row,
    binding::Binding,
    graph::Graph,
    kv::KvCache,
    open::check_context,
    plan::{self, Run},
};
use crate::{ElementType, InferenceError, ModelFolder, Port, RunControl, Runtime, SessionConfig, session};

/// The model of a folder, run by ONNX Runtime.
pub struct OnnxDecoder {
    session: Session,
    graph: Graph,
    cache: KvCache,
    cache_tokens: usize,
    views: Vec<View>,
    buffers: Buffers,
    /// Memory of an earlier step's logits, for the next one: new memory would be a page fault for every 4 KiB.
    spare: Vec<f32>,
}

/// The KV cache bound for one range of slots.
struct View {
    slots: Range<usize>,
    binding: Binding,
}

/// Memory of a run's small inputs, kept between runs.
#[derive(Default)]
struct Buffers {
    input_ids: Vec<i64>,
    seqlens_k: Vec<i32>,
    query_seqlens: Vec<i32>,
    logits_index: Vec<i64>,
    total_sequence_length: i32,
}

/// Bound views that are kept. A step's views are mostly prefixes and single slots; each costs some 40 KB.
const MAX_VIEWS: usize = 64;

impl OnnxDecoder {
    /// Loads `<folder>/model.onnx` and sets its cache aside.
    ///
    /// # Errors
    /// The errors of loading any model, and [`InferenceError::ModelUnsupported`] when the graph is not of this layout
    /// or `config` asks for more context than the model was trained for.
    pub fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        config: &DecoderConfig,
        session: &SessionConfig,
    ) -> Result<Self, InferenceError> {
        check_context(folder, config)?;
        Self::new(session::open_session(runtime, folder, "model.onnx", session)?, folder, config)
    }

    /// The decoder of a loaded graph.
    pub(super) fn new(
        session: Session,
        folder: &ModelFolder,
        config: &DecoderConfig,
    ) -> Result<Self, InferenceError> {
        let graph = Graph::read(&Port::all(session.inputs()), &Port::all(session.outputs()))
            .map_err(|problem| InferenceError::unsupported(folder.id(), problem))?;
        let cache = KvCache::new(graph.kv_shape(config.slots, config.context_length));
        Ok(Self {
            session,
            graph,
            cache,
            cache_tokens: config.most_tokens(),
            views: Vec::new(),
            buffers: Buffers::default(),
            spare: Vec::new(),
        })
    }

    fn run(
        &mut self,
        run: &Run,
        rows: &[Row<'_>],
        logits: *mut f32,
        control: &RunControl,
    ) -> Result<usize, InferenceError> {
        let wanted = self.buffers.fill(run, rows, self.cache.shape().context_length);
        let view = view(&mut self.views, &self.session, &self.graph, &self.cache, &run.slots)
            .map_err(InferenceError::run_failed)?;
        let logits_shape = [wanted, self.graph.vocabulary_size];
        // SAFETY: the buffers are not touched before the run is over and every run binds them anew; the caller gives
        // room for the logits of all rows that asked; the cache outlives the views, and `self` is borrowed mutably.
        let result = unsafe {
            self.buffers
                .bind(&mut view.binding, run, self.graph.idle_rows)
                .and_then(|()| view.binding.output(c"logits", logits, &logits_shape))
                .map_err(InferenceError::run_failed)?;
            view.binding.run(&mut self.session, control.options()?)
        };
        result.map_err(|error| control.run_error(error))?;
        Ok(wanted)
    }
}

impl Buffers {
    /// Lays out a run's inputs; the number of tokens after which logits are wanted.
    fn fill(&mut self, run: &Run, rows: &[Row<'_>], context_length: usize) -> usize {
        let (count, width) = (run.slots.len(), run.width);
        self.input_ids.clear();
        self.input_ids.resize(count * width, 0);
        // An idle row has no query; its length must be valid all the same.
        self.seqlens_k.clear();
        self.seqlens_k.resize(count, 0);
        self.query_seqlens.clear();
        self.query_seqlens.resize(count, 0);
        self.logits_index.clear();
        // The length of the buffers: the real lengths are those of the rows, and giving the longest of them instead
        // was not faster. A sum that equals `width` makes the graph ignore what a slot holds; this one does so only
        // when a prompt fills its slot.
        self.total_sequence_length = context_length as i32;
        for row in run.rows.iter().map(|&n| &rows[n]) {
            let place = row.slot - run.slots.start;
            for (id, &token) in self.input_ids[place * width..].iter_mut().zip(row.tokens) {
                *id = i64::from(token);
            }
            self.seqlens_k[place] = (row.position + width - 1) as i32;
            self.query_seqlens[place] = width as i32;
            let end = (place + 1) * width;
            self.logits_index.extend((end - row.logits..end).map(|at| at as i64));
        }
        self.logits_index.len()
    }

    /// Binds everything but the cache and the logits.
    ///
    /// # Safety
    /// The buffers must not be touched until the run is over.
    unsafe fn bind(&mut self, binding: &mut Binding, run: &Run, idle_rows: bool) -> ort::Result<()> {
        let count = run.slots.len();
        let wanted = self.logits_index.len();
        // SAFETY: each buffer has as many elements as its shape says.
        unsafe {
            binding.input(c"input_ids", self.input_ids.as_mut_ptr(), &[count, run.width])?;
            binding.input(c"seqlens_k", self.seqlens_k.as_mut_ptr(), &[count])?;
            binding.input(c"total_sequence_length", &raw mut self.total_sequence_length, &[])?;
            binding.input(c"logits_index", self.logits_index.as_mut_ptr(), &[wanted])?;
            if idle_rows {
                binding.input(c"query_seqlens", self.query_seqlens.as_mut_ptr(), &[count])?;
            }
        }
        Ok(())
    }
}

/// The view of these slots, bound now or kept from an earlier step.
fn view<'a>(
    views: &'a mut Vec<View>,
    session: &Session,
    graph: &Graph,
    cache: &KvCache,
    slots: &Range<usize>,
) -> ort::Result<&'a mut View> {
    let place = match views.iter().position(|view| view.slots == *slots) {
        Some(place) => place,
        None => {
            let binding = bind_cache(session, graph, cache, slots)?;
            if views.len() == MAX_VIEWS {
                views.pop();
            }
            views.push(View { slots: slots.clone(), binding });
            views.len() - 1
        }
    };
    // The views in use gather at the front, the one given up is seldom used.
    let place = match place {
        0 => 0,
        place => {
            views.swap(place, place / 2);
            place / 2
        }
    };
    Ok(&mut views[place])
}

/// Binds every plane of the cache as past and as present.
pub(crate) fn bind_cache(
    session: &Session,
    graph: &Graph,
    cache: &KvCache,
    slots: &Range<usize>,
) -> ort::Result<Binding> {
    let mut binding = Binding::new(session)?;
    let shape = cache.shape().view(slots.len());
    for (plane, names) in graph.planes.iter().enumerate() {
        let start = cache.view(plane, slots.start);
        // SAFETY: the view lies within the cache; whoever runs the binding holds the cache.
        unsafe {
            if graph.element_type == ElementType::F16 {
                bind_plane::<f16>(&mut binding, names, start.cast(), &shape)?;
            } else {
                bind_plane::<f32>(&mut binding, names, start.cast(), &shape)?;
            }
        }
    }
    Ok(binding)
}

/// # Safety
/// As [`Binding::output`].
unsafe fn bind_plane<T: PrimitiveTensorElementType + std::fmt::Debug>(
    binding: &mut Binding,
    (past, present): &(CString, CString),
    start: *mut T,
    shape: &[usize],
) -> ort::Result<()> {
    // SAFETY: the caller vouches for the memory.
    unsafe {
        binding.input(past, start, shape)?;
        binding.output(present, start, shape)
    }
}

impl Decoder for OnnxDecoder {
    fn slots(&self) -> usize {
        self.cache.shape().slots
    }

    fn context_length(&self) -> usize {
        self.cache.shape().context_length
    }

    fn vocabulary_size(&self) -> usize {
        self.graph.vocabulary_size
    }

    fn cache_tokens(&self) -> usize {
        self.cache_tokens
    }

    fn cache_bytes(&self) -> usize {
        self.cache_tokens * self.cache.shape().token_bytes()
    }

    fn step(&mut self, rows: &[Row<'_>], control: &RunControl) -> Result<Logits, InferenceError> {
        let vocabulary = self.graph.vocabulary_size;
        plan::check(rows, self.slots(), self.context_length(), vocabulary)
            .map_err(InferenceError::InvalidRun)?;
        let runs = plan::plan(rows, self.graph.idle_rows);
        let order = plan::order(rows, runs.iter().flat_map(|run| &run.rows).copied());
        // Runs write into the answer itself; zeroing it first would cost as much as a copy.
        let mut values = std::mem::take(&mut self.spare);
        values.clear();
        values.reserve(order.len() * vocabulary);
        let mut written = 0;
        for run in &runs {
            // SAFETY: `order` counts the logits that are asked for, so what is left has room for this run's rows.
            let logits = unsafe { values.as_mut_ptr().add(written * vocabulary) };
            written += self.run(run, rows, logits, control)?;
        }
        // SAFETY: the runs have written `written` rows, all that there is room for.
        unsafe { values.set_len(written * vocabulary) };
        Ok(Logits::ordered(vocabulary, values, order))
    }

    fn recycle(&mut self, logits: Logits) {
        self.spare = logits.into_values();
    }

    fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        self.cache.copy(from, to, tokens);
    }

    fn release(&mut self, slot: usize, tokens: Range<usize>) {
        self.cache.release(slot, tokens);
    }
}

impl std::fmt::Debug for OnnxDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnnxDecoder")
            .field("cache", self.cache.shape())
            .field("vocabulary_size", &self.graph.vocabulary_size)
            .finish_non_exhaustive()
    }
}
