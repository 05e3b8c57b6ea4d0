//! Every documented range, from both sides.

use std::collections::HashMap;

use super::*;

const DEFAULTS: SamplingDefaults =
    SamplingDefaults { temperature: 0.7, top_k: 40, top_p: 0.9, repetition_penalty: 1.2 };

fn tokenizer() -> TextTokenizer {
    let vocabulary: HashMap<String, u32> =
        ["a", "b", "c"].iter().zip(0..).map(|(t, id)| ((*t).to_owned(), id)).collect();
    let file = serde_json::json!({"version": "1.0", "added_tokens": [],
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "a"}});
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, file.to_string()).expect("the file can be written");
    TextTokenizer::load(&path).expect("the tokenizer is valid")
}

fn convert(change: impl FnOnce(&mut proto::GenerationConfig)) -> Result<Options, TextError> {
    let mut config = proto::GenerationConfig::default();
    change(&mut config);
    options(Some(config), &DEFAULTS, &tokenizer(), || 99)
}

/// The field that is at fault.
fn field<T: std::fmt::Debug>(result: Result<T, TextError>) -> String {
    match result.expect_err("it is refused") {
        TextError::Invalid { field, .. } => field,
        other => panic!("{other}"),
    }
}

#[test]
fn what_a_call_leaves_out_is_the_models_then_the_documented_default() {
    let options = options(None, &DEFAULTS, &tokenizer(), || 99).expect("defaults are in range");
    let sampling = options.sampling;
    assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (0.7, 40, 0.9));
    assert_eq!((sampling.repetition_penalty, sampling.min_p, sampling.seed), (1.2, 0.0, 99));
    assert_eq!((sampling.presence_penalty, sampling.frequency_penalty), (0.0, 0.0));
    assert_eq!((options.max_tokens, options.priority), (256, Priority::Normal));
}

#[test]
fn priorities_are_those_with_a_name() {
    for (number, expected) in
        [(0, Priority::Normal), (1, Priority::Low), (2, Priority::Normal), (3, Priority::High)]
    {
        assert_eq!(convert(|config| config.priority = number).expect("it is one").priority, expected);
    }
    assert_eq!(field(convert(|config| config.priority = 4)), "generation.priority");
}

#[test]
fn alternatives_come_with_log_probabilities() {
    for (wanted, top, expected) in
        [(false, None, None), (true, None, Some(0)), (true, Some(0), Some(0)), (true, Some(20), Some(20))]
    {
        let options = convert(|config| (config.logprobs, config.top_logprobs) = (wanted, top));
        assert_eq!(options.expect("it is in range").logprobs, expected);
    }
    for (wanted, top) in [(true, 21), (false, 0), (false, 5)] {
        let options = convert(|config| (config.logprobs, config.top_logprobs) = (wanted, Some(top)));
        assert_eq!(field(options), "generation.top_logprobs");
    }
}

#[test]
fn what_is_to_be_scored_is_checked() {
    let item = |context: &str, text: &str| proto::ScoreItem { context: context.into(), text: text.into() };
    let refused = |change: &dyn Fn(&mut proto::ScoreRequest)| {
        let mut request = proto::ScoreRequest { items: vec![item("", "a")], ..Default::default() };
        assert!(scoring(&request).is_ok());
        change(&mut request);
        field(scoring(&request))
    };
    assert_eq!(refused(&|request| request.items.clear()), "items");
    assert_eq!(refused(&|request| request.items = vec![item("a", "b"); 65]), "items");
    assert_eq!(refused(&|request| request.items.push(item("a", ""))), "items[1].text");
    let long = "a".repeat(limits::MAX_TEXT_BYTES + 1);
    assert_eq!(refused(&|request| request.items.push(item("a", &long))), "items[1].text");
    assert_eq!(refused(&|request| request.items[0] = item(&long, "a")), "items[0].context");
    assert_eq!(refused(&|request| request.priority = 4), "priority");
}

#[test]
fn numbers_are_in_their_ranges() {
    type Set = fn(&mut proto::GenerationConfig, f32);
    let rows: [(&str, Set, &[f32], &[f32]); 7] = [
        ("temperature", |c, x| c.temperature = Some(x), &[0.0, 2.0], &[-0.01, 2.01]),
        ("top_p", |c, x| c.top_p = Some(x), &[0.01, 1.0], &[0.0, -0.5, 1.01]),
        ("min_p", |c, x| c.min_p = Some(x), &[0.0, 1.0], &[-0.01, 1.01]),
        ("typical_p", |c, x| c.typical_p = Some(x), &[0.01, 1.0], &[0.0, -0.5, 1.01]),
        ("repetition_penalty", |c, x| c.repetition_penalty = Some(x), &[0.01, 2.0], &[0.0, -1.0, 2.01]),
        ("presence_penalty", |c, x| c.presence_penalty = Some(x), &[-2.0, 2.0], &[-2.01, 2.01]),
        ("frequency_penalty", |c, x| c.frequency_penalty = Some(x), &[-2.0, 2.0], &[-2.01, 2.01]),
    ];
    for (name, set, good, bad) in rows {
        for &value in good {
            assert!(convert(|config| set(config, value)).is_ok(), "{name} {value}");
        }
        for &value in bad.iter().chain(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]) {
            assert_eq!(field(convert(|config| set(config, value))), format!("generation.{name}"), "{value}");
        }
    }
    assert_eq!(field(convert(|config| config.max_tokens = Some(0))), "generation.max_tokens");
    assert!(convert(|config| config.min_tokens = Some(256)).is_ok());
    assert_eq!(field(convert(|config| config.min_tokens = Some(257))), "generation.min_tokens");
}

