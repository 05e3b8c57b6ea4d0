//! Several answers to one prompt: each is judged on its own.

use std::{sync::atomic::Ordering, time::Duration};

use atelier_core::{ContentHash, Reason};
use atelier_proto::{
    common::v1::FinishReason,
    gateway::v1::{
        Action, ChatRequest, Completion, GenerateRequest, StreamChatRequest, StreamChatResponse,
        StreamGenerateRequest, Verdict, stream_chat_response::Event, stream_generate_response,
    },
    text::v1::{GenerationConfig, ToolCall},
};
use atelier_rpc::fault_of;
use tonic::{Status, Streaming};

use crate::sandbox::{Sandbox, WINDOW, policy, user};

const PACE: Duration = Duration::from_millis(2);

pub(crate) fn several(n: u32) -> Option<GenerationConfig> {
    Some(GenerationConfig { n: Some(n), ..GenerationConfig::default() })
}

/// What came of one of the answers.
#[derive(Default)]
pub(crate) struct One {
    pub(crate) text: String,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) end: Option<Completion>,
}

impl One {
    pub(crate) fn finish_reason(&self) -> FinishReason {
        self.end.as_ref().unwrap().finish_reason()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Delta,
    Call,
    Verdict,
    End,
}

/// Streamed answers as they come in.
pub(crate) struct Several {
    stream: Streaming<StreamChatResponse>,
    pub(crate) answers: Vec<One>,
    /// All events in their order, each with its answer.
    events: Vec<(usize, Kind)>,
}

impl Several {
    pub(crate) async fn open(sandbox: &Sandbox, n: u32) -> Result<Self, Status> {
        let seed = Some(7);
        let generation = several(n).map(|generation| GenerationConfig { seed, ..generation });
        let request = StreamChatRequest { messages: user("hello"), generation, ..Default::default() };
        let stream = sandbox.client.clone().stream_chat(request).await?.into_inner();
        let answers = (0..n).map(|_| One::default()).collect();
        Ok(Self { stream, answers, events: Vec::new() })
    }

    /// Takes one more event; whether there was one.
    async fn next(&mut self) -> Result<bool, Status> {
        let Some(message) = self.stream.message().await? else { return Ok(false) };
        let choice = message.choice;
        let answer = &mut self.answers[choice as usize];
        assert!(answer.end.is_none(), "the completion is the last event of answer {choice}");
        let kind = match message.event.unwrap() {
            Event::Delta(delta) => {
                assert_eq!(delta.choice, choice);
                answer.text.push_str(&delta.text);
                Kind::Delta
            }
            Event::ToolCall(call) => {
                answer.calls.push(call);
                Kind::Call
            }
            Event::Verdict(verdict) => {
                answer.verdicts.push(verdict);
                Kind::Verdict
            }
            Event::Completion(completion) => {
                assert_eq!((completion.choice, completion.seed), (choice, 7 + u64::from(choice)));
                answer.end = Some(completion);
                Kind::End
            }
        };
        self.events.push((choice as usize, kind));
        Ok(true)
    }

    /// Reads until each answer has some text.
    async fn until_all_speak(&mut self) {
        while self.answers.iter().any(|answer| answer.text.is_empty()) {
            assert!(self.next().await.unwrap());
        }
    }

    /// Reads to the end.
    pub(crate) async fn finish(mut self) -> (Self, Result<(), Status>) {
        loop {
            match self.next().await {
                Ok(true) => {}
                Ok(false) => return (self, Ok(())),
                Err(status) => return (self, Err(status)),
            }
        }
    }

    fn first(&self, event: (usize, Kind)) -> Option<usize> {
        self.events.iter().position(|seen| *seen == event)
    }

    fn last(&self, event: (usize, Kind)) -> Option<usize> {
        self.events.iter().rposition(|seen| *seen == event)
    }
}

/// Why the answers of the trail ended.
fn ends(trail: &[serde_json::Value]) -> Vec<&str> {
    let ends = trail.iter().filter(|line| line["event"] == "completion");
    let mut ends: Vec<_> = ends.map(|line| line["finish_reason"].as_str().unwrap()).collect();
    ends.sort_unstable();
    ends
}

/// How many tokens the text service has written when it is read no further.
async fn written_when_stalled(sandbox: &Sandbox) -> usize {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let written = sandbox.text.0.written.load(Ordering::SeqCst);
        if written > 0 && written == before {
            return written;
        }
        before = written;
    }
}

