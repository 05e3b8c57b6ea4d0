//! `cargo xtask parity`: our arithmetic beside the numbers of a reference implementation.

mod numbers;
mod pipeline;
mod schedulers;
mod sets;
mod words;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Schedulers: `<name>.config.json`, `<name>_s<steps>_g<guidance>.npz` and `common.npz` in a folder.
    Schedulers {
        /// The folder.
        folder: PathBuf,
    },
    /// Whole pipelines: the sets of an archive, with `common.npz` and `<scheduler>.config.json` beside it if there are any.
    Pipeline {
        /// The model's folder.
        model: PathBuf,
        /// What the reference made of it.
        expected: PathBuf,
        /// Where the models are that the folder names instead of holding them; default: the usual store.
        #[arg(long)]
        store: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().part {
        Part::Schedulers { folder } => schedulers::check(&folder),
        Part::Pipeline { model, expected, store } => pipeline::check(&model, &expected, store.as_deref()),
    }
}
