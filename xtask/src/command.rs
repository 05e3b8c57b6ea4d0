//! Running other programs: quietly, with what they said kept for when they fail.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The cargo that started us.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(crate::paths::workspace());
    cargo
}

/// The command that builds every binary of the product, with one set of features for all of them.
pub(crate) fn build_binaries(release: bool) -> Command {
    let mut build = cargo();
    build.args(["build", "--locked", "--workspace", "--exclude", "xtask", "--bins"]);
    if release {
        build.arg("--release");
    }
    build
}

/// The command that builds what the tests run, the services' binaries among it, with clippy in place of rustc for our own
/// crates: a check apart from the build would read every dependency a second time. After the tests there is nothing left
/// to build, where [`build_binaries`] would build crates anew that have other features in tests.
pub(crate) fn build_tests() -> Command {
    let mut build = run_tests();
    build.args(["--no-run", "--lib", "--bins", "--tests", "--examples"]);
    build
}

/// `cargo test` of all our crates, as [`build_tests`] builds them.
pub(crate) fn run_tests() -> Command {
    let mut test = cargo();
    test.args(["test", "--locked", "--quiet", "--workspace"]);
    // What `cargo clippy -- -D warnings` sets for `cargo check`.
    test.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver").env("CLIPPY_ARGS", "-Dwarnings");
    test
}

/// The folder that cargo builds binaries into.
pub(crate) fn binaries(release: bool) -> Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version=1", "--locked", "--quiet"]);
    let metadata: Metadata = serde_json::from_str(&capture(&mut metadata)?).context("cargo metadata")?;
    Ok(metadata.target_directory.join(if release { "release" } else { "debug" }))
}

/// Whether a program is on the PATH.
pub(crate) fn is_installed(program: impl AsRef<OsStr>) -> bool {
    let found = |folder: &Path| folder.join(Path::new(program.as_ref())).is_file();
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| found(&folder)))
}

/// Runs to the end and returns what was printed on both streams, standard output first.
///
/// # Errors
/// When the program can't be started, and when it fails: then the error is what it said.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("could not start {name}"))?;
    let said = said(&output);
    if !output.status.success() {
        bail!("{name} failed ({})\n{}", output.status, said.trim_end());
    }
    Ok(said)
}

/// Everything a program printed.
fn said(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    text
}
