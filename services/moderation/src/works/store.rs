//! Where lists of works last.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use atelier_core::TenantId;
use atelier_likeness::Capacity;

use super::{file::FileError, list::List};
use crate::error::ModerationError;

const EXTENSION: &str = "works";
/// Held for as long as the process uses the folder.
const LOCK: &str = "lock";

/// Keeps the lists of all tenants.
pub trait WorkStore: fmt::Debug + Send + Sync {
    /// All lists that are kept, none of them with more than the capacity.
    ///
    /// # Errors
    /// One can't be read; the error says which.
    fn load(&self, capacity: Capacity) -> Result<BTreeMap<TenantId, List>, ModerationError>;

    /// Keeps a tenant's list instead of the one before; an empty list is not kept.
    ///
    /// # Errors
    /// It can't be written; the one before is kept.
    fn save(&self, tenant: &TenantId, list: &List) -> Result<(), ModerationError>;
}

/// Keeps nothing beyond the process.
#[derive(Debug)]
pub struct Memory;

impl WorkStore for Memory {
    fn load(&self, _: Capacity) -> Result<BTreeMap<TenantId, List>, ModerationError> {
        Ok(BTreeMap::new())
    }

    fn save(&self, _: &TenantId, _: &List) -> Result<(), ModerationError> {
        Ok(())
    }
}

/// A file for each tenant in a folder that no other process uses.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes a folder; makes it if there is none.
    ///
    /// # Errors
    /// It can't be made or written to, or another process uses it.
    pub fn open(path: &Path) -> Result<Self, ModerationError> {
        fs::create_dir_all(path).map_err(at(path))?;
        let lock = File::create(path.join(LOCK)).map_err(at(path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => ModerationError::Config(format!(
                "works.folder: {} is in use by another process",
                path.display()
            )),
            TryLockError::Error(error) => at(path)(error),
        })?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Names of tenants have no `%`.
    fn file(&self, tenant: &TenantId) -> PathBuf {
        self.path.join(format!("{}.{EXTENSION}", tenant.as_str().replace('/', "%")))
    }

    fn write(&self, tenant: &TenantId, list: &List, file: &Path) -> Result<(), FileError> {
        if list.is_empty() {
            return match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
                _ => Ok(()),
            };
        }
        // Readers after a crash find the old file or the new one, and never a part.
        let new = file.with_added_extension("new");
        let writer = File::create(&new)?;
        list.write_to(tenant, &writer)?;
        writer.sync_all()?;
        fs::rename(&new, file)?;
        Ok(File::open(&self.path)?.sync_all()?)
    }
}

impl WorkStore for Folder {
    fn load(&self, capacity: Capacity) -> Result<BTreeMap<TenantId, List>, ModerationError> {
        let mut lists = BTreeMap::new();
        for entry in fs::read_dir(&self.path).map_err(at(&self.path))? {
            let path = entry.map_err(at(&self.path))?.path();
            if path.extension() != Some(OsStr::new(EXTENSION)) {
                continue;
            }
            let file = File::open(&path).map_err(at(&path))?;
            let (tenant, list) = List::read_from(file, capacity).map_err(at(&path))?;
            if self.file(&tenant) != path {
                return Err(at(&path)(FileError::Header(format!("it is the list of {tenant}"))));
            }
            lists.insert(tenant, list);
        }
        Ok(lists)
    }

    fn save(&self, tenant: &TenantId, list: &List) -> Result<(), ModerationError> {
        let file = self.file(tenant);
        self.write(tenant, list, &file).map_err(at(&file))
    }
}

fn at<E: Into<FileError>>(path: &Path) -> impl Fn(E) -> ModerationError {
    move |error| ModerationError::WorksFile { path: path.to_owned(), source: error.into() }
}
