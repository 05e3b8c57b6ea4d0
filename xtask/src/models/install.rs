//! Putting a folder into the cache whole or not at all, while other processes read the cache.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    catalogue::tree_of,
    manifest::{FileEntry, MANIFEST, Manifest},
};

/// Folders that are being built, beside those in use.
const STAGING: &str = ".staging-";

/// Folders moved aside to be replaced.
const REPLACED: &str = ".replaced-";

/// Files are readable by everyone, so that services may run as another user than the one who pulls.
const FILE_MODE: u32 = 0o644;

/// Keeps other pulls from the same cache out for as long as it lives.
#[derive(Debug)]
pub(crate) struct CacheLock {
    _file: File,
}

impl CacheLock {
    /// Waits for its turn; `waiting` is called when another process holds the lock.
    pub(crate) fn acquire(root: &Path, waiting: impl FnOnce()) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("could not create {}", root.display()))?;
        let path = root.join("pull.lock");
        let file = File::create(&path).with_context(|| format!("could not create {}", path.display()))?;
        if file.try_lock().is_err() {
            waiting();
            file.lock().with_context(|| format!("could not lock {}", path.display()))?;
        }
        Ok(Self { _file: file })
    }
}

/// A folder being built beside the one it will become. Dropped without [`Staging::commit`], it is swept up by the next
/// pull.
#[derive(Debug)]
pub(crate) struct Staging {
    parent: PathBuf,
    name: String,
}

impl Staging {
    /// An empty folder for what will be `<parent>/<name>`.
    pub(crate) fn new(parent: &Path, name: &str) -> Result<Self> {
        let staging = Self { parent: parent.to_owned(), name: name.to_owned() };
        let path = staging.path();
        remove(&path)?;
        fs::create_dir_all(&path).with_context(|| format!("could not create {}", path.display()))?;
        Ok(staging)
    }

    /// The folder to fill.
    pub(crate) fn path(&self) -> PathBuf {
        self.parent.join(format!("{STAGING}{}", self.name))
    }

    /// Lists the folder's files in the manifest, makes everything durable and swaps it in. A process that has the old
    /// folder's files open keeps them.
    pub(crate) fn commit(self, mut manifest: Manifest) -> Result<()> {
        let path = self.path();
        for file in tree_of(&path)? {
            fs::set_permissions(&file, Permissions::from_mode(FILE_MODE))?;
            // Parts of a pipeline lie in subfolders: `transformer/model.onnx`.
            let name = file.strip_prefix(&path)?.to_string_lossy().into_owned();
            manifest.files.insert(name, FileEntry::of(&file)?);
            File::open(&file)?.sync_all()?;
            if let Some(folder) = file.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        let target = path.join(MANIFEST);
        fs::write(&target, serde_json::to_string_pretty(&manifest)? + "\n")?;
        File::open(&target)?.sync_all()?;
        File::open(&path)?.sync_all()?;
        self.swap(&path).with_context(|| format!("could not install {}", self.name))
    }

    fn swap(&self, built: &Path) -> io::Result<()> {
        let installed = self.parent.join(&self.name);
        if installed.exists() {
            exchange(built, &installed, &self.parent.join(format!("{REPLACED}{}", self.name)))?;
        } else {
            fs::rename(built, &installed)?;
        }
        File::open(&self.parent)?.sync_all()?;
        // After an exchange the old folder has the staging name.
        remove(built)
    }
}

/// Puts `new` in the place of `old` in one step, so that no reader ever finds nothing there. Where the file system can't,
/// `old` is moved to `aside` first.
fn exchange(new: &Path, old: &Path, aside: &Path) -> io::Result<()> {
    if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    fs::rename(old, aside)?;
    fs::rename(new, old)?;
    remove(aside)
}

/// Clears away what an interrupted pull left in `parent`: unfinished folders go, and a folder that was moved aside
/// without a successor comes back. Only while holding the [`CacheLock`].
pub(crate) fn sweep(parent: &Path) -> Result<()> {
    fs::create_dir_all(parent).with_context(|| format!("could not create {}", parent.display()))?;
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(STAGING) {
            remove(&entry.path())?;
        } else if let Some(of) = name.strip_prefix(REPLACED) {
            let installed = parent.join(of);
            if installed.exists() {
                remove(&entry.path())?;
            } else {
                fs::rename(entry.path(), installed)?;
            }
        }
    }
    Ok(())
}

/// Removes a folder that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests;