#[tokio::test]
async fn an_answer_is_withheld_and_the_others_are_given() {
    for mode in ["windowed", "buffer", "stream_first"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        sandbox.text.write("calm sea|BLOCKME at once|more calm sea", Duration::ZERO);
        let messages = user("hello");
        let request = ChatRequest { messages, generation: several(3), ..ChatRequest::default() };
        let answer = sandbox.client.clone().chat(request).await.unwrap().into_inner();
        let texts: Vec<_> = answer.choices.iter().map(|choice| choice.text.as_str()).collect();
        assert_eq!(texts, ["calm sea", "", "more calm sea"], "{mode}");
        for (number, choice) in (0..).zip(&answer.choices) {
            let end = choice.completion.as_ref().unwrap();
            assert_eq!((end.choice, end.seed), (number, 7 + u64::from(number)));
            let verdict = end.output_verdict.as_ref().unwrap().action();
            let expected = match number {
                1 => (FinishReason::ContentFilter, Action::Block, 0),
                _ => (FinishReason::Stop, Action::Allow, 1),
            };
            assert_eq!((end.finish_reason(), verdict, end.tokens.len()), expected, "{mode}");
        }
        assert_eq!(answer.message.unwrap().content, "calm sea");
        let usage = answer.completion.unwrap().usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 30), "that of the whole call");
    }
}

#[tokio::test]
async fn an_echo_is_judged_with_its_answer() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("ME twice|calm sea", Duration::ZERO);
    let prompt = "BLOCK".to_owned();
    let request =
        GenerateRequest { prompt, echo: true, generation: several(2), ..GenerateRequest::default() };
    let answer = sandbox.client.clone().generate(request).await.unwrap().into_inner();
    let texts: Vec<_> = answer.choices.iter().map(|choice| choice.text.as_str()).collect();
    assert_eq!(texts, ["", "BLOCKcalm sea"], "the prompt and the answer pass, but not as one text");
}

