//! How long it takes to read the text in pictures, on one thread: `cargo run -p atelier-moderation --example ocr
//! PICTURE...`

use std::{
    env, fs,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use atelier_core::{CategoryId, TenantId};
use atelier_inference::{RuntimeConfig, Ticket};
use atelier_moderation::{Config, call::Call, categories::CategorySet, load, moderator::Picture};
use bytes::Bytes;

/// The best of so many runs: other work on the machine only makes it longer.
const RUNS: usize = 5;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = Config {
        runtime: RuntimeConfig { intra_op_threads: 1, ..RuntimeConfig::default() },
        ..Config::default()
    };
    config.detectors.retain(|detector| detector.kind == "ocr");
    let moderator = load(&config)?;
    let call = Call::new(Ticket { deadline: None, tenant: TenantId::default_tenant() }, 1);
    // Rules alone, which take no time to speak of.
    let asked = CategorySet::from_iter([CategoryId::Secrets]);
    for path in env::args().skip(1) {
        let data = Bytes::from(fs::read(&path).with_context(|| path.clone())?);
        let picture = Picture { data, ..Picture::default() };
        let (mut best, mut lines) = (Duration::MAX, 0);
        for _ in 0..RUNS {
            let start = Instant::now();
            let result = moderator.score_image(picture.clone(), asked, &call).await?;
            best = best.min(start.elapsed());
            lines = result.read_text.unwrap_or_default().lines().count();
        }
        println!("{path}: {:.0} ms, {lines} lines", best.as_secs_f64() * 1e3);
    }
    Ok(())
}
