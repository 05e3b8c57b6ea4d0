//! How likely tokens are: those written, and those that are to be scored.

use super::*;
use crate::sampling::TokenLogprob;

async fn finished(mut events: Events) -> Result<Finished, TextError> {
    while let Some(event) = events.next().await {
        if let Event::Finished(finished) = event? {
            return Ok(finished);
        }
    }
    panic!("the events end without an end");
}

fn engine() -> Engine {
    let config = EngineConfig {
        prefill_chunk: CHUNK,
        max_prefill_tokens_per_step: 16,
        event_buffer: 2,
        ..EngineConfig::default()
    };
    Engine::start("fake", &config, FakeDecoder::new(Behaviour::new(3))).expect("a thread starts")
}

/// By the book, of the tokens of a text from `first` on.
fn by_the_book(tokens: &[u32], first: usize) -> Vec<f64> {
    let rows = Rows::Single.of_prompt(&tokens[..tokens.len() - 1]);
    let of = |at: usize| {
        let logits: Vec<f64> = logits(&rows[..at]).map(f64::from).collect();
        logits[tokens[at] as usize] - logits.iter().map(|logit| logit.exp()).sum::<f64>().ln()
    };
    (first..tokens.len()).map(of).collect()
}

fn close(found: &[TokenLogprob], expected: &[f64]) -> bool {
    found.len() == expected.len()
        && found.iter().zip(expected).all(|(one, other)| (f64::from(one.logprob) - other).abs() < 1e-5)
}

fn tokens(seed: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|n| (n * 7 + seed * n + seed) % VOCABULARY as u32).collect()
}

fn scoring(tokens: &[u32], first: usize) -> GenerationCall {
    let prompt = tokens[..tokens.len() - 1].to_vec();
    GenerationCall { scored: tokens[first..].to_vec(), ..call(prompt, 0, 1) }
}

#[tokio::test]
async fn texts_score_the_same_among_calls_that_write_and_take_each_others_slots() {
    let engine = engine();
    let mut running = Vec::new();
    for n in 0..40 {
        let length = 2 + (n as usize * 11) % 60;
        let text = tokens(n, length);
        let first = 1 + (n as usize * 5) % (length - 1);
        let expected = by_the_book(&text, first);
        let priority = [Priority::Low, Priority::Normal, Priority::High][n as usize % 3];
        let events = engine.submit(GenerationCall { priority, ..scoring(&text, first) });
        running.push((events.expect("the queue has room"), expected));
        if n % 4 == 0 {
            let writing = call(tokens(n + 100, 20), n.into(), 12);
            running.push((engine.submit(writing).expect("the queue has room"), Vec::new()));
        }
        tokio::task::yield_now().await;
    }
    // All are read at once: who is not read keeps its slot.
    futures::future::join_all(running.into_iter().map(async |(events, expected)| {
        let end = finished(events).await.expect("it succeeds");
        assert!(close(&end.logprobs, &expected), "{:?} {expected:?}", end.logprobs);
        assert_eq!(end.completion_tokens == 0, !expected.is_empty());
    }))
    .await;
}

#[tokio::test]
async fn a_context_is_taken_over_in_whole_units_and_never_what_is_scored() {
    let engine = engine();
    let text = tokens(3, 40);
    for (first, cached) in [(30, 0), (30, 16), (17, 16), (16, 0), (1, 0), (39, 32)] {
        let end = finished(engine.submit(scoring(&text, first)).expect("there is room"))
            .await
            .expect("it succeeds");
        assert_eq!(end.cached_tokens, cached, "from {first}");
        assert!(close(&end.logprobs, &by_the_book(&text, first)));
        assert_eq!(end.reason, FinishReason::Length);
    }
}

#[tokio::test]
async fn written_tokens_are_told_as_the_model_saw_them() {
    let engine = engine();
    let prompt = tokens(5, 11);
    // A bias that decides and that the told numbers know nothing of.
    let biased = Sampling { temperature: 0.0, logit_bias: vec![(9, 100.0)], ..Sampling::default() };
    for sampling in [Sampling { temperature: 0.0, ..Sampling::default() }, biased] {
        let asked =
            GenerationCall { sampling: sampling.clone(), logprobs: Some(3), ..call(prompt.clone(), 0, 8) };
        let end = finished(engine.submit(asked).expect("there is room")).await.expect("it succeeds");
        assert_eq!(end.logprobs.len(), end.completion_tokens);
        let mut rows = Rows::Single.of_prompt(&prompt);
        for told in &end.logprobs {
            let logits: Vec<f32> = logits(&rows).collect();
            assert_eq!(Some(told), TokenLogprob::of(&logits, told.token, 3).as_ref());
            assert_eq!(told.top.len(), 3);
            let likeliest = (told.top[0].0, told.top[0].1) == (told.token, told.logprob);
            assert_eq!(likeliest, sampling.logit_bias.is_empty());
            rows.extend(Rows::Single.taken_in(&[told.token]));
        }
    }
    let end = finished(engine.submit(call(prompt, 0, 8)).expect("there is room")).await.expect("it succeeds");
    assert!(end.logprobs.is_empty(), "who does not ask is not told");
}
