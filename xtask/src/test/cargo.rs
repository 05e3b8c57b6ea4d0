//! The checks that cargo runs.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use super::{Context, Outcome, summary::Counts};
use crate::command::{build_tests, capture, cargo, run_tests};

/// rustfmt agrees with every file.
pub(super) fn formatting(_: &Context) -> Result<Outcome> {
    capture(cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Outcome::Passed)
}

/// Clippy has nothing to say about any target: it is the compiler of what the tests run.
pub(super) fn build_and_clippy(_: &Context) -> Result<Outcome> {
    capture(&mut build_tests())?;
    Ok(Outcome::Passed)
}

/// All tests of all crates. Cargo's own runner: it runs a crate's tests in one process, where a model is loaded once for
/// all of them.
pub(super) fn tests(_: &Context) -> Result<Outcome> {
    let (mut counts, mut log) = (Counts::default(), String::new());
    for targets in [&["--lib", "--bins", "--tests"][..], &["--doc"]] {
        let output = run_tests().arg("--no-fail-fast").args(targets).stdin(Stdio::null()).output();
        let output = output.context("could not start cargo test")?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        let ran = Counts::sum(&stdout);
        log += &format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
        // Without a failed test, what failed is the build or a process that died.
        if !output.status.success() && ran.failed == 0 {
            bail!("{}", log.trim_end());
        }
        counts += ran;
    }
    Ok(Outcome::Tested { counts, log })
}
