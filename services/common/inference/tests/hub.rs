//! Decoders, on the tiny models of `tests/golden/text/hub.py` (in the layout of the hub) and `gguf_models.py` (in both): what
//! transformers writes with them, alone and in any company.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod support;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use atelier_inference::{
    Decoder, DecoderConfig, InferenceError, ModelFolder, Row, RunControl, SessionConfig, load_decoder,
    raw::argmax,
};
use proptest::{prelude::*, test_runner::TestRunner};
use serde::Deserialize;

const SLOTS: usize = 5;
const CONFIG: DecoderConfig = DecoderConfig { slots: SLOTS, context_length: 128, tokens: None };

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

fn hub() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/text/hub")
}

fn golden() -> BTreeMap<String, Golden> {
    let models: BTreeMap<_, _> =
        serde_json::from_str(&fs::read_to_string(hub().join("greedy.json")).unwrap()).unwrap();
    assert_eq!(models.len(), 17);
    models
}

fn load(folder: &Path, config: &DecoderConfig) -> Result<Box<dyn Decoder>, InferenceError> {
    let folder = ModelFolder::open(folder).unwrap();
    load_decoder(&support::runtime(), &folder, config, &SessionConfig::default())
}

fn step(decoder: &mut dyn Decoder, row: Row<'_>) -> u32 {
    argmax(decoder.step(&[row], &RunControl::new()).unwrap().row(0)) as u32
}

/// A sequence on its own: its prompt in pieces, then so many tokens one by one.
fn alone(decoder: &mut dyn Decoder, prompt: &[u32], chunk: usize, length: usize) -> Vec<u32> {
    let mut answer = Vec::new();
    for (n, tokens) in prompt.chunks(chunk).enumerate() {
        let token = step(decoder, Row { slot: 0, tokens, position: n * chunk, logits: 1 });
        answer = vec![token];
    }
    while answer.len() < length {
        let position = prompt.len() + answer.len() - 1;
        let tokens = &answer[answer.len() - 1..];
        answer.push(step(decoder, Row { slot: 0, tokens, position, logits: 1 }));
    }
    answer
}

#[test]
fn the_tokens_are_the_references() {
    for (model, golden) in golden() {
        let mut decoder = load(&hub().join(&model), &CONFIG).unwrap();
        for case in &golden.cases {
            for chunk in [case.prompt.len(), 3] {
                let answer = alone(&mut *decoder, &case.prompt, chunk, case.tokens.len());
                assert_eq!(answer, case.tokens, "{model}, pieces of {chunk}");
            }
        }
    }
}

#[test]
fn logits_of_every_position_are_those_of_one_token_at_a_time() {
    let control = RunControl::new();
    for (model, golden) in golden() {
        let mut decoder = load(&hub().join(&model), &CONFIG).unwrap();
        let case = &golden.cases[0];
        let all = [&case.prompt[..], &case.tokens].concat();
        let mut expected = Vec::new();
        for (position, token) in all.iter().enumerate() {
            let row = Row { slot: 0, tokens: std::slice::from_ref(token), position, logits: 1 };
            expected.push(decoder.step(&[row], &control).unwrap().row(0).to_vec());
        }
        let close = |one: &[f32], other: &[f32]| {
            one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-3 * (1.0 + other.abs()))
        };
        let (first, rest) = all.split_at(5);
        let row = Row { slot: 1, tokens: first, position: 0, logits: 2 };
        let beside = Row { slot: 2, tokens: &all[..1], position: 0, logits: 1 };
        let logits = decoder.step(&[row, beside], &control).unwrap();
        assert_eq!(logits.len(), 3, "{model}");
        let wanted = [&expected[3], &expected[4], &expected[0]];
        assert!(logits.rows().zip(wanted).all(|(row, wanted)| close(row, wanted)), "{model}");
        let row = Row { slot: 1, tokens: rest, position: 5, logits: rest.len() };
        let logits = decoder.step(&[row], &control).unwrap();
        assert_eq!(logits.len(), rest.len(), "{model}");
        assert!(logits.rows().zip(&expected[5..]).all(|(row, wanted)| close(row, wanted)), "{model}");
        let row = Row { slot: 0, tokens: &all[..2], position: 0, logits: 3 };
        assert!(matches!(decoder.step(&[row], &control), Err(InferenceError::InvalidRun(_))), "{model}");
    }
}

#[test]
fn both_layouts_of_the_default_model_write_the_same() {
    let prompts: [Vec<u32>; 3] = [(1000..1030).collect(), vec![7, 4500, 42], (2000..2090).collect()];
    let config = DecoderConfig { slots: 1, context_length: 128, tokens: None };
    let [slots, hub] = ["smollm2-135m-instruct", "smollm2-135m-instruct-hub"].map(|model| {
        let mut decoder = load(support::model(model).path(), &config).unwrap();
        prompts.each_ref().map(|prompt| alone(&mut *decoder, prompt, 64, 24))
    });
    assert_eq!(slots, hub);
}

