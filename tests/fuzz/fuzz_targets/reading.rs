//! Any text: what is read of it leads back to whole characters of the original. Its tokens lie in it, windows cover them
//! all, and none is a control token. Input: tokens of a window, tokens that neighbours share, the text.

#![no_main]

use std::{fs, sync::LazyLock};

use atelier_core::CategoryId;
use atelier_moderation::{
    scores::{Finding, Measurement},
    text::{Reading, Tokenizer, WindowShape},
};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;

/// A vocabulary of single characters, with the control tokens of the usual ones and a frame around each window.
const TOKENIZER: &str = r#"{
  "version": "1.0",
  "added_tokens": [
    {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
    {"id": 1, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}
  ],
  "normalizer": {"type": "NFKC"},
  "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
  "post_processor": {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "</s>", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                       "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}
  },
  "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": false,
            "vocab": [["<s>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -2.0], ["a", -3.0], ["the", -3.0], ["▁the", -2.5],
                      ["é", -4.0], ["床", -4.0], ["<", -5.0], ["/", -5.0], ["s", -4.0], [">", -5.0]]}
}"#;
const CONTROL: [u32; 2] = [0, 1];

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("threads can be started"));
static TOKENS: LazyLock<Tokenizer> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("atelier-fuzz-{}.json", std::process::id()));
    fs::write(&file, TOKENIZER).expect("there is a folder for such files");
    let tokenizer = Tokenizer::load(&file, "the", 1).expect("it is a tokenizer");
    fs::remove_file(&file).expect("it is ours");
    tokenizer
});

fn finding(text: &str, start: usize, end: usize) -> Measurement {
    let place = text.floor_char_boundary(start.min(end))..text.floor_char_boundary(start.max(end));
    let mut measured = Measurement::default();
    measured.find(Finding::new(CategoryId::Hate, 0.9, place, "window"));
    measured
}

fuzz_target!(|bytes: &[u8]| {
    let [content, overlap, bytes @ ..] = bytes else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (content, overlap) = (usize::from(*content), usize::from(*overlap));

    // What hides too much, or grows too much, is refused.
    if let Ok(reading) = Reading::of(text) {
        for version in reading.versions() {
            for found in version.placed(finding(version.text(), content, overlap)).findings {
                assert!(text.get(found.place).is_some());
            }
        }
    }

    let tokens = RUNTIME.block_on(TOKENS.tokens(text)).expect("any text has tokens");
    assert!(tokens.ids().iter().all(|id| !CONTROL.contains(id)));
    let Some(shape) = WindowShape::new(content, overlap) else { return };
    let (mut covered, mut windows) = (0, 0);
    for range in shape.ranges(tokens.ids().len()) {
        assert!(range.start <= covered && range.end > covered);
        covered = range.end;
        windows += 1;
        assert!(text.get(tokens.bytes(range.clone())).is_some());
        let window = TOKENS.frame().window(tokens.ids(), range.clone());
        assert_eq!(window.len(), range.len() + TOKENS.frame().tokens());
    }
    assert_eq!((covered, windows), (tokens.ids().len(), shape.count(tokens.ids().len())));
});
