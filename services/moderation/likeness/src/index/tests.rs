//! What an index finds, forgets, and reads back.

use proptest::{collection::vec, prelude::*, sample};

use super::*;

fn fingerprint(seed: u64) -> ImageFingerprint {
    let word = |n: u64| {
        (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7 * n as u32).wrapping_mul(2 * n + 3)
    };
    ImageFingerprint { perceptual: [0, 1, 2, 3].map(word), difference: [4, 5, 6, 7].map(word), flat: false }
}

fn unit(seed: u64) -> UnitVector {
    let values: Vec<f32> = (0..8).map(|n| ((seed * 31 + n * 17) % 23) as f32 - 10.5).collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    UnitVector::new(&values.iter().map(|value| value / length).collect::<Vec<_>>()).unwrap()
}

fn picture(seed: u64) -> Picture {
    Picture { fingerprint: fingerprint(seed), vector: (!seed.is_multiple_of(3)).then(|| unit(seed)) }
}

fn work() -> impl Strategy<Value = Work> {
    let words = vec(sample::select(vec!["some", "words", "of", "a", "work", "that", "is", "long"]), 5..60);
    (vec((0_u64..50).prop_map(picture), 0..4), words)
        .prop_map(|(pictures, words)| Work { pictures, text: TextFingerprint::of(&words.join(" ")) })
}

fn index(works: &[Work]) -> Index {
    let mut index = Index::new(Capacity::default());
    for (n, work) in works.iter().enumerate() {
        index.add(WorkId(n as u64), work.clone()).unwrap();
    }
    index
}

fn bytes(index: &Index) -> Vec<u8> {
    let mut bytes = Vec::new();
    index.write_to(&mut bytes).unwrap();
    bytes
}

const POEM: &str = "The curfew tolls the knell of parting day, The lowing herd wind slowly o'er the lea, The ploughman \
    homeward plods his weary way, And leaves the world to darkness and to me.";
const QUIET_NIGHT: &str = "床前明月光，疑是地上霜。举头望明月，低头思故乡。";

#[test]
fn quotations_are_found_where_they_stand() {
    let mut index = Index::new(Capacity::default());
    for (id, text) in [(5, POEM), (3, QUIET_NIGHT)] {
        index.add(WorkId(id), Work { text: TextFingerprint::of(text), ..Work::default() }).unwrap();
    }
    let quote = "the lowing herd wind SLOWLY o’er the lea -- the ploughman homeward plods his weary way";
    let text =
        format!("He stood up, coughed twice and began: {quote}. Then he sat down and wept for a while.");
    let found = index.find_text(&text, &TextLimits::default());
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].work, found[0].ranges.len()), (WorkId(5), 1));
    let range = found[0].ranges[0].clone();
    let at = text.find(quote).unwrap();
    assert!(at <= range.start && range.end <= at + quote.len());
    assert!(range.len() > quote.len() * 2 / 3, "{}", &text[range]);
    // 16 of 33 words and of 32, less what is lost at the ends.
    for share in [found[0].of_query, found[0].of_work] {
        assert!((0.2..=0.5).contains(&share), "{found:?}");
    }

    let text = format!("李白写道：「{}」大家都会背。", QUIET_NIGHT.replace('。', "\n"));
    let found = index.find_text(&text, &TextLimits::default());
    assert_eq!((found[0].work, found[0].of_work), (WorkId(3), 1.0));
    let all = index.find_text(POEM, &TextLimits::default());
    assert_eq!((all[0].of_query, all[0].of_work), (1.0, 1.0));

    // Each window of four shingles keeps one: 8, 12, 16 words hold one, two, three windows.
    let words: Vec<&str> = POEM.split(' ').collect();
    for min_run in 1..=3 {
        let limits = TextLimits { min_run, ..TextLimits::default() };
        for run in words.windows(4 + 4 * min_run) {
            let text = format!("Some say that poets wrote {} once upon a time in the east.", run.join(" "));
            let found = index.find_text(&text, &limits);
            assert!(found[0].longest_run >= min_run && found[0].work == WorkId(5), "{text}");
        }
    }
    let idiom = "I shall not leave the world to darkness and end here as a poet of no name";
    assert!(index.find_text(idiom, &TextLimits::default()).is_empty());

    let retold = "At evening the bell rings, cattle cross the meadow slowly, a tired farmer walks home and I am left \
        in the dark. 床前有明亮的月光，好像地上的霜。";
    assert!(index.find_text(retold, &TextLimits::default()).is_empty());
}

