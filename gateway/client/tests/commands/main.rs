//! The real binary against a scripted gateway: what it prints, where, and how it ends.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, their helpers too")]

mod fake;
mod images;
mod rerank;
mod several;
mod tools;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Output, Stdio},
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use fake::{Gateway, KEY, Seen};
use serde_json::{Value, json};

pub(crate) fn atelier(gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atelier"));
    for name in ["ATELIER_API_KEY", "ATELIER_TENANT", "ATELIER_MODEL"] {
        command.env_remove(name);
    }
    command.env("ATELIER_ENDPOINT", format!("http://{}", gateway.address)).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run(gateway: &Gateway, arguments: &[&str]) -> Output {
    atelier(gateway, arguments).output().unwrap()
}

pub(crate) fn run_with_stdin(gateway: &Gateway, arguments: &[&str], stdin: impl Into<Vec<u8>>) -> Output {
    let mut child = atelier(gateway, arguments).stdin(Stdio::piped()).spawn().unwrap();
    let (mut pipe, stdin) = (child.stdin.take().unwrap(), stdin.into());
    let writer = thread::spawn(move || pipe.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    // The command may end before it has read everything.
    let _ = writer.join().unwrap();
    output
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn documents(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
pub(crate) fn assert_ended(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "stderr: {}", text(&output.stderr));
}

#[test]
fn chat_prints_the_answer_and_nothing_else() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["chat", "--system", "be kind", "a", "short poem"]);
    assert_ended(&output, 0);
    assert_eq!(text(&output.stdout), "A SHORT POEM\n");
    assert_eq!(text(&output.stderr), "");
    let messages = gateway.seen.messages.lock().unwrap();
    let said: Vec<_> = messages[0].iter().map(|message| message.content.as_str()).collect();
    assert_eq!(said, ["be kind", "a short poem"]);
}

#[test]
fn prompts_come_from_stdin_too() {
    let gateway = Gateway::start();
    for arguments in [&["chat"][..], &["chat", "-"], &["generate"], &["generate", "--no-stream", "-"]] {
        let output = run_with_stdin(&gateway, arguments, "from stdin\n");
        assert_ended(&output, 0);
        assert_eq!(text(&output.stdout), "FROM STDIN\n", "{arguments:?}");
    }
    let output = run_with_stdin(&gateway, &["chat"], b"\xff\xfe".to_vec());
    assert_ended(&output, 2);
}

#[test]
fn stats_go_to_stderr() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["chat", "--stats", "one two"]);
    assert_eq!(text(&output.stdout), "ONE TWO\n");
    let stats = text(&output.stderr);
    for line in ["model    fake@0123456789ab", "finish   stop", "tokens   3 prompt, 2 written", "seed     7"]
    {
        assert!(stats.lines().any(|shown| shown == line), "{line:?} in {stats}");
    }
}

#[test]
fn chat_json_is_one_event_a_line() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["--json", "chat", "one two"]);
    assert_ended(&output, 0);
    let events = documents(&output.stdout);
    assert_eq!(events[0], json!({"event": "delta", "text": "ONE ", "completion_tokens": 1}));
    assert_eq!(events[1], json!({"event": "delta", "text": "TWO", "completion_tokens": 2}));
    assert_eq!(events[2]["event"], "completion");
    assert_eq!(events[2]["finish_reason"], "stop");
    assert_eq!(events[2]["seed"], "7");
    assert_eq!(events.len(), 3);

    let output = run(&gateway, &["--json", "chat", "--no-stream", "one two"]);
    let whole = &documents(&output.stdout)[0];
    assert_eq!(whole["text"], "ONE TWO");
    assert_eq!(whole["completion"]["usage"]["completion_tokens"], 2);
}

