//! `atelier rerank`.

use serde_json::json;

use crate::{assert_ended, documents, fake::Gateway, images::Folder, run, run_with_stdin, text};

#[test]
fn documents_come_best_first_from_arguments_files_and_stdin() {
    let (gateway, folder) = (Gateway::start(), Folder::new());
    let file = folder.with("quay.txt", "the ferry lands here");
    let output = run(&gateway, &["rerank", "--query", "where?", "no", "a ferry", "--file", &file]);
    assert_ended(&output, 0);
    let expected = format!(
        "SCORE   DOCUMENT\n0.2000  {file}\n0.0700  a ferry\n0.0200  no\n\nmodel texts@0123456789ab\n"
    );
    assert_eq!(text(&output.stdout), expected);

    let arguments = ["rerank", "--json", "--query", "where?", "--top", "1"];
    let output = run_with_stdin(&gateway, &arguments, "short\n\nthe longest one\n");
    assert_ended(&output, 0);
    let ranking = documents(&output.stdout).remove(0);
    let best = json!([{"index": 1, "score": 0.15, "truncated": false, "document": "the longest one"}]);
    assert_eq!(ranking["results"].to_string(), best.to_string());
    assert_eq!(ranking["model"]["id"], json!("texts"));

    let output = run(&gateway, &["rerank", "--query", "where?", "--file", "nowhere.txt"]);
    assert_ended(&output, 2);
    assert!(text(&output.stderr).contains("nowhere.txt"));
}
