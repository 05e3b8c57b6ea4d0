//! The engine over a decoder that computes nothing and checks everything.

mod memory;
mod prefix;
mod schedule;
mod score;
mod threads;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use atelier_core::TenantId;
use atelier_inference::{InferenceError, Logits, Priority, Row, RunControl};

use super::{
    beams::{Beams, Searched},
    *,
};
use crate::{
    sampling::{Sampler, Sampling, Scratch},
    stop::Passed,
};

const VOCABULARY: usize = 50;
/// Most prompt tokens of a call in a step, wherever answers are compared.
const CHUNK: usize = 8;
/// Ends an answer.
const END: u32 = 7;

type Before = dyn Fn(usize, &RunControl) -> Result<(), InferenceError> + Send + Sync;

/// What a step costs and does, as a test wants it.
#[derive(Clone)]
struct Behaviour {
    /// Slots of calls.
    slots: usize,
    /// Slots that only keep prompts.
    keep: usize,
    context_length: usize,
    /// Most rows of all slots together.
    cache_tokens: usize,
    /// Prompt tokens that a step may have at most.
    budget: usize,
    rows: Rows,
    /// Called with the number of the step and its control before it runs.
    before: Arc<Before>,
    steps: Arc<AtomicUsize>,
}

impl Behaviour {
    fn new(slots: usize) -> Self {
        Self {
            slots,
            keep: PrefixCacheConfig::default().slots,
            context_length: 64,
            cache_tokens: usize::MAX,
            budget: 16,
            rows: Rows::Single,
            before: Arc::new(|_, _| Ok(())),
            steps: Arc::default(),
        }
    }
}

/// What the last bits of a KV row depend on, beside the tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// Nothing. What follows depends on the last two tokens and the first, so that texts repeat themselves.
    Exact,
    /// Whether others were taken in together with its token.
    Single,
    /// How many were.
    Width,
    /// How many were, and how many other rows shared the run.
    Run,
}

/// What stands for a KV row: the token, and what counts of how many were taken in with it.
type KvRow = (u32, usize);

impl Rows {
    fn taken_in(self, tokens: &[u32]) -> impl Iterator<Item = KvRow> {
        self.taken_in_among(tokens, 1)
    }

    fn taken_in_among(self, tokens: &[u32], rows: usize) -> impl Iterator<Item = KvRow> {
        let width = match self {
            Self::Exact => 0,
            Self::Single => tokens.len().min(2),
            Self::Width => tokens.len(),
            Self::Run => tokens.len() * 10 + rows,
        };
        tokens.iter().map(move |&token| (token, width))
    }

    /// Those of a prompt that a call computes alone.
    fn of_prompt(self, prompt: &[u32]) -> Vec<KvRow> {
        match self {
            Self::Width | Self::Run => prompt.chunks(CHUNK).flat_map(|chunk| self.taken_in(chunk)).collect(),
            Self::Exact | Self::Single => self.taken_in(prompt).collect(),
        }
    }

    fn logits(self, kv: &[KvRow]) -> impl Iterator<Item = f32> {
        match (self, kv) {
            (Self::Exact, [first, .., one, other]) => logits(&[*first, *one, *other]),
            _ => logits(kv),
        }
    }
}

/// Its logits are a hash of the slot's rows, so that any mix-up changes the text, and any other cut of the prompt.
struct FakeDecoder {
    behaviour: Behaviour,
    kv: Vec<Vec<KvRow>>,
}

impl FakeDecoder {
    fn new(behaviour: Behaviour) -> Box<Self> {
        Box::new(Self { kv: vec![Vec::new(); behaviour.slots + behaviour.keep], behaviour })
    }
}

impl Decoder for FakeDecoder {
    fn slots(&self) -> usize {
        self.kv.len()
    }

    fn context_length(&self) -> usize {
        self.behaviour.context_length
    }

    fn vocabulary_size(&self) -> usize {
        VOCABULARY
    }

    fn cache_tokens(&self) -> usize {
        self.behaviour.cache_tokens
    }

