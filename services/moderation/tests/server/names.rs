//! Names and addresses, beside what the model says where it is run by itself.

use std::collections::BTreeMap;

use atelier_core::{CategoryId, TenantId};
use atelier_inference::{ModelStore, Ticket};
use atelier_moderation::{
    Config, ModerationError,
    call::Call,
    categories::CategorySet,
    detector::{DetectorConfig, KINDS},
    load,
    moderator::Moderator,
};
use atelier_proto::moderation::v1::{
    Finding, ListCategoriesRequest, ModerateTextRequest, ModerateTextResponse, Scores, TextItem,
};
use serde::Deserialize;

use crate::harness::{Client, golden, score, test};

const NAME: &str = "personal-data/name";
const ADDRESS: &str = "personal-data/address";
const LETTER: &str =
    "Dear Anna Maria Keller,\nyour parcel goes to 14 Rosewood Lane, Apt 3B, Springfield, IL 62704.";

#[derive(Deserialize)]
struct Row {
    text: String,
    found: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    category: String,
    start: usize,
    end: usize,
    score: f32,
}

fn expected() -> Vec<Row> {
    serde_json::from_slice(&std::fs::read(golden("names/expected.json")).unwrap()).unwrap()
}

async fn moderate(
    client: &mut Client,
    text: &str,
    categories: &[&str],
    redact: bool,
) -> ModerateTextResponse {
    let items = vec![TextItem { id: String::new(), text: text.to_owned() }];
    let categories = categories.iter().map(|category| (*category).to_owned()).collect();
    client.moderate_text(ModerateTextRequest { items, categories, redact }).await.unwrap().into_inner()
}

fn only(answer: &ModerateTextResponse) -> &Scores {
    answer.results[0].scores.as_ref().unwrap()
}

fn part<'t>(text: &'t str, finding: &Finding) -> (&'t str, String) {
    let place = finding.start_byte as usize..finding.end_byte as usize;
    (&text[place], finding.category.clone())
}

#[test]
fn names_and_addresses_are_those_of_the_model() {
    test(async |mut client| {
        for Row { text, found } in expected() {
            let answer = moderate(&mut client, &text, &[NAME, ADDRESS], false).await;
            let scores = only(&answer);
            assert_eq!(scores.findings.len(), found.len(), "{text}: {:?}", scores.findings);
            for (ours, theirs) in scores.findings.iter().zip(&found) {
                let place = (ours.start_byte as usize, ours.end_byte as usize);
                assert_eq!(
                    (ours.category.as_str(), place),
                    (theirs.category.as_str(), (theirs.start, theirs.end))
                );
                assert!((ours.score - theirs.score).abs() < 0.005, "{text}: {} {}", ours.score, theirs.score);
                assert_eq!(ours.reason, "entity");
            }
            for category in [NAME, ADDRESS] {
                let highest = found.iter().filter(|one| one.category == category).map(|one| one.score);
                assert!((score(scores, category) - highest.fold(0.0, f32::max)).abs() < 0.005, "{text}");
            }
        }
    });
}

#[test]
fn a_letter_is_redacted_and_a_text_without_names_stays() {
    test(async |mut client| {
        let text = format!("{LETTER} Write to anna@example.org.");
        let answer = moderate(&mut client, &text, &[], true).await;
        let redacted = answer.results[0].redacted_text.as_deref().unwrap();
        assert_eq!(redacted, "Dear [NAME],\nyour parcel goes to [ADDRESS]. Write to [EMAIL].");
        // Written with wide letters, it is read and redacted all the same.
        let wide = LETTER.replace("Keller", "Ｋｅｌｌｅｒ");
        let answer = moderate(&mut client, &wide, &[NAME], true).await;
        assert_eq!(part(&wide, &only(&answer).findings[0]), ("Anna Maria Ｋｅｌｌｅｒ", NAME.to_owned()));
        let redacted = answer.results[0].redacted_text.as_deref().unwrap();
        assert_eq!(redacted, "Dear [NAME],\nyour parcel goes to [ADDRESS].");
        let plain = "I live in Paris and work in Berlin.";
        let answer = moderate(&mut client, plain, &[NAME, ADDRESS], true).await;
        assert_eq!(answer.results[0].redacted_text.as_deref(), Some(plain));
        assert!(only(&answer).findings.is_empty());
    });
}

