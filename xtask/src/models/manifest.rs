//! A folder's manifest, `atelier.json`: what its files must be. Services read it before they load anything.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Name of the manifest within a folder.
pub(crate) const MANIFEST: &str = "atelier.json";

/// Read at once when hashing.
const BUFFER_BYTES: usize = 1 << 20;

/// What a folder holds and where it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) id: String,
    pub(crate) task: String,
    pub(crate) license: String,
    pub(crate) source: String,
    pub(crate) version: String,
    /// By name relative to the folder.
    pub(crate) files: BTreeMap<String, FileEntry>,
    #[serde(default)]
    pub(crate) options: serde_json::Map<String, serde_json::Value>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileEntry {
    pub(crate) bytes: u64,
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
}

impl FileEntry {
    /// A file as it is now.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(Self { bytes, sha256: hex::encode(hash.finalize()) });
            }
            hash.update(&buffer[..read]);
            bytes += read as u64;
        }
    }
}

/// How closely [`Manifest::problems`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Sizes only: at once, for a listing.
    Sizes,
    /// Every byte.
    Hashes,
}

impl Manifest {
    /// A folder's manifest; `None` where it has none.
    ///
    /// # Errors
    /// When it is there and can't be read.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(MANIFEST);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.with_context(|| format!("could not read {}", path.display()))?,
        };
        let manifest =
            serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        Ok(Some(manifest))
    }

    /// What is wrong with the folder's files, one line for each that is missing, cut short or altered.
    pub(crate) fn problems(&self, folder: &Path, depth: Depth) -> Vec<String> {
        let problem = |(name, expected): (&String, &FileEntry)| {
            expected.problem(&folder.join(name), depth).map(|problem| format!("{name}: {problem}"))
        };
        self.files.iter().filter_map(problem).collect()
    }
}

impl FileEntry {
    fn problem(&self, path: &Path, depth: Depth) -> Option<String> {
        let bytes = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some("missing".to_owned()),
            Err(error) => return Some(error.to_string()),
            Ok(metadata) => metadata.len(),
        };
        if bytes != self.bytes {
            return Some(format!("{bytes} bytes, expected {}", self.bytes));
        }
        if depth == Depth::Sizes {
            return None;
        }
        match Self::of(path) {
            Err(error) => Some(error.to_string()),
            Ok(found) if found.sha256 != self.sha256 => {
                Some(format!("sha256 {}, expected {}", found.sha256, self.sha256))
            }
            Ok(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
