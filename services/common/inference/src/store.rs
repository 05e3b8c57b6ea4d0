//! Model folders: found by name, checked before anything is loaded.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Component, Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use atelier_core::{ModelId, ModelRef, Revision};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::{InferenceError, home};

/// Name of the manifest within a model's folder.
const MANIFEST: &str = "atelier.json";

/// What a model's files are expected to be, `atelier.json` in its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Name by which callers ask for the model.
    pub id: ModelId,
    /// What it is for, as `deploy/models/models.toml` says: `text-generation`, `image-understanding` and so on.
    pub task: String,
    /// SPDX identifier of its licence.
    #[serde(default)]
    pub license: String,
    /// Where it came from.
    #[serde(default)]
    pub source: String,
    /// Version at that source.
    #[serde(default)]
    pub version: String,
    /// Its files, by name relative to the folder.
    pub files: BTreeMap<String, FileEntry>,
    /// What the service that runs it needs to know (prefixes, lengths, preprocessing).
    #[serde(default)]
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its size.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// A folder of model folders, shared by the services of a machine.
#[derive(Clone, Debug)]
pub struct ModelStore {
    root: PathBuf,
}

impl ModelStore {
    /// A store at this folder; nothing is read yet.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Opens `<root>/<id>` and checks its files; see [`ModelFolder::open`].
    ///
    /// # Errors
    /// [`InferenceError::ModelNotFound`] when there is no such folder or `id` is no plain name, and the errors of
    /// [`ModelFolder::open`].
    pub fn open(&self, id: &str) -> Result<ModelFolder, InferenceError> {
        let path = self.root.join(id);
        if ModelId::new(id).is_err() || !is_plain(Path::new(id)) || !path.is_dir() {
            return Err(InferenceError::ModelNotFound { id: id.to_owned(), root: self.root.clone() });
        }
        ModelFolder::open_as(&path, Some(id))
    }
}

impl Default for ModelStore {
    fn default() -> Self {
        Self::new(home().join("models"))
    }
}

/// A folder whose files have been checked.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    model: ModelRef,
    path: PathBuf,
    files: BTreeMap<String, FileEntry>,
    manifest: Option<Manifest>,
}

impl ModelFolder {
    /// Opens a folder. With a manifest (`atelier.json`) every file it lists is compared by size and SHA-256; a folder
    /// without one is taken as it is, named after the folder. The revision is the first 12 hexadecimal digits of a
    /// SHA-256 over the sorted names and hashes of the files.
    ///
    /// # Errors
    /// [`InferenceError::ModelCorrupt`] names the file that is missing, of another size, altered or not readable.
    pub fn open(path: &Path) -> Result<Self, InferenceError> {
        Self::open_as(path, None)
    }

    /// Opens a folder that goes by another name than its own.
    ///
    /// # Errors
    /// As [`ModelFolder::open`].
    pub fn open_named(path: &Path, id: &ModelId) -> Result<Self, InferenceError> {
        let mut folder = Self::open_as(path, Some(id.as_str()))?;
        folder.model.id = id.clone();
        Ok(folder)
    }

    fn open_as(path: &Path, id: Option<&str>) -> Result<Self, InferenceError> {
        let name = id.map_or_else(|| path.file_name().unwrap_or_default().to_string_lossy(), Into::into);
        let corrupt = |file: &str, problem: String| InferenceError::ModelCorrupt {
            model: name.to_string(),
            file: file.to_owned(),
            problem,
        };
        let manifest = read_manifest(path).map_err(|problem| corrupt(MANIFEST, problem))?;
        let files = match &manifest {
            Some(manifest) => {
                let wrong = |(file, problem): (String, String)| corrupt(&file, problem);
                verify(path, &manifest.files).map_err(wrong)?;
                manifest.files.clone()
            }
            None => survey(path).map_err(|(file, problem)| corrupt(&file, problem))?,
        };
        let id = match &manifest {
            Some(manifest) => manifest.id.clone(),
            None => ModelId::new(&name).map_err(|error| corrupt("", error.to_string()))?,
        };
        let revision = revision(&files).map_err(|problem| corrupt("", problem))?;
        Ok(Self { model: ModelRef { id, revision }, path: path.to_owned(), files, manifest })
    }

    /// Name and content revision.
    #[must_use]
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &ModelId {
        &self.model.id
    }

    /// Bytes of its files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SPDX identifier of the licence; empty when nothing says so.
    #[must_use]
    pub fn license(&self) -> &str {
        self.manifest.as_ref().map_or("", |manifest| &manifest.license)
    }

    /// The manifest, where the folder has one.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Whether the folder has this file; one that the manifest does not list counts as absent.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Path of a checked file.
    ///
    /// # Errors
    /// [`InferenceError::ModelCorrupt`] when the folder does not have it or the manifest does not list it.
    pub fn file(&self, name: &str) -> Result<PathBuf, InferenceError> {
        if self.has(name) {
            return Ok(self.path.join(name));
        }
        Err(self.corrupt(name, "the model has no such file"))
    }

