//! Lists, their files, and what changes and keeps them.

use std::{fs, path::Path};

use atelier_inference::Ticket;
use atelier_likeness::{ImageFingerprint, LikenessError};
use proptest::{collection::vec, prelude::*, sample};

use super::*;

const SMALL: Capacity = Capacity { works: 4, pictures: 40, fingerprints: 400 };

fn label(id: &str) -> Label {
    Label {
        id: id.to_owned(),
        title: format!("Title of {id}"),
        owner: "床 \u{1}\"".to_owned(),
        license: String::new(),
    }
}

fn text(id: &str, words: &str) -> NewWork {
    NewWork { label: label(id), work: Work { text: TextFingerprint::of(words), ..Work::default() } }
}

/// A picture that is like none of another seed.
fn picture(seed: u64) -> RgbImage {
    RgbImage::from_fn(64, 64, |x, y| {
        let cell = u64::from(x / 8) + 8 * u64::from(y / 8) + 64 * seed;
        image::Rgb([(cell.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8; 3])
    })
}

fn drawn(id: &str, seed: u64) -> NewWork {
    let fingerprint = ImageFingerprint::of(&picture(seed)).unwrap();
    let pictures = vec![Picture { fingerprint, vector: None }];
    NewWork { label: label(id), work: Work { pictures, ..Work::default() } }
}

const POEM: &str = "The lowing herd wind slowly over the lea, the ploughman homeward plods his weary way";

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn call(of: &str) -> Call {
    Call::new(Ticket { deadline: None, tenant: tenant(of) }, 1)
}

fn config(folder: Option<&Path>) -> WorksConfig {
    WorksConfig {
        folder: folder.map(Path::to_owned),
        max_tenants: 2,
        max_works: SMALL.works,
        max_pictures: SMALL.pictures / views::KEPT,
        max_text_fingerprints: SMALL.fingerprints,
    }
}

fn open(config: &WorksConfig) -> Result<Arc<Works>, ModerationError> {
    Works::open(config, DecodePool::new(1, 1 << 20), 1, None).map(Arc::new)
}

fn ids(works: &Works, of: &str) -> Vec<String> {
    let list = works.of(&tenant(of));
    list.map_or(Vec::new(), |list| list.after(None).map(|label| label.id.clone()).collect())
}

fn bytes(list: &List) -> Vec<u8> {
    let mut bytes = Vec::new();
    list.write_to(&tenant("acme/eu"), &mut bytes).unwrap();
    bytes
}

#[test]
fn a_match_says_how_and_where() {
    let mut list = List::new(SMALL);
    for new in [text("elegy", POEM), drawn("cells", 1)] {
        assert!(!list.add(new).unwrap());
    }
    let whole = list.find_text(&POEM.to_uppercase(), 9);
    assert_eq!((whole[0].kind, whole[0].similarity), (MatchKind::Exact, 1.0));
    let quoting = format!("He wrote that {}, and much else besides in many more words.", &POEM[..60]);
    let found = list.find_text(&quoting, 9);
    assert_eq!((found.len(), found[0].kind, found[0].label.id.as_str()), (1, MatchKind::Quotation, "elegy"));
    assert!(quoting[found[0].ranges[0].clone()].contains("herd wind slowly over"));

    let mut edited = picture(1);
    image::imageops::flip_horizontal_in_place(&mut edited);
    let ask = |picture: &RgbImage| list.find_picture(&ImageQuery::of(picture).unwrap(), None, 9).unwrap();
    assert_eq!((ask(&picture(1))[0].kind, ask(&picture(1))[0].similarity), (MatchKind::Exact, 1.0));
    assert_eq!((ask(&edited)[0].kind, ask(&edited)[0].label.id.as_str()), (MatchKind::Edited, "cells"));
    assert!(ask(&picture(2)).is_empty());
}

/// A work with a vector along one axis.
fn embedded(id: &str, axis: usize) -> NewWork {
    let mut new = drawn(id, axis as u64);
    new.work.pictures[0].vector = Some(vector(axis, 0.0));
    new
}

/// Along one axis, turned this much towards the next.
fn vector(axis: usize, turned: f32) -> UnitVector {
    let mut values = [0.0; 8];
    (values[axis], values[axis + 1]) = (turned.cos(), turned.sin());
    UnitVector::new(&values).unwrap()
}

#[test]
fn vectors_find_what_fingerprints_miss_and_only_of_their_own_model() {
    let mut list = List::new(SMALL);
    assert!(!list.vectors_become(Some("one@1")));
    for (id, axis) in [("a", 0), ("b", 3)] {
        list.add(embedded(id, axis)).unwrap();
    }
    let other = ImageQuery::of(&picture(8)).unwrap();
    let found = list.find_picture(&other, Some(&vector(3, 0.3)), 9).unwrap();
    assert_eq!((found.len(), found[0].label.id.as_str(), found[0].kind), (1, "b", MatchKind::Edited));
    assert!((found[0].cosine.unwrap() - 0.3_f32.cos()).abs() < 0.01 && found[0].distance.is_none());
    assert!((0.5..0.85).contains(&found[0].similarity), "{found:?}");
    // A cosine of 0.83 is too little.
    assert!(list.find_picture(&other, Some(&vector(3, 0.6)), 9).unwrap().is_empty());

    let (_, mut read) = List::read_from(&bytes(&list)[..], SMALL).unwrap();
    assert!(!read.vectors_become(Some("one@1")));
    assert_eq!(read.find_picture(&other, Some(&vector(3, 0.3)), 9).unwrap(), found);
    assert!(read.vectors_become(Some("two@1")));
    assert!(read.find_picture(&other, Some(&vector(3, 0.3)), 9).unwrap().is_empty());
    assert_eq!(read.find_picture(&ImageQuery::of(&picture(3)).unwrap(), None, 9).unwrap()[0].label.id, "b");
}

/// Written before there were vectors: the header does not name their model.
#[test]
fn files_from_before_vectors_are_read_and_take_some() {
    let mut list = List::new(SMALL);
    list.add(drawn("old", 1)).unwrap();
    let old = bytes(&list);
    assert!(!old.windows(9).any(|window| window == b"\"vectors\""));
    let (_, mut read) = List::read_from(&old[..], SMALL).unwrap();
    assert!(!read.vectors_become(Some("one@1")));
    read.add(embedded("new", 3)).unwrap();
    let (_, read) = List::read_from(&bytes(&read)[..], SMALL).unwrap();
    assert_eq!(read.vectors.as_deref(), Some("one@1"));
    let found = |seed, vector: Option<&UnitVector>| {
        let found = read.find_picture(&ImageQuery::of(&picture(seed)).unwrap(), vector, 9).unwrap();
        found.iter().map(|found| found.label.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!((found(1, None), found(8, Some(&vector(3, 0.0)))), (vec!["old".into()], vec!["new".into()]));
}

#[test]
fn a_work_replaces_the_one_of_its_id() {
    let mut list = List::new(SMALL);
    list.add(text("a", POEM)).unwrap();
    assert!(list.add(drawn("a", 1)).unwrap());
    assert_eq!((list.len(), list.has_texts(), list.has_pictures()), (1, false, true));
    assert!(list.find_text(POEM, 9).is_empty());
    assert!(list.remove("a") && !list.remove("a") && list.is_empty());
}

#[test]
fn altered_and_cut_files_are_errors() {
    let mut list = List::new(SMALL);
    for new in [text("elegy", POEM), drawn("cells", 1)] {
        list.add(new).unwrap();
    }
    let good = bytes(&list);
    let read = |bytes: &[u8]| List::read_from(bytes, SMALL);
    assert_eq!(read(&good).unwrap().0, tenant("acme/eu"));
    for end in 0..good.len() {
        assert!(read(&good[..end]).is_err(), "{end}");
    }
    for at in 0..good.len() {
        let mut altered = good.clone();
        altered[at] ^= 0x10;
        assert!(read(&altered).is_err(), "{at}");
    }
    let less = Capacity { works: 1, ..SMALL };
    assert!(matches!(List::read_from(&good[..], less), Err(FileError::Index(LikenessError::Full { .. }))));
    // Labels of one list before the index of another.
    let mut other = List::new(SMALL);
    other.add(drawn("cells", 1)).unwrap();
    let other = bytes(&other);
    let index = |file: &[u8]| file.windows(8).position(|window| window == b"ATLIKENS").unwrap();
    let mixed = [&good[..index(&good)], &other[index(&other)..]].concat();
    assert!(matches!(read(&mixed), Err(FileError::Unmatched)));
}

#[tokio::test]
async fn lists_last_and_are_each_tenants_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Some(folder.path()));
    let works = open(&config).unwrap();
    let (ours, theirs) = (call("acme/eu"), call("globex"));
    assert_eq!(works.add(vec![text("b", POEM), drawn("a", 1)], &ours).await.unwrap(), 0);
    assert_eq!(works.add(vec![drawn("c", 2)], &theirs).await.unwrap(), 0);
    assert!(
        matches!(open(&config), Err(ModerationError::Config(problem)) if problem.contains("another process"))
    );

    drop(works);
    let works = open(&config).unwrap();
    assert_eq!(
        (ids(&works, "acme/eu"), ids(&works, "globex")),
        (vec!["a".into(), "b".into()], vec!["c".into()])
    );
    assert_eq!(works.find_text(POEM.to_owned(), 9, &ours).await.unwrap().len(), 1);
    assert!(works.find_text(POEM.to_owned(), 9, &theirs).await.unwrap().is_empty());
    let unknown = works.remove(vec!["c".into(), "a".into(), "b".into()], &ours).await.unwrap();
    assert_eq!(unknown, ["c"]);

    drop(works);
    let works = open(&config).unwrap();
    assert!(works.of(ours.tenant()).is_none() && works.of(theirs.tenant()).is_some());
    assert_eq!(works.remove(vec!["a".into()], &ours).await.unwrap(), ["a"]);
}

#[tokio::test]
async fn what_does_not_fit_changes_nothing() {
    let works = open(&config(None)).unwrap();
    let ours = call("a");
    works.add(vec![text("one", POEM)], &ours).await.unwrap();
    let many = (0..SMALL.works).map(|n| drawn(&n.to_string(), n as u64)).collect();
    let full = works.add(many, &ours).await.unwrap_err();
    assert_eq!(full.into_fault("works").reason(), atelier_core::Reason::QuotaExceeded);
    assert_eq!(ids(&works, "a"), ["one"]);
    works.add(vec![text("one", POEM)], &call("b")).await.unwrap();
    let lists = works.add(vec![text("one", POEM)], &call("c")).await.unwrap_err();
    assert_eq!(lists.into_fault("works").reason(), atelier_core::Reason::QuotaExceeded);
    works.remove(vec!["one".into()], &call("b")).await.unwrap();
    works.add(vec![text("one", POEM)], &call("c")).await.unwrap();
}

#[tokio::test]
async fn changes_at_once_all_count() {
    let works = open(&WorksConfig { max_works: 50, max_pictures: 100, ..config(None) }).unwrap();
    let ours = call("a");
    let all = (0..20_u64).map(|n| works.add(vec![drawn(&format!("{n:02}"), n)], &ours));
    try_join_all(all).await.unwrap();
    assert_eq!(ids(&works, "a").len(), 20);
}

#[tokio::test]
async fn a_broken_folder_keeps_the_service_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(Some(folder.path()));
    let works = open(&config).unwrap();
    works.add(vec![text("a", POEM)], &call("acme")).await.unwrap();
    drop(works);
    let file = folder.path().join("acme.works");
    fs::copy(&file, folder.path().join("globex.works")).unwrap();
    let told = |refused: Result<Arc<Works>, ModerationError>| refused.unwrap_err().to_string();
    assert!(told(open(&config)).contains("globex.works"));
    fs::remove_file(folder.path().join("globex.works")).unwrap();
    assert!(open(&config).is_ok());
    assert!(told(open(&WorksConfig { max_tenants: 0, ..config.clone() })).contains("max_tenants"));
    fs::write(&file, b"ATWORKS1 and nothing of use").unwrap();
    assert!(told(open(&config)).contains("acme.works"));
    let no_folder = WorksConfig { folder: Some(file), ..config };
    assert!(open(&no_folder).is_err());
}

