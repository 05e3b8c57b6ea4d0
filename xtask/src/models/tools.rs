//! A private Python environment in the cache, for fetching and converting.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{
    command::{capture, is_installed},
    paths::Home,
};

/// The oldest Python that the pinned converters run on.
const OLDEST_PYTHON: (u32, u32) = (3, 11);

/// Written last, so that an interrupted installation isn't taken for a whole one.
const COMPLETE: &str = ".complete";

/// The environment, ready for use.
#[derive(Debug)]
pub(crate) struct Tools {
    python: PathBuf,
    scripts: PathBuf,
}

impl Tools {
    /// Makes the environment if this version of it is not there yet. Only while holding the cache's lock.
    pub(crate) fn ensure(home: &Home, catalogue: &Path) -> Result<Self> {
        let scripts = catalogue.join("convert");
        let pins = [scripts.join("requirements-pip.txt"), scripts.join("requirements.txt")];
        let mut hash = Sha256::new();
        for pin in &pins {
            hash.update(fs::read(pin).with_context(|| format!("could not read {}", pin.display()))?);
        }
        let folder = home.tools().join(format!("python-{}", &hex::encode(hash.finalize())[..8]));
        let tools = Self { python: folder.join("bin/python"), scripts };
        if folder.join(COMPLETE).exists() && capture(tools.python().arg("--version")).is_ok() {
            return Ok(tools);
        }
        eprintln!("making a private Python environment in {}", folder.display());
        create(&folder)?;
        for (pin, extra) in pins.iter().zip([&[][..], &["--no-deps", "--only-binary=:all:"]]) {
            let mut install = tools.python();
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            capture(install.args(extra).arg("--requirement").arg(pin))
                .context("could not install the converters")?;
        }
        fs::write(folder.join(COMPLETE), "")?;
        Ok(tools)
    }

    /// A command that runs one of our scripts.
    pub(crate) fn script(&self, name: &str) -> Command {
        let mut command = self.python();
        command.arg(self.scripts.join(name));
        command
    }

    fn python(&self) -> Command {
        let mut command = Command::new(&self.python);
        // A user's own Python set-up must not reach into this environment, nor leave files in the checkout.
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// An empty environment in place of whatever is at `folder`.
fn create(folder: &Path) -> Result<()> {
    let python = env::var_os("ATELIER_PYTHON").unwrap_or_else(|| "python3".into());
    ensure!(
        is_installed(&python),
        "{} is not on the PATH: install Python {}.{} or newer, or name one in ATELIER_PYTHON",
        python.display(),
        OLDEST_PYTHON.0,
        OLDEST_PYTHON.1
    );
    let code = format!("import sys; sys.exit(sys.version_info < {OLDEST_PYTHON:?})");
    capture(Command::new(&python).args(["-c", &code])).with_context(|| {
        format!("{} is older than Python {}.{}", python.display(), OLDEST_PYTHON.0, OLDEST_PYTHON.1)
    })?;
    capture(Command::new(&python).args(["-m", "venv", "--clear"]).arg(folder)).context(
        "could not make a virtual environment (on Debian and Ubuntu it needs the package python3-venv)",
    )?;
    Ok(())
}
