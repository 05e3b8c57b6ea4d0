//! The trail of decisions.

use std::time::Duration;

use atelier_core::ContentHash;

use crate::sandbox::{Sandbox, WINDOW, policy};

#[tokio::test]
async fn every_decision_has_a_line_without_content() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write(&format!("{}FLAGME at last", "calm sea ".repeat(20)), Duration::ZERO);
    let (answer, end) = sandbox.stream("tell me of the ocean").await.unwrap().finish().await;
    end.unwrap();
    let id = answer.completion.unwrap().provenance.unwrap().request_id;
    sandbox.chat("how to BLOCKME quickly").await.unwrap_err();
    let texts = sandbox.moderation.0.texts.lock().unwrap().clone();
    let (trail, text) = sandbox.finish().await;

    for content in ["ocean", "calm", "sea", "FLAGME", "BLOCKME", "quickly"] {
        assert!(!text.contains(content), "{content} is on the trail");
    }
    for line in &trail {
        for field in
            ["time", "event", "request_id", "tenant", "policy", "policy_version", "stage", "rpc", "action"]
        {
            assert!(line[field].as_str().is_some_and(|value| !value.is_empty()), "{field}: {line}");
        }
        assert_eq!(line["content_sha256"].as_str().unwrap().len(), 64);
        assert_eq!(line["model"]["id"], "writer");
        assert!(line["unmeasured"].is_boolean() && line["findings"].is_array());
    }

    let streamed: Vec<_> = trail.iter().filter(|line| line["request_id"] == id.as_str()).collect();
    let (prompt, answer) = streamed.split_first().unwrap();
    assert_eq!((prompt["stage"].as_str(), prompt["action"].as_str()), (Some("input"), Some("allow")));
    assert_eq!(prompt["content_sha256"], ContentHash::of(b"tell me of the ocean").to_string());
    assert_eq!(prompt["content_bytes"], 20);
    assert!(prompt["scores"]["hate"].is_number());
    assert_eq!(prompt["unsupported_categories"][0], "illicit");
    assert_eq!(prompt["detectors"][0]["id"], "keywords");

    let (end, windows) = answer.split_last().unwrap();
    // Of the texts that were measured, the first is the prompt and the last the prompt of the refused call.
    let measured = &texts[1..texts.len() - 1];
    assert_eq!(windows.len(), measured.len());
    for (n, (line, window)) in windows.iter().zip(measured).enumerate() {
        assert_eq!(line["window"], n);
        assert_eq!(line["content_sha256"], ContentHash::of(window.as_bytes()).to_string());
        let flagged = window.contains("FLAGME");
        assert_eq!(line["action"], if flagged { "flag" } else { "allow" });
    }
    assert_eq!((end["event"].as_str(), end["action"].as_str()), (Some("completion"), Some("flag")));

    let refused = trail.iter().find(|line| line["action"] == "block").unwrap();
    assert_eq!(
        (refused["rpc"].as_str(), refused["findings"][0]["category"].as_str()),
        (Some("Chat"), Some("hate"))
    );
}

#[tokio::test]
async fn an_answer_that_is_left_or_fails_has_its_end_on_the_trail() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write(&"calm sea ".repeat(200), Duration::from_millis(5));
    let mut answer = sandbox.stream("tell me of the ocean").await.unwrap();
    while answer.text.is_empty() {
        assert!(answer.next().await.unwrap());
    }
    drop(answer);
    sandbox.until_slot_is_free().await;

    let mut answer = sandbox.stream("tell me of the ocean").await.unwrap();
    while answer.text.is_empty() {
        assert!(answer.next().await.unwrap());
    }
    sandbox.moderation.switch_off(true);
    let (_, end) = answer.finish().await;
    end.unwrap_err();

    let (trail, _) = sandbox.finish().await;
    let ends: Vec<_> = trail.iter().filter(|line| line["event"] == "completion").collect();
    let reasons: Vec<_> = ends.iter().map(|line| line["finish_reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["cancelled", "error"]);
    for end in ends {
        assert!(end["content_bytes"].as_u64().unwrap() > 0, "{end}");
    }
}
