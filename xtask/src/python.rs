//! Private Python environments in the cache, for what is fetched, converted and checked with Python's packages.

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

/// The oldest Python that the pinned packages run on.
const OLDEST: (u32, u32) = (3, 11);

/// Written last, so that an interrupted installation isn't taken for a whole one.
const COMPLETE: &str = ".complete";

/// A file of pinned packages and how pip installs it.
pub(crate) struct Requirements {
    pub(crate) file: PathBuf,
    pub(crate) options: &'static [&'static str],
}

/// An environment, ready for use.
#[derive(Debug)]
pub(crate) struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// Makes the environment if this version of it is not there yet; the files are installed in their order.
    pub(crate) fn ensure(home: &Home, name: &str, requirements: &[Requirements]) -> Result<Self> {
        let mut hash = Sha256::new();
        for Requirements { file, .. } in requirements {
            hash.update(fs::read(file).with_context(|| format!("could not read {}", file.display()))?);
        }
        let folder = home.tools().join(format!("{name}-{}", &hex::encode(hash.finalize())[..8]));
        let environment = Self { folder };
        let complete = environment.folder.join(COMPLETE);
        if complete.exists() && capture(environment.python().arg("--version")).is_ok() {
            return Ok(environment);
        }
        eprintln!("making a private Python environment in {}", environment.folder.display());
        create(&environment.folder)?;
        for Requirements { file, options } in requirements {
            let mut install = environment.python();
            install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
            capture(install.args(*options).arg("--requirement").arg(file))
                .with_context(|| format!("could not install {}", file.display()))?;
        }
        fs::write(complete, "")?;
        Ok(environment)
    }

    /// Its Python.
    pub(crate) fn python(&self) -> Command {
        self.program("python")
    }

    /// One of its programs.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join("bin").join(name));
        // A user's own Python set-up must not reach into this environment, nor leave files in the checkout.
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// A folder for what its programs read and write.
    pub(crate) fn scratch(&self) -> Result<PathBuf> {
        let folder = self.folder.join("scratch");
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// An empty environment in place of whatever is at `folder`.
fn create(folder: &Path) -> Result<()> {
    let python = env::var_os("ATELIER_PYTHON").unwrap_or_else(|| "python3".into());
    ensure!(
        is_installed(&python),
        "{} is not on the PATH: install Python {}.{} or newer, or name one in ATELIER_PYTHON",
        python.display(),
        OLDEST.0,
        OLDEST.1
    );
    let code = format!("import sys; sys.exit(sys.version_info < {OLDEST:?})");
    capture(Command::new(&python).args(["-c", &code]))
        .with_context(|| format!("{} is older than Python {}.{}", python.display(), OLDEST.0, OLDEST.1))?;
    capture(Command::new(&python).args(["-m", "venv", "--clear"]).arg(folder)).context(
        "could not make a virtual environment (on Debian and Ubuntu it needs the package python3-venv)",
    )?;
    Ok(())
}