/// What is done to a list.
#[derive(Clone, Debug)]
enum Step {
    Add(NewWork),
    Remove(String),
}

fn step() -> impl Strategy<Value = Step> {
    let id = || sample::select(vec!["a", "b", "c", "d", "e"]);
    let words = vec(sample::select(vec!["some", "words", "of", "a", "work", "that", "is", "long"]), 5..60);
    prop_oneof![
        (id(), words).prop_map(|(id, words)| Step::Add(text(id, &words.join(" ")))),
        (id(), 0_u64..9).prop_map(|(id, seed)| Step::Add(drawn(id, seed))),
        id().prop_map(|id| Step::Remove(id.to_owned())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_list_is_what_was_added_and_not_removed(steps in vec(step(), 0..30)) {
        let mut list = List::new(SMALL);
        let mut model: BTreeMap<String, Label> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Add(new) => {
                    let (id, label) = (new.label.id.clone(), new.label.clone());
                    match list.add(new) {
                        Ok(replaced) => prop_assert_eq!(replaced, model.insert(id, label).is_some()),
                        Err(_) => { model.remove(&id); }
                    }
                }
                Step::Remove(id) => prop_assert_eq!(list.remove(&id), model.remove(&id).is_some()),
            }
            prop_assert!(list.len() <= SMALL.works);
            prop_assert!(list.after(None).map(|label| label.as_ref()).eq(model.values()));
            prop_assert!(list.after(Some("b")).map(|label| &label.id).eq(model.keys().filter(|id| id.as_str() > "b")));
        }
        let written = bytes(&list);
        let (_, read) = List::read_from(&written[..], SMALL).unwrap();
        prop_assert_eq!(bytes(&read), written);
        prop_assert!(read.after(None).eq(list.after(None)));
    }

    #[test]
    fn arbitrary_bytes_are_no_panic(tail in vec(any::<u8>(), 0..300), good_start: bool) {
        let bytes = if good_start { [&b"ATWORKS1"[..], &tail].concat() } else { tail };
        prop_assert!(List::read_from(&bytes[..], SMALL).is_err());
    }
}