    /// A file's text.
    ///
    /// # Errors
    /// As [`ModelFolder::file`], and when the file is not UTF-8.
    pub fn text(&self, name: &str) -> Result<String, InferenceError> {
        fs::read_to_string(self.file(name)?).map_err(|error| self.corrupt(name, error))
    }

    /// A JSON file of the folder.
    ///
    /// # Errors
    /// As [`ModelFolder::text`], and when the file is no JSON of that form.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T, InferenceError> {
        serde_json::from_str(&self.text(name)?).map_err(|error| self.corrupt(name, error))
    }

    /// The manifest's `options`; an empty object for a folder without a manifest.
    ///
    /// # Errors
    /// [`InferenceError::ModelCorrupt`] when they are not of that form.
    pub fn options<T: DeserializeOwned>(&self) -> Result<T, InferenceError> {
        let options = self.manifest.as_ref().map(|manifest| manifest.options.clone()).unwrap_or_default();
        serde_json::from_value(options.into()).map_err(|error| self.corrupt(MANIFEST, error))
    }

    fn corrupt(&self, file: &str, problem: impl ToString) -> InferenceError {
        InferenceError::ModelCorrupt {
            model: self.id().to_string(),
            file: file.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// Neither absolute nor leaving the folder it is joined to.
fn is_plain(path: &Path) -> bool {
    path.components().all(|component| matches!(component, Component::Normal(_)))
}

fn read_manifest(folder: &Path) -> Result<Option<Manifest>, String> {
    let text = match fs::read_to_string(folder.join(MANIFEST)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match manifest.files.keys().find(|name| !is_plain(Path::new(name))) {
        Some(name) => Err(format!("it lists {name:?}, which is outside the folder")),
        None => Ok(Some(manifest)),
    }
}

/// Compares the files of a manifest; the first bad one, by name, with what is wrong.
fn verify(folder: &Path, files: &BTreeMap<String, FileEntry>) -> Result<(), (String, String)> {
    // Sizes first: a truncated download is found without reading anything.
    for (name, expected) in files {
        let bytes = fs::metadata(folder.join(name)).map_err(|error| (name.clone(), error.to_string()))?.len();
        if bytes != expected.bytes {
            return Err((name.clone(), format!("{bytes} bytes instead of {}", expected.bytes)));
        }
    }
    for (name, hash) in hash_all(folder, files.keys().cloned().collect())? {
        if !files.get(&name).is_some_and(|expected| expected.sha256.eq_ignore_ascii_case(&hash.sha256)) {
            return Err((name, format!("its SHA-256 is {}, not the manifest's", hash.sha256)));
        }
    }
    Ok(())
}

/// Hashes all visible files below a folder that has no manifest.
fn survey(folder: &Path) -> Result<BTreeMap<String, FileEntry>, (String, String)> {
    let mut names = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let unreadable = |error: io::Error| (below.to_string_lossy().into_owned(), error.to_string());
        for entry in fs::read_dir(folder.join(&below)).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let relative = below.join(entry.file_name());
            let Some(name) = relative.to_str() else { continue };
            // Hidden files are a downloader's bookkeeping.
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            // Follows links: shared caches link their files.
            let kind = fs::metadata(entry.path()).map_err(|error| (name.to_owned(), error.to_string()))?;
            if kind.is_dir() {
                open.push(relative);
            } else {
                names.push(name.to_owned());
            }
        }
    }
    hash_all(folder, names)
}

/// Hashes files, several at a time: a large model's weights must not hold up the start.
fn hash_all(folder: &Path, names: Vec<String>) -> Result<BTreeMap<String, FileEntry>, (String, String)> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(names.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut hashed = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let entry = hash_file(&folder.join(name)).map_err(|error| (name.clone(), error.to_string()))?;
            hashed.push((name.clone(), entry));
        }
        Ok(hashed)
    };
    let mut all = BTreeMap::new();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let panicked = |_| Err((String::new(), "the hashing thread panicked".to_owned()));
            all.extend(worker.join().unwrap_or_else(panicked)?);
        }
        Ok(all)
    })
}

fn hash_file(path: &Path) -> io::Result<FileEntry> {
    // Large enough that the cost of the calls disappears, small enough for the second-level cache.
    const BUFFER: usize = 256 * 1024;
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER];
    let (mut hasher, mut bytes) = (Sha256::new(), 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(FileEntry { bytes, sha256: hex::encode(hasher.finalize()) }),
            n => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

fn revision(files: &BTreeMap<String, FileEntry>) -> Result<Revision, String> {
    let mut hasher = Sha256::new();
    for (name, entry) in files {
        hasher.update(name.as_bytes());
        hasher.update([0]);
        hasher.update(entry.sha256.to_ascii_lowercase().as_bytes());
        hasher.update([0]);
    }
    let digits = hex::encode(hasher.finalize());
    Revision::new(&digits[..12]).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
