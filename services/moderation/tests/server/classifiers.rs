//! Classifiers of one's own, served from their folders, beside what transformers makes of the same content.

use std::path::PathBuf;

use atelier_core::{CategoryId, TenantId};
use atelier_inference::Ticket;
use atelier_moderation::{
    Config, ModerationError,
    call::Call,
    categories::CategorySet,
    detector::{DetectorConfig, KINDS},
    load,
    moderator::Picture,
    scores::Scores,
};
use serde_json::Value;

use crate::harness::golden;

/// A detector of one of the golden folders.
fn detector(kind: &str, labels: &[(&str, CategoryId)]) -> DetectorConfig {
    let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
    let folder = kind.name.split('-').next().unwrap();
    DetectorConfig {
        path: Some(golden("classifiers").join(folder)),
        labels: labels.iter().map(|(label, category)| ((*label).to_owned(), *category)).collect(),
        ..DetectorConfig::new(kind, "mine").unwrap()
    }
}

fn config(detector: DetectorConfig) -> Config {
    Config { detectors: vec![detector], ..Config::default() }
}

fn call() -> Call {
    Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 4)
}

fn expected() -> Value {
    serde_json::from_slice(&std::fs::read(golden("classifiers/expected.json")).unwrap()).unwrap()
}

fn close(scores: &Scores, category: CategoryId, expected: &Value, within: f32) {
    let found = scores.categories.iter().find(|score| score.category == category).unwrap();
    let expected = expected.as_f64().unwrap() as f32;
    assert!((found.score - expected).abs() <= within, "{category}: {} {expected}", found.score);
    assert_eq!(found.detector.as_str(), "mine");
}

#[tokio::test]
async fn a_text_classifier_scores_as_transformers_does() {
    let labels = [("insult", CategoryId::Harassment), ("hateful", CategoryId::Hate)];
    let moderator = load(&config(detector("text-classifier", &labels))).unwrap();
    for row in expected()["texts"].as_array().unwrap() {
        let text = row["text"].as_str().unwrap();
        let scores = moderator.score_text(text, CategorySet::all(), &call()).await.unwrap();
        close(&scores, CategoryId::Harassment, &row["scores"][1], 1e-4);
        close(&scores, CategoryId::Hate, &row["scores"][2], 1e-4);
    }
    // Longer than the 32 tokens that it reads: in windows, each as placed in the text.
    let long = "the sun is warm, ".repeat(20);
    let scores = moderator.score_text(&long, CategorySet::all(), &call()).await.unwrap();
    assert!(scores.windows > 2);
    assert!(scores.findings.iter().all(|finding| long.get(finding.place.clone()).is_some()));
}

#[tokio::test]
async fn an_image_classifier_scores_as_transformers_does() {
    let labels = [("gore", CategoryId::ViolenceGraphic), ("nude", CategoryId::Sexual)];
    let moderator = load(&config(detector("image-classifier", &labels))).unwrap();
    for row in expected()["pictures"].as_array().unwrap() {
        let path: PathBuf = golden("classifiers").join(row["picture"].as_str().unwrap());
        let picture = Picture { data: std::fs::read(path).unwrap().into(), ..Picture::default() };
        let scores = moderator.score_image(picture, CategorySet::all(), &call()).await.unwrap();
        // Resizers round differently by a step of 255.
        close(&scores, CategoryId::ViolenceGraphic, &row["scores"][1], 0.02);
        close(&scores, CategoryId::Sexual, &row["scores"][2], 0.02);
    }
}

#[test]
fn a_folder_that_does_not_fit_is_refused_with_its_problem() {
    let wrong = [
        (detector("text-classifier", &[("rude", CategoryId::Hate)]), "clean, insult, hateful"),
        (detector("text-classifier", &[]), "labels"),
        (
            DetectorConfig {
                path: Some(golden("classifiers/text")),
                ..detector("image-classifier", &[("insult", CategoryId::Hate)])
            },
            "preprocessor_config.json",
        ),
    ];
    for (detector, word) in wrong {
        let error: ModerationError = load(&config(detector)).map(|_| ()).unwrap_err();
        let whole = format!("{:#}", anyhow::Error::from(error));
        assert!(whole.contains(word), "{whole}");
    }
}
