//! What models write.

use std::{sync::atomic::Ordering, time::Duration};

use atelier_core::{ContentHash, Reason};
use atelier_proto::{
    common::v1::FinishReason,
    gateway::v1::{
        Action, ChatRequest, GenerateRequest, Stage, StreamGenerateRequest, stream_generate_response::Event,
    },
};
use atelier_rpc::fault_of;

use crate::sandbox::{Sandbox, WINDOW, policy, user};

const PACE: Duration = Duration::from_millis(2);

/// `before` harmless words, one that is not, `after` harmless words.
fn story(before: usize, word: &str, after: usize) -> String {
    format!("{}{word} {}", "calm sea ".repeat(before / 2), "more text ".repeat(after / 2))
}

#[tokio::test]
async fn harmless_text_arrives_whole_in_every_mode() {
    for mode in ["windowed", "buffer", "stream_first"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        let story = story(60, "harmless", 61);
        sandbox.text.write(&story, Duration::ZERO);
        let (answer, end) = sandbox.stream("hello").await.unwrap().finish().await;
        end.unwrap();
        assert_eq!(answer.text, story, "{mode}");
        let completion = answer.completion.unwrap();
        assert_eq!(completion.finish_reason(), FinishReason::Stop);
        assert_eq!(completion.seed, 7);
        assert_eq!(completion.tokens.len(), 1, "{mode}: nothing was withheld");
        let usage = completion.usage.unwrap();
        assert_eq!(
            (usage.total_tokens, usage.cached_tokens),
            (124, 2),
            "the upstream's account is passed on"
        );
        assert_eq!(completion.output_verdict.unwrap().action(), Action::Allow);
        let provenance = completion.provenance.unwrap();
        assert_eq!(provenance.content_sha256, ContentHash::of(story.as_bytes()).to_string());
        assert_eq!((provenance.policy.as_str(), provenance.tenant.as_str()), ("p", "default"));
        assert_eq!(provenance.generators[0].id, "writer");
        assert_eq!(provenance.detectors[0].id, "keywords");
        assert!(!provenance.request_id.is_empty());
    }
}

#[tokio::test]
async fn windows_are_fewer_than_tokens_and_judge_every_character() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    // No two windows are alike, so each is found where it was cut.
    let story: String = (0..200).map(|n| format!("word{n} ")).collect();
    sandbox.text.write(&story, Duration::ZERO);
    let (answer, end) = sandbox.stream("hello").await.unwrap().finish().await;
    end.unwrap();
    assert_eq!(answer.text, story);
    assert!(answer.deltas * 3 < 200, "{} deltas for 200 tokens", answer.deltas);
    let texts = sandbox.moderation.0.texts.lock().unwrap().clone();
    let mut judged = 0;
    for window in &texts[1..] {
        assert!(window.chars().count() <= 40);
        let at = story.find(window.as_str()).unwrap();
        assert!(at <= judged, "a gap before {window:?}");
        assert!(judged == 0 || at + 12 <= judged, "no overlap before {window:?}");
        judged = at + window.len();
    }
    assert_eq!(judged, story.len());
}

#[tokio::test]
async fn a_block_in_the_middle_lets_no_byte_of_its_window_leave() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let story = story(40, "BLOCKME", 2001);
    sandbox.text.write(&story, PACE);
    let (answer, end) = sandbox.stream("hello").await.unwrap().finish().await;
    end.unwrap();

    let texts = sandbox.moderation.0.texts.lock().unwrap().clone();
    let blocked = texts.iter().find(|text| text.contains("BLOCKME")).unwrap();
    let starts = story.find(blocked.as_str()).unwrap();
    assert!(answer.text.len() <= starts, "{:?} left, {blocked:?} was blocked", answer.text);
    assert!(story.starts_with(&answer.text) && !answer.text.is_empty());

    assert_eq!(answer.verdicts.len(), 1);
    assert_eq!((answer.verdicts[0].action(), answer.verdicts[0].stage()), (Action::Block, Stage::Output));
    let completion = answer.completion.unwrap();
    assert_eq!(completion.finish_reason(), FinishReason::ContentFilter);
    assert_eq!(completion.output_verdict.unwrap().findings[0].category, "hate");
    assert!(completion.usage.unwrap().completion_tokens >= 40, "what was written is charged");
    let provenance = completion.provenance.unwrap();
    assert_eq!(provenance.content_sha256, ContentHash::of(answer.text.as_bytes()).to_string());

    sandbox.until_slot_is_free().await;
    assert!(sandbox.text.0.written.load(Ordering::SeqCst) < 1000, "the upstream stops writing");
}