#[test]
fn refused_input_ends_with_3() {
    let gateway = Gateway::start();
    for arguments in [&["chat", "evil"][..], &["chat", "--no-stream", "evil"], &["generate", "evil"]] {
        let output = run(&gateway, arguments);
        assert_ended(&output, 3);
        assert_eq!(text(&output.stdout), "");
        let expected = "error: the input does not pass the policy (CONTENT_BLOCKED, request 0192-fake)\n  \
                        categories hate, policy default\n";
        assert_eq!(text(&output.stderr), expected);
    }
    let output = run(&gateway, &["chat", "--json", "evil"]);
    assert_ended(&output, 3);
    let error = &documents(&output.stderr)[0]["error"];
    assert_eq!(error["reason"], "CONTENT_BLOCKED");
    assert_eq!(error["exit_code"], 3);
    assert_eq!(error["metadata"]["policy"], "default");
}

#[test]
fn withheld_output_ends_with_3_after_what_had_left() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["chat", "turns evil"]);
    assert_ended(&output, 3);
    assert_eq!(text(&output.stdout), "So far\n");
    assert!(text(&output.stderr).starts_with("error: policy withheld the rest of the answer: hate 0.97"));

    let output = run(&gateway, &["chat", "--json", "turns evil"]);
    assert_ended(&output, 3);
    let events: Vec<_> = documents(&output.stdout).iter().map(|event| event["event"].clone()).collect();
    assert_eq!(events, ["delta", "delta", "verdict", "completion"]);
}

#[test]
fn errors_name_field_reason_and_request() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["chat", "--top-p", "1.5", "x"]);
    assert_ended(&output, 1);
    let expected =
        "error: generation.top_p must be above 0 and up to 1 (INVALID_ARGUMENT, request 0192-fake)\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn nobody_listening_gets_a_hint() {
    let gateway = Gateway::start();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("127.0.0.1:{port}");
    for command in ["models", "health"] {
        let output = run(&gateway, &[command, "--endpoint", &endpoint]);
        assert_ended(&output, 1);
        let stderr = text(&output.stderr);
        assert!(stderr.contains("onnection refused") && stderr.contains("cargo xtask up"), "{stderr}");
    }
}

#[test]
fn wrong_command_lines_end_with_2() {
    let gateway = Gateway::start();
    for arguments in
        [&["paint"][..], &["chat", "--endpoint", "ftp://x", "y"], &["moderate", "--image", "/none.png"]]
    {
        let output = run(&gateway, arguments);
        assert_ended(&output, 2);
        assert!(text(&output.stderr).starts_with("error: "), "{}", text(&output.stderr));
    }
    let output = run(&gateway, &["--json", "paint"]);
    assert_ended(&output, 2);
    assert_eq!(documents(&output.stderr)[0]["error"]["exit_code"], 2);
}

#[test]
fn keys_and_tenants_are_sent() {
    let gateway = Gateway::start_with(Seen { ask_for_key: true, ..Seen::default() });
    let output = run(&gateway, &["models"]);
    assert_ended(&output, 1);
    assert!(text(&output.stderr).contains("hint: give the key with ATELIER_API_KEY"));
    let output =
        atelier(&gateway, &["models", "--tenant", "acme"]).env("ATELIER_API_KEY", KEY).output().unwrap();
    assert_ended(&output, 0);
    assert_eq!(*gateway.seen.tenants.lock().unwrap(), ["", "acme"]);
}

#[test]
fn a_full_queue_is_tried_again_and_not_for_ever() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["embed", "--json", "later:2"]);
    assert_ended(&output, 0);
    assert_eq!(gateway.seen.calls.load(Ordering::Relaxed), 3);
    assert_eq!(documents(&output.stdout)[0]["embeddings"][0]["values"], json!([7.0, 0.5]));

    let output = run(&gateway, &["chat", "--no-stream", "chat later:1"]);
    assert_ended(&output, 0);

    let output = run(&gateway, &["embed", "--attempts", "2", "still later:2"]);
    assert_ended(&output, 1);
    assert!(
        text(&output.stderr)
            .contains("the queue is full (QUEUE_FULL, request 0192-fake); try again in 0.0 s")
    );
}

