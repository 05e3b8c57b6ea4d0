//! The engine over decoders in both layouts: tokens are the reference's (`tests/golden/text/hub.py`, `gguf_models.py`) whatever
//! else is in flight and whoever leaves.

#![expect(clippy::expect_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use atelier_core::TenantId;
use atelier_inference::{
    Decoder, DecoderConfig, ModelFolder, Priority, Row, RunControl, Runtime, RuntimeConfig, SessionConfig,
    load_decoder,
};
use atelier_text::{
    engine::{BeamSearch, Engine, EngineConfig, Event, Events, Finished, GenerationCall, Writer},
    sampling::Sampling,
    stop::Passed,
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde::Deserialize;

/// A model's part of `greedy.json`.
#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
}

/// Spells each token.
struct Spell;

impl Writer for Spell {
    fn push(&mut self, token: u32) -> Passed {
        Passed::text(format!("{token} "))
    }

    fn finish(&mut self) -> Passed {
        Passed::default()
    }
}

fn call(case: &Case) -> GenerationCall {
    GenerationCall {
        prompt: case.prompt.clone(),
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        max_tokens: case.tokens.len(),
        stop_tokens: Vec::new(),
        grammar: None,
        logprobs: None,
        scored: Vec::new(),
        lookahead: 0,
        beams: None,
        deterministic: false,
        priority: Priority::Normal,
        writer: Box::new(Spell),
        tenant: TenantId::default_tenant(),
        deadline: None,
        arrived: Instant::now(),
    }
}

/// The tokens of a call; of one that leaves, those before it did.
async fn hear(mut events: Events, leaves_after: Option<usize>) -> Vec<u32> {
    let mut tokens = Vec::new();
    while leaves_after.is_none_or(|most| tokens.len() < most)
        && let Some(event) = events.next().await
    {
        match event.expect("the call succeeds") {
            Event::Delta { text, .. } => {
                tokens.extend(text.split_whitespace().map(|token| token.parse::<u32>().expect("a token")));
            }
            Event::Finished(_) => break,
        }
    }
    tokens
}

/// The end of a call.
async fn end(mut events: Events) -> Finished {
    while let Some(event) = events.next().await {
        if let Event::Finished(finished) = event.expect("the call succeeds") {
            return finished;
        }
    }
    panic!("the events end without an end");
}

fn golden() -> BTreeMap<String, Golden> {
    let golden = fs::read_to_string(hub().join("greedy.json")).expect("it is there");
    serde_json::from_str(&golden).expect("it parses")
}

fn hub() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/text/hub")
}

fn runtime() -> Runtime {
    Runtime::start(&RuntimeConfig::default())
        .expect("the runtime is installed: run `cargo xtask models pull`")
}