#[tokio::test]
async fn tokens_of_an_answer_that_was_withheld_stay_too() {
    for mode in ["windowed", "buffer", "stream_first"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        // The upstream has told its tokens before the last window is judged.
        sandbox.text.write("calm sea BLOCKME", Duration::ZERO);
        let (answer, end) = sandbox.stream("hello").await.unwrap().finish().await;
        end.unwrap();
        let completion = answer.completion.unwrap();
        assert_eq!(completion.finish_reason(), FinishReason::ContentFilter, "{mode}");
        assert!(completion.tokens.is_empty(), "{mode}");
    }
}

#[tokio::test]
async fn a_flag_passes_and_is_told_when_it_happens() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let story = story(40, "FLAGME", 41);
    sandbox.text.write(&story, Duration::ZERO);
    let (answer, end) = sandbox.stream("hello").await.unwrap().finish().await;
    end.unwrap();
    assert_eq!(answer.text, story);
    assert!(!answer.verdicts.is_empty());
    assert!(answer.verdicts.iter().all(|verdict| verdict.action() == Action::Flag));
    let completion = answer.completion.unwrap();
    assert_eq!(completion.finish_reason(), FinishReason::Stop);
    assert_eq!(completion.output_verdict.unwrap().action(), Action::Flag);
}

#[tokio::test]
async fn unary_calls_give_what_streams_give() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write(&story(40, "BLOCKME", 41), Duration::ZERO);
    let (streamed, end) = sandbox.stream("hello").await.unwrap().finish().await;
    end.unwrap();
    let (text, completion) = sandbox.chat("hello").await.unwrap();
    assert_eq!(text, streamed.text);
    assert_eq!(completion.finish_reason(), FinishReason::ContentFilter);

    let request = GenerateRequest { prompt: "hello".to_owned(), ..Default::default() };
    assert_eq!(sandbox.client.clone().generate(request).await.unwrap().into_inner().text, text);
    let request = StreamGenerateRequest { prompt: "hello".to_owned(), ..Default::default() };
    let mut stream = sandbox.client.clone().stream_generate(request).await.unwrap().into_inner();
    let mut generated = String::new();
    while let Some(message) = stream.message().await.unwrap() {
        if let Some(Event::Delta(delta)) = message.event {
            generated.push_str(&delta.text);
        }
    }
    assert_eq!(generated, text);
}

#[tokio::test]
async fn a_buffered_answer_leaves_when_all_of_it_is_judged_or_not_at_all() {
    let sandbox = Sandbox::start(&policy("fail_closed", "buffer", WINDOW)).await;
    sandbox.text.write(&story(20, "harmless", 21), PACE);
    let mut answer = sandbox.stream("hello").await.unwrap();
    answer.next().await.unwrap();
    assert_eq!(
        sandbox.text.0.written.load(Ordering::SeqCst),
        41,
        "the first delta comes behind the last token"
    );
    assert_eq!(sandbox.moderation.0.texts.lock().unwrap().len(), 2, "prompt and answer, each in one piece");

    sandbox.text.write(&story(20, "BLOCKME", 21), Duration::ZERO);
    let (answer, end) = sandbox.stream("hello").await.unwrap().finish().await;
    end.unwrap();
    assert_eq!((answer.text.as_str(), answer.deltas), ("", 0));
    assert_eq!(answer.completion.unwrap().finish_reason(), FinishReason::ContentFilter);
}

