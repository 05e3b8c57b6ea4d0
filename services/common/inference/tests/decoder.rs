//! The decoder on real models: sharing a batch, a cache or a prefix never changes what a sequence says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod support;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use atelier_inference::{
    Decoder, DecoderConfig, InferenceError, OnnxDecoder, Row, RunControl, SessionConfig,
    raw::{self, RawLoop},
};

const EXACT: &str = "smollm2-135m-instruct-f32";
const DEFAULT: &str = "smollm2-135m-instruct";
const SLOTS: usize = 6;

/// One large model in memory at a time.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn decoder(model: &str, context_length: usize) -> OnnxDecoder {
    let config = DecoderConfig { slots: SLOTS, context_length, tokens: None };
    OnnxDecoder::load(&support::runtime(), &support::model(model), &config, &SessionConfig::default())
        .unwrap()
}

/// Prefills a whole prompt at once; the logits after it.
fn prefill(decoder: &mut OnnxDecoder, slot: usize, tokens: &[u32]) -> Vec<f32> {
    let row = Row { slot, tokens, position: 0, logits: 1 };
    decoder.step(&[row], &RunControl::new()).unwrap().row(0).to_vec()
}

fn greedy(logits: &[f32]) -> u32 {
    raw::argmax(logits) as u32
}

/// A sequence on its own: prompt in one piece, then token by token.
fn alone(decoder: &mut OnnxDecoder, slot: usize, prompt: &[u32], tokens: usize) -> Vec<u32> {
    let mut answer = vec![greedy(&prefill(decoder, slot, prompt))];
    while answer.len() < tokens {
        let position = prompt.len() + answer.len() - 1;
        let row = Row { slot, tokens: &answer[answer.len() - 1..], position, logits: 1 };
        let logits = decoder.step(&[row], &RunControl::new()).unwrap();
        answer.push(greedy(logits.row(0)));
    }
    answer
}

/// A sequence of a mixed load.
struct Sequence {
    slot: usize,
    starts_at: usize,
    chunk: usize,
    prompt: Vec<u32>,
    taken: usize,
    answer: Vec<u32>,
}

impl Sequence {
    fn next(&self, step: usize, length: usize) -> Option<Row<'_>> {
        if step < self.starts_at || self.answer.len() == length {
            return None;
        }
        let tokens = match self.prompt.get(self.taken..) {
            Some(rest) if !rest.is_empty() => &rest[..rest.len().min(self.chunk)],
            _ => &self.answer[self.answer.len() - 1..],
        };
        let logits = usize::from(self.taken + tokens.len() >= self.prompt.len());
        Some(Row { slot: self.slot, tokens, position: self.taken, logits })
    }
}

#[test]
fn tokens_do_not_depend_on_the_company() {
    let _guard = one_at_a_time();
    let mut decoder = decoder(EXACT, 256);
    let length = 24;
    let prompts: [Vec<u32>; 4] =
        [(100..111).collect(), (2000..2040).collect(), (3000..3013).collect(), vec![7, 4500, 42]];
    let expected: Vec<_> = prompts.iter().map(|prompt| alone(&mut decoder, 0, prompt, length)).collect();

    // Slots out of order and with gaps, staggered starts, chunks of several sizes (one of a single token).
    let shape = [(3, 0, 4), (0, 2, 16), (5, 5, 6), (1, 1, 1)];
    let mut sequences: Vec<Sequence> = prompts
        .into_iter()
        .zip(shape)
        .map(|(prompt, (slot, starts_at, chunk))| Sequence {
            slot,
            starts_at,
            chunk,
            prompt,
            taken: 0,
            answer: Vec::new(),
        })
        .collect();
    for step in 0.. {
        let rows: Vec<Row<'_>> =
            sequences.iter().filter_map(|sequence| sequence.next(step, length)).collect();
        if rows.is_empty() && step > 5 {
            break;
        }
        let logits = decoder.step(&rows, &RunControl::new()).unwrap();
        let taken: Vec<(usize, usize, usize)> =
            rows.iter().map(|row| (row.slot, row.tokens.len(), row.logits)).collect();
        assert_eq!(logits.len(), taken.iter().map(|(.., wanted)| wanted).sum::<usize>());
        let mut next = logits.rows();
        for (slot, tokens, wanted) in taken {
            let sequence = sequences.iter_mut().find(|sequence| sequence.slot == slot).unwrap();
            sequence.taken += tokens;
            if wanted > 0 {
                sequence.answer.push(greedy(next.next().unwrap()));
            }
        }
    }
    for (sequence, expected) in sequences.iter().zip(&expected) {
        assert_eq!(&sequence.answer, expected, "slot {}", sequence.slot);
    }
}

