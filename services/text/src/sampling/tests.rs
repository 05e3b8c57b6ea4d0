//! Properties of the sampler, and the golden numbers of `tests/golden/text/sampling.py`.

use std::collections::HashMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

fn params() -> impl Strategy<Value = Sampling> {
    let filters = (0.05_f32..2.0, 0_usize..80, 0.01_f32..=1.0, 0.0_f32..=1.0);
    let penalties = (0.5_f32..2.0, -2.0_f32..2.0, -2.0_f32..2.0);
    let bias = prop::collection::vec((0_u32..64, -100.0_f32..100.0), 0..4);
    (filters, penalties, bias, any::<u64>()).prop_map(|(filters, penalties, logit_bias, seed)| Sampling {
        seed,
        temperature: filters.0,
        top_k: filters.1,
        top_p: filters.2,
        min_p: filters.3,
        repetition_penalty: penalties.0,
        presence_penalty: penalties.1,
        frequency_penalty: penalties.2,
        logit_bias,
        ..Sampling::default()
    })
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    // Whole numbers make ties frequent.
    let coarse = prop::collection::vec((-8_i8..8).prop_map(f32::from), 64);
    prop_oneof![prop::collection::vec(-30.0_f32..30.0, 64), coarse]
}

/// Softmax in f64 of the kept logits, by the definitions and with full sorts.
fn reference(logits: &[f32], params: &Sampling) -> Vec<(u32, f64)> {
    let scaled: Vec<f64> = logits.iter().map(|&l| f64::from(l) / f64::from(params.temperature)).collect();
    let mut order: Vec<usize> = (0..scaled.len()).collect();
    order.sort_by(|&a, &b| scaled[b].total_cmp(&scaled[a]).then(a.cmp(&b)));
    if params.top_k > 0 && params.top_k < order.len() {
        let least = scaled[order[params.top_k - 1]];
        order.retain(|&token| scaled[token] >= least);
    }
    let max = scaled[order[0]];
    let weight = |token: &usize| (scaled[*token] - max).exp();
    if params.top_p < 1.0 {
        let total: f64 = order.iter().map(weight).sum();
        let mut before = 0.0;
        let kept = order.iter().take_while(|&token| {
            let keep = before < f64::from(params.top_p) * total;
            before += weight(token);
            keep
        });
        let kept = kept.count().max(1);
        order.truncate(kept);
    }
    order.retain(|token| weight(token) >= f64::from(params.min_p));
    let total: f64 = order.iter().map(weight).sum();
    let mut kept: Vec<_> = order.iter().map(|token| (*token as u32, weight(token) / total)).collect();
    kept.sort_by_key(|&(token, _)| token);
    kept
}

fn distribution(logits: &[f32], params: &Sampling) -> Vec<(u32, f64)> {
    let mut scratch = Scratch::default();
    warp::warp(logits, params, &mut scratch).expect("the logits are finite");
    scratch.probabilities()
}

