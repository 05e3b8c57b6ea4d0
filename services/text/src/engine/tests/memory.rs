//! A cache that holds fewer rows than its slots have room for. The decoder counts them in every step.

use proptest::prelude::*;

use super::{
    schedule::{Bench, assert_whole, until_end},
    *,
};

fn bench(slots: usize, keep: usize, cache_tokens: usize) -> Bench {
    bench_of(Rows::Single, slots, keep, cache_tokens)
}

fn bench_of(rows: Rows, slots: usize, keep: usize, cache_tokens: usize) -> Bench {
    let behaviour = Behaviour { rows, keep, cache_tokens, context_length: 256, ..Behaviour::new(slots) };
    Bench::new(behaviour, 64)
}

/// Answers that do not end before their limit.
fn endless(call: &mut GenerationCall) {
    call.sampling.logit_bias = vec![(END, -100.0)];
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn calls_that_outgrow_the_cache_write_what_they_write_alone(
        calls in prop::collection::vec(
            (
                (0_u8..3, prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High])),
                (0_usize..60, 1_usize..60),
                1_usize..130,
                1_usize..4,
                0_usize..12,
            ),
            1..12,
        ),
        slots in 1_usize..7,
        keep in 0_usize..4,
        cache_tokens in 256_usize..700,
        lookahead in 0_usize..5,
        ends in any::<bool>(),
    ) {
        // Guesses are taken in together: that shows unless rows are exact.
        let rows = if lookahead > 0 { Rows::Exact } else { Rows::Single };
        let mut bench = bench_of(rows, slots, keep, cache_tokens);
        bench.adjust = Box::new(move |call| {
            call.lookahead = lookahead;
            if !ends {
                endless(call);
            }
        });
        for ((tenant, priority), prompt, max_tokens, beams, turns) in calls {
            let most = cache_tokens / (prompt.0 + prompt.1 + max_tokens);
            bench.beams = beams.min(slots).min(most).max(1);
            prop_assert!(bench.submit_at(priority, tenant, prompt, max_tokens, true));
            for _ in 0..turns {
                cycle(&mut bench.scheduler, &bench.shared);
                bench.callers.iter_mut().for_each(|caller| caller.read(usize::MAX));
            }
        }
        bench.settle();
        assert_whole(&bench);
    }
}

#[test]
fn short_calls_share_what_long_ones_would_fill() {
    // Room for two whole contexts, and slots for eight.
    let mut bench = bench(8, 0, 512);
    bench.adjust = Box::new(endless);
    (0..8).for_each(|n| bench.submit(n, (0, 20), 30, true));
    cycle(&mut bench.scheduler, &bench.shared);
    assert_eq!(bench.scheduler.slots_in_use(), 8);
    bench.settle();
    // These need 120 tokens each to begin with: the fifth waits though slots are free.
    (0..8).for_each(|n| bench.submit(n, (0, 60), 60, true));
    cycle(&mut bench.scheduler, &bench.shared);
    assert_eq!(bench.scheduler.slots_in_use(), 4);
    bench.settle();
    assert_whole(&bench);
}

#[test]
fn who_came_last_makes_room_for_what_others_write() {
    let mut bench = bench(2, 0, 300);
    bench.adjust = Box::new(endless);
    bench.submit(0, (0, 80), 120, true);
    bench.submit(1, (0, 70), 120, true);
    cycle(&mut bench.scheduler, &bench.shared);
    assert_eq!(bench.scheduler.slots_in_use(), 2, "both fit, as long as their answers are short");
    until_end(&mut bench, 0);
    // Side by side they would have written as much.
    let waiting = &bench.callers[1];
    assert!(waiting.text.len() < waiting.expected.0.len() * 3 / 4, "it has waited");
    bench.settle();
    assert_whole(&bench);
}

#[test]
fn prompts_that_are_kept_make_room_first() {
    let mut bench = bench(2, 2, 300);
    bench.adjust = Box::new(endless);
    for tenant in [0, 1] {
        bench.submit(tenant, (100, 10), 2, true);
        bench.settle();
    }
    // Both prompts are kept: the next call of the tenant that came last finds its own, and the other's has to go.
    bench.submit(1, (100, 20), 100, true);
    bench.submit(0, (100, 30), 2, true);
    bench.settle();
    let cached = |at: usize| match &bench.callers[at].end {
        Some(Ok(finished)) => finished.cached_tokens,
        other => panic!("no end but {other:?}"),
    };
    assert_eq!((cached(2), cached(3)), (100, 0));
    assert_whole(&bench);
}

#[test]
fn a_search_gets_its_slots_though_small_calls_keep_coming() {
    let mut bench = bench(4, 0, usize::MAX);
    bench.adjust = Box::new(endless);
    bench.submit(0, (0, 9), 30, true);
    (1..4).for_each(|n| bench.submit(n, (0, 9), 10 * usize::from(n), true));
    cycle(&mut bench.scheduler, &bench.shared);
    bench.beams = 4;
    bench.submit(4, (0, 9), 5, true);
    let search = bench.callers.len() - 1;
    bench.beams = 1;
    for n in 0.. {
        assert!(n < 100 * atelier_inference::LAST_PATIENCE, "it starves");
        if bench.callers[search].end.is_some() {
            break;
        }
        // Calls of all lengths wait at all times, so that slots don't come free together.
        while bench.shared.lock().queue.len() < 8 {
            let n = bench.callers.len();
            bench.submit((n % 3) as u8, (0, 9), 5 + n % 7, true);
        }
        cycle(&mut bench.scheduler, &bench.shared);
        bench.callers.iter_mut().for_each(|caller| caller.read(usize::MAX));
    }
    bench.settle();
    assert_whole(&bench);
}

#[test]
fn a_search_that_never_fits_is_refused() {
    let behaviour = Behaviour { cache_tokens: 256, context_length: 256, ..Behaviour::new(4) };
    let config = EngineConfig { prefill_chunk: CHUNK, ..EngineConfig::default() };
    let engine = Engine::start("fake", &config, FakeDecoder::new(behaviour)).expect("it starts");
    let search = |count, max_tokens| {
        let beams = Some(BeamSearch { count, length_penalty: 1.0 });
        engine.submit(GenerationCall { beams, ..call(vec![1; 40], 1, max_tokens) }).map(drop)
    };
    assert!(search(4, 24).is_ok());
    let Err(TextError::Invalid { field, description }) = search(4, 25) else { panic!("it is not refused") };
    assert_eq!(field, "generation.num_beams");
    assert!(description.contains("at most 3 for 65 tokens"), "{description}");
}
