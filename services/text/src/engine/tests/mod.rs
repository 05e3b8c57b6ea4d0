//! The engine over a decoder that computes nothing and checks everything.

mod schedule;
mod threads;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use atelier_core::TenantId;
use atelier_inference::{InferenceError, Logits, Row, RunControl};

use super::*;
use crate::{
    sampling::{Sampler, Sampling, Scratch},
    stop::Passed,
};

const VOCABULARY: usize = 50;
/// Ends an answer.
const END: u32 = 7;

type Before = dyn Fn(usize, &RunControl) -> Result<(), InferenceError> + Send + Sync;

/// What a step costs and does, as a test wants it.
#[derive(Clone)]
struct Behaviour {
    slots: usize,
    context_length: usize,
    /// Prompt tokens that a step may have at most.
    budget: usize,
    /// Called with the number of the step and its control before it runs.
    before: Arc<Before>,
    steps: Arc<AtomicUsize>,
}

impl Behaviour {
    fn new(slots: usize) -> Self {
        Self { slots, context_length: 64, budget: 16, before: Arc::new(|_, _| Ok(())), steps: Arc::default() }
    }
}

/// Keeps each slot's tokens in place of KV rows; its logits are a hash of them, so that any mix-up changes the text.
struct FakeDecoder {
    behaviour: Behaviour,
    kv: Vec<Vec<u32>>,
}

impl FakeDecoder {
    fn new(behaviour: Behaviour) -> Box<Self> {
        Box::new(Self { kv: vec![Vec::new(); behaviour.slots], behaviour })
    }
}

impl Decoder for FakeDecoder {
    fn slots(&self) -> usize {
        self.behaviour.slots
    }

    fn context_length(&self) -> usize {
        self.behaviour.context_length
    }

    fn vocabulary_size(&self) -> usize {
        VOCABULARY
    }

    fn step(&mut self, rows: &[Row<'_>], control: &RunControl) -> Result<Logits, InferenceError> {
        let step = self.behaviour.steps.fetch_add(1, Ordering::SeqCst);
        (self.behaviour.before)(step, control)?;
        assert!(!rows.is_empty());
        let slots: HashSet<usize> = rows.iter().map(|row| row.slot).collect();
        assert_eq!(slots.len(), rows.len(), "a slot is named twice");
        let prefill: usize = rows.iter().map(|row| row.tokens.len()).filter(|&tokens| tokens > 1).sum();
        assert!(prefill <= self.behaviour.budget, "{prefill} prompt tokens in a step");
        let mut values = Vec::new();
        for row in rows {
            let kv = &mut self.kv[row.slot];
            assert!(row.position <= kv.len(), "rows are missing below the position");
            kv.truncate(row.position);
            kv.extend_from_slice(row.tokens);
            assert!(kv.len() < self.behaviour.context_length, "the context is overrun");
            if row.logits {
                values.extend(logits(kv));
            }
        }
        Ok(Logits::new(VOCABULARY, values))
    }

    fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        self.kv[to] = self.kv[from][..tokens].to_vec();
        // What is left behind must never be read again.
        self.kv[from].clear();
    }
}

fn logits(tokens: &[u32]) -> impl Iterator<Item = f32> {
    let hash = tokens.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &token| {
        (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3).rotate_left(13)
    });
    (0..VOCABULARY as u64).map(move |token| {
        let mixed = (hash ^ token.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed >> 40) as f32 / (1_u64 << 21) as f32
    })
}

/// Spells each token; has no stop sequences.
struct Spell;

impl Writer for Spell {
    fn push(&mut self, token: u32) -> Passed {
        Passed { text: format!("{token} "), stopped: None }
    }

    fn finish(&mut self) -> Passed {
        Passed::default()
    }
}

/// What a call writes if it has the decoder to itself and its tokens are taken in one by one.
fn alone(prompt: &[u32], sampling: &Sampling, max_tokens: usize, context_length: usize) -> (String, usize) {
    let (mut sampler, mut scratch) = (Sampler::new(sampling.clone(), prompt), Scratch::default());
    let (mut tokens, mut text) = (prompt.to_vec(), String::new());
    for written in 1..=max_tokens.min(context_length - prompt.len()) {
        let token = sampler.sample(&mut logits(&tokens).collect::<Vec<_>>(), &mut scratch).expect("a token");
        if token == END {
            return (text, written);
        }
        text += &format!("{token} ");
        tokens.push(token);
    }
    let written = tokens.len() - prompt.len();
    (text, written)
}

fn call(prompt: Vec<u32>, seed: u64, max_tokens: usize) -> GenerationCall {
    GenerationCall {
        prompt,
        sampling: Sampling { seed, repetition_penalty: 1.1, top_p: 0.95, ..Sampling::default() },
        max_tokens,
        stop_tokens: vec![END],
        grammar: None,
        writer: Box::new(Spell),
        tenant: TenantId::default_tenant(),
        deadline: None,
        arrived: Instant::now(),
    }
}