#[test]
fn logits_of_a_batch_are_those_of_a_row_alone() {
    let _guard = one_at_a_time();
    let mut decoder = decoder(EXACT, 64);
    let prompts: Vec<Vec<u32>> = (0..5).map(|n| (500 * n + 10..500 * n + 18).collect()).collect();
    let mut alone = Vec::new();
    for (slot, prompt) in prompts.iter().enumerate() {
        prefill(&mut decoder, slot, prompt);
        let row = Row { slot, tokens: &[11], position: prompt.len(), logits: 1 };
        alone.push(decoder.step(&[row], &RunControl::new()).unwrap().row(0).to_vec());
    }
    let rows: Vec<Row<'_>> = prompts
        .iter()
        .enumerate()
        .rev()
        .map(|(slot, prompt)| Row {
            slot,
            tokens: &[11],
            position: prompt.len(),
            logits: usize::from(slot != 3),
        })
        .collect();
    let together = decoder.step(&rows, &RunControl::new()).unwrap();
    let mut worst = 0_f32;
    for (slot, logits) in [4, 2, 1, 0].into_iter().zip(together.rows()) {
        for (one, other) in alone[slot].iter().zip(logits) {
            worst = worst.max((one - other).abs());
        }
    }
    // Sums are taken in another order for another number of rows; logits are of the order of 10.
    assert!(worst < 2e-4, "{worst}");
    println!("largest difference between alone and together: {worst:e}");
}

#[test]
fn a_copied_prefix_is_as_good_as_a_computed_one() {
    let _guard = one_at_a_time();
    let mut decoder = decoder(EXACT, 64);
    let prompt: Vec<u32> = (900..930).collect();
    let expected = alone(&mut decoder, 0, &prompt, 8);
    decoder.copy(0, 4, 20);
    let row = Row { slot: 4, tokens: &prompt[20..], position: 20, logits: 1 };
    let logits = decoder.step(&[row], &RunControl::new()).unwrap();
    let mut answer = vec![greedy(logits.row(0))];
    while answer.len() < expected.len() {
        let position = prompt.len() + answer.len() - 1;
        let row = Row { slot: 4, tokens: &answer[answer.len() - 1..], position, logits: 1 };
        answer.push(greedy(decoder.step(&[row], &RunControl::new()).unwrap().row(0)));
    }
    assert_eq!(answer, expected);
}

#[test]
fn a_long_prefill_can_be_stopped_and_leaves_the_cache_whole() {
    let _guard = one_at_a_time();
    let mut decoder = decoder(DEFAULT, 2048);
    let prompt: Vec<u32> = (1000..1020).collect();
    let expected = alone(&mut decoder, 1, &prompt, 6);

    prefill(&mut decoder, 0, &prompt);
    prefill(&mut decoder, 1, &prompt);
    let long: Vec<u32> = (0..1900).map(|n| n % 500 + 1000).collect();
    let control = RunControl::new();
    let result = thread::scope(|scope| {
        let canceller = control.clone();
        scope.spawn(move || {
            thread::park_timeout(Duration::from_millis(60));
            canceller.cancel();
        });
        let row = Row { slot: 0, tokens: &long, position: prompt.len(), logits: 1 };
        decoder.step(&[row], &control)
    });
    assert!(matches!(result, Err(InferenceError::Cancelled)), "{result:?}");
    let again = Row { slot: 2, tokens: &[5], position: 0, logits: 1 };
    assert!(matches!(decoder.step(&[again], &control), Err(InferenceError::Cancelled)), "it stays cancelled");

    // The prompt is still there: in the slot that was being filled and in its neighbour.
    for slot in [0, 1] {
        let mut answer = expected[..1].to_vec();
        while answer.len() < expected.len() {
            let position = prompt.len() + answer.len() - 1;
            let row = Row { slot, tokens: &answer[answer.len() - 1..], position, logits: 1 };
            answer.push(greedy(decoder.step(&[row], &RunControl::new()).unwrap().row(0)));
        }
        assert_eq!(answer, expected, "slot {slot}");
    }
}