/// What happens before a step.
#[derive(Clone, Debug)]
struct Turn {
    /// Which sequences take part; none: all.
    takes_part: [bool; SLOTS - 1],
    /// Moves this sequence to the free slot.
    moves: Option<usize>,
    /// The step is cancelled, to be run again.
    cancelled: bool,
}

#[derive(Clone, Debug)]
struct Schedule {
    /// For each sequence the case it writes and the pieces its prompt comes in.
    sequences: Vec<(prop::sample::Index, usize)>,
    /// Over and over.
    turns: Vec<Turn>,
}

fn schedules() -> impl Strategy<Value = Schedule> {
    let sequence = (any::<prop::sample::Index>(), prop::sample::select(vec![1_usize, 3, 4, 20]));
    let turn =
        (any::<[bool; SLOTS - 1]>(), prop::option::weighted(0.1, 0..SLOTS - 1), prop::bool::weighted(0.1));
    let turn = turn.prop_map(|(takes_part, moves, cancelled)| Turn { takes_part, moves, cancelled });
    (prop::collection::vec(sequence, 1..12), prop::collection::vec(turn, 1..30))
        .prop_map(|(sequences, turns)| Schedule { sequences, turns })
}

/// A sequence that is being written.
struct Sequence<'a> {
    case: &'a Case,
    chunk: usize,
    slot: usize,
    taken: usize,
    answer: Vec<u32>,
}

impl Sequence<'_> {
    fn row(&self) -> Row<'_> {
        let tokens = match self.case.prompt.get(self.taken..) {
            Some(rest) if !rest.is_empty() => &rest[..rest.len().min(self.chunk)],
            _ => &self.answer[self.answer.len() - 1..],
        };
        let logits = usize::from(self.taken + tokens.len() >= self.case.prompt.len());
        Row { slot: self.slot, tokens, position: self.taken, logits }
    }
}

fn run(decoder: &mut dyn Decoder, cases: &[Case], schedule: &Schedule) {
    let mut waiting: Vec<_> = schedule.sequences.iter().collect();
    let mut live: Vec<Sequence<'_>> = Vec::new();
    let mut free: Vec<usize> = (0..SLOTS).collect();
    for turn in schedule.turns.iter().cycle() {
        while live.len() < SLOTS - 1
            && let Some((case, chunk)) = waiting.pop()
        {
            let (case, slot) = (case.get(cases), free.pop().unwrap());
            live.push(Sequence { case, chunk: *chunk, slot, taken: 0, answer: Vec::new() });
        }
        if live.is_empty() {
            return;
        }
        if let Some(moved) = turn.moves.and_then(|n| live.get_mut(n)) {
            let to = free.remove(0);
            decoder.copy(moved.slot, to, moved.taken);
            free.push(std::mem::replace(&mut moved.slot, to));
        }
        let mut part: Vec<usize> = (0..live.len()).filter(|&n| turn.takes_part[n]).collect();
        if part.is_empty() {
            part = (0..live.len()).collect();
        }
        let rows: Vec<Row<'_>> = part.iter().map(|&n| live[n].row()).collect();
        if turn.cancelled {
            let control = RunControl::new();
            control.cancel();
            assert!(matches!(decoder.step(&rows, &control), Err(InferenceError::Cancelled)));
        }
        let logits = decoder.step(&rows, &RunControl::new()).unwrap();
        let mut written = logits.rows().map(|row| argmax(row) as u32);
        let taken: Vec<_> = rows.iter().map(|row| (row.tokens.len(), row.logits)).collect();
        for (&n, (tokens, wanted)) in part.iter().zip(taken) {
            live[n].taken += tokens;
            if wanted > 0 {
                live[n].answer.push(written.next().unwrap());
            }
        }
        assert!(written.next().is_none());
        drop(written);
        decoder.recycle(logits);
        live.retain(|sequence| {
            let ends = sequence.answer.len() == sequence.case.tokens.len();
            if ends {
                assert_eq!(sequence.answer, sequence.case.tokens, "slot {}", sequence.slot);
                free.push(sequence.slot);
            }
            !ends
        });
    }
}

