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
        let scores = moderator.score_image(picture, CategorySet::all(), &call()).await.unwrap().scores;
        // Resizers round differently by a step of 255.
        close(&scores, CategoryId::ViolenceGraphic, &row["scores"][1], 0.02);
        close(&scores, CategoryId::Sexual, &row["scores"][2], 0.02);
    }
}

/// A copy of a golden folder whose labels are put differently.
fn altered(name: &str, problem_type: &str) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(golden("classifiers").join(name)).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let path = copy.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["problem_type"] = problem_type.into();
    std::fs::write(path, config.to_string()).unwrap();
    copy
}

fn found(scores: &Scores, category: CategoryId) -> f32 {
    scores.categories.iter().find(|score| score.category == category).unwrap().score
}

fn logit(score: f32) -> f32 {
    (score / (1.0 - score)).ln()
}

#[tokio::test]
async fn labels_of_a_text_classifier_may_exclude_one_another() {
    let folder = altered("text", "single_label_classification");
    let labels = [("insult", CategoryId::Harassment), ("hateful", CategoryId::Hate)];
    let own = DetectorConfig { path: Some(folder.path().to_owned()), ..detector("text-classifier", &labels) };
    let moderator = load(&config(own)).unwrap();
    for row in expected()["texts"].as_array().unwrap() {
        let logits =
            row["scores"].as_array().unwrap().iter().map(|score| logit(score.as_f64().unwrap() as f32));
        let powers: Vec<f32> = logits.map(f32::exp).collect();
        let scores =
            moderator.score_text(row["text"].as_str().unwrap(), CategorySet::all(), &call()).await.unwrap();
        for (category, power) in [(CategoryId::Harassment, powers[1]), (CategoryId::Hate, powers[2])] {
            let share = power / powers.iter().sum::<f32>();
            assert!((found(&scores, category) - share).abs() < 1e-3, "{category}: {share} {scores:?}");
        }
    }
}

#[tokio::test]
async fn labels_of_an_image_classifier_may_stand_side_by_side() {
    let folder = altered("image", "multi_label_classification");
    let labels = [("gore", CategoryId::ViolenceGraphic), ("nude", CategoryId::Sexual)];
    let own =
        DetectorConfig { path: Some(folder.path().to_owned()), ..detector("image-classifier", &labels) };
    let moderator = load(&config(own)).unwrap();
    for row in expected()["pictures"].as_array().unwrap() {
        let path: PathBuf = golden("classifiers").join(row["picture"].as_str().unwrap());
        let picture = Picture { data: std::fs::read(path).unwrap().into(), ..Picture::default() };
        let scores = moderator.score_image(picture, CategorySet::all(), &call()).await.unwrap().scores;
        // The same logits: their differences are those of the shares' logarithms.
        let ours =
            logit(found(&scores, CategoryId::Sexual)) - logit(found(&scores, CategoryId::ViolenceGraphic));
        let share = |n: usize| row["scores"][n].as_f64().unwrap() as f32;
        assert!((ours - (share(2) / share(1)).ln()).abs() < 0.15, "{ours} {row}");
    }
}

#[tokio::test]
async fn a_threshold_becomes_the_middle_of_the_scale() {
    let labels = [("insult", CategoryId::Harassment), ("hateful", CategoryId::Hate)];
    let of = |threshold| {
        let thresholds = [(CategoryId::Harassment, threshold)].into_iter().collect();
        load(&config(DetectorConfig { thresholds, ..detector("text-classifier", &labels) }))
    };
    let row = &expected()["texts"][0];
    let (insult, hateful) = (row["scores"][1].as_f64().unwrap() as f32, &row["scores"][2]);
    let moderator = of(insult).unwrap();
    let scores =
        moderator.score_text(row["text"].as_str().unwrap(), CategorySet::all(), &call()).await.unwrap();
    close(&scores, CategoryId::Harassment, &Value::from(0.5), 1e-3);
    close(&scores, CategoryId::Hate, hateful, 1e-4);
    for wrong in [0.0, 1.0, f32::NAN] {
        let refused = of(wrong).map(|_| ()).unwrap_err();
        assert!(
            matches!(&refused, ModerationError::Config(problem) if problem.contains("thresholds.harassment"))
        );
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