#[test]
fn a_long_text_is_read_in_windows_and_each_find_is_told_once() {
    test(async |mut client| {
        let filler = "The library opens at nine and the children love the story hour. ";
        for n in 5..12 {
            let text = format!("{}{LETTER} {}", filler.repeat(n), filler.repeat(12));
            let answer = moderate(&mut client, &text, &[NAME, ADDRESS], false).await;
            assert!(only(&answer).windows > 1);
            // The model reads parts of an address worse among other text; the street is always found.
            let found: Vec<_> = only(&answer).findings.iter().map(|finding| part(&text, finding).0).collect();
            assert!(
                matches!(found[..], ["Anna Maria Keller", street] if street.starts_with("14 Rosewood Lane")),
                "{found:?}"
            );
        }
    });
}

#[test]
fn names_are_measured_where_they_are_asked_for() {
    test(async |mut client| {
        let took_part =
            |answer: &ModerateTextResponse| answer.models.iter().any(|model| model.id == "rampart-pii");
        let answer = moderate(&mut client, LETTER, &[], false).await;
        assert!(!took_part(&answer));
        let scores = only(&answer);
        let told =
            scores.categories.iter().map(|score| &score.category).chain(&scores.unsupported_categories);
        assert!(told.into_iter().all(|category| category != NAME && category != ADDRESS));
        let answer = moderate(&mut client, LETTER, &["personal-data"], false).await;
        assert!(!took_part(&answer));
        assert_eq!(score(only(&answer), "personal-data"), 0.0);

        for categories in [["hate", ADDRESS], ["*", ADDRESS]] {
            let answer = moderate(&mut client, LETTER, &categories, false).await;
            assert!(took_part(&answer) && score(only(&answer), ADDRESS) > 0.9);
            assert!(only(&answer).categories.iter().all(|score| score.category != NAME));
        }
        let categories =
            client.list_categories(ListCategoriesRequest {}).await.unwrap().into_inner().categories;
        let on_request = categories.iter().filter(|category| category.on_request);
        let detectors = on_request.map(|category| (category.id.as_str(), !category.detectors.is_empty()));
        assert_eq!(detectors.collect::<BTreeMap<_, _>>(), BTreeMap::from([(NAME, true), (ADDRESS, true)]));
    });
}

/// The model under labels of one's own choice.
fn own(change: impl FnOnce(&mut DetectorConfig)) -> Result<Moderator, ModerationError> {
    let kind = KINDS.iter().find(|kind| kind.name == "token-classifier").unwrap();
    let folder = ModelStore::default().open("rampart-pii").unwrap();
    let path = folder.file("config.json").unwrap().parent().map(std::path::Path::to_path_buf);
    let labels = [("CITY".to_owned(), CategoryId::PersonalDataAddress)].into_iter().collect();
    let mut detector = DetectorConfig { path, labels, ..DetectorConfig::new(kind, "mine").unwrap() };
    change(&mut detector);
    load(&Config { detectors: vec![detector], ..Config::default() })
}

#[tokio::test]
async fn labels_thresholds_and_requests_are_configured() {
    let call = Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 4);
    let measured = async |moderator: Moderator| {
        let scores = moderator.score_text(LETTER, CategorySet::all(), &call).await.unwrap();
        (scores.findings.iter().map(|one| LETTER[one.place.clone()].to_owned()).collect::<Vec<_>>(), scores)
    };
    let (found, _) = measured(own(|_| {}).unwrap()).await;
    assert_eq!(found, ["Springfield"]);
    let strict = |detector: &mut DetectorConfig| {
        detector.thresholds = [(CategoryId::PersonalDataAddress, 0.9999)].into_iter().collect();
        detector.labels = [("GIVEN_NAME".to_owned(), CategoryId::PersonalDataAddress)].into_iter().collect();
    };
    let (found, scores) = measured(own(strict).unwrap()).await;
    assert!(found.is_empty());
    let address = scores.categories.iter().find(|score| score.category == CategoryId::PersonalDataAddress);
    assert!((0.4..0.5).contains(&address.unwrap().score), "what is below the threshold is below the middle");
    for (change, word) in [
        (
            Box::new(|d: &mut DetectorConfig| d.labels = [("TOWN".to_owned(), CategoryId::Hate)].into())
                as Box<dyn FnOnce(&mut DetectorConfig)>,
            "GIVEN_NAME",
        ),
        (Box::new(|d| d.supporting_labels = ["TOWN".to_owned()].into()), "supporting_labels"),
        (Box::new(|d| d.kind = "text-classifier".to_owned()), "CITY"),
        (
            Box::new(|d| {
                d.kind = "text-classifier".to_owned();
                d.on_request = true;
            }),
            "on_request",
        ),
    ] {
        let whole = format!("{:#}", anyhow::Error::from(own(change).map(|_| ()).unwrap_err()));
        assert!(whole.contains(word), "{whole}");
    }
}