#[test]
fn the_tokens_do_not_depend_on_the_company() {
    for (model, golden) in golden() {
        let decoder = RefCell::new(load(&hub().join(&model), &CONFIG).unwrap());
        let mut runner = TestRunner::new(ProptestConfig { cases: 12, ..ProptestConfig::default() });
        let outcome = runner.run(&schedules(), |schedule| {
            run(&mut **decoder.borrow_mut(), &golden.cases, &schedule);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{model}: {error}"));
    }
}

#[test]
fn rows_that_make_no_sense_are_refused() {
    let mut decoder = load(&hub().join("llama"), &CONFIG).unwrap();
    let row = Row { slot: 0, tokens: &[1, 2], position: 0, logits: 0 };
    assert!(decoder.step(&[row], &RunControl::new()).unwrap().is_empty());
    for bad in [
        vec![Row { position: 3, ..row }],
        vec![Row { slot: 1, position: 1, ..row }],
        vec![Row { slot: SLOTS, ..row }],
        vec![row, row],
    ] {
        let refused = decoder.step(&bad, &RunControl::new());
        assert!(matches!(refused, Err(InferenceError::InvalidRun(_))), "{bad:?}: {refused:?}");
    }
    decoder.step(&[Row { position: 2, ..row }], &RunControl::new()).unwrap();
}

/// A copy of a model's folder with other names; `None` leaves a file out.
fn renamed(model: &str, names: &[(&str, Option<&str>)]) -> tempfile::TempDir {
    let copy = tempfile::Builder::new().prefix("hub").tempdir().unwrap();
    for entry in fs::read_dir(hub().join(model)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let to = names.iter().find(|(from, _)| *from == name).map_or(Some(name.as_str()), |(_, to)| *to);
        if let Some(to) = to.map(|to| copy.path().join(to)) {
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(entry.path(), to).unwrap();
        }
    }
    copy
}

fn problem(folder: &Path, config: &DecoderConfig) -> String {
    match load(folder, config) {
        Err(InferenceError::ModelUnsupported { problem, .. }) => problem,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it loads"),
    }
}

#[test]
fn graphs_are_found_where_exporters_put_them() {
    let folder = renamed("llama", &[("model.onnx", Some("onnx/model.onnx"))]);
    assert_eq!(load(folder.path(), &CONFIG).unwrap().vocabulary_size(), 259);

    let folder = renamed("qwen3-genai", &[("model.onnx", Some("text.onnx"))]);
    let config = fs::read_to_string(folder.path().join("genai_config.json")).unwrap();
    let config = config.replace("\"filename\": \"model.onnx\"", "\"filename\": \"text.onnx\"");
    fs::write(folder.path().join("genai_config.json"), config).unwrap();
    assert_eq!(load(folder.path(), &CONFIG).unwrap().vocabulary_size(), 259);

    let folder = renamed("llama", &[("model.onnx", None)]);
    let missing = load(folder.path(), &CONFIG).err().unwrap();
    assert!(
        matches!(missing, InferenceError::ModelCorrupt { ref file, .. } if file == "model.onnx"),
        "{missing}"
    );
}

const FIRST: &str = "decoder_model.onnx";
const LATER: &str = "decoder_with_past_model.onnx";

#[test]
fn a_pair_of_graphs_is_one_model_where_there_is_no_single_one() {
    for model in ["llama-pair", "llama-pair-one"] {
        let decoder = load(&hub().join(model), &CONFIG).unwrap();
        assert!(!decoder.takes_any_piece(), "{model}");
    }
    let names =
        [(FIRST, Some("onnx/decoder_model.onnx")), (LATER, Some("onnx/decoder_with_past_model.onnx"))];
    let folder = renamed("llama-pair", &names);
    assert!(!load(folder.path(), &CONFIG).unwrap().takes_any_piece());

    let folder = renamed("llama", &[]);
    for half in [FIRST, LATER] {
        fs::write(folder.path().join(half), "no graph").unwrap();
    }
    assert!(load(folder.path(), &CONFIG).unwrap().takes_any_piece());
}

#[test]
fn half_a_pair_is_refused_and_a_graph_that_is_none_is_named() {
    for (half, missing) in [(FIRST, LATER), (LATER, FIRST)] {
        for place in ["", "onnx/"] {
            let name = format!("{place}{half}");
            let folder = renamed("llama-pair", &[(half, Some(&name)), (missing, None)]);
            let problem = problem(folder.path(), &CONFIG);
            assert!(problem.contains(&format!("{place}{missing} is missing")), "{problem}");
            assert!(problem.starts_with(&name), "{problem}");
        }
    }
    let folder = renamed("llama-pair", &[(FIRST, Some(LATER)), (LATER, Some(FIRST))]);
    let swapped = problem(folder.path(), &CONFIG);
    assert!(
        swapped.starts_with(&format!("{LATER}: ")) && swapped.contains("past_key_values.0.key"),
        "{swapped}"
    );

    let folder = renamed("llama-pair", &[(FIRST, None)]);
    fs::copy(folder.path().join(LATER), folder.path().join(FIRST)).unwrap();
    let twice = problem(folder.path(), &CONFIG);
    assert!(twice.starts_with(&format!("{FIRST}: ")) && twice.contains("past_key_values.0.key"), "{twice}");
}

#[test]
fn more_context_than_the_model_has_is_refused() {
    // GPT-2 calls its positions otherwise, and onnxruntime-genai keeps them in a file of its own.
    for model in ["llama", "gpt2-merged", "qwen3-genai"] {
        let problem = problem(&hub().join(model), &DecoderConfig { context_length: 257, ..CONFIG });
        assert!(problem.contains("256"), "{model}: {problem}");
    }
}

#[test]
fn an_encoder_is_no_decoder() {
    let folder = support::model("multilingual-e5-small");
    let problem = problem(folder.path(), &DecoderConfig { slots: 1, context_length: 16, tokens: None });
    assert!(problem.contains("logits"), "{problem}");
}
