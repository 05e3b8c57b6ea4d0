//! `cargo run --release -p atelier-tests --bin soak`: a text service under many streams for minutes.
//!
//! Each stream asks, reads, or leaves in the middle, by chance, and asks again. Every call must end with a whole answer, by its
//! caller's leaving, or with a typed refusal; memory after the last call is compared with that after a fifth of the time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use atelier_proto::text::v1::{
    GenerateRequest, GenerationConfig, Priority, StreamGenerateRequest, stream_generate_response::Event,
    text_service_client::TextServiceClient,
};
use atelier_rpc::fault_of;
use atelier_tests::Running;
use clap::Parser;
use futures::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::time::timeout_at;
use tonic::transport::Channel;

#[derive(Parser)]
struct Arguments {
    /// Streams at once.
    #[arg(long, default_value_t = 200)]
    streams: u64,
    /// How long new calls begin.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Memory that may be held at the end beyond that after a fifth of the time, in MiB.
    #[arg(long, default_value_t = 64)]
    growth: u64,
}

/// After the last call has begun, all must end within this.
const GRACE: Duration = Duration::from_secs(120);

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Whole,
    Left,
    Refused(String),
    /// What must not be.
    Wrong(String),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let tokio = atelier_rpc::runtime::beside_models()?;
    tokio.block_on(async {
        let mut config = atelier_text::Config::default();
        config.server.max_concurrent_requests = 2 * arguments.streams as usize;
        let text = Running::text(config).await?;
        let client = TextServiceClient::new(text.channel());
        let begun = Instant::now();
        let until = begun + Duration::from_secs(arguments.seconds);
        let streams =
            (0..arguments.streams).map(|number| tokio::spawn(keep_asking(client.clone(), number, until)));
        let streams = join_all(streams.collect::<Vec<_>>());
        let early = async {
            tokio::time::sleep(Duration::from_secs(arguments.seconds) / 5).await;
            resident_mib()
        };
        let (ended, early) = tokio::join!(timeout_at((until + GRACE).into(), streams), early);
        let mut ends = BTreeMap::<End, u64>::new();
        for end in ended.context("calls are still running")? {
            for (end, times) in end? {
                *ends.entry(end).or_default() += times;
            }
        }
        // What served the streams is alive and answers as ever.
        let last = ask(&mut client.clone(), 7).await?;
        text.drain();
        text.ended().await?;
        let (early, late) = (early?, resident_mib()?);
        for (end, times) in &ends {
            println!("{times:8} {end:?}");
        }
        println!("memory   {early} MiB after a fifth of {} s, {late} MiB at the end", arguments.seconds);
        anyhow::ensure!(!last.is_empty(), "no answer after the streams");
        anyhow::ensure!(!ends.keys().any(|end| matches!(end, End::Wrong(_))), "calls ended as none may");
        anyhow::ensure!(ends.contains_key(&End::Whole) && ends.contains_key(&End::Left), "too short to tell");
        anyhow::ensure!(late <= early + arguments.growth, "memory grew by {} MiB", late - early);
        Ok(())
    })
}

async fn keep_asking(
    mut client: TextServiceClient<Channel>,
    number: u64,
    until: Instant,
) -> BTreeMap<End, u64> {
    let mut random = StdRng::seed_from_u64(number);
    let mut ends = BTreeMap::new();
    while Instant::now() < until {
        let end = call(&mut client, &mut random).await;
        let refused = matches!(end, End::Refused(_));
        *ends.entry(end).or_default() += 1;
        if refused {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1_000))).await;
        }
    }
    ends
}

/// One call, of which two in five are left.
async fn call(client: &mut TextServiceClient<Channel>, random: &mut StdRng) -> End {
    let words = random.random_range(1..200);
    let request = StreamGenerateRequest {
        prompt: format!("{}Once upon a time", "the quick brown fox ".repeat(words / 4)),
        generation: Some(GenerationConfig {
            max_tokens: Some(random.random_range(1..64)),
            seed: Some(random.random()),
            priority: [Priority::Low, Priority::Normal, Priority::High][random.random_range(0..3)].into(),
            ..GenerationConfig::default()
        }),
        ..StreamGenerateRequest::default()
    };
    let leaves_after = random.random_bool(0.4).then(|| Duration::from_millis(random.random_range(0..8_000)));
    let answer = read(client, request);
    match leaves_after {
        Some(time) => tokio::time::timeout(time, answer).await.unwrap_or(End::Left),
        None => answer.await,
    }
}

async fn read(client: &mut TextServiceClient<Channel>, request: StreamGenerateRequest) -> End {
    let refusal = |status: tonic::Status| match fault_of(&status).reason().as_str() {
        reason @ ("QUEUE_FULL" | "DEADLINE_EXCEEDED") => End::Refused(reason.to_owned()),
        _ => End::Wrong(status.to_string()),
    };
    let mut stream = match client.stream_generate(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return refusal(status),
    };
    let mut is_whole = false;
    loop {
        match stream.message().await {
            Ok(Some(message)) => is_whole = matches!(message.event, Some(Event::Completion(_))),
            Ok(None) if is_whole => return End::Whole,
            Ok(None) => return End::Wrong("a stream without its end".to_owned()),
            Err(status) => return refusal(status),
        }
    }
}

async fn ask(client: &mut TextServiceClient<Channel>, seed: u64) -> anyhow::Result<String> {
    let generation = Some(GenerationConfig { seed: Some(seed), ..GenerationConfig::default() });
    let request = GenerateRequest { prompt: "Hello".to_owned(), generation, ..GenerateRequest::default() };
    Ok(client.generate(request).await?.into_inner().text)
}

/// Memory of this process that is resident, in MiB (Linux: field 2 of `/proc/self/statm`, pages of 4 KiB).
fn resident_mib() -> anyhow::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("this runs on Linux")?;
    let pages: u64 = statm.split(' ').nth(1).context("statm has a second field")?.parse()?;
    Ok(pages * 4 / 1024)
}
