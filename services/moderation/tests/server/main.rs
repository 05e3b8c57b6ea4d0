//! A real server on a free port, with the real models of the catalogue.

mod harness;
mod image;
mod text;

use std::collections::BTreeSet;

use atelier_core::CategoryId;
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
        assert_eq!(modalities, BTreeSet::from([Modality::Text, Modality::Image]));
        for detector in categories.iter().flat_map(|category| &category.detectors) {
            assert_eq!(detector.model.as_ref().unwrap().revision.len(), 12);
        }
    });
}