#[test]
fn logits_of_every_position_are_those_of_one_token_at_a_time() {
    let _guard = one_at_a_time();
    let mut decoder = decoder(EXACT, 64);
    let prompt: Vec<u32> = (700..712).collect();
    let mut expected = Vec::new();
    for (position, token) in prompt.iter().enumerate() {
        let row = Row { slot: 1, tokens: std::slice::from_ref(token), position, logits: 1 };
        expected.push(decoder.step(&[row], &RunControl::new()).unwrap().row(0).to_vec());
    }
    // A row that writes beside two that are scored, which begin and end within the prompt.
    let rows = [
        Row { slot: 0, tokens: &prompt[..8], position: 0, logits: 3 },
        Row { slot: 1, tokens: &prompt[11..], position: 11, logits: 1 },
        Row { slot: 3, tokens: &prompt, position: 0, logits: 12 },
    ];
    let logits = decoder.step(&rows, &RunControl::new()).unwrap();
    let wanted = expected[5..8].iter().chain(&expected[11..]).chain(&expected);
    assert_eq!(logits.len(), 16);
    for (logits, wanted) in logits.rows().zip(wanted) {
        let worst = logits.iter().zip(wanted).fold(0_f32, |worst, (a, b)| worst.max((a - b).abs()));
        assert!(worst < 1e-3, "{worst}");
    }
}

#[test]
fn rows_that_make_no_sense_are_refused() {
    let _guard = one_at_a_time();
    let mut decoder = decoder(DEFAULT, 16);
    let row = Row { slot: 0, tokens: &[1], position: 0, logits: 1 };
    for bad in [vec![row, row], vec![Row { slot: SLOTS, ..row }], vec![Row { position: 16, ..row }]] {
        assert!(
            matches!(decoder.step(&bad, &RunControl::new()), Err(InferenceError::InvalidRun(_))),
            "{bad:?}"
        );
    }
    assert!(decoder.step(&[], &RunControl::new()).unwrap().is_empty());
    let silent = decoder.step(&[Row { logits: 0, ..row }], &RunControl::new()).unwrap();
    assert!(silent.is_empty());
}

#[test]
fn the_raw_loop_says_the_same() {
    let _guard = one_at_a_time();
    let prompt: Vec<u32> = (1000..1030).collect();
    let expected = alone(&mut decoder(DEFAULT, 128), 0, &prompt, 12);
    let session = SessionConfig::default();
    let mut raw = RawLoop::load(&support::runtime(), &support::model(DEFAULT), 1, 128, &session).unwrap();
    for _ in 0..2 {
        raw.prefill(&prompt).unwrap();
        assert_eq!(raw.decode(11).unwrap(), expected[1..]);
    }
    assert!(raw.decode(100).is_err(), "past the context");
}

#[test]
fn more_context_than_the_model_has_is_refused() {
    let _guard = one_at_a_time();
    let config = DecoderConfig { slots: 1, context_length: 1 << 20, tokens: None };
    let result =
        OnnxDecoder::load(&support::runtime(), &support::model(DEFAULT), &config, &SessionConfig::default());
    assert!(matches!(result, Err(InferenceError::ModelUnsupported { .. })), "{result:?}");
}

#[test]
fn an_encoder_is_no_decoder() {
    let _guard = one_at_a_time();
    let folder = support::model("multilingual-e5-small");
    let result =
        OnnxDecoder::load(&support::runtime(), &folder, &DecoderConfig::default(), &SessionConfig::default());
    let Err(InferenceError::ModelUnsupported { problem, .. }) = result else { panic!("{result:?}") };
    assert!(problem.contains("seqlens_k"), "{problem}");
}

/// The logits after each token of a prompt that is taken in in such pieces.
fn in_pieces(decoder: &mut OnnxDecoder, prompt: &[u32], mut piece: impl FnMut() -> usize) -> Vec<f32> {
    let (mut position, mut values) = (0, Vec::new());
    while position < prompt.len() {
        let tokens = &prompt[position..prompt.len().min(position + piece())];
        let row = Row { slot: 0, tokens, position, logits: tokens.len() };
        let logits = decoder.step(&[row], &RunControl::new()).unwrap();
        logits.rows().for_each(|row| values.extend_from_slice(&row[..500]));
        position += tokens.len();
    }
    values
}

#[test]
fn pieces_of_several_tokens_give_the_same_to_the_last_bit() {
    let _guard = one_at_a_time();
    let prompt: Vec<u32> = (0..190).map(|n| 1000 + n * 37 % 20_000).collect();
    for model in [EXACT, DEFAULT] {
        let mut decoder = decoder(model, 256);
        assert!(decoder.takes_any_piece());
        let whole = in_pieces(&mut decoder, &prompt, || 128);
        let mut sizes = [8, 17, 2, 64, 31, 3].into_iter().cycle();
        assert!(whole == in_pieces(&mut decoder, &prompt, || sizes.next().unwrap()), "{model}");
    }
}
