//! What fetches and converts: the catalogue's scripts and the Python environment they run in.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    paths::Home,
    python::{Environment, Requirements},
};

/// The scripts, ready to run.
#[derive(Debug)]
pub(crate) struct Tools {
    environment: Environment,
    scripts: PathBuf,
}

impl Tools {
    /// Makes the environment if it is not there yet. Only while holding the cache's lock.
    pub(crate) fn ensure(home: &Home, catalogue: &Path) -> Result<Self> {
        let scripts = catalogue.join("convert");
        let requirements = [
            Requirements { file: scripts.join("requirements-pip.txt"), options: &[] },
            Requirements {
                file: scripts.join("requirements.txt"),
                options: &["--no-deps", "--only-binary=:all:"],
            },
        ];
        Ok(Self { environment: Environment::ensure(home, "python", &requirements)?, scripts })
    }

    /// A command that runs one of our scripts.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = self.environment.python();
        command.arg(self.scripts.join(name));
        command
    }
}