#[tokio::test]
async fn answers_are_streamed_side_by_side() {
    for mode in ["windowed", "buffer", "stream_first"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        let texts = ["calm sea ".repeat(40), "more text ".repeat(60), "quiet ".to_owned()];
        sandbox.text.write(&texts.join("|"), PACE);
        let (several, end) = Several::open(&sandbox, 3).await.unwrap().finish().await;
        end.unwrap();
        let (mut prompt, mut written) = (0, 0);
        for (answer, text) in several.answers.iter().zip(&texts) {
            assert_eq!(&answer.text, text, "{mode}");
            let end = answer.end.as_ref().unwrap();
            assert_eq!((end.finish_reason(), end.tokens.len()), (FinishReason::Stop, 1));
            let provenance = end.provenance.as_ref().unwrap();
            assert_eq!(provenance.content_sha256, ContentHash::of(text.as_bytes()).to_string());
            let usage = end.usage.as_ref().unwrap();
            assert_eq!(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
            (prompt, written) = (prompt + usage.prompt_tokens, written + usage.completion_tokens);
        }
        assert_eq!((prompt, written), (3, 201), "they add up to what the call took");
        let (one, other) = ((0, Kind::Delta), (1, Kind::Delta));
        if mode != "buffer" {
            assert!(several.first(other) < several.last(one), "{mode}: {:?}", several.events);
        }
        assert!(
            several.first((2, Kind::End)) < several.last(other),
            "the short one does not wait for others"
        );
        sandbox.until_slot_is_free().await;
        let (trail, _) = sandbox.finish().await;
        assert_eq!(ends(&trail), ["complete"; 3]);
    }
}

#[tokio::test]
async fn one_is_cut_and_the_others_go_on() {
    for mode in ["windowed", "buffer", "stream_first"] {
        let sandbox = Sandbox::start(&policy("fail_closed", mode, WINDOW)).await;
        let calm = "calm sea ".repeat(100);
        let cut = format!("{}BLOCKME {}", "more text ".repeat(10), "more text ".repeat(50));
        sandbox.text.write(&format!("{calm}|{cut}|{calm}"), PACE);
        let (several, end) = Several::open(&sandbox, 3).await.unwrap().finish().await;
        end.unwrap();
        for answer in [&several.answers[0], &several.answers[2]] {
            assert_eq!((answer.finish_reason(), &answer.text), (FinishReason::Stop, &calm), "{mode}");
            assert!(answer.verdicts.is_empty());
        }
        let answer = &several.answers[1];
        assert_eq!(answer.finish_reason(), FinishReason::ContentFilter);
        assert_eq!(answer.verdicts.iter().map(Verdict::action).collect::<Vec<_>>(), [Action::Block]);
        assert!(cut.starts_with(&answer.text) && answer.text.len() < cut.len());
        let end = answer.end.as_ref().unwrap();
        assert!(end.tokens.is_empty() && end.usage.as_ref().unwrap().completion_tokens > 20);
        let hash = ContentHash::of(answer.text.as_bytes()).to_string();
        assert_eq!(end.provenance.as_ref().unwrap().content_sha256, hash);
        if mode != "stream_first" {
            assert!(!answer.text.contains("BLOCKME"), "{mode}");
        }
        assert!(several.last((1, Kind::End)) < several.last((0, Kind::Delta)), "{mode}: it ends at once");
        let (trail, _) = sandbox.finish().await;
        assert_eq!(ends(&trail), ["complete", "complete", "content_filter"]);
        let blocks: Vec<_> = trail.iter().filter(|line| line["action"] == "block").collect();
        assert_eq!(blocks.len(), 2, "a window and its answer");
        assert!(blocks.iter().all(|line| line["choice"] == 1));
    }
}

#[tokio::test]
async fn nobody_waits_for_what_is_cut() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let cut = format!("BLOCKME {}", "more text ".repeat(1000));
    for (text, ended) in [(format!("{cut}|{cut}"), 0), (format!("{cut}|calm sea"), 1)] {
        sandbox.text.0.written.store(0, Ordering::SeqCst);
        sandbox.text.write(&text, PACE);
        let (several, end) = Several::open(&sandbox, 2).await.unwrap().finish().await;
        end.unwrap();
        let whole = several.answers.iter().filter(|answer| answer.finish_reason() == FinishReason::Stop);
        assert_eq!(whole.count(), ended);
        sandbox.until_slot_is_free().await;
        assert!(sandbox.text.0.written.load(Ordering::SeqCst) < 1000, "the upstream stops writing");
    }
}

#[tokio::test]
async fn who_leaves_stops_them_all() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let text = "calm sea ".repeat(500);
    sandbox.text.write(&[text.as_str(); 4].join("|"), PACE);
    let mut several = Several::open(&sandbox, 4).await.unwrap();
    several.until_all_speak().await;
    drop(several);
    sandbox.until_slot_is_free().await;
    assert!(sandbox.text.0.written.load(Ordering::SeqCst) < 4000);
    let (trail, _) = sandbox.finish().await;
    assert_eq!(ends(&trail), ["cancelled"; 4]);
}

#[tokio::test]
async fn stream_first_sends_each_at_once() {
    let sandbox = Sandbox::start(&policy("fail_closed", "stream_first", WINDOW)).await;
    let text = "calm sea ".repeat(40);
    sandbox.text.write(&format!("{text}|{text}BLOCKME {text}"), PACE);
    let mut several = Several::open(&sandbox, 2).await.unwrap();
    several.until_all_speak().await;
    assert_eq!(sandbox.moderation.0.texts.lock().unwrap().len(), 1, "only the prompt has been judged");
    assert!(several.answers.iter().all(|answer| answer.text == "calm "));
    let (several, end) = several.finish().await;
    end.unwrap();
    assert_eq!((several.answers[0].finish_reason(), &several.answers[0].text), (FinishReason::Stop, &text));
    assert_eq!(several.answers[1].finish_reason(), FinishReason::ContentFilter);
}