proptest! {
    #[test]
    fn kept_tokens_form_a_distribution_with_the_likeliest_among_them(logits in logits(), params in params()) {
        let kept = distribution(&logits, &params);
        let best = argmax(&logits).expect("the logits are finite");
        prop_assert!(kept.iter().any(|&(token, _)| logits[token as usize] == logits[best as usize]));
        prop_assert!((kept.iter().map(|&(_, p)| p).sum::<f64>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn distribution_is_the_definition_up_to_tokens_at_a_threshold(logits in logits(), params in params()) {
        let (ours, exact) = (distribution(&logits, &params), reference(&logits, &params));
        // f32 against f64 may decide differently about a token that sits on a threshold: those weigh alike.
        let only = |a: &[(u32, f64)], b: &[(u32, f64)]| -> f64 {
            a.iter().filter(|(token, _)| b.iter().all(|(other, _)| other != token)).map(|&(_, p)| p).sum()
        };
        if ours.len() == exact.len() && only(&ours, &exact) == 0.0 {
            for (&(_, a), &(_, b)) in ours.iter().zip(&exact) {
                prop_assert!((a - b).abs() < 1e-5, "{} {}", a, b);
            }
        } else {
            let wider = Sampling { min_p: params.min_p * 0.9999, top_p: (params.top_p * 1.0001).min(1.0), ..params.clone() };
            let narrower = Sampling { min_p: (params.min_p * 1.0001).min(1.0), top_p: params.top_p * 0.9999, ..params };
            prop_assert_eq!(only(&ours, &reference(&logits, &wider)), 0.0);
            prop_assert_eq!(only(&reference(&logits, &narrower), &ours), 0.0);
        }
    }

    #[test]
    fn top_p_keeps_the_smallest_set(logits in prop::collection::vec(-12.0_f32..12.0, 3000), p in 0.05_f32..0.999) {
        let params = Sampling { top_p: p, ..Sampling::default() };
        let all = distribution(&logits, &Sampling::default());
        let kept = distribution(&logits, &params);
        let probability = |token: u32| all[token as usize].1;
        let mass: f64 = kept.iter().map(|&(token, _)| probability(token)).sum();
        let least = kept.iter().map(|&(token, _)| probability(token)).fold(f64::MAX, f64::min);
        prop_assert!(mass >= f64::from(p) - 1e-5);
        prop_assert!(mass - least < f64::from(p) + 1e-5);
    }

    #[test]
    fn greedy_is_argmax_and_a_seed_decides_the_rest(logits in logits(), params in params()) {
        let greedy = Sampling { temperature: 0.0, top_k: 3, top_p: 0.5, seed: params.seed, ..Sampling::default() };
        let mut scratch = Scratch::default();
        let token = Sampler::new(greedy, &[]).sample(&mut logits.clone(), &mut scratch);
        prop_assert_eq!(token, argmax(&logits));
        let run = || {
            let (mut sampler, mut scratch) = (Sampler::new(params.clone(), &[1, 2, 3]), Scratch::default());
            (0..8).map(|_| sampler.sample(&mut logits.clone(), &mut scratch)).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn draws_follow_the_distribution() {
    let logits: Vec<f32> = (0..2000).map(|n| if n % 400 == 7 { 6.0 } else { -4.0 }).collect();
    for params in [Sampling::default(), Sampling { top_k: 6, ..Sampling::default() }] {
        let (mut sampler, mut scratch) = (Sampler::new(params, &[]), Scratch::default());
        let mut counts = [0_u32; 2000];
        for _ in 0..20_000 {
            let token = sampler.sample(&mut logits.clone(), &mut scratch).expect("the logits are finite");
            counts[token as usize] += 1;
        }
        // Five tokens at e^6 and 1995 at e^-4: 0.1964 each (top_k = 6 keeps the ties of the sixth, that is all).
        for token in [7, 407, 807, 1207, 1607] {
            assert!((3700..4150).contains(&counts[token]), "{}", counts[token]);
        }
    }
}

#[test]
fn no_ngram_stands_twice_and_no_end_comes_early() {
    for size in 1..4 {
        let params = Sampling {
            no_repeat_ngram_size: size,
            min_tokens: 5,
            end_tokens: vec![3],
            temperature: 0.0,
            ..Sampling::default()
        };
        let prompt = [0, 1, 2, 0, 1];
        let (mut sampler, mut scratch) = (Sampler::new(params, &prompt), Scratch::default());
        let mut tokens = prompt.to_vec();
        for _ in 0..8 {
            // The end is likeliest, then 2, 1, 0, 4, 5, ...
            let mut logits: Vec<f32> = (0..32).map(|token| -(token as f32)).collect();
            (logits[0], logits[2], logits[3]) = (-2.0, 0.0, 9.0);
            tokens.extend(sampler.sample(&mut logits, &mut scratch));
        }
        assert_eq!(tokens.len(), prompt.len() + 8);
        let first_end = tokens.iter().position(|token| *token == 3);
        assert_eq!(first_end, Some(prompt.len() + 5), "{tokens:?}");
        let written: Vec<_> = tokens.windows(size).skip(prompt.len() + 1 - size).collect();
        for (place, ngram) in written.iter().enumerate() {
            let before = &tokens[..prompt.len() + place];
            assert!(!before.windows(size).any(|known| known == *ngram), "{size}: {tokens:?}");
        }
    }
}

#[test]
fn a_bias_of_a_hundred_decides() {
    let params = Sampling { logit_bias: vec![(5, 100.0)], ..Sampling::default() };
    let token = Sampler::new(params, &[]).sample(&mut [0.0; 32], &mut Scratch::default());
    assert_eq!(token, Some(5));
}

#[test]
fn broken_logits_give_no_token() {
    for logits in [[f32::NAN; 4], [f32::NEG_INFINITY; 4], [f32::INFINITY; 4]] {
        for temperature in [0.0, 1.0] {
            let params = Sampling { temperature, ..Sampling::default() };
            assert_eq!(Sampler::new(params, &[]).sample(&mut logits.clone(), &mut Scratch::default()), None);
        }
    }
}

/// What `tests/golden/text/sampling.py` has written.
#[derive(Deserialize)]
struct Golden {
    filters: Vec<Filters>,
    dry: Vec<Repeats>,
    xtc: Vec<TopChoices>,
    mirostat: Vec<Surprises>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../../tests/golden/text/sampling.json"))
        .expect("the file parses")
}

#[derive(Deserialize)]
struct Filters {
    logits: Vec<f32>,
    prompt: Vec<u32>,
    written: Vec<u32>,
    temperature: f32,
    top_k: usize,
    top_p: f32,
    min_p: f32,
    typical_p: f32,
    no_repeat_ngram_size: usize,
    min_tokens: usize,
    end_tokens: Vec<u32>,
    repetition_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    logit_bias: Vec<(u32, f32)>,
    probabilities: Vec<(u32, f64)>,
}

#[test]
fn probabilities_equal_the_golden_ones() {
    let cases = golden().filters;
    assert!(cases.len() >= 40);
    for (index, case) in cases.into_iter().enumerate() {
        let params = Sampling {
            temperature: case.temperature,
            top_k: case.top_k,
            top_p: case.top_p,
            min_p: case.min_p,
            typical_p: case.typical_p,
            no_repeat_ngram_size: case.no_repeat_ngram_size,
            min_tokens: case.min_tokens,
            end_tokens: case.end_tokens,
            repetition_penalty: case.repetition_penalty,
            presence_penalty: case.presence_penalty,
            frequency_penalty: case.frequency_penalty,
            logit_bias: case.logit_bias,
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(params.clone(), &case.prompt);
        case.written.iter().for_each(|&token| sampler.history.wrote(token));
        let mut logits = case.logits;
        sampler.adjust(&mut logits);
        let ours = distribution(&logits, &params);
        assert_alike(&ours, &case.probabilities, &format!("case {index}"));
    }
}

/// Tokens are compared by probability: of those next to impossible, f32 keeps fewer than f64.
fn assert_alike(ours: &[(u32, f64)], golden: &[(u32, f64)], case: &str) {
    let by_token = |kept: &[(u32, f64)]| -> HashMap<u32, f64> { kept.iter().copied().collect() };
    let (ours, golden) = (by_token(ours), by_token(golden));
    for token in ours.keys().chain(golden.keys()) {
        let of = |kept: &HashMap<u32, f64>| kept.get(token).copied().unwrap_or(0.0);
        let (ours, golden) = (of(&ours), of(&golden));
        assert!((ours - golden).abs() < 2e-6, "{case}, token {token}: {ours} for {golden}");
    }
}

#[derive(Deserialize)]
struct Repeats {
    logits: Vec<f32>,
    tokens: Vec<u32>,
    multiplier: f32,
    base: f32,
    allowed_length: usize,
    breakers: Vec<u32>,
    penalised: Vec<f32>,
}

#[test]
fn repeats_are_penalised_as_in_the_golden_numbers() {
    let cases = golden().dry;
    assert!(cases.iter().filter(|case| case.logits != case.penalised).count() >= 12);
    for (index, case) in cases.into_iter().enumerate() {
        let Repeats { multiplier, base, allowed_length, .. } = case;
        let dry = Dry { multiplier, base, allowed_length, breakers: case.breakers.into() };
        let params = Sampling { dry: Some(dry), ..Sampling::default() };
        let (prompt, written) = case.tokens.split_at(case.tokens.len() / 2);
        let mut sampler = Sampler::new(params, prompt);
        written.iter().for_each(|&token| sampler.history.wrote(token));
        let mut logits = case.logits;
        sampler.adjust(&mut logits);
        for (token, (ours, golden)) in logits.iter().zip(&case.penalised).enumerate() {
            let close = (ours - golden).abs() <= 1e-5 * (1.0 + golden.abs());
            assert!(close, "case {index}, token {token}: {ours} for {golden}");
        }
    }
}

#[derive(Deserialize)]
struct TopChoices {
    logits: Vec<f32>,
    temperature: f32,
    top_k: usize,
    min_p: f32,
    threshold: f32,
    heads: Vec<(u32, f64)>,
    tails: Vec<(u32, f64)>,
}

#[test]
fn top_choices_go_as_in_the_golden_numbers_whichever_way_the_coin_falls() {
    let cases = golden().xtc;
    assert!(cases.iter().filter(|case| case.heads.len() < case.tails.len()).count() >= 12);
    for (index, case) in cases.into_iter().enumerate() {
        for (xtc_probability, golden) in [(1.0, &case.heads), (0.0, &case.tails)] {
            let params = Sampling {
                temperature: case.temperature,
                top_k: case.top_k,
                min_p: case.min_p,
                xtc_probability,
                xtc_threshold: case.threshold,
                ..Sampling::default()
            };
            let (mut sampler, mut scratch) = (Sampler::new(params, &[]), Scratch::default());
            let drawn = sampler.sample(&mut case.logits.clone(), &mut scratch).expect("they are finite");
            let kept = scratch.probabilities();
            assert_alike(&kept, golden, &format!("case {index} at {xtc_probability}"));
            assert!(kept.iter().any(|&(token, _)| token == drawn));
        }
    }
}

#[test]
fn the_coin_falls_as_often_as_asked() {
    // The likeliest of two is drawn where the coin leaves it, three times in four.
    let params = Sampling { xtc_probability: 0.4, ..Sampling::default() };
    let (mut sampler, mut scratch) = (Sampler::new(params, &[]), Scratch::default());
    let mut draw = || sampler.sample(&mut [3.0_f32.ln(), 0.0], &mut scratch);
    let likeliest = (0..20_000).filter(|_| draw() == Some(0)).count();
    assert!((8_700..9_300).contains(&likeliest), "{likeliest} of 20,000, not 45%");
}

#[derive(Deserialize)]
struct Surprises {
    temperature: f32,
    tau: f32,
    eta: f32,
    steps: Vec<Surprise>,
}

#[derive(Deserialize)]
struct Surprise {
    logits: Vec<f32>,
    kept: Vec<(u32, f64)>,
    token: u32,
    mu: f64,
}

#[test]
fn mirostat_follows_the_golden_numbers() {
    for (index, case) in golden().mirostat.into_iter().enumerate() {
        let Surprises { temperature, tau, eta, steps } = case;
        let params = Sampling { temperature, ..Sampling::default() };
        let (mut follower, mut scratch) = (Follower::new(Mirostat { tau, eta }), Scratch::default());
        let mut narrowed = false;
        for (step, golden) in steps.into_iter().enumerate() {
            warp::warp(&golden.logits, &params, &mut scratch).expect("they are finite");
            follower.narrow(scratch.kept());
            narrowed |= scratch.kept().len() < golden.logits.len();
            assert_alike(&scratch.probabilities(), &golden.kept, &format!("case {index}, step {step}"));
            follower.hear(golden.token, scratch.kept());
            assert!((follower.mu - golden.mu).abs() < 1e-4, "{} for {}", follower.mu, golden.mu);
        }
        assert!(narrowed, "case {index} shows nothing");
    }
}

#[test]
fn mirostat_brings_the_mean_surprise_to_its_target() {
    let logits: Vec<f32> = (0..500).map(|token| -0.02 * token as f32).collect();
    let params = Sampling { mirostat: Some(Mirostat { tau: 3.0, eta: 0.1 }), seed: 7, ..Sampling::default() };
    let (mut sampler, mut scratch) = (Sampler::new(params, &[]), Scratch::default());
    let mut surprise = 0.0;
    for _ in 0..2_000 {
        let token = sampler.sample(&mut logits.clone(), &mut scratch).expect("they are finite");
        let kept = scratch.probabilities();
        surprise -= kept.iter().find(|&&(other, _)| other == token).map_or(0.0, |&(_, p)| p.log2());
    }
    assert!((surprise / 2_000.0 - 3.0).abs() < 0.1, "{} bits", surprise / 2_000.0);
}
