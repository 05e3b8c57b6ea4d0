//! Text classification through the moderation service against the bare encoder.

use std::time::Instant;

use anyhow::Context as _;
use atelier_inference::{Model, ModelStore, RunControl, Runtime, SessionConfig, Tensor, home};
use atelier_proto::moderation::v1::{
    FollowTextRequest, ModerateTextRequest, TextItem, moderation_service_client::ModerationServiceClient,
};
use atelier_tests::Running;
use futures::{channel::mpsc, future::try_join_all};
use tokenizers::Tokenizer;
use tonic::transport::Channel;

use crate::report::{Goal, Report, median};

/// Texts of one turn at saturation.
const TEXTS: usize = 256;
/// Texts of one request at saturation; so many requests are in flight at once.
const TEXTS_PER_REQUEST: usize = 32;
/// Single calls of one turn when idle.
const SINGLES: usize = 40;

/// Texts in the one that is followed.
const FOLLOWED: usize = 24;
/// Bytes that are written before the next verdict is waited for: each step is judged by itself, which costs most.
const STEP: usize = 384;

/// Texts of 6 to 110 tokens, long and short ones in turn.
fn mixed() -> Vec<String> {
    let words: Vec<String> = texts().concat().split(' ').map(str::to_owned).collect();
    (0..TEXTS).map(|n| words[n * 5..][..3 + n * 37 % 80].join(" ")).collect()
}

/// About 64 tokens, all different.
fn texts() -> Vec<String> {
    let sentence = "the harbour was quiet in the morning, the boats lay still, and a man sold bread and oranges to people \
                    who came down the hill to see whether the ferry from the other side of the bay had already arrived";
    (0..TEXTS).map(|n| format!("On day {n} of the journey {sentence}, which it had not.")).collect()
}

struct Raw {
    model: Model,
    tokenizer: Tokenizer,
}

impl Raw {
    /// Encodes texts whose tokens are known already, so that only model runs are timed.
    fn run(&mut self, batch: &[Vec<i64>]) -> anyhow::Result<()> {
        let width = batch.iter().map(Vec::len).max().context("texts")?;
        let mut ids = vec![1i64; batch.len() * width];
        let mut mask = vec![0i64; batch.len() * width];
        for (row, tokens) in batch.iter().enumerate() {
            ids[row * width..][..tokens.len()].copy_from_slice(tokens);
            mask[row * width..][..tokens.len()].fill(1);
        }
        let shape = vec![batch.len(), width];
        let tensor =
            |values| anyhow::Ok(Tensor::I64(ndarray::ArrayD::from_shape_vec(shape.clone(), values)?));
        let inputs = [("input_ids", tensor(ids)?), ("attention_mask", tensor(mask)?)];
        self.model.run(&inputs, &["sentence_embedding"], &RunControl::new())?;
        Ok(())
    }

    fn tokens(&self, text: &str) -> anyhow::Result<Vec<i64>> {
        let encoding =
            self.tokenizer.encode(format!("query: {text}"), true).map_err(anyhow::Error::from_boxed)?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }
}