    fn cache_bytes(&self) -> usize {
        0
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
            kv.extend(self.behaviour.rows.taken_in_among(row.tokens, rows.len()));
            assert!(kv.len() < self.behaviour.context_length, "the context is overrun");
            for end in kv.len() - row.logits + 1..=kv.len() {
                values.extend(self.behaviour.rows.logits(&kv[..end]));
            }
        }
        let held: usize = self.kv.iter().map(Vec::len).sum();
        assert!(
            held <= self.behaviour.cache_tokens,
            "{held} rows in a cache of {}",
            self.behaviour.cache_tokens
        );
        Ok(Logits::new(VOCABULARY, values))
    }

    fn takes_any_piece(&self) -> bool {
        self.behaviour.rows != Rows::Width
    }

    fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        self.kv[to] = self.kv[from][..tokens].to_vec();
    }

    fn release(&mut self, slot: usize, tokens: std::ops::Range<usize>) {
        assert!(tokens.end <= self.behaviour.context_length);
        assert!(self.kv[slot].len() <= tokens.end, "rows beyond would stay");
        self.kv[slot].truncate(tokens.start);
    }
}

fn logits(kv: &[KvRow]) -> impl Iterator<Item = f32> + use<> {
    let hash = kv.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &(token, width)| {
        (hash ^ u64::from(token) ^ (width as u64) << 32).wrapping_mul(0x0100_0000_01b3).rotate_left(13)
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
        Passed::text(format!("{token} "))
    }

    fn finish(&mut self) -> Passed {
        Passed::default()
    }
}

/// What a call writes if it has the decoder to itself, and how many tokens.
fn alone(
    rows: Rows,
    prompt: &[u32],
    sampling: &Sampling,
    max_tokens: usize,
    context_length: usize,
) -> (String, usize) {
    let (mut sampler, mut scratch) = (Sampler::new(sampling.clone(), prompt), Scratch::default());
    let (mut kv, mut text) = (rows.of_prompt(prompt), String::new());
    for written in 1..=max_tokens.min(context_length - prompt.len()) {
        let token = sampler.sample(&mut rows.logits(&kv).collect::<Vec<_>>(), &mut scratch).expect("a token");
        if token == END {
            return (text, written);
        }
        text += &format!("{token} ");
        kv.extend(rows.taken_in(&[token]));
    }
    let written = kv.len() - prompt.len();
    (text, written)
}

/// What a search finds that has the decoder to itself, and how many tokens.
fn searched(
    rows: Rows,
    prompt: &[u32],
    sampling: &Sampling,
    search: BeamSearch,
    limit: usize,
) -> (String, usize) {
    let mut beams = Beams::new(search, Sampler::new(sampling.clone(), prompt));
    let mut kv = vec![rows.of_prompt(prompt); search.count];
    loop {
        let said = kv.iter().take(beams.places()).map(|kv| rows.logits(kv).collect());
        let mut said: Vec<Vec<f32>> = said.collect();
        match beams.step(said.iter_mut().map(Vec::as_mut_slice), &[END], limit).expect("logits are sound") {
            Searched::Found(tokens) => {
                let spelled = tokens.iter().filter(|&&token| token != END).map(|token| format!("{token} "));
                return (spelled.collect(), tokens.len());
            }
            Searched::GoesOn(copies) => {
                copies.into_iter().for_each(|(from, to)| kv[to] = kv[from].clone());
                kv.iter_mut().zip(beams.input()).for_each(|(kv, token)| kv.extend(rows.taken_in(&[token])));
            }
        }
    }
}

fn call(prompt: Vec<u32>, seed: u64, max_tokens: usize) -> GenerationCall {
    GenerationCall {
        prompt,
        sampling: Sampling { seed, repetition_penalty: 1.1, top_p: 0.95, ..Sampling::default() },
        max_tokens,
        stop_tokens: vec![END],
        grammar: None,
        logprobs: None,
        scored: Vec::new(),
        lookahead: 0,
        beams: None,
        deterministic: false,
        writer: Box::new(Spell),
        tenant: TenantId::default_tenant(),
        priority: Priority::Normal,
        deadline: None,
        arrived: Instant::now(),
    }
}
