//! Development tasks: `cargo xtask up | test | bench | parity | models | proto`.
//!
//! Light on purpose: it is built before anything else, so it depends on no crate of the workspace.

mod bench;
mod command;
mod models;
mod parity;
mod paths;
mod proto;
mod python;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Atelier's development tasks.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Fetches what is missing, builds, starts everything in one process and prints a call to paste.
    Up(up::Options),
    /// Runs every check: models, formatting, API, lints, tests, deployment files.
    Test(test::Options),
    /// Measures the services against the bare model loop.
    Bench(bench::Options),
    /// Compares our arithmetic with the numbers of a reference implementation.
    Parity(parity::Options),
    /// Lists, installs and verifies models.
    #[command(subcommand)]
    Models(models::Task),
    /// Looks after the API definitions.
    #[command(subcommand)]
    Proto(proto::Task),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Up(options) => up::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Parity(options) => parity::run(&options),
        Task::Models(task) => models::run(&task),
        Task::Proto(task) => proto::run(&task),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
