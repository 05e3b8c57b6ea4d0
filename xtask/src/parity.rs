//! `cargo xtask parity`: our arithmetic beside a reference implementation's numbers.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::command::{binaries, build_binaries, capture};

/// Options of the parity check, passed on as they are.
#[derive(Args)]
pub(crate) struct Options {
    /// What to compare and with what: `schedulers DIR`, or `pipeline MODEL_DIR EXPECTED.npz`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    arguments: Vec<String>,
}

/// Builds the check and runs it where we were called.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    capture(&mut build_binaries(false))?;
    let parity = binaries(false)?.join("parity");
    let status = Command::new(&parity)
        .args(&options.arguments)
        .status()
        .with_context(|| format!("could not start {}", parity.display()))?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
