//! Any rules file compiles or is refused, and what compiles can be applied. Input: the file, a zero byte, a text.

#![no_main]

use std::path::Path;

use atelier_core::TenantId;
use atelier_moderation::{rules::RuleBook, text::Reading};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let (rules, text) = input.split_once('\0').unwrap_or((input, "operated 1999 a@b.example"));
    // Lists may name files, also by an escape; those of the machine are left alone.
    if rules.contains("file") || rules.contains('\\') {
        return;
    }
    let folder = Path::new("");
    let Ok(book) = RuleBook::compile(rules, folder) else { return };
    assert_eq!(book.digest().len(), 64);
    let rules = book.of(&TenantId::default_tenant());
    let measured = rules.measure(text);
    assert!(measured.scores.iter().all(|(_, score)| (0.0..=1.0).contains(score)));
    assert!(measured.findings.iter().all(|finding| text.get(finding.place.clone()).is_some()));
    if let Ok(reading) = Reading::of(text) {
        let _ = rules.redact(text, &reading, Vec::new());
    }
});
