//! The engine over decoders in the layout of the hub: tokens are the reference's (`tests/golden/text/hub.py`) whatever
//! else is in flight and whoever leaves.

#![expect(clippy::expect_used, reason = "tests fail by panicking, their helpers too")]

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use atelier_core::TenantId;
use atelier_inference::{
    DecoderConfig, ModelFolder, Priority, Runtime, RuntimeConfig, SessionConfig, load_decoder,
};
use atelier_text::{
    engine::{Engine, EngineConfig, Event, Events, GenerationCall, Writer},
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
        Passed { text: format!("{token} "), stopped: None }
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

#[test]
fn calls_write_the_references_tokens_under_any_schedule() {
    let hub = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/text/hub");
    let golden = fs::read_to_string(hub.join("greedy.json")).expect("it is there");
    let golden: BTreeMap<String, Golden> = serde_json::from_str(&golden).expect("it parses");
    let runtime = Runtime::start(&RuntimeConfig::default())
        .expect("the runtime is installed: run `cargo xtask models pull`");
    let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor can be built");
    for (model, golden) in golden {
        let folder = ModelFolder::open(&hub.join(&model)).expect("the folder is whole");
        let config = DecoderConfig { slots: 4, context_length: 128 };
        let decoder = load_decoder(&runtime, &folder, &config, &SessionConfig::default())
            .unwrap_or_else(|error| panic!("{error}"));
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
