//! `cargo xtask parity`: our arithmetic beside the numbers of a reference implementation.

mod schedulers;

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().part {
        Part::Schedulers { folder } => schedulers::check(&folder),
    }
}
