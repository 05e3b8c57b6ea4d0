//! `cargo xtask bench`: measures the services beside the bare model loop, in an optimised build.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    command::cargo,
    models::{Selection, pull},
    paths::Home,
};

/// Options of the bench, passed on as they are.
#[derive(Args)]
pub(crate) struct Options {
    /// Arguments of the bench, for example `--json FILE`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Fetches the models it needs and runs it.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    pull(&Home::of_user()?, &Selection::Default)?;
    let mut bench = cargo();
    bench.args([
        "run",
        "--locked",
        "--release",
        "--quiet",
        "--package",
        "atelier-tests",
        "--bin",
        "bench",
        "--",
    ]);
    let status = bench.args(&options.arguments).status()?;
    ensure!(status.success(), "the bench failed ({status})");
    Ok(ExitCode::SUCCESS)
}
