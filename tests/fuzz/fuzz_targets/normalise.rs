//! Any text: views lead back to ranges of the original in order, reading twice is reading once, hidden texts keep limits.

#![no_main]

use atelier_normalise::{DecodeLimits, decoded, pinyin, readable, skeleton, skeletons, undisguised};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let more = [skeletons(text).1.map(|once| once.view), undisguised(&readable(text))].into_iter().flatten();
    for view in [readable(text), skeleton(text), pinyin(text)].into_iter().chain(more) {
        let mut last = 0..0;
        for (at, c) in view.text().char_indices() {
            let source = view.original(at..at + c.len_utf8());
            assert!(text.get(source.clone()).is_some_and(|part| !part.is_empty()));
            assert!(last.start <= source.start && last.end <= source.end);
            last = source;
        }
        // Ranges of anybody's making.
        if let [start, end, ..] = bytes {
            assert!(text.get(view.original(usize::from(*start)..usize::from(*end))).is_some());
        }
    }
    let once = readable(text);
    assert_eq!(readable(once.text()).text(), once.text());
    let limits = DecodeLimits { depth: 3, bytes: 4_096 };
    let found = decoded(text, &limits).unwrap_or_default();
    assert!(found.iter().map(|found| found.text.len()).sum::<usize>() <= limits.bytes);
    assert!(found.iter().all(|found| text.get(found.source.clone()).is_some_and(|part| !part.is_empty())));
});