#[test]
fn a_gateway_that_hangs_is_left_at_the_timeout() {
    let gateway = Gateway::start();
    for arguments in [&["chat", "hang"][..], &["chat", "--no-stream", "hang"]] {
        let begun = Instant::now();
        let output = run(&gateway, &[arguments, &["--timeout", "300ms"]].concat());
        assert_ended(&output, 1);
        assert!(begun.elapsed() < Duration::from_secs(5));
        let stderr = text(&output.stderr);
        assert!(stderr.contains("DEADLINE_EXCEEDED") && stderr.contains("--timeout"), "{stderr}");
    }
}

#[test]
fn an_answer_without_its_end_is_an_error() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["chat", "stops short"]);
    assert_ended(&output, 1);
    assert_eq!(text(&output.stdout), "STOPS SHORT\n");
    assert!(text(&output.stderr).contains("without a completion"));
}

#[test]
fn check_ends_with_3_where_policy_blocks() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["check", "fine words"]);
    assert_ended(&output, 0);
    assert!(text(&output.stdout).starts_with("allow\n"));
    let output = run(&gateway, &["check", "--json", "--stage", "output", "evil words"]);
    assert_ended(&output, 3);
    let document = &documents(&output.stdout)[0];
    assert_eq!(document["verdict"]["action"], "block");
    assert_eq!(document["verdict"]["stage"], "output");
    assert!(document["scores"]["hate"].as_f64().unwrap() > 0.9);
}

#[test]
fn tables_line_up() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["models"]);
    let expected = "MODEL     REVISION      TASKS            CONTEXT  VOCABULARY  DIMENSIONS  LICENCE\n\
                    fake      0123456789ab  text_generation  8192     -           -           unknown\n\
                    texts     0123456789ab  text_embedding   -        -           2           unknown\n\
                    pictures  0123456789ab  image_embedding  -        -           2           unknown\n";
    assert_eq!(text(&output.stdout), expected);
    let output = run(&gateway, &["categories"]);
    let expected = "CATEGORY  DETECTORS          DESCRIPTION\n\
                    hate      fake (text)        A sentence.\n\
                    illicit   none: unsupported  A sentence.\n";
    assert_eq!(text(&output.stdout), expected);
    let output = run(&gateway, &["tokenize", "two words"]);
    let expected = "ID  BYTES  TOKEN\n0   0..4   two\n1   4..9   words\n\n2 tokens of fake@0123456789ab\n";
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn texts_and_pictures_are_scored() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["moderate", "--json", "evil", "good"]);
    assert_ended(&output, 0);
    let scored = documents(&output.stdout);
    assert_eq!((&scored[0]["id"], &scored[1]["id"]), (&json!("1"), &json!("2")));
    assert!(scored[0]["scores"]["hate"].as_f64() > scored[1]["scores"]["hate"].as_f64());
    assert_eq!(scored[0]["unsupported_categories"], json!(["illicit"]));

    let picture = tempfile::NamedTempFile::new().unwrap();
    let path = picture.path().to_str().unwrap();
    let output = run(&gateway, &["moderate", "--image", path]);
    assert_ended(&output, 0);
    assert!(text(&output.stdout).contains("hate"));
    let output = run(&gateway, &["moderate", "--json", "--image", path]);
    let pictures = documents(&output.stdout);
    assert_eq!((&pictures[0]["id"], &pictures[0]["frames"]), (&json!(path), &json!(1)));
    assert_eq!((pictures[0].get("tags"), pictures[0].get("read_text")), (None, None));
}

