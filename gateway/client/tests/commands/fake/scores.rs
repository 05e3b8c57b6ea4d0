//! What the gateway's moderation answers: "evil" is hateful.

use atelier_client::proto::{
    gateway::v1 as wire,
    moderation::v1::{CategoryScore, ItemScores, Scores, Tag},
};

pub(crate) fn of(text: &str) -> Scores {
    let score = |category: &str, score| {
        let (category, detector) = (category.into(), "fake".into());
        CategoryScore { category, score, detector, severity: if score >= 0.5 { 7 } else { 0 } }
    };
    let hate = if text.contains("evil") { 0.97 } else { 0.01 };
    let mut categories = vec![score("hate", hate), score("length", text.len() as f32)];
    categories.sort_by(|a, b| b.score.total_cmp(&a.score));
    let (unsupported_categories, language) = (vec!["illicit".into()], "en".into());
    Scores { categories, unsupported_categories, windows: 1, language, ..Scores::default() }
}

pub(super) fn of_texts(request: wire::ModerateTextRequest) -> wire::ModerateTextResponse {
    let redacted = |text: &str| request.redact.then(|| text.replace("jane@example.org", "[EMAIL]"));
    let items = request.items.iter().map(|item| ItemScores {
        id: item.id.clone(),
        scores: Some(of(&item.text)),
        redacted_text: redacted(&item.text),
        ..ItemScores::default()
    });
    wire::ModerateTextResponse { results: items.collect(), models: super::model().into_iter().collect() }
}

/// Each shows as many things as are asked for, and its time is written in it.
pub(super) fn of_images(request: wire::ModerateImageRequest) -> wire::ModerateImageResponse {
    let tag = |n| Tag { label: format!("thing {n}"), score: 0.5 };
    let tags: Vec<_> = (0..request.tags).map(tag).collect();
    let items = request.items.into_iter().map(|item| ItemScores {
        id: item.id,
        scores: Some(Scores { tags: tags.clone(), frames: 1, language: String::new(), ..of("picture") }),
        read_text: request.read_text.then(|| format!("shown at {:?}", item.time_ms)),
        ..ItemScores::default()
    });
    wire::ModerateImageResponse { results: items.collect(), models: Vec::new() }
}