pub(crate) async fn run(onnx: &Runtime, rounds: usize, report: &mut Report) -> anyhow::Result<()> {
    let folder = ModelStore::new(home().join("models")).open("moderation-encoder")?;
    let mut raw = Raw {
        model: Model::load(onnx, &folder, &SessionConfig::default())?,
        tokenizer: Tokenizer::from_file(folder.file("tokenizer.json")?).map_err(anyhow::Error::from_boxed)?,
    };
    let moderation = Running::moderation(atelier_moderation::Config::default()).await?;
    let client = ModerationServiceClient::new(moderation.channel());
    let texts = texts();
    let tokens = texts.iter().map(|text| raw.tokens(text)).collect::<anyhow::Result<Vec<_>>>()?;

    let mixed = mixed();
    let mut mixed_tokens = mixed.iter().map(|text| raw.tokens(text)).collect::<anyhow::Result<Vec<_>>>()?;
    mixed_tokens.sort_by_key(Vec::len);
    let whole = texts.iter().take(FOLLOWED).map(String::as_str).collect::<Vec<_>>().join(" ");

    let (mut saturated, mut idle) = (Vec::new(), Vec::new());
    let (mut unlike, mut followed) = (Vec::new(), Vec::new());
    for turn in 0..=rounds {
        // The best batch size of the bare model, whichever it is.
        let mut best = 0f64;
        for size in [1, 4, 8, 16, 32] {
            let start = Instant::now();
            tokens.chunks(size).try_for_each(|batch| raw.run(batch))?;
            best = best.max(TEXTS as f64 / start.elapsed().as_secs_f64());
        }
        let start = Instant::now();
        try_join_all(texts.chunks(TEXTS_PER_REQUEST).map(|batch| moderate(&client, batch))).await?;
        let through = TEXTS as f64 / start.elapsed().as_secs_f64();

        let (mut alone, mut served) = (Vec::new(), Vec::new());
        for (text, tokens) in texts.iter().zip(&tokens).take(SINGLES) {
            let start = Instant::now();
            raw.run(std::slice::from_ref(tokens))?;
            alone.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            moderate(&client, std::slice::from_ref(text)).await?;
            served.push(start.elapsed().as_secs_f64() * 1e3);
        }
        // Sorted by length, the bare model pads next to nothing.
        let start = Instant::now();
        mixed_tokens.chunks(8).try_for_each(|batch| raw.run(batch))?;
        let sorted = TEXTS as f64 / start.elapsed().as_secs_f64();
        let start = Instant::now();
        try_join_all(mixed.chunks(TEXTS_PER_REQUEST).map(|batch| moderate(&client, batch))).await?;
        let served_mixed = TEXTS as f64 / start.elapsed().as_secs_f64();

        let start = Instant::now();
        moderate(&client, std::slice::from_ref(&whole)).await?;
        let once = start.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        follow(&client, &whole).await?;
        let step_by_step = start.elapsed().as_secs_f64() * 1e3;
        if turn > 0 {
            saturated.push((through, best));
            idle.push((median(served), median(alone)));
            unlike.push((served_mixed, sorted));
            followed.push((step_by_step, once));
        }
    }
    report.add("classify, saturated: service vs best raw batch, texts/s", saturated, Goal::AtLeast(0.95));
    report.add("classify, idle: p50 of service vs raw run, ms", idle, Goal::AtMost(1.15));
    report.add(
        "classify, lengths 6 to 110: service vs sorted raw batches, texts/s",
        unlike,
        Goal::AtLeast(0.90),
    );
    report.add("classify, growing text: step by step vs once, ms", followed, Goal::AtMost(1.3));
    moderation.drain();
    moderation.ended().await
}

async fn moderate(client: &ModerationServiceClient<Channel>, texts: &[String]) -> anyhow::Result<()> {
    let items = texts.iter().map(|text| TextItem { id: String::new(), text: text.clone() }).collect();
    let request = ModerateTextRequest { items, ..Default::default() };
    let answer = client.clone().moderate_text(request).await?.into_inner();
    anyhow::ensure!(answer.results.len() == texts.len());
    Ok(())
}

/// Writes a text step by step, waiting for the verdict on each.
async fn follow(client: &ModerationServiceClient<Channel>, text: &str) -> anyhow::Result<()> {
    let (write, written) = mpsc::unbounded();
    let mut verdicts = client.clone().follow_text(written).await?.into_inner();
    let mut sent = 0;
    for piece in text.as_bytes().chunks(STEP) {
        sent += piece.len();
        let text = String::from_utf8(piece.to_vec())?;
        write.unbounded_send(FollowTextRequest { text, flush: true, ..Default::default() })?;
        let verdict = verdicts.message().await?.context("a verdict")?;
        anyhow::ensure!(verdict.end_byte == sent as u64);
    }
    drop(write);
    anyhow::ensure!(verdicts.message().await?.is_none());
    Ok(())
}
