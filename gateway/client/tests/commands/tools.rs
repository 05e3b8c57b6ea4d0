//! Calls of tools on the command line.

use serde_json::json;

use crate::{assert_ended, documents, fake::Gateway, run, text};

#[test]
fn calls_are_lines_of_json() {
    let gateway = Gateway::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tools.json");
    let tools = json!([{"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}]);
    std::fs::write(&path, tools.to_string()).unwrap();
    let file = path.to_str().unwrap();
    let call = json!({"id": "left-to-it", "name": "send", "arguments": {"type": "object"}});
    for arguments in
        [&["chat", "--tools", file, "do it"][..], &["chat", "--no-stream", "--tools", file, "do it"]]
    {
        let output = run(&gateway, arguments);
        assert_ended(&output, 0);
        let (said, called) = text(&output.stdout).split_once('\n').unwrap();
        assert_eq!((said, &documents(called.as_bytes())[0]), ("DO IT", &call));
    }
    let output = run(&gateway, &["--json", "chat", "--tools", file, "--tool-choice", "send", "do"]);
    assert_ended(&output, 0);
    let event = json!({"event": "tool_call", "id": "send", "name": "send", "arguments": {"type": "object"}});
    assert_eq!(documents(&output.stdout)[1], event);
    let output =
        run(&gateway, &["--json", "chat", "--no-stream", "--tools", file, "--tool-choice", "required", "do"]);
    assert_eq!(documents(&output.stdout)[0]["tool_calls"][0]["id"], "3");
    assert_ended(&run(&gateway, &["chat", "--tool-choice", "auto", "do"]), 2);
    assert_ended(&run(&gateway, &["chat", "--tools", "no/such/file", "do"]), 2);
}
