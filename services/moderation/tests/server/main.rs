//! A real server on a free port, with the real models of the catalogue.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod classifiers;
mod disguise;
mod faces;
mod follow;
mod harness;
mod image;
mod moving;
mod names;
mod nsfw;
mod ocr;
mod rules;
mod text;
mod works;

use std::collections::BTreeSet;

use atelier_core::CategoryId;
use atelier_moderation::{Config, detector::DetectorConfig};
use atelier_proto::moderation::v1::{ListCategoriesRequest, Modality};

#[test]
fn the_taxonomy_is_listed_with_its_detectors() {
    harness::test(async |mut client| {
        let categories =
            client.list_categories(ListCategoriesRequest {}).await.unwrap().into_inner().categories;
        let ids: Vec<_> = categories.iter().map(|category| category.id.as_str()).collect();
        assert_eq!(ids, CategoryId::ALL.iter().map(|category| category.as_str()).collect::<Vec<_>>());
        assert!(categories.iter().all(|category| !category.description.is_empty()));

        let sexual = categories.iter().find(|category| category.id == "sexual").unwrap();
        let modalities: BTreeSet<_> = sexual.detectors.iter().map(|detector| detector.modality()).collect();
        assert_eq!(modalities, BTreeSet::from([Modality::Text, Modality::Image, Modality::TextInImage]));
        for detector in categories.iter().flat_map(|category| &category.detectors) {
            assert_eq!(detector.model.as_ref().unwrap().revision.len(), 12);
        }
    });
}

#[tokio::test]
async fn a_table_that_cannot_be_loaded_is_told_before_anything_is_served() {
    let empty = tempfile::tempdir().unwrap();
    let told = async |config: Config| {
        let listeners = atelier_rpc::Listeners::local().await.unwrap();
        let error = atelier_moderation::serve(config, listeners, std::future::pending()).await.unwrap_err();
        format!("{error:#}")
    };
    let missing = Config { models: Some(empty.path().to_owned()), ..Config::default() };
    assert!(told(missing).await.contains("text-moderation-heads"));
    let kind = DetectorConfig { kind: "oracle".to_owned(), ..Config::default().detectors[0].clone() };
    let unknown = Config { detectors: vec![kind], ..Config::default() };
    let text = told(unknown).await;
    assert!(text.contains("oracle") && text.contains("open-nsfw"), "{text}");
}
