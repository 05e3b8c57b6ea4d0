//! Detectors of sexual pictures, alone and combined, beside what their makers' programs say.

use std::{collections::BTreeMap, fs};

use atelier_core::{CategoryId, TenantId};
use atelier_inference::Ticket;
use atelier_moderation::{
    Config,
    call::Call,
    categories::CategorySet,
    detector::{DetectorConfig, KINDS},
    load,
    moderator::{Moderator, Picture},
};
use serde::Deserialize;

use crate::harness::golden;

/// Scores by the names of pictures.
#[derive(Deserialize)]
struct OpenNsfw {
    images: BTreeMap<String, Sexual>,
}

#[derive(Deserialize)]
struct Sexual {
    sexual: f32,
}

/// What nsfwjs says of a picture.
#[derive(Deserialize)]
struct Classes {
    hentai: f32,
    porn: f32,
    sexy: f32,
}

/// JPEG decoders differ by a level here and there; lossless pictures agree much better than this.
const TOLERANCE: f32 = 0.02;

fn moderator(kind: &str, model: &str) -> Moderator {
    let kind = KINDS.iter().find(|known| known.name == kind).unwrap();
    let detectors = vec![DetectorConfig::new(kind, model).unwrap()];
    load(&Config { detectors, ..Config::default() }).unwrap()
}

async fn sexual(moderator: &Moderator, picture: &str) -> f32 {
    let data = fs::read(golden("..").join(picture)).unwrap().into();
    let call = Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 4);
    let picture = Picture { data, ..Picture::default() };
    let scores = moderator.score_image(picture, CategorySet::all(), &call).await.unwrap().scores;
    assert_eq!((scores.categories.len(), scores.windows, scores.frames), (1, 1, 1));
    assert!(scores.findings.is_empty() && scores.tags.is_empty());
    assert_eq!(scores.categories[0].category, CategoryId::Sexual);
    scores.categories[0].score
}

#[tokio::test]
async fn open_nsfw_scores_as_its_reference_does() {
    let moderator = moderator("open-nsfw", "open-nsfw");
    let expected: OpenNsfw = serde_json::from_slice(&fs::read(golden("image_scores.json")).unwrap()).unwrap();
    assert!(!expected.images.is_empty());
    for (name, expected) in expected.images {
        let score = sexual(&moderator, &format!("moderation/images/{name}")).await;
        assert!((score - expected.sexual).abs() <= TOLERANCE, "{name}: {score} {}", expected.sexual);
    }
}

#[tokio::test]
async fn nsfwjs_scores_as_nsfwjs_does_and_the_pair_lies_between_its_halves() {
    let (old, new) = (moderator("open-nsfw", "open-nsfw"), moderator("nsfwjs", "nsfwjs-mobilenet"));
    let pair = moderator("combined", "nsfw-pair");
    let expected = fs::read(golden("nsfwjs/expected.json")).unwrap();
    let expected: BTreeMap<String, Classes> = serde_json::from_slice(&expected).unwrap();
    assert!(expected.values().any(|classes| classes.porn > 0.9));
    let logit = |score: f32| (score / (1.0 - score)).ln().clamp(-4.0, 4.0);
    for (name, Classes { hentai, porn, sexy }) in expected {
        let (one, other) = (sexual(&old, &name).await, sexual(&new, &name).await);
        assert!((other - (hentai + porn + sexy / 2.0)).abs() <= TOLERANCE, "{name}: {other}");
        let both = sexual(&pair, &name).await;
        let mean = 1.0 / (1.0 + (-(logit(one) + logit(other)) / 2.0).exp());
        assert!((both - mean).abs() < 1e-4, "{name}: {both} {mean}");
    }
}
