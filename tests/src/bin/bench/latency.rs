//! What a caller of the text service waits for: the first token beside calls that decode, and the next one beside a call
//! that takes in a long prompt.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use atelier_proto::text::v1::{
    GenerationConfig, StreamGenerateRequest, stream_generate_response::Event,
    text_service_client::TextServiceClient,
};
use atelier_tests::Running;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tonic::transport::Channel;

use crate::{
    decode::END_TOKENS,
    report::{Goal, Report, median},
};

/// Calls that decode.
const STREAMS: usize = 8;
/// Tokens of the prompt whose first token is waited for.
const PROMPT: usize = 200;
/// Tokens of the prompt that is taken in beside them.
const LONG_PROMPT: usize = 4000;
/// The default model's whole context.
const CONTEXT: usize = 8192;
/// First tokens that are waited for in a turn.
const FIRST_TOKENS: usize = 5;
/// Tokens that are kept until they are looked at; all that the streams can write.
const MAX_TOKENS: usize = STREAMS * CONTEXT;
/// How long streams are watched when nothing else runs, before and after it does.
const IDLE: Duration = Duration::from_secs(6);

pub(crate) async fn run(rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut config = atelier_text::Config::default();
    for model in &mut config.models {
        model.generation.context_length = CONTEXT;
    }
    let text = Running::text(config).await?;
    let client = TextServiceClient::new(text.channel());
    let (mut first, mut next) = (Vec::new(), Vec::new());
    // Prompts differ from their first token on: none finds another one's rows.
    let mut prompts =
        (0..).map(|n: usize| move |tokens: usize| vec![WORDS[n % WORDS.len()]; tokens].join(" "));
    let mut prompt = |tokens| prompts.next().map(|prompt| prompt(tokens)).unwrap_or_default();
    for turn in 0..=rounds {
        let mut idle = Vec::new();
        for _ in 0..FIRST_TOKENS {
            idle.push(first_token(&client, prompt(PROMPT)).await?);
        }
        let mut streams = Streams::start(&client).await?;
        let mut loaded = Vec::new();
        for _ in 0..FIRST_TOKENS {
            loaded.push(first_token(&client, prompt(PROMPT)).await?);
        }
        // Before and after: tokens take longer the more a stream has written.
        let mut alone = streams.watch(tokio::time::sleep(IDLE)).await?;
        let long = first_token(&client, prompt(LONG_PROMPT));
        let beside = streams.watch(long).await?;
        alone.extend(streams.watch(tokio::time::sleep(IDLE)).await?);
        if turn > 0 {
            first.push((median(loaded), median(idle)));
            next.push((percentile(beside, 0.99), percentile(alone, 0.99)));
        }
    }
    let name = format!("first token of a {PROMPT}-token prompt beside {STREAMS} streams vs idle, ms");
    report.add(&name, first, Goal::AtMost(1.5));
    let name =
        format!("{STREAMS} streams beside a {LONG_PROMPT}-token prompt vs alone, p99 to the next token, ms");
    report.add(&name, next, Goal::AtMost(3.0));
    text.drain();
    text.ended().await
}

/// Single tokens of the default model.
const WORDS: [&str; 24] = [
    "sea", "sun", "moon", "tree", "fish", "bird", "stone", "house", "road", "river", "cloud", "rain", "snow",
    "wind", "fire", "bread", "milk", "salt", "book", "door", "lamp", "ship", "star", "hand",
];

fn request(prompt: String, max_tokens: usize) -> StreamGenerateRequest {
    let generation = GenerationConfig {
        max_tokens: Some(max_tokens as u32),
        temperature: Some(0.0),
        logit_bias: HashMap::from(END_TOKENS.map(|token| (token, -100.0))),
        ..Default::default()
    };
    StreamGenerateRequest { prompt, generation: Some(generation), ..Default::default() }
}

/// Milliseconds until the first token of a prompt is there.
async fn first_token(client: &TextServiceClient<Channel>, prompt: String) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut stream = client.clone().stream_generate(request(prompt, 2)).await?.into_inner();
    while let Some(event) = stream.message().await? {
        if matches!(event.event, Some(Event::Delta(_))) {
            return Ok(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    anyhow::bail!("no delta came")
}

/// Calls that decode until they are dropped.
struct Streams {
    /// Which of them has how many tokens since when.
    tokens: mpsc::Receiver<(usize, u32, Instant)>,
    _calls: JoinSet<anyhow::Result<()>>,
}

impl Streams {
    async fn start(client: &TextServiceClient<Channel>) -> anyhow::Result<Self> {
        let (told, mut tokens) = mpsc::channel(MAX_TOKENS);
        let mut calls = JoinSet::new();
        for n in 0..STREAMS {
            let (mut client, told) = (client.clone(), told.clone());
            calls.spawn(async move {
                let request = request(format!("Once upon a time, {n}"), CONTEXT);
                let mut stream = client.stream_generate(request).await?.into_inner();
                while let Some(event) = stream.message().await? {
                    if let Some(Event::Delta(delta)) = event.event {
                        told.try_send((n, delta.completion_tokens, Instant::now()))?;
                    }
                }
                Ok(())
            });
        }
        let mut begun = [false; STREAMS];
        while begun.contains(&false) {
            let token = timeout(Duration::from_secs(60), tokens.recv()).await?;
            begun[token.context("a stream has ended")?.0] = true;
        }
        Ok(Self { tokens, _calls: calls })
    }

    /// Milliseconds between tokens of a stream, of all of them, while something happens.
    async fn watch<T>(&mut self, what: impl Future<Output = T>) -> anyhow::Result<Vec<f64>> {
        while self.tokens.try_recv().is_ok() {}
        what.await;
        let mut last = [None; STREAMS];
        let mut gaps = Vec::new();
        while let Ok((stream, tokens, at)) = self.tokens.try_recv() {
            // A token that ends in the middle of a character has no delta of its own.
            if let Some((before, since)) = last[stream].replace((tokens, at)) {
                gaps.push((at - since).as_secs_f64() * 1e3 / f64::from(tokens - before));
            }
        }
        anyhow::ensure!(gaps.len() > 100, "{} tokens are too few to tell", gaps.len());
        Ok(gaps)
    }
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}
