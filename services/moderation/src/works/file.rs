//! A list as a file.
//!
//! `ATWORKS1`, then the length of the header (u32, little-endian), its SHA-256 and the header itself: JSON with the tenant,
//! the labels of the works by number, and the model that vectors of pictures are of. Then the index as `atelier-likeness` writes it, which has a checksum of its own.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::Arc,
};

use atelier_core::TenantId;
use atelier_likeness::{Capacity, Index, LikenessError, WorkId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::list::{Label, List};

const MAGIC: &[u8; 8] = b"ATWORKS1";
/// What the label of a work may take in the header: 1,792 bytes of text, each of them up to 6 when escaped, and their names.
const MAX_LABEL_BYTES: usize = 11 << 10;
/// What the rest of the header takes, the tenant included.
const HEADER_BYTES: usize = 1 << 10;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    tenant: TenantId,
    works: BTreeMap<u64, Label>,
    /// The model that the vectors in the index are of; files from before there were any lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    vectors: Option<String>,
}

/// Why bytes are no list.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// They begin otherwise.
    #[error("not a list of works")]
    NotAList,
    /// The header is altered or was not written by us.
    #[error("the header is broken: {0}")]
    Header(String),
    /// The index is broken, or holds more than there may be.
    #[error("the index of works")]
    Index(#[from] LikenessError),
    /// Labels and index are of different works.
    #[error("labels and index do not belong together")]
    Unmatched,
    /// Reading or writing failed.
    #[error("reading or writing")]
    Io(#[from] io::Error),
}

impl List {
    /// Writes the list.
    ///
    /// # Errors
    /// Writing failed.
    pub fn write_to(&self, tenant: &TenantId, mut writer: impl Write) -> Result<(), FileError> {
        let works = self.labels.iter().map(|(number, label)| (number.0, Label::clone(label))).collect();
        let header =
            serde_json::to_vec(&Header { tenant: tenant.clone(), works, vectors: self.vectors.clone() })
                .map_err(|error| FileError::Header(error.to_string()))?;
        let length = u32::try_from(header.len()).map_err(|error| FileError::Header(error.to_string()))?;
        writer.write_all(MAGIC)?;
        writer.write_all(&length.to_le_bytes())?;
        writer.write_all(&Sha256::digest(&header))?;
        writer.write_all(&header)?;
        Ok(self.index.write_to(writer)?)
    }

    /// Reads what [`List::write_to`] wrote, and whose it is. Keeps no more than the capacity allows, whatever the bytes
    /// claim.
    ///
    /// # Errors
    /// The bytes are no list, are cut short or altered, or hold more than the capacity.
    pub fn read_from(mut reader: impl Read, capacity: Capacity) -> Result<(TenantId, Self), FileError> {
        let mut magic = [0; 8];
        let mut length = [0; 4];
        let mut digest = [0; 32];
        reader.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(FileError::NotAList);
        }
        reader.read_exact(&mut length)?;
        reader.read_exact(&mut digest)?;
        let length = u32::from_le_bytes(length);
        let most = capacity.works.saturating_mul(MAX_LABEL_BYTES).saturating_add(HEADER_BYTES);
        if length as usize > most {
            return Err(FileError::Header("it is longer than so many works can make it".to_owned()));
        }
        let mut header = Vec::new();
        reader.by_ref().take(length.into()).read_to_end(&mut header)?;
        if Sha256::digest(&header)[..] != digest {
            return Err(FileError::Header("the checksum is that of other bytes".to_owned()));
        }
        let Header { tenant, works, vectors } =
            serde_json::from_slice(&header).map_err(|error| FileError::Header(error.to_string()))?;
        let labels = works.into_iter().map(|(number, label)| (WorkId(number), Arc::new(label))).collect();
        let index = Index::read_from(reader, capacity)?;
        Ok((tenant, Self::of(labels, index, vectors).ok_or(FileError::Unmatched)?))
    }
}
