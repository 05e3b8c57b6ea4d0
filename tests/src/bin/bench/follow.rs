//! A text that is judged while it grows against the same text judged once: tokens that the model reads, and time.

use std::{ops::Range, time::Instant};

use anyhow::Context as _;
use atelier_inference::{ModelStore, home};
use atelier_moderation::text::{Tokenizer, WindowShape};
use atelier_proto::moderation::v1::{FollowTextRequest, moderation_service_client::ModerationServiceClient};
use atelier_tests::Running;
use futures::channel::mpsc;
use tonic::transport::Channel;

use crate::{
    classify::moderate,
    report::{Goal, Report},
};

/// Bytes of a text.
const BYTES: usize = 6 << 10;
/// Bytes that are written and flushed at once: a token, part of a sentence, as much as the service judges at once.
const FLUSHES: [usize; 3] = [6, 64, 384];

/// Ordinary prose; the number keeps its sentences apart.
fn texts() -> [(&'static str, String); 2] {
    let english = |n| {
        format!(
            "On day {n} the harbour was quiet, the boats lay still, and a man sold bread and oranges to people who came down \
             the hill to see whether the ferry from the other side had already arrived. "
        )
    };
    let chinese = |n| {
        format!(
            "第{n}天港口很安静，船都停着不动，一个男人在卖面包和橙子，人们从山上走下来，想看看对岸的渡轮是不是已经到了。"
        )
    };
    let whole = |sentence: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        (0..)
            .take_while(|n| {
                text.push_str(&sentence(*n));
                text.len() < BYTES
            })
            .for_each(drop);
        text
    };
    [("English", whole(&english)), ("Chinese", whole(&chinese))]
}

/// Counts what the model reads.
struct Meter {
    tokenizer: Tokenizer,
    shape: WindowShape,
}

impl Meter {
    fn load() -> anyhow::Result<Self> {
        let folder = ModelStore::new(home().join("models")).open("moderation-encoder")?;
        let tokenizer = Tokenizer::load(&folder.file("tokenizer.json")?, "query: ", 1)?;
        let settings = atelier_moderation::Config::default().text;
        let content = settings.window_tokens - tokenizer.frame().tokens();
        let shape = WindowShape::new(content, settings.overlap_tokens).context("windows with room")?;
        Ok(Self { tokenizer, shape })
    }

    async fn read(&self, text: &str) -> anyhow::Result<f64> {
        let tokens = self.tokenizer.tokens(text).await?.ids().len();
        let windows = self.shape.ranges(tokens).map(|window| window.len() + self.tokenizer.frame().tokens());
        Ok(windows.sum::<usize>() as f64)
    }
}

pub(crate) async fn run(rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let meter = Meter::load()?;
    let moderation = Running::moderation(atelier_moderation::Config::default()).await?;
    let client = ModerationServiceClient::new(moderation.channel());
    for (language, text) in texts() {
        let mut times = FLUSHES.map(|_| Vec::new());
        let mut tokens = FLUSHES.map(|_| Vec::new());
        for turn in 0..=rounds {
            let start = Instant::now();
            moderate(&client, std::slice::from_ref(&text)).await?;
            let once = start.elapsed().as_secs_f64() * 1e3;
            for (n, bytes) in FLUSHES.into_iter().enumerate() {
                let start = Instant::now();
                let parts = follow(&client, &text, bytes).await?;
                let grown = start.elapsed().as_secs_f64() * 1e3;
                if turn == 0 {
                    continue;
                }
                times[n].push((grown, once));
                let mut read = 0.0;
                for part in parts {
                    read += meter.read(text.get(part).context("a part between characters")?).await?;
                }
                tokens[n].push((read, meter.read(&text).await?));
            }
        }
        for ((bytes, times), tokens) in FLUSHES.into_iter().zip(times).zip(tokens) {
            let name = format!("growing text, {language}, flushed each {bytes} bytes");
            report.add(&format!("{name}: vs once, ms"), times, Goal::AtMost(1.3));
            report.add(&format!("{name}: vs once, tokens read"), tokens, Goal::AtMost(1.3));
        }
    }
    moderation.drain();
    moderation.ended().await
}

/// Writes a text in flushed pieces, as fast as it is judged and no faster: each step waits for its verdict, so that the service
/// never has more than a step to judge at once, which costs most. The parts that it judged.
async fn follow(
    client: &ModerationServiceClient<Channel>,
    text: &str,
    bytes: usize,
) -> anyhow::Result<Vec<Range<usize>>> {
    let step = atelier_moderation::Config::default().text.step_bytes;
    let (write, written) = mpsc::unbounded();
    let mut verdicts = client.clone().follow_text(written).await?.into_inner();
    let (mut sent, mut parts, mut judged) = (0, Vec::new(), 0);
    while sent < text.len() {
        let end = text.ceil_char_boundary((sent + bytes).min(text.len()));
        let piece = text[sent..end].to_owned();
        write.unbounded_send(FollowTextRequest { text: piece, flush: true, ..Default::default() })?;
        sent = end;
        while sent - judged >= step {
            let verdict = verdicts.message().await?.context("a verdict")?;
            judged = usize::try_from(verdict.end_byte)?;
            parts.push(usize::try_from(verdict.start_byte)?..judged);
        }
    }
    drop(write);
    while let Some(verdict) = verdicts.message().await? {
        judged = usize::try_from(verdict.end_byte)?;
        parts.push(usize::try_from(verdict.start_byte)?..judged);
    }
    anyhow::ensure!(judged == text.len(), "judged to {judged}");
    Ok(parts)
}