#[tokio::test]
async fn stream_first_sends_at_once_and_cuts_afterwards() {
    let sandbox = Sandbox::start(&policy("fail_closed", "stream_first", WINDOW)).await;
    sandbox.text.write(&story(40, "BLOCKME", 2001), PACE);
    let mut answer = sandbox.stream("hello").await.unwrap();
    answer.next().await.unwrap();
    assert_eq!(sandbox.moderation.0.texts.lock().unwrap().len(), 1, "only the prompt has been judged");
    assert_eq!(answer.text, "calm ");
    let (answer, end) = answer.finish().await;
    end.unwrap();
    assert_eq!(answer.completion.unwrap().finish_reason(), FinishReason::ContentFilter);
    assert!(answer.text.len() < 1000, "cut soon after");
    sandbox.until_slot_is_free().await;

    // Nobody gains by unjudged text in an answer that is sent in one piece.
    let request = ChatRequest { messages: user("hello"), ..Default::default() };
    let whole = sandbox.client.clone().chat(request).await.unwrap().into_inner();
    assert!(!whole.message.unwrap().content.contains("BLOCKME"));
}

#[tokio::test]
async fn a_slow_model_still_streams() {
    let window = "{characters: 4000, overlap: 0, max_hold: 50ms}";
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", window)).await;
    sandbox.text.write(&story(20, "harmless", 21), Duration::from_millis(20));
    let mut answer = sandbox.stream("hello").await.unwrap();
    answer.next().await.unwrap();
    let written = sandbox.text.0.written.load(Ordering::SeqCst);
    assert!(written < 30, "the first delta came after {written} of 41 tokens");
    let (answer, end) = answer.finish().await;
    end.unwrap();
    assert_eq!(answer.text, story(20, "harmless", 21));
}

#[tokio::test]
async fn text_is_read_while_a_window_is_judged() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let story = story(100, "harmless", 101);
    sandbox.text.write(&story, PACE);
    let mut answer = sandbox.stream("hello").await.unwrap();
    sandbox.moderation.take(Duration::from_millis(100));
    answer.next().await.unwrap();
    let written = sandbox.text.0.written.load(Ordering::SeqCst);
    assert!(written > 16, "only {written} tokens were read when the first window had been judged");
    let (answer, end) = answer.finish().await;
    end.unwrap();
    assert_eq!(answer.text, story);
}

#[tokio::test]
async fn moderation_that_fails_in_the_middle_stops_a_closed_policy() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let story = story(100, "harmless", 2001);
    sandbox.text.write(&story, PACE);
    let mut answer = sandbox.stream("hello").await.unwrap();
    answer.next().await.unwrap();
    sandbox.moderation.switch_off(true);
    let (answer, end) = answer.finish().await;
    let fault = fault_of(&end.unwrap_err());
    assert_eq!(fault.reason(), Reason::ModerationUnavailable);
    assert!(answer.completion.is_none());
    let texts = sandbox.moderation.0.texts.lock().unwrap().clone();
    let last = texts.last().unwrap();
    let judged = story.match_indices(last.as_str()).map(|(at, _)| at + last.len()).max();
    assert!(story.starts_with(&answer.text) && answer.text.len() <= judged.unwrap());
    sandbox.until_slot_is_free().await;
    sandbox.moderation.switch_off(false);
}

#[tokio::test]
async fn moderation_that_fails_in_the_middle_does_not_stop_an_open_policy() {
    let sandbox = Sandbox::start(&policy("fail_open", "windowed", WINDOW)).await;
    let story = story(60, "BLOCKME", 61);
    sandbox.text.write(&story, PACE);
    let mut answer = sandbox.stream("hello").await.unwrap();
    answer.next().await.unwrap();
    sandbox.moderation.switch_off(true);
    let (answer, end) = answer.finish().await;
    end.unwrap();
    assert_eq!(answer.text, story);
    let verdict = answer.completion.unwrap().output_verdict.unwrap();
    assert!(verdict.unmeasured && verdict.action() == Action::Allow);
    let (trail, _) = sandbox.finish().await;
    assert!(trail.iter().any(|line| line["stage"] == "output" && line["unmeasured"] == true));
}
