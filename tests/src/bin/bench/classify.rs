//! Text classification through the moderation service against the bare encoder.

use std::time::Instant;

use anyhow::Context as _;
use atelier_inference::{Model, ModelStore, RunControl, Runtime, SessionConfig, Tensor, home};
use atelier_proto::moderation::v1::{
    ModerateTextRequest, TextItem, moderation_service_client::ModerationServiceClient,
};
use atelier_tests::Running;
use futures::future::try_join_all;
use tokenizers::Tokenizer;
use tonic::transport::Channel;

use crate::report::{Goal, Report, median};

/// Texts of one turn at saturation.
const TEXTS: usize = 128;
/// Texts of one request at saturation; so many requests are in flight at once.
const TEXTS_PER_REQUEST: usize = 32;
/// Single calls of one turn when idle.
const SINGLES: usize = 40;
/// Texts in one run of the bare model; the best of them is what the service is measured by.
const RUN_SIZES: [usize; 6] = [1, 2, 4, 8, 16, 32];

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

/// Texts a second of the bare model, for each size of a run, over all turns.
#[derive(Default)]
struct BySize([Vec<f64>; RUN_SIZES.len()]);

impl BySize {
    /// Runs texts in parts of each size. The best figure of this turn.
    fn turn(&mut self, raw: &mut Raw, tokens: &[Vec<i64>]) -> anyhow::Result<f64> {
        let mut best = 0f64;
        for (size, figures) in RUN_SIZES.into_iter().zip(&mut self.0) {
            let start = Instant::now();
            tokens.chunks(size).try_for_each(|batch| raw.run(batch))?;
            let figure = tokens.len() as f64 / start.elapsed().as_secs_f64();
            figures.push(figure);
            best = best.max(figure);
        }
        Ok(best)
    }

    fn line(self, name: &str) -> String {
        let figures = self.0.map(|figures| format!("{:>8.1}", median(figures)));
        format!("{name:<40}{}", figures.concat())
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
    let (texts, mixed) = (texts(), mixed());
    let tokens = texts.iter().map(|text| raw.tokens(text)).collect::<anyhow::Result<Vec<_>>>()?;
    // Sorted by length, the bare model pads next to nothing.
    let mut sorted = mixed.iter().map(|text| raw.tokens(text)).collect::<anyhow::Result<Vec<_>>>()?;
    sorted.sort_by_key(Vec::len);

    let (mut alike, mut unlike) = (BySize::default(), BySize::default());
    let (mut saturated, mut idle, mut padded) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..=rounds {
        let best = alike.turn(&mut raw, &tokens)?;
        let served = saturate(&client, &texts).await?;
        let best_sorted = unlike.turn(&mut raw, &sorted)?;
        let served_mixed = saturate(&client, &mixed).await?;

        let (mut alone, mut single) = (Vec::new(), Vec::new());
        for (text, tokens) in texts.iter().zip(&tokens).take(SINGLES) {
            let start = Instant::now();
            raw.run(std::slice::from_ref(tokens))?;
            alone.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            moderate(&client, std::slice::from_ref(text)).await?;
            single.push(start.elapsed().as_secs_f64() * 1e3);
        }
        // The first turn warms up.
        if turn > 0 {
            saturated.push((served, best));
            idle.push((median(single), median(alone)));
            padded.push((served_mixed, best_sorted));
        }
    }
    report.add("classify, saturated: service vs best raw runs, texts/s", saturated, Goal::AtLeast(0.95));
    report.add("classify, idle, 64 tokens: p50 of service vs raw run, ms", idle, Goal::AtMost(1.15));
    report.add("classify, 6 to 110 tokens: vs best raw runs, sorted, texts/s", padded, Goal::AtLeast(0.90));
    let sizes = RUN_SIZES.map(|size| format!("{size:>8}")).concat();
    let name = "raw runs, texts/s, by texts in a run";
    let lines = [alike.line("  64 tokens each"), unlike.line("  6 to 110 tokens, sorted")];
    report.note(format!("{name:<40}{sizes}\n{}", lines.join("\n")));
    moderation.drain();
    moderation.ended().await
}

/// Texts a second with several requests in flight.
async fn saturate(client: &ModerationServiceClient<Channel>, texts: &[String]) -> anyhow::Result<f64> {
    let start = Instant::now();
    try_join_all(texts.chunks(TEXTS_PER_REQUEST).map(|batch| moderate(client, batch))).await?;
    Ok(texts.len() as f64 / start.elapsed().as_secs_f64())
}

/// Measures texts in one request.
pub(crate) async fn moderate(
    client: &ModerationServiceClient<Channel>,
    texts: &[String],
) -> anyhow::Result<()> {
    let items = texts.iter().map(|text| TextItem { id: String::new(), text: text.clone() }).collect();
    let request = ModerateTextRequest { items, ..Default::default() };
    let answer = client.clone().moderate_text(request).await?.into_inner();
    anyhow::ensure!(answer.results.len() == texts.len());
    Ok(())
}
