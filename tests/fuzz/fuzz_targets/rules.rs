//! Any text: findings lie between characters and apart, what is redacted holds no finding, terms come in order.

#![no_main]

use std::sync::LazyLock;

use atelier_rules::{Finding, Kind, KindSet, Matching, Term, TermList, personal_data, redact};
use libfuzzer_sys::fuzz_target;

static TERMS: LazyLock<TermList> = LazyLock::new(|| {
    let words = ["a", "ab", "abc", "操", "中日", "台独", "ⱥ", "k", "пес", "バカ", "1", "@"];
    let term = |text: &str, tag, matching, allow| Term { text: text.to_owned(), tag, matching, allow };
    let all = words.iter().zip(0..).flat_map(|(text, n)| {
        [term(text, n % 3, Matching::Word, false), term(text, n % 2, Matching::Substring, n % 5 == 4)]
    });
    TermList::build(all).expect("the terms are short")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let found = personal_data(text, KindSet::ALL);
    assert!(found.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
    for finding in &found {
        assert!(text.get(finding.range.clone()).is_some_and(|part| !part.is_empty()));
    }
    assert!(personal_data(&redact(text, &found), KindSet::ALL).len() <= found.len());
    // Ranges of anybody's making.
    if let [start, end, ..] = bytes {
        let range = usize::from(*start)..usize::from(*end);
        let odd = [Finding { kind: Kind::Card, range, confidence: 1.0 }];
        let _ = redact(text, &odd);
    }
    let matches = TERMS.find(text).matches;
    assert!(matches.windows(2).all(|pair| pair[0].range.start <= pair[1].range.start));
    assert!(matches.iter().all(|m| text.get(m.range.clone()).is_some_and(|part| !part.is_empty())));
});