#[tokio::test]
async fn what_cannot_be_judged_ends_the_call() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    let text = "calm sea ".repeat(500);
    sandbox.text.write(&format!("{text}|{text}"), PACE);
    let mut several = Several::open(&sandbox, 2).await.unwrap();
    several.until_all_speak().await;
    sandbox.moderation.switch_off(true);
    let (several, end) = several.finish().await;
    assert_eq!(fault_of(&end.unwrap_err()).reason(), Reason::ModerationUnavailable);
    let judged = sandbox.moderation.0.texts.lock().unwrap()[1..].concat();
    assert!(several.answers.iter().all(|answer| answer.end.is_none()));
    assert!(several.answers.iter().map(|answer| answer.text.len()).sum::<usize>() <= judged.len());
    sandbox.until_slot_is_free().await;
    let (trail, _) = sandbox.finish().await;
    assert_eq!(ends(&trail), ["error"; 2]);
}

#[tokio::test]
async fn a_slow_reader_or_judge_holds_the_upstream_back() {
    const WORDS: usize = 2048;
    let window = "{characters: 4000, overlap: 0, max_hold: 60s}";
    let word = format!("{} ", "calm".repeat(1 << 10));
    let text = word.repeat(WORDS);
    for slow_judge in [false, true] {
        let sandbox = Sandbox::start(&policy("fail_closed", "windowed", window)).await;
        sandbox.text.write(&format!("{text}|{text}"), Duration::ZERO);
        let mut several = Several::open(&sandbox, 2).await.unwrap();
        let written = if slow_judge {
            sandbox.moderation.take(Duration::from_secs(3600));
            let reading = async { while several.next().await.unwrap() {} };
            tokio::select! {
                () = reading => panic!("it can't end"),
                written = written_when_stalled(&sandbox) => written,
            }
        } else {
            several.until_all_speak().await;
            written_when_stalled(&sandbox).await
        };
        assert!(written < 2 * WORDS, "all was written: {slow_judge}");
        drop(several);
        sandbox.until_slot_is_free().await;
    }
}

#[tokio::test]
async fn a_continuation_is_streamed_the_same_way() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("calm sea|BLOCKME at once", Duration::ZERO);
    let request =
        StreamGenerateRequest { prompt: "hello".into(), generation: several(2), ..Default::default() };
    let mut stream = sandbox.client.clone().stream_generate(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        use stream_generate_response::Event;
        seen.push(match message.event.unwrap() {
            Event::Delta(delta) => (message.choice, delta.text),
            Event::Verdict(verdict) => (message.choice, verdict.action().as_str_name().to_owned()),
            Event::Completion(end) => (end.choice, end.finish_reason().as_str_name().to_owned()),
        });
    }
    seen.sort();
    let expected = [
        (0, FinishReason::Stop.as_str_name()),
        (0, "calm sea"),
        (1, Action::Block.as_str_name()),
        (1, FinishReason::ContentFilter.as_str_name()),
    ];
    assert_eq!(seen, expected.map(|(choice, what)| (choice, what.to_owned())));
}

#[tokio::test]
async fn their_number_is_checked() {
    let sandbox = Sandbox::start(&policy("fail_closed", "windowed", WINDOW)).await;
    sandbox.text.write("calm|sea", Duration::ZERO);
    for n in [0, 9] {
        let refused = Several::open(&sandbox, n).await.map(|_| ());
        let request =
            ChatRequest { messages: user("hello"), generation: several(n), ..ChatRequest::default() };
        let whole = sandbox.client.clone().chat(request).await.map(|_| ());
        for refused in [refused, whole] {
            assert_eq!(fault_of(&refused.unwrap_err()).violations()[0].field, "generation.n");
        }
    }
    // A text service that writes more or fewer than it was asked for.
    for n in [1, 3] {
        let (_, end) = Several::open(&sandbox, n).await.unwrap().finish().await;
        assert_eq!(fault_of(&end.unwrap_err()).reason(), Reason::Internal, "{n}");
    }
}