#[test]
fn answers_are_bounded_and_in_order() {
    let mut index = Index::new(Capacity::default());
    let text = TextFingerprint::of(POEM);
    for id in (0..300).rev() {
        index.add(WorkId(id), Work { pictures: vec![picture(0)], text: text.clone() }).unwrap();
    }
    let found = index.find_text(POEM, &TextLimits { matches: 3, ..TextLimits::default() });
    assert!(found.iter().map(|found| found.work.0).eq(0..3));
    let limits = ImageLimits { matches: 4, ..ImageLimits::default() };
    let found = index.find_image(&ImageQuery::exact(fingerprint(0)), None, &limits).unwrap();
    assert!(found.iter().map(|found| (found.work.0, found.distance)).eq((0..4).map(|id| (id, Some(0)))));
    let one = TextLimits { ranges: 1, ..TextLimits::default() };
    let twice = format!("{POEM} And so on and on and on without an end in sight. {}", &POEM[..60]);
    assert_eq!(index.find_text(&twice, &TextLimits::default())[0].ranges.len(), 2);
    let longest = index.find_text(&twice, &one)[0].ranges.clone();
    assert!(longest.len() == 1 && longest[0].len() > 100);
}

#[test]
fn near_pictures_come_first_then_those_with_like_vectors() {
    let mut index = Index::new(Capacity::default());
    let mut near = fingerprint(1);
    near.perceptual[0] ^= 0b111;
    for (id, fingerprint, vector) in [
        (1, fingerprint(9), Some(unit(1))),
        (2, near, None),
        (3, fingerprint(1), Some(unit(2))),
        (4, fingerprint(8), Some(unit(2))),
    ] {
        index
            .add(WorkId(id), Work { pictures: vec![Picture { fingerprint, vector }], ..Work::default() })
            .unwrap();
    }
    let limits = ImageLimits { min_cosine: Some(0.99), ..ImageLimits::default() };
    let query = ImageQuery::exact(fingerprint(1));
    let found = index.find_image(&query, Some(&unit(1)), &limits).unwrap();
    assert!(found.iter().map(|found| found.work.0).eq([3, 2, 1]));
    assert_eq!(found[1].distance, Some(3));
    assert!(found[1].cosine.is_none() && found[2].distance.is_none() && found[2].cosine.unwrap() > 0.99);
    let longer = UnitVector::new(&[0.5; 4]).unwrap();
    let error = index.find_image(&query, Some(&longer), &limits).unwrap_err();
    assert!(matches!(error, LikenessError::Components { expected: 8, got: 4 }));
    let flat = ImageFingerprint { flat: true, ..fingerprint(1) };
    assert!(index.find_image(&ImageQuery::exact(flat), None, &limits).unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let mut index = Index::new(Capacity { works: 3, pictures: 4, fingerprints: 30 });
    let pictures = |count| Work { pictures: vec![picture(1); count], ..Work::default() };
    index.add(WorkId(1), pictures(3)).unwrap();
    let before = bytes(&index);
    assert!(matches!(index.add(WorkId(1), pictures(1)), Err(LikenessError::Known(WorkId(1)))));
    assert!(matches!(index.add(WorkId(2), Work::default()), Err(LikenessError::Nothing(_))));
    assert!(matches!(index.add(WorkId(2), pictures(257)), Err(LikenessError::TooManyPictures(_))));
    assert!(matches!(index.add(WorkId(2), pictures(2)), Err(LikenessError::Full { what: "pictures", .. })));
    let words: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let long = Work { text: TextFingerprint::of(&words.join(" ")), ..Work::default() };
    assert!(matches!(index.add(WorkId(2), long), Err(LikenessError::Full { what: "fingerprints", .. })));
    let mut other = picture(1);
    other.vector = UnitVector::new(&[1.0]).ok();
    let other = Work { pictures: vec![other], ..Work::default() };
    assert!(matches!(index.add(WorkId(2), other.clone()), Err(LikenessError::Components { .. })));
    assert_eq!(bytes(&index), before);
    assert!(index.remove(WorkId(1)) && index.is_empty());
    index.add(WorkId(2), other).unwrap();
    assert!(index.contains(WorkId(2)) && index.len() == 1);
}

#[test]
fn altered_and_cut_files_are_errors() {
    let works = [picture(1), picture(3)]
        .map(|picture| Work { pictures: vec![picture], text: TextFingerprint::of(POEM) });
    let good = bytes(&index(&works));
    for end in 0..good.len() {
        let error = Index::read_from(&good[..end], Capacity::default()).unwrap_err();
        assert!(matches!(error, LikenessError::Truncated), "{end}: {error}");
    }
    for at in 0..good.len() {
        let mut altered = good.clone();
        altered[at] ^= 0x10;
        assert!(Index::read_from(&altered[..], Capacity::default()).is_err(), "{at}");
    }
    let more = [&good[..], &[0]].concat();
    assert!(matches!(Index::read_from(&more[..], Capacity::default()), Err(LikenessError::Broken(_))));
    let small = Capacity { works: 1, ..Capacity::default() };
    assert!(matches!(Index::read_from(&good[..], small), Err(LikenessError::Full { what: "works", .. })));
    let other = [MAGIC_AND, &[9; 40]].concat();
    assert!(matches!(Index::read_from(&other[..], small), Err(LikenessError::Version(0x0909))));
    assert!(matches!(Index::read_from(&[b'x'; 99][..], small), Err(LikenessError::NotAnIndex)));
}

const MAGIC_AND: &[u8] = b"ATLIKENS";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn files_round_trip(works in vec(work(), 0..8)) {
        let index = index(&works);
        let read = Index::read_from(&bytes(&index)[..], Capacity::default()).unwrap();
        prop_assert_eq!(bytes(&read), bytes(&index));
        let query = ImageQuery::exact(fingerprint(1));
        let limits = ImageLimits { max_distance: 512, ..ImageLimits::default() };
        prop_assert_eq!(read.find_image(&query, None, &limits).unwrap(), index.find_image(&query, None, &limits).unwrap());
        let text = "words of a work that is long some of a work that";
        prop_assert_eq!(
            read.find_text(text, &TextLimits::default()),
            index.find_text(text, &TextLimits::default())
        );
    }

    #[test]
    fn works_are_found_until_they_are_removed(works in vec(work(), 1..8), gone: sample::Index) {
        let mut index = index(&works);
        let gone = gone.index(works.len());
        prop_assert!(index.remove(WorkId(gone as u64)) && !index.remove(WorkId(gone as u64)));
        for (n, work) in works.iter().enumerate() {
            for picture in &work.pictures {
                let found = index.find_image(&ImageQuery::exact(picture.fingerprint), None, &ImageLimits::default()).unwrap();
                let ours = found.iter().find(|found| found.work.0 == n as u64);
                prop_assert_eq!(ours.map(|found| found.distance), (n != gone).then_some(Some(0)));
            }
        }
        let left: Vec<Work> = works.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, w)| w.clone()).collect();
        let sum = |count: fn(&Work) -> usize| left.iter().map(count).sum::<usize>();
        prop_assert_eq!(index.pictures.len(), sum(|work| work.pictures.len()));
        prop_assert_eq!(index.texts.len(), sum(|work| work.text.len()));
    }

    #[test]
    fn arbitrary_bytes_are_no_panic(tail in vec(any::<u8>(), 0..300), good_start: bool) {
        let bytes = if good_start { [&b"ATLIKENS\x01\0\x08\0"[..], &tail].concat() } else { tail };
        prop_assert!(Index::read_from(&bytes[..], Capacity::default()).is_err());
    }
}
