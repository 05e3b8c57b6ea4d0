//! An index file of any bytes is an index or an error; a text of any characters can be searched for.

#![no_main]

use atelier_likeness::{Capacity, Index, TextFingerprint, TextLimits, Work, WorkId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let capacity = Capacity { works: 1_000, pictures: 1_000, fingerprints: 100_000 };
    if let Ok(index) = Index::read_from(data, capacity) {
        let mut again = Vec::new();
        index.write_to(&mut again).expect("a buffer takes everything");
    }
    let text = String::from_utf8_lossy(data);
    let mut index = Index::new(capacity);
    let work = Work { text: TextFingerprint::of(&text), ..Work::default() };
    if index.add(WorkId(1), work).is_ok() {
        let found = index.find_text(&text, &TextLimits::default());
        assert!(found[0].of_query == 1.0 && found[0].of_work == 1.0);
        assert!(found[0].ranges.iter().all(|range| text.get(range.clone()).is_some_and(|part| !part.is_empty())));
        assert!(found[0].ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
    }
});