#[test]
fn more_than_scores_is_shown_where_it_is_asked_for() {
    let gateway = Gateway::start();
    let output = run(&gateway, &["moderate", "--json", "--redact", "evil jane@example.org"]);
    assert_ended(&output, 0);
    let scored = &documents(&output.stdout)[0];
    assert_eq!(scored["redacted_text"], "evil [EMAIL]");
    assert_eq!((&scored["severities"]["hate"], &scored["language"]), (&json!(7), &json!("en")));

    let picture = tempfile::NamedTempFile::new().unwrap();
    let path = picture.path().to_str().unwrap();
    let asked = ["moderate", "--image", path, "--tags", "2", "--read-text", "--time", "40"];
    let output = run(&gateway, &[&asked[..], &["--json"]].concat());
    assert_ended(&output, 0);
    let shown = &documents(&output.stdout)[0];
    assert_eq!(shown["tags"][1]["label"], "thing 1");
    assert_eq!(shown["read_text"], "shown at Some(40)");
    let output = run(&gateway, &asked);
    assert!(text(&output.stdout).contains("shows: thing 0"));
    assert!(text(&output.stdout).contains("read: shown at"));
    let output = run(&gateway, &["moderate", "--image", path, "--image", path, "--time", "40"]);
    assert_ended(&output, 2);
}

#[test]
fn health_is_an_exit_code() {
    let gateway = Gateway::start();
    // The reporter is told a moment after the port is open.
    let output = run(&gateway, &["health", "--wait", "10s"]);
    assert_ended(&output, 0);
    assert!(text(&output.stdout).contains("serving  atelier.gateway.v1.GatewayService"));
    let output = run(&gateway, &["health", "--json", "warming", "unheard.of"]);
    assert_ended(&output, 1);
    let expected = json!({"services": [
        {"service": "warming", "status": "not_serving"},
        {"service": "unheard.of", "status": "service_unknown"}
    ]});
    assert_eq!(documents(&output.stdout)[0], expected);
}

/// 2,000 texts, ids that repeat, and now and then a line that is none.
fn bulk_input() -> (String, usize, usize) {
    let (mut input, mut bad) = (String::new(), 0);
    for n in 0..2000 {
        let body = "x".repeat(n % 50);
        input +=
            &format!("{}\n", json!({"id": format!("id-{}", n % 1000), "text": format!("text {n} {body}")}));
        if n % 100 == 0 {
            input += ["{\"id\": \"broken\", \"text\": \n", "{\"id\": 5}\n", "nonsense\n"][n / 100 % 3];
            bad += 1;
        }
    }
    (input, 2000, bad)
}

/// Each line's answers, by line number.
pub(crate) fn by_line(output: &Output) -> BTreeMap<u64, Vec<Value>> {
    let mut lines: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for document in documents(&output.stdout) {
        lines.entry(document["line"].as_u64().unwrap()).or_default().push(document);
    }
    lines
}

#[track_caller]
fn assert_each_line_is_answered_once(output: &Output, input: &str) {
    let answers = by_line(output);
    assert_eq!(answers.len(), input.lines().count());
    for (line, said) in input.lines().zip(1..).map(|(said, line)| (line, said)) {
        let [answer] = answers[&line].as_slice() else { panic!("line {line}: {:?}", answers[&line]) };
        match serde_json::from_str::<Value>(said).ok().filter(|record| record["text"].is_string()) {
            Some(record) => {
                assert_eq!(answer["id"], record["id"]);
                // The scripted gateway scores the length: this answer belongs to this very text.
                assert_eq!(
                    answer["scores"]["length"].as_f64(),
                    record["text"].as_str().map(|text| text.len() as f64)
                );
            }
            None => assert_eq!(answer["error"]["reason"], "BAD_LINE", "{said}"),
        }
    }
}

#[test]
fn bulk_answers_each_line_exactly_once() {
    let gateway = Gateway::start();
    let (input, good, bad) = bulk_input();
    let output = run_with_stdin(&gateway, &["moderate", "--jsonl", "--concurrency", "50"], input.clone());
    assert_ended(&output, 1);
    assert_each_line_is_answered_once(&output, &input);
    assert_eq!(text(&output.stderr), format!("error: {bad} of {} lines have no scores\n", good + bad));
    assert_eq!(gateway.seen.streams.load(Ordering::Relaxed), 1);
    let most = gateway.seen.most_in_flight.load(Ordering::Relaxed);
    assert!((2..=50).contains(&most), "{most} in flight");
}

