//! The baseline that benches compare with: the model in a bare loop, with no queue, no scheduler and no sampling.
//!
//! For an encoder the baseline is [`Model::run`](crate::Model::run) in a loop.

#![expect(unsafe_code, reason = "the loop's memory is bound once, by pointers; see `decoder::binding`")]

use ort::session::Session;

use crate::{
    InferenceError, ModelFolder, Port, RunControl, Runtime, SessionConfig,
    decoder::{binding::Binding, graph::Graph, kv::KvCache, onnx::bind_cache},
    session,
};

/// Greedy decoding of several rows of equal length in the tightest way: everything is bound once, a step changes a
/// few numbers and runs.
pub struct RawLoop {
    // Dropped before the memory it points to.
    binding: Binding,
    session: Session,
    graph: Graph,
    control: RunControl,
    _cache: KvCache,
    rows: usize,
    context_length: usize,
    /// Tokens that each row holds.
    position: usize,
    buffers: Box<Buffers>,
}

struct Buffers {
    input_ids: Vec<i64>,
    seqlens_k: Vec<i32>,
    query_seqlens: Vec<i32>,
    total_sequence_length: i32,
    logits_index: Vec<i64>,
    logits: Vec<f32>,
}

impl RawLoop {
    /// Loads the model for so many rows.
    ///
    /// # Errors
    /// As for any model, and when the graph is not of the layout of [`OnnxDecoder`](crate::OnnxDecoder).
    pub fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        rows: usize,
        context_length: usize,
        session: &SessionConfig,
    ) -> Result<Self, InferenceError> {
        let session = session::open_session(runtime, folder, "model.onnx", session)?;
        let graph = Graph::read(&Port::all(session.inputs()), &Port::all(session.outputs()))
            .map_err(|problem| InferenceError::unsupported(folder.id(), problem))?;
        let cache = KvCache::new(graph.kv_shape(rows, context_length));
        let binding = bind_cache(&session, &graph, &cache, &(0..rows)).map_err(InferenceError::run_failed)?;
        let buffers = Box::new(Buffers {
            input_ids: vec![0; rows],
            seqlens_k: vec![0; rows],
            query_seqlens: vec![1; rows],
            total_sequence_length: context_length as i32,
            logits_index: (0..rows as i64).collect(),
            logits: vec![0.0; rows * graph.vocabulary_size],
        });
        let control = RunControl::new();
        Ok(Self {
            binding,
            session,
            graph,
            control,
            _cache: cache,
            rows,
            context_length,
            position: 0,
            buffers,
        })
    }

    /// Starts all rows over with the same prompt; they hold the first generated token afterwards.
    ///
    /// # Errors
    /// The prompt is empty or does not fit, or the run fails.
    pub fn prefill(&mut self, prompt: &[u32]) -> Result<(), InferenceError> {
        if prompt.is_empty() || prompt.len() >= self.context_length {
            return Err(InferenceError::InvalidRun(format!("a prompt of {} tokens", prompt.len())));
        }
        let rows = self.rows;
        let width = prompt.len();
        let buffers = &mut *self.buffers;
        buffers.input_ids = prompt.iter().map(|&token| i64::from(token)).collect::<Vec<_>>().repeat(rows);
        buffers.seqlens_k.fill((width - 1) as i32);
        buffers.query_seqlens.fill(width as i32);
        buffers.logits_index = (1..=rows).map(|row| (row * width - 1) as i64).collect();
        self.bind(width)?;
        self.run()?;
        self.position = width;

        let next = self.argmax();
        let buffers = &mut *self.buffers;
        buffers.input_ids = next;
        buffers.query_seqlens.fill(1);
        buffers.logits_index = (0..rows as i64).collect();
        self.bind(1)
    }

    /// Decodes so many more tokens in each row; the tokens of the first row.
    ///
    /// # Errors
    /// The context is full, nothing was prefilled, or a run fails.
    pub fn decode(&mut self, steps: usize) -> Result<Vec<u32>, InferenceError> {
        if self.position == 0 || self.position + steps > self.context_length {
            return Err(InferenceError::InvalidRun(format!("{steps} steps at {}", self.position)));
        }
        let mut tokens = Vec::with_capacity(steps);
        for _ in 0..steps {
            self.buffers.seqlens_k.fill(self.position as i32);
            self.run()?;
            self.position += 1;
            let next = self.argmax();
            tokens.push(next[0] as u32);
            self.buffers.input_ids.copy_from_slice(&next);
        }
        Ok(tokens)
    }

    /// Binds all small inputs and the logits for rows of this width.
    fn bind(&mut self, width: usize) -> Result<(), InferenceError> {
        let rows = self.rows;
        let (buffers, binding) = (&mut *self.buffers, &mut self.binding);
        // SAFETY: each buffer has as many elements as its shape says. They are only replaced in `prefill`, which binds
        // anew before it runs.
        let bound = unsafe {
            (|| {
                binding.input(c"input_ids", buffers.input_ids.as_mut_ptr(), &[rows, width])?;
                binding.input(c"seqlens_k", buffers.seqlens_k.as_mut_ptr(), &[rows])?;
                binding.input(c"total_sequence_length", &raw mut buffers.total_sequence_length, &[])?;
                binding.input(c"logits_index", buffers.logits_index.as_mut_ptr(), &[rows])?;
                if self.graph.idle_rows {
                    binding.input(c"query_seqlens", buffers.query_seqlens.as_mut_ptr(), &[rows])?;
                }
                let logits = [rows, self.graph.vocabulary_size];
                binding.output(c"logits", buffers.logits.as_mut_ptr(), &logits)
            })()
        };
        bound.map_err(InferenceError::run_failed)
    }

    fn run(&mut self) -> Result<(), InferenceError> {
        // SAFETY: what is bound lives in `self`, which is borrowed mutably for the run.
        unsafe { self.binding.run(&mut self.session, self.control.options()?) }
            .map_err(InferenceError::run_failed)
    }

    fn argmax(&self) -> Vec<i64> {
        self.buffers.logits.chunks_exact(self.graph.vocabulary_size).map(|row| argmax(row) as i64).collect()
    }
}

/// Index of the greatest value, the first of equals.
#[must_use]
pub fn argmax(values: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (n, &value) in values.iter().enumerate() {
        if value > best.1 {
            best = (n, value);
        }
    }
    best.0
}
