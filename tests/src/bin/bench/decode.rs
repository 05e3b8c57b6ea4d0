//! Decode through the text service against the bare loop, and what its prefix cache saves.

use std::{
    collections::HashMap,
    error::Error,
    ffi::OsString,
    iter,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use atelier_inference::{ModelStore, Runtime, SessionConfig, home, raw::RawLoop};
use atelier_proto::common::v1::Timings;
use atelier_proto::text::v1::{
    GenerateRequest, GenerationConfig, StreamGenerateRequest, TokenizeRequest,
    stream_generate_response::Event, text_service_client::TextServiceClient,
};
use atelier_tests::Running;
use futures::future::try_join_all;
use tonic::transport::Channel;

use crate::report::{Goal, Report, median};

const MODEL: &str = "smollm2-135m-instruct";
/// The same weights in the hub's layout.
const PEER_MODEL: &str = "smollm2-135m-instruct-hub";
const PROMPT: &str =
    "The sea was calm that morning, and the keeper of the lighthouse wrote in his journal that ";
const TOKENS: usize = 128;
const CONTEXT: usize = 2048;
/// Tokens of the prefix that two calls share.
const PREFIX: usize = 1000;
/// `<|endoftext|>` and `<|im_end|>`: made impossible, so that every stream has the same length.
pub(crate) const END_TOKENS: [u32; 2] = [0, 2];

/// Returns the time of one decoded token of a single raw stream.
pub(crate) async fn run(
    onnx: &Runtime,
    rounds: usize,
    peer: Option<&Path>,
    report: &mut Report,
) -> anyhow::Result<Duration> {
    let text = Running::text(atelier_text::Config::default()).await?;
    let mut client = TextServiceClient::new(text.channel());
    let request =
        TokenizeRequest { model: String::new(), text: PROMPT.to_owned(), add_special_tokens: false };
    let tokens = client.tokenize(request).await?.into_inner().tokens;
    let prompt: Vec<u32> = tokens.iter().map(|token| token.id).collect();

    let folder = ModelStore::new(home().join("models")).open(MODEL)?;
    let mut single = Vec::new();
    for streams in [1, 8] {
        let mut raw = RawLoop::load(onnx, &folder, streams, CONTEXT, &SessionConfig::default())?;
        let mut turns = Vec::new();
        // The first turn warms both sides up.
        for turn in 0..=rounds {
            raw.prefill(&prompt)?;
            let start = Instant::now();
            raw.decode(TOKENS)?;
            let baseline = (streams * TOKENS) as f64 / start.elapsed().as_secs_f64();
            let value = service(&client, streams).await?;
            if turn > 0 {
                turns.push((value, baseline));
                single.extend((streams == 1).then_some(baseline));
            }
        }
        let name = format!("decode, {streams} streams: text service vs raw loop, tokens/s");
        report.add(&name, turns, Goal::AtLeast(if streams == 1 { 0.97 } else { 0.95 }));
    }
    let mut turns = Vec::new();
    for _ in 0..rounds {
        let one = service(&client, 1).await?;
        turns.push((service(&client, 8).await?, one));
    }
    report.add("decode, 8 streams vs one, tokens/s of the text service", turns, Goal::AtLeast(2.8));
    let mut turns = Vec::new();
    for _ in 0..rounds {
        let plain = repetition(&mut client, 0).await?;
        turns.push((repetition(&mut client, 8).await?, plain));
    }
    report.add(
        "decode, a text that repeats itself: 8 lookahead tokens vs none, ms",
        turns,
        Goal::AtMost(1.0),
    );
    for (name, of) in [("onnxruntime-genai", genai as PeerArguments), ("llama.cpp", llama)] {
        let Some(python) = peer else { break };
        let mut turns = Vec::new();
        for _ in 0..rounds {
            let Some(theirs) = tokens_per_second(python, of(&prompt)?)? else { break };
            turns.push((service(&client, 1).await?, theirs));
        }
        if turns.is_empty() {
            eprintln!("{name} is not there");
            continue;
        }
        let name = format!("decode, 1 stream: text service vs {name}, tokens/s");
        report.add(&name, turns, Goal::AtLeast(1.0));
    }
    let mut turns = Vec::new();
    for turn in 0..=rounds {
        // A beginning that no call had before, then two calls that begin so.
        let computed = prefill(&mut client, turn, "What").await?;
        let cached = prefill(&mut client, turn, "Who").await?;
        if turn > 0 {
            turns.push((cached, computed));
        }
    }
    report.add("prompt, 1,000 shared tokens from cache vs their prefill, ms", turns, Goal::AtMost(0.10));
    text.drain();
    text.ended().await?;
    Ok(Duration::from_secs_f64(1.0 / median(single)))
}

/// Tokens per second of all streams together, while all of them decode.
async fn service(client: &TextServiceClient<Channel>, streams: usize) -> anyhow::Result<f64> {
    let call = || {
        let mut client = client.clone();
        async move {
            let request = StreamGenerateRequest {
                prompt: PROMPT.to_owned(),
                generation: Some(greedy()),
                ..Default::default()
            };
            let mut stream = client.stream_generate(request).await?.into_inner();
            let mut seen = Vec::with_capacity(TOKENS);
            while let Some(event) = stream.message().await? {
                if let Some(Event::Delta(delta)) = event.event {
                    seen.push((Instant::now(), delta.completion_tokens));
                }
            }
            anyhow::Ok(seen)
        }
    };
    // On the async threads: reading here would wake this thread, too, for every token.
    let calls = try_join_all((0..streams).map(|_| tokio::spawn(call()))).await?;
    let seen = calls.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let begin = seen.iter().filter_map(|s| s.first()).map(|(at, _)| *at).max().context("no delta")?;
    let end = seen.iter().filter_map(|s| s.last()).map(|(at, _)| *at).min().context("no delta")?;
    let within = |stream: &Vec<(Instant, u32)>| {
        let mut inside =
            stream.iter().filter(|(at, _)| (begin..=end).contains(at)).map(|(_, tokens)| *tokens);
        let first = inside.next().unwrap_or_default();
        inside.next_back().unwrap_or(first) - first
    };
    let tokens: u32 = seen.iter().map(within).sum();
    Ok(f64::from(tokens) / (end - begin).as_secs_f64())
}

/// Milliseconds that a call decodes which says over and over what its prompt does.
async fn repetition(client: &mut TextServiceClient<Channel>, lookahead: u32) -> anyhow::Result<f64> {
    let prompt = "red, green, blue, white, black, brown, ".repeat(6);
    let generation = GenerationConfig { lookahead_tokens: Some(lookahead), ..greedy() };
    milliseconds(timings(client, prompt, generation).await?.decode)
}

/// The likeliest tokens, none of which ends the answer.
fn greedy() -> GenerationConfig {
    GenerationConfig {
        max_tokens: Some(TOKENS as u32),
        temperature: Some(0.0),
        repetition_penalty: Some(1.0),
        logit_bias: HashMap::from(END_TOKENS.map(|token| (token, -100.0))),
        ..Default::default()
    }
}

/// Where the time of a call goes.
async fn timings(
    client: &mut TextServiceClient<Channel>,
    prompt: String,
    generation: GenerationConfig,
) -> anyhow::Result<Timings> {
    let request = GenerateRequest { prompt, generation: Some(generation), ..Default::default() };
    let completion = client.generate(request).await?.into_inner().completion.context("no completion")?;
    completion.timings.context("no timings")
}

fn milliseconds<T>(time: Option<T>) -> anyhow::Result<f64>
where
    Duration: TryFrom<T, Error: Error + Send + Sync + 'static>,
{
    Ok(Duration::try_from(time.context("no timings")?)?.as_secs_f64() * 1e3)
}

/// A script in `peers/` and its arguments, for a prompt.
type PeerArguments = fn(&[u32]) -> anyhow::Result<Vec<OsString>>;

/// onnxruntime-genai with the same weights in the hub's layout.
fn genai(prompt: &[u32]) -> anyhow::Result<Vec<OsString>> {
    let model = home().join("models").join(PEER_MODEL).into_os_string();
    Ok(["genai_decode.py".into(), model].into_iter().chain(how_much(prompt)?).collect())
}

/// llama.cpp with the file that the default model was converted from.
fn llama(prompt: &[u32]) -> anyhow::Result<Vec<OsString>> {
    Ok(iter::once("llama_decode.py".into()).chain(how_much(prompt)?).collect())
}

/// Tokens to write, threads, as many as the service has, and the prompt.
fn how_much(prompt: &[u32]) -> anyhow::Result<impl Iterator<Item = OsString>> {
    let threads = std::thread::available_parallelism()?.get();
    let numbers = [TOKENS, threads].into_iter().chain(prompt.iter().map(|&token| token as usize));
    Ok(numbers.map(|number| number.to_string().into()))
}

/// Tokens per second of a stream, or nothing where Python lacks the peer.
fn tokens_per_second(python: &Path, arguments: Vec<OsString>) -> anyhow::Result<Option<f64>> {
    let mut peer = Command::new(python);
    let output = peer.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/peers")).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{said}");
    match String::from_utf8(output.stdout)?.trim() {
        "" => Ok(None),
        number => Ok(Some(number.parse()?)),
    }
}

/// Milliseconds from the slot to the first token of a prompt: a beginning of about [`PREFIX`] tokens, then a word.
async fn prefill(
    client: &mut TextServiceClient<Channel>,
    beginning: usize,
    word: &str,
) -> anyhow::Result<f64> {
    // Each word is a token, the number at the start a few more.
    let prompt = format!("{beginning} {} {word}", vec!["sea"; PREFIX].join(" "));
    let generation = GenerationConfig { max_tokens: Some(1), ..Default::default() };
    milliseconds(timings(client, prompt, generation).await?.prefill)
}
