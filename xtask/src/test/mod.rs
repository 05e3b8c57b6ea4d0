//! `cargo xtask test`: every check there is, in the order in which failures are cheapest to find.
//!
//! A new check is a function from [`Context`] to [`Outcome`] and a line in [`STEPS`].

mod cargo;
mod deploy;
mod summary;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{
    models::{Selection, pull, test_tools},
    paths::Home,
    proto::Buf,
};

use summary::Counts;

/// Which checks to run.
#[derive(Args)]
pub(crate) struct Options {
    /// Only these groups of checks. Models are fetched with `rust`.
    #[arg(long, value_enum)]
    only: Vec<Group>,
}

/// Checks that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Formatting and clippy.
    Lint,
    /// The API definitions.
    Proto,
    /// The tests of all crates and of the model tools, with real models.
    Rust,
    /// What is deployed: chart, images, example files.
    Deploy,
}

/// What every check can use.
pub(crate) struct Context {
    pub(crate) home: Home,
}

/// How a check ended, unless it failed; then it is an error whose text is the whole log.
pub(crate) enum Outcome {
    Passed,
    /// A run of tests, with its counts; failures among them fail the check.
    Tested {
        counts: Counts,
        log: String,
    },
    /// It can't run on this machine, for this reason.
    Skipped(String),
}

struct Step {
    group: Group,
    name: &'static str,
    run: fn(&Context) -> Result<Outcome>,
}

const STEPS: &[Step] = &[
    Step { group: Group::Lint, name: "formatting", run: cargo::formatting },
    Step { group: Group::Proto, name: "API style", run: |context| with_buf(context, Buf::lint) },
    Step { group: Group::Proto, name: "API compatibility", run: |context| with_buf(context, Buf::breaking) },
    Step { group: Group::Rust, name: "models", run: models },
    Step { group: Group::Rust, name: "model tools", run: model_tools },
    Step { group: Group::Lint, name: "build and clippy", run: cargo::build_and_clippy },
    Step { group: Group::Rust, name: "tests", run: cargo::tests },
    Step { group: Group::Deploy, name: "chart", run: deploy::chart },
    Step { group: Group::Deploy, name: "chart configuration", run: deploy::chart_configuration },
    Step { group: Group::Deploy, name: "Dockerfile", run: deploy::dockerfile },
];

/// Runs the checks, prints a line for each and the log of those that failed, and last the sum of all tests.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let context = Context { home: Home::of_user()? };
    let wanted = |step: &&Step| options.only.is_empty() || options.only.contains(&step.group);
    let started = Instant::now();
    let mut total = Counts::default();
    for step in STEPS.iter().filter(wanted) {
        total += report(step, &context);
    }
    println!("\n{}", total.line(started.elapsed()));
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one check and prints how it went; a check without tests of its own counts as one.
fn report(step: &Step, context: &Context) -> Counts {
    // Before it runs: some take minutes, and a reader should know which.
    print!("{:20} ", step.name);
    io::stdout().flush().ok();
    let started = Instant::now();
    let outcome = (step.run)(context);
    let took = Took(started.elapsed());
    match outcome {
        Ok(Outcome::Passed) => {
            println!("ok ({took})");
            Counts { passed: 1, ..Counts::default() }
        }
        Ok(Outcome::Skipped(reason)) => {
            println!("skipped: {reason}");
            Counts { ignored: 1, ..Counts::default() }
        }
        Ok(Outcome::Tested { counts, .. }) if counts.failed == 0 => {
            println!("ok, {} passed ({took})", counts.passed);
            counts
        }
        Ok(Outcome::Tested { counts, log }) => {
            println!("FAILED, {} of {} ({took})\n{log}", counts.failed, counts.failed + counts.passed);
            counts
        }
        Err(error) => {
            println!("FAILED ({took})\n{error:#}");
            Counts { failed: 1, ..Counts::default() }
        }
    }
}

fn models(context: &Context) -> Result<Outcome> {
    pull(&context.home, &Selection::Test)?;
    Ok(Outcome::Passed)
}

fn model_tools(context: &Context) -> Result<Outcome> {
    test_tools(&context.home)?;
    Ok(Outcome::Passed)
}

fn with_buf(context: &Context, check: fn(&Buf) -> Result<()>) -> Result<Outcome> {
    let Some(buf) = Buf::ensure(&context.home)? else {
        return Ok(Outcome::Skipped("npm, which brings buf, is not installed".to_owned()));
    };
    check(&buf)?;
    Ok(Outcome::Passed)
}

/// A duration for people.
struct Took(Duration);

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} s", self.0.as_secs_f64())
    }
}