fn load(runtime: &Runtime, model: &str) -> Box<dyn Decoder> {
    let folder = ModelFolder::open(&hub().join(model)).expect("the folder is whole");
    // Four for calls, four that only keep prompts.
    let config = DecoderConfig { slots: 8, context_length: 128, tokens: None };
    load_decoder(runtime, &folder, &config, &SessionConfig::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A call: what it writes, how many turns of the executor it comes after the one before, and when it leaves.
type Arrival = (prop::sample::Index, usize, Option<usize>);

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    let leaves = prop::option::weighted(0.2, 0_usize..12);
    prop::collection::vec((any::<prop::sample::Index>(), 0_usize..60, leaves), 1..16)
}

async fn serve(engine: &Engine, cases: &[Case], arrivals: &[Arrival]) {
    let mut heard = Vec::new();
    for (case, pause, leaves) in arrivals {
        for _ in 0..*pause {
            tokio::task::yield_now().await;
        }
        let case = case.get(cases);
        let events = engine.submit(call(case)).expect("the queue has room");
        heard.push((case, *leaves, tokio::spawn(hear(events, *leaves))));
    }
    for (case, leaves, heard) in heard {
        let tokens = heard.await.expect("no panic");
        match leaves {
            Some(most) => assert!(case.tokens.starts_with(&tokens) && tokens.len() <= most.max(1)),
            None => assert_eq!(tokens, case.tokens),
        }
    }
}

/// How likely each token of `scored` is after all before it, one step for each token and in plain arithmetic.
fn by_the_book(decoder: &mut dyn Decoder, all: &[u32], first: usize) -> Vec<f64> {
    let mut logprobs = Vec::new();
    for (position, pair) in all.windows(2).enumerate() {
        let row = Row { slot: 0, tokens: &pair[..1], position, logits: 1 };
        let logits = decoder.step(&[row], &RunControl::new()).expect("it runs");
        let total: f64 = logits.row(0).iter().map(|&logit| f64::from(logit).exp()).sum();
        logprobs.push(f64::from(logits.row(0)[pair[1] as usize]) - total.ln());
    }
    logprobs.split_off(first - 1)
}

#[test]
fn tokens_are_as_likely_as_step_by_step_written_or_scored() {
    let (runtime, golden) = (runtime(), golden());
    let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor can be built");
    for (model, golden) in golden {
        let mut decoder = load(&runtime, &model);
        let case = &golden.cases[0];
        let all = [&case.prompt[..], &case.tokens].concat();
        let expected = by_the_book(&mut *decoder, &all, case.prompt.len());
        let config = EngineConfig { prefill_chunk: 7, ..EngineConfig::default() };
        let engine = Engine::start(&model, &config, decoder).expect("a thread can be had");
        let prompt = all[..all.len() - 1].to_vec();
        let calls = [
            GenerationCall { logprobs: Some(1), ..call(case) },
            GenerationCall { prompt: prompt.clone(), scored: case.tokens.clone(), ..call(case) },
            GenerationCall { prompt, scored: case.tokens.clone(), ..call(case) },
        ];
        let running: Vec<Events> =
            calls.map(|call| engine.submit(call).expect("the queue has room")).into_iter().collect();
        for events in running {
            let told = executor.block_on(end(events)).logprobs;
            assert_eq!(told.iter().map(|token| token.token).collect::<Vec<_>>(), case.tokens, "{model}");
            for (told, expected) in told.iter().zip(&expected) {
                assert!((f64::from(told.logprob) - expected).abs() < 1e-3, "{model}: {told:?} {expected}");
                assert!(told.top.iter().all(|&(token, _)| token == told.token), "{model}: greedy");
            }
        }
        executor.block_on(engine.close());
    }
}

#[test]
fn calls_write_the_references_tokens_under_any_schedule() {
    let (runtime, golden) = (runtime(), golden());
    let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor can be built");
    for (model, golden) in golden {
        let decoder = load(&runtime, &model);
        let config = EngineConfig { prefill_chunk: 7, ..EngineConfig::default() };
        let engine = Engine::start(&model, &config, decoder).expect("a thread can be had");
        let mut runner = TestRunner::new(ProptestConfig { cases: 10, ..ProptestConfig::default() });
        let outcome = runner.run(&arrivals(), |arrivals| {
            executor.block_on(serve(&engine, &golden.cases, &arrivals));
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{model}: {error}"));
        executor.block_on(engine.close());
    }
}

/// A case of `beams.json`.
#[derive(Deserialize)]
struct Found {
    beams: usize,
    length_penalty: f64,
    max_tokens: usize,
    #[serde(flatten)]
    case: Case,
}

/// The end token of the tiny models.
const END: u32 = 258;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_find_what_the_reference_finds_side_by_side() {
    let golden = fs::read_to_string(hub().join("beams.json")).expect("it is there");
    let cases: Vec<Found> = serde_json::from_str(&golden).expect("it parses");
    let folder = ModelFolder::open(&hub().join("llama")).expect("the folder is whole");
    let config = DecoderConfig { slots: 12, context_length: 128, tokens: None };
    let decoder = load_decoder(&runtime(), &folder, &config, &SessionConfig::default()).expect("it loads");
    let engine = Engine::start("llama", &EngineConfig::default(), decoder).expect("a thread starts");
    assert_eq!(engine.slots(), 8);
    let running = cases.iter().map(|found| {
        let search = BeamSearch { count: found.beams, length_penalty: found.length_penalty };
        engine.submit(GenerationCall {
            beams: Some(search),
            max_tokens: found.max_tokens,
            stop_tokens: vec![END],
            ..call(&found.case)
        })
    });
    let running: Vec<_> = running.collect::<Result<_, _>>().expect("the queue has room");
    for (at, (found, events)) in cases.iter().zip(running).enumerate() {
        let mut expected = found.case.tokens.clone();
        expected.retain(|&token| token != END);
        assert_eq!(hear(events, None).await, expected, "case {at}");
    }
    let too_many = BeamSearch { count: 9, length_penalty: 1.0 };
    let refused = engine.submit(GenerationCall { beams: Some(too_many), ..call(&cases[0].case) });
    assert!(refused.is_err_and(|error| error.to_string().contains("at most 8")));
}
