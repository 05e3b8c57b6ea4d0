//! Plain sessions on real models.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod support;

use atelier_inference::{ExecutionProvider, InferenceError, Model, RunControl, SessionConfig, Tensor};
use ndarray::Array2;

const ENCODER: &str = "multilingual-e5-small";

/// Token ids of unequal length, padded with 1 (the tokenizer's padding) and masked.
fn batch(texts: &[&[i64]]) -> [(&'static str, Tensor); 2] {
    let longest = texts.iter().map(|text| text.len()).max().unwrap();
    let mut ids = Array2::from_elem((texts.len(), longest), 1_i64);
    let mut mask = Array2::zeros((texts.len(), longest));
    for (n, text) in texts.iter().enumerate() {
        for (place, id) in text.iter().enumerate() {
            ids[(n, place)] = *id;
            mask[(n, place)] = 1_i64;
        }
    }
    [("input_ids", ids.into()), ("attention_mask", mask.into())]
}

fn embed(model: &mut Model, texts: &[&[i64]]) -> Vec<Vec<f32>> {
    let outputs = model.run(&batch(texts), &["sentence_embedding"], &RunControl::new()).unwrap();
    let embeddings = outputs.into_iter().next().unwrap().into_f32().unwrap();
    embeddings.outer_iter().map(|row| row.iter().copied().collect()).collect()
}

#[test]
fn an_embedding_does_not_depend_on_its_batch() {
    let folder = support::model(ENCODER);
    let mut model = Model::load(&support::runtime(), &folder, &SessionConfig::default()).unwrap();
    assert_eq!(model.outputs()[0].dimensions.last(), Some(&Some(384)));
    let texts: [&[i64]; 3] = [&[0, 41, 1294, 12, 2], &[0, 41, 1294, 12, 9, 10, 11, 2], &[0, 2]];
    let together = embed(&mut model, &texts);
    for (text, embedding) in texts.iter().zip(&together) {
        let alone = embed(&mut model, &[text]).remove(0);
        let cosine: f32 = alone.iter().zip(embedding).map(|(a, b)| a * b).sum();
        let length: f32 = embedding.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-4, "{length}");
        // The encoder's weights are 4-bit and its activations are quantised by row, padding included.
        assert!(cosine > 0.999, "{cosine}");
    }
}

#[test]
fn a_name_the_model_does_not_have_is_refused() {
    let folder = support::model(ENCODER);
    let mut model = Model::load(&support::runtime(), &folder, &SessionConfig::default()).unwrap();
    let control = RunControl::new();
    let [ids, mask] = batch(&[&[0, 2]]);
    let output = model.run(&[ids.clone(), mask.clone()], &["logits"], &control);
    assert!(
        matches!(&output, Err(InferenceError::InvalidRun(problem)) if problem.contains("logits")),
        "{output:?}"
    );
    let input = model.run(&[ids.clone(), ("mask", mask.1)], &["sentence_embedding"], &control);
    assert!(
        matches!(&input, Err(InferenceError::InvalidRun(problem)) if problem.contains("mask")),
        "{input:?}"
    );
    let missing = model.run(&[ids], &["sentence_embedding"], &control);
    assert!(matches!(&missing, Err(InferenceError::RunFailed(_))), "{missing:?}");
}

#[test]
fn a_cancelled_control_refuses_the_run() {
    let folder = support::model(ENCODER);
    let mut model = Model::load(&support::runtime(), &folder, &SessionConfig::default()).unwrap();
    let control = RunControl::new();
    control.cancel();
    let result = model.run(&batch(&[&[0, 2]]), &["sentence_embedding"], &control);
    assert!(matches!(result, Err(InferenceError::Cancelled)), "{result:?}");
}

/// The default library is built for the processor alone; asking it for more must fail, not run slowly.
#[test]
fn an_execution_provider_that_is_not_there_is_an_error() {
    let folder = support::model("open-nsfw");
    for provider in [ExecutionProvider::Cuda { device_id: 0 }, ExecutionProvider::TensorRt { device_id: 0 }] {
        let config =
            SessionConfig { providers: vec![provider, ExecutionProvider::Cpu], ..SessionConfig::default() };
        let result = Model::load(&support::runtime(), &folder, &config);
        assert!(matches!(result, Err(InferenceError::ProviderUnavailable { .. })), "{result:?}");
    }
}
