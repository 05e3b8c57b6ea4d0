//! The API definitions: style, and no change that breaks a caller, both judged by buf from npm.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;

use crate::{
    command::{capture, is_installed},
    paths::{Home, workspace},
};

/// The version of `@bufbuild/buf` that judges; its rules change between versions.
const BUF_VERSION: &str = "1.75.0";

/// The API as it was last agreed on, relative to the checkout. Committed.
const IMAGE: &str = "proto/atelier.binpb";

/// What to do with the definitions.
#[derive(Subcommand)]
pub(crate) enum Task {
    /// Makes the definitions as they are the ones that later changes must not break.
    Freeze,
}

/// Runs one task.
pub(crate) fn run(task: &Task) -> Result<ExitCode> {
    let buf = Buf::ensure(&Home::of_user()?)?.context("npm is not installed: it brings buf")?;
    match task {
        Task::Freeze => buf.freeze()?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The program, installed in the cache.
pub(crate) struct Buf(PathBuf);

impl Buf {
    /// Installs it if need be; `None` where there is no npm.
    pub(crate) fn ensure(home: &Home) -> Result<Option<Self>> {
        let folder = home.tools().join(format!("buf-{BUF_VERSION}"));
        let buf = Self(folder.join("node_modules/.bin/buf"));
        if capture(buf.command().arg("--version")).is_ok_and(|said| said.trim() == BUF_VERSION) {
            return Ok(Some(buf));
        }
        if !is_installed("npm") {
            return Ok(None);
        }
        fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
        let mut install = Command::new("npm");
        install.args(["install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]);
        capture(install.arg(&folder).arg(format!("@bufbuild/buf@{BUF_VERSION}")))?;
        Ok(Some(buf))
    }

    /// Style, as `proto/buf.yaml` says.
    pub(crate) fn lint(&self) -> Result<()> {
        capture(self.command().args(["lint", "proto"])).map(drop)
    }

    /// Changes since the API was frozen that would break a caller.
    pub(crate) fn breaking(&self) -> Result<()> {
        ensure!(
            Path::new(&workspace()).join(IMAGE).is_file(),
            "{IMAGE} is missing: `cargo xtask proto freeze` makes it"
        );
        capture(self.command().args(["breaking", "proto", "--against", IMAGE])).map(drop)
    }

    fn freeze(&self) -> Result<()> {
        capture(self.command().args(["build", "proto", "--exclude-source-info", "--output", IMAGE])).map(drop)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.current_dir(workspace());
        command
    }
}
