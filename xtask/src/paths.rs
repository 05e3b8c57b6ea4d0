//! Where things are: the checkout, and the cache that all checkouts and services of a user share.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The root of the checkout.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folder of the catalogue and of the tools that convert models.
pub(crate) fn catalogue_folder() -> PathBuf {
    workspace().join("deploy/models")
}

/// The cache: `$ATELIER_HOME`, else `$XDG_CACHE_HOME/atelier`, else `~/.cache/atelier`; the services look there too.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The user's.
    pub(crate) fn of_user() -> Result<Self> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let path = set("ATELIER_HOME")
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("atelier")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/atelier")))
            .context("none of ATELIER_HOME, XDG_CACHE_HOME and HOME is set")?;
        Ok(Self(std::path::absolute(&path).unwrap_or(path)))
    }

    /// A given folder.
    #[cfg(test)]
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// The cache's own folder.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// One folder for each model.
    pub(crate) fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// ONNX Runtime, one folder for each version.
    pub(crate) fn runtime(&self) -> PathBuf {
        self.0.join("runtime")
    }

    /// Files on their way in; what is left here of an interrupted download is gone on with.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.0.join("downloads")
    }

    /// Private installations of other people's tools.
    pub(crate) fn tools(&self) -> PathBuf {
        self.0.join("tools")
    }
}