#[test]
fn tokens_are_of_the_vocabulary() {
    assert!(convert(|config| config.logit_bias = [(2, -100.0)].into()).is_ok());
    assert_eq!(field(convert(|config| config.logit_bias = [(3, 0.0)].into())), "generation.logit_bias[3]");
    assert_eq!(
        field(convert(|config| config.logit_bias = [(1, f32::NAN)].into())),
        "generation.logit_bias[1]"
    );
    assert_eq!(field(convert(|config| config.logit_bias = [(1, 100.5)].into())), "generation.logit_bias[1]");
    let many = (0..1025).map(|token| (token, 0.0)).collect();
    assert_eq!(field(convert(|config| config.logit_bias = many)), "generation.logit_bias");
    assert_eq!(field(convert(|config| config.stop_token_ids = vec![0, 3])), "generation.stop_token_ids[1]");
    assert_eq!(field(convert(|config| config.stop_token_ids = vec![0; 65])), "generation.stop_token_ids");
    assert_eq!(field(token_ids(&[2, 7, 1], &tokenizer())), "token_ids[1]");
    assert!(token_ids(&[0, 2], &tokenizer()).is_ok());
}

#[test]
fn stop_sequences_have_a_length() {
    assert!(convert(|config| config.stop_sequences = vec!["x".repeat(256)]).is_ok());
    for bad in ["", &"x".repeat(257)] {
        let sequences = vec!["a".to_owned(), bad.to_owned()];
        assert_eq!(
            field(convert(|config| config.stop_sequences = sequences)),
            "generation.stop_sequences[1]"
        );
    }
    assert_eq!(
        field(convert(|config| config.stop_sequences = vec!["a".into(); 17])),
        "generation.stop_sequences"
    );
}

#[test]
fn other_requests_are_checked_too() {
    assert_eq!(field(prompt("")), "prompt");
    assert_eq!(field(batch(&[])), "texts");
    assert_eq!(field(batch(&vec![String::new(); 1025])), "texts");
    assert_eq!(field(item_id(&"x".repeat(257))), "id");
}

#[test]
fn samplers_have_ranges_and_belong_together() {
    let sampling = |change: fn(&mut proto::GenerationConfig)| convert(change).map(|options| options.sampling);
    let xtc = sampling(|c| c.xtc_probability = Some(0.5)).expect("it is in range");
    assert_eq!((xtc.xtc_probability, xtc.xtc_threshold), (0.5, 0.1));
    let dry =
        sampling(|c| c.dry_multiplier = Some(0.8)).expect("it is in range").dry.expect("it is asked for");
    assert_eq!((dry.multiplier, dry.base, dry.allowed_length), (0.8, 1.75, 2));
    assert_eq!(sampling(|c| c.dry_multiplier = Some(0.0)).expect("it is in range").dry, None);
    let mirostat =
        sampling(|c| (c.mirostat_tau, c.top_k) = (Some(3.0), Some(0))).expect("it filters nothing");
    assert_eq!(mirostat.mirostat, Some(crate::sampling::Mirostat { tau: 3.0, eta: 0.1 }));
    assert_eq!(
        (mirostat.top_k, mirostat.top_p, mirostat.temperature),
        (0, 1.0, 0.7),
        "the model's filters go"
    );
    type Change = fn(&mut proto::GenerationConfig);
    let refused: [(&str, Change); 17] = [
        ("xtc_probability", |c| c.xtc_probability = Some(1.1)),
        ("xtc_probability", |c| c.xtc_probability = Some(f32::NAN)),
        ("xtc_threshold", |c| (c.xtc_probability, c.xtc_threshold) = (Some(0.5), Some(0.0))),
        ("xtc_threshold", |c| (c.xtc_probability, c.xtc_threshold) = (Some(0.5), Some(0.6))),
        ("xtc_threshold", |c| c.xtc_threshold = Some(0.1)),
        ("dry_multiplier", |c| c.dry_multiplier = Some(-1.0)),
        ("dry_base", |c| (c.dry_multiplier, c.dry_base) = (Some(1.0), Some(0.9))),
        ("dry_base", |c| c.dry_base = Some(2.0)),
        ("dry_allowed_length", |c| (c.dry_multiplier, c.dry_allowed_length) = (Some(1.0), Some(0))),
        ("mirostat_tau", |c| c.mirostat_tau = Some(0.0)),
        ("mirostat_eta", |c| (c.mirostat_tau, c.mirostat_eta) = (Some(3.0), Some(1.5))),
        ("mirostat_eta", |c| c.mirostat_eta = Some(0.1)),
        ("top_k", |c| (c.mirostat_tau, c.top_k) = (Some(3.0), Some(5))),
        ("top_p", |c| (c.mirostat_tau, c.top_p) = (Some(3.0), Some(0.5))),
        ("min_p", |c| (c.mirostat_tau, c.min_p) = (Some(3.0), Some(0.5))),
        ("typical_p", |c| (c.mirostat_tau, c.typical_p) = (Some(3.0), Some(0.5))),
        ("xtc_probability", |c| (c.mirostat_tau, c.xtc_probability) = (Some(3.0), Some(0.5))),
    ];
    for (name, change) in refused {
        assert_eq!(field(convert(change)), format!("generation.{name}"));
    }
}