#[test]
fn bulk_goes_on_when_the_stream_breaks() {
    let gateway = Gateway::start_with(Seen { break_after: Some(777), ..Seen::default() });
    let (input, ..) = bulk_input();
    let output = run_with_stdin(&gateway, &["moderate", "--jsonl"], input.clone());
    assert_each_line_is_answered_once(&output, &input);
    assert_eq!(gateway.seen.streams.load(Ordering::Relaxed), 2);
}

#[test]
fn bulk_tries_again_what_was_put_off() {
    let gateway = Gateway::start();
    let input = "{\"id\":1,\"text\":\"a later:2\"}\n{\"id\":2,\"text\":\"b later:9\"}\n{\"id\":3,\"text\":\"unjudgeable\"}\n";
    let output = run_with_stdin(&gateway, &["moderate", "--jsonl", "-"], input);
    assert_ended(&output, 1);
    let answers = by_line(&output);
    assert_eq!(answers[&1][0]["scores"]["length"], 9.0);
    assert_eq!(answers[&2][0]["error"]["reason"], "QUEUE_FULL");
    assert_eq!(answers[&3][0]["error"], json!({"reason": "INTERNAL", "message": "as the text wished"}));
}

#[test]
fn bulk_reads_files_and_succeeds_where_all_is_well() {
    let gateway = Gateway::start();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "{}\n\n{}", json!({"id": "a", "text": "x"}), json!({"text": "y"})).unwrap();
    let output = run(&gateway, &["moderate", "--jsonl", file.path().to_str().unwrap()]);
    assert_ended(&output, 0);
    let answers = by_line(&output);
    assert_eq!(answers[&1][0]["id"], "a");
    assert!(answers[&3][0].get("id").is_none());
    let empty = run_with_stdin(&gateway, &["moderate", "--jsonl"], "");
    assert_ended(&empty, 0);
    assert_eq!(text(&empty.stdout), "");
}

#[test]
fn a_text_that_is_too_long_does_not_stop_the_others() {
    let gateway = Gateway::start();
    let long = json!({"id": "long", "text": "x".repeat((1 << 20) + 1)});
    let input = format!("{long}\n{{\"id\":\"short\",\"text\":\"y\"}}\n");
    let output = run_with_stdin(&gateway, &["moderate", "--jsonl"], input);
    assert_ended(&output, 1);
    let answers = by_line(&output);
    assert_eq!(answers[&1][0]["error"]["field"], "text");
    assert_eq!(answers[&2][0]["id"], "short");
}

#[test]
fn bulk_answers_before_the_input_ends() {
    let gateway = Gateway::start();
    let mut child = atelier(&gateway, &["moderate", "--jsonl"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 0..3 {
        writeln!(stdin, "{}", json!({"id": n, "text": "x"})).unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        assert_eq!(answer["id"], n);
    }
    drop(stdin);
    assert!(answers.next().is_none());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_closed_pipe_is_quiet() {
    let gateway = Gateway::start();
    let (input, ..) = bulk_input();
    let mut child = atelier(&gateway, &["moderate", "--jsonl"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(stderr, "");
    let _ = writer.join().unwrap();
}

#[test]
fn bulk_ends_when_the_gateway_is_gone_for_good() {
    let gateway = Gateway::start();
    let mut child = atelier(&gateway, &["moderate", "--jsonl"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    writeln!(stdin, "{}", json!({"id": 1, "text": "x"})).unwrap();
    assert!(answers.next().unwrap().unwrap().contains("\"id\":1"));
    drop(gateway);
    writeln!(stdin, "{}", json!({"id": 2, "text": "y"})).unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(stderr.contains("onnection refused") && stderr.contains("is the gateway running?"), "{stderr}");
    assert!(answers.next().is_none());
}
