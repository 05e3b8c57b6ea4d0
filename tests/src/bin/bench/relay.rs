//! What a streamed token costs on its way through the gateway.
//!
//! Scripted upstreams in place of models: the difference in processor time between a stream through the gateway and
//! the same stream without it is the gateway's own cost.

use std::{fs, time::Duration};

use anyhow::Context as _;
use atelier_proto::{gateway::v1 as gateway, text::v1 as text};
use atelier_tests::{
    Sandbox,
    scripted::{ScriptedModeration, ScriptedText},
};
use futures::future::try_join_all;

use crate::report::{Goal, Report};

const STREAMS: usize = 8;
const TOKENS: u32 = 500;
/// Eight streams at this pace are ten times what the default model writes.
const PACE: Duration = Duration::from_millis(5);

/// Windows of the default size, judged and released.
const POLICY: &str = "version: 1\ndefault_policy: test\npolicies:\n  test:\n    on_moderation_failure: \
                      fail_closed\n    input: {categories: {}}\n    output:\n      mode: windowed\n      categories:\n        toxicity: {block: 0.9}\n";

pub(crate) async fn run(per_token: Duration, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let upstream = ScriptedText { pace: PACE }.start().await?;
    let moderation = ScriptedModeration.start().await?;
    let sandbox = Sandbox::builder()
        .policy(POLICY)
        .text(upstream.endpoint())
        .moderation(moderation.endpoint())
        .start()
        .await?;
    let mut turns = Vec::new();
    for turn in 0..=rounds {
        let before = processor_time()?;
        try_join_all((0..STREAMS).map(|_| direct(&sandbox))).await?;
        let between = processor_time()?;
        try_join_all((0..STREAMS).map(|_| through(&sandbox))).await?;
        let (direct, through) = (between - before, processor_time()? - between);
        let added = through.saturating_sub(direct) / (STREAMS as u32 * TOKENS);
        if turn > 0 {
            turns.push((added.as_secs_f64() * 1e6, per_token.as_secs_f64() * 1e6));
        }
    }
    report.add("gateway: processor time per token vs its decode time, us", turns, Goal::AtMost(0.05));
    Ok(())
}

async fn direct(sandbox: &Sandbox) -> anyhow::Result<()> {
    let request =
        text::StreamGenerateRequest { prompt: "go".into(), generation: Some(tokens()), ..Default::default() };
    let mut stream = sandbox.clients.text.clone().stream_generate(request).await?.into_inner();
    while stream.message().await?.is_some() {}
    Ok(())
}

async fn through(sandbox: &Sandbox) -> anyhow::Result<()> {
    let request = gateway::StreamGenerateRequest {
        prompt: "go".into(),
        generation: Some(tokens()),
        ..Default::default()
    };
    let mut stream = sandbox.clients.gateway.clone().stream_generate(request).await?.into_inner();
    let mut written = 0;
    while let Some(event) = stream.message().await? {
        if let Some(gateway::stream_generate_response::Event::Delta(delta)) = event.event {
            written += delta.text.len();
        }
    }
    anyhow::ensure!(written == TOKENS as usize * "harbour ".len(), "all text arrives");
    Ok(())
}

fn tokens() -> text::GenerationConfig {
    text::GenerationConfig { max_tokens: Some(TOKENS), ..Default::default() }
}

/// Time that all threads of this process have run, to the nanosecond (`/proc/self/task/*/schedstat`).
fn processor_time() -> anyhow::Result<Duration> {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += stat.split(' ').next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(sum))
}
