//! An index as a file.
//!
//! Little-endian: `ATLIKENS`, version (u16), components of each vector (u16, 0: there are none), works (u32); for each work
//! its id (u64), pictures (u16), fingerprints of text (u32); for each picture both hashes (8 x u64) and flags (u8: 1 flat,
//! 2 has a vector), then the vector's scale (f32) and components (i8); the text's hashes (u64, rising). At the end the
//! SHA-256 of all that. A picture takes 65 bytes and its vector, a fingerprint of text 8.

use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};

use sha2::{Digest, Sha256};

use super::{Capacity, Index, Picture, Texts, Work, WorkId};
use crate::{ImageFingerprint, LikenessError, UnitVector};

const MAGIC: &[u8; 8] = b"ATLIKENS";
const VERSION: u16 = 1;
const FLAT: u8 = 1;
const VECTOR: u8 = 2;

impl Index {
    /// Writes the index. Indexes to which the same works were added in the same order are the same bytes.
    ///
    /// # Errors
    /// Writing failed, or there are more than 2^32 works or fingerprints of one work.
    pub fn write_to(&self, writer: impl Write) -> Result<(), LikenessError> {
        let mut sink = Sink { writer: BufWriter::new(writer), digest: Sha256::new() };
        sink.put(MAGIC)?;
        sink.put(&VERSION.to_le_bytes())?;
        sink.put(&count::<u16>(self.pictures.components())?.to_le_bytes())?;
        sink.put(&count::<u32>(self.works.len())?.to_le_bytes())?;
        for (id, pictures) in self.pictures.by_work() {
            sink.work(id, &pictures, self.works.get(&id).map_or(&[], |kept| &kept.text.hashes))?;
        }
        for (id, kept) in self.works.iter().filter(|(_, kept)| kept.pictures == 0) {
            sink.work(*id, &[], &kept.text.hashes)?;
        }
        let digest = sink.digest.finalize();
        sink.writer.write_all(&digest).and_then(|()| sink.writer.flush()).map_err(LikenessError::Io)
    }

    /// Reads what [`Index::write_to`] wrote. Reads and keeps no more than the capacity allows, whatever the bytes claim.
    ///
    /// # Errors
    /// Reading failed; the bytes are no index, are cut short, altered or followed by others, are of another version or
    /// hold more than the capacity.
    pub fn read_from(reader: impl Read, capacity: Capacity) -> Result<Self, LikenessError> {
        let mut source = Source { reader: BufReader::new(reader), digest: Sha256::new() };
        if &source.take::<8>()? != MAGIC {
            return Err(LikenessError::NotAnIndex);
        }
        let version = u16::from_le_bytes(source.take()?);
        if version != VERSION {
            return Err(LikenessError::Version(version));
        }
        let components = usize::from(u16::from_le_bytes(source.take()?));
        if components > UnitVector::MAX_COMPONENTS {
            return Err(LikenessError::Broken("vectors are too long"));
        }
        let mut index = Self::new(capacity);
        let mut postings = Vec::new();
        for _ in 0..u32::from_le_bytes(source.take()?) {
            let room = capacity.fingerprints - postings.len();
            let (id, work) = source.work(components, capacity, room)?;
            index.check(id, &work)?;
            postings.extend(work.text.hashes.iter().map(|hash| (*hash, id)));
            index.keep(id, work);
        }
        let digest = source.digest.clone().finalize();
        if source.take::<32>()? != digest[..] {
            return Err(LikenessError::Broken("the checksum is that of other bytes"));
        }
        if index.pictures.components() != components {
            return Err(LikenessError::Broken("no picture has a vector"));
        }
        match source.take::<1>() {
            Err(LikenessError::Truncated) => {}
            Ok(_) => return Err(LikenessError::Broken("there is more after the end")),
            Err(error) => return Err(error),
        }
        index.texts = Texts::from_postings(postings);
        Ok(index)
    }
}

fn count<T: TryFrom<usize>>(count: usize) -> Result<T, LikenessError> {
    T::try_from(count).map_err(|_| LikenessError::Broken("there is more than the format can count"))
}

struct Sink<W: Write> {
    writer: W,
    digest: Sha256,
}

impl<W: Write> Sink<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), LikenessError> {
        self.digest.update(bytes);
        self.writer.write_all(bytes).map_err(LikenessError::Io)
    }

    fn work(&mut self, id: WorkId, pictures: &[Picture], hashes: &[u64]) -> Result<(), LikenessError> {
        self.put(&id.0.to_le_bytes())?;
        self.put(&count::<u16>(pictures.len())?.to_le_bytes())?;
        self.put(&count::<u32>(hashes.len())?.to_le_bytes())?;
        for Picture { fingerprint, vector } in pictures {
            self.words(&fingerprint.perceptual)?;
            self.words(&fingerprint.difference)?;
            let flat = if fingerprint.flat { FLAT } else { 0 };
            self.put(&[flat | if vector.is_some() { VECTOR } else { 0 }])?;
            if let Some(vector) = vector {
                self.put(&vector.scale.to_le_bytes())?;
                self.put(&vector.components.iter().map(|value| value.cast_unsigned()).collect::<Vec<u8>>())?;
            }
        }
        self.words(hashes)
    }

    fn words(&mut self, words: &[u64]) -> Result<(), LikenessError> {
        words.iter().try_for_each(|word| self.put(&word.to_le_bytes()))
    }
}

struct Source<R: Read> {
    reader: R,
    digest: Sha256,
}

impl<R: Read> Source<R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), LikenessError> {
        self.reader.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => LikenessError::Truncated,
            _ => LikenessError::Io(error),
        })?;
        self.digest.update(bytes);
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], LikenessError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn words(&mut self) -> Result<[u64; 4], LikenessError> {
        let mut words = [0; 4];
        for word in &mut words {
            *word = u64::from_le_bytes(self.take()?);
        }
        Ok(words)
    }

    /// `room` is how many more fingerprints of text there may be. Memory grows with what is read, not with what is claimed.
    fn work(
        &mut self,
        components: usize,
        capacity: Capacity,
        room: usize,
    ) -> Result<(WorkId, Work), LikenessError> {
        let id = WorkId(u64::from_le_bytes(self.take()?));
        let pictures = usize::from(u16::from_le_bytes(self.take()?));
        let hashes = u32::from_le_bytes(self.take()?) as usize;
        if pictures > Work::MAX_PICTURES {
            return Err(LikenessError::TooManyPictures(id));
        }
        if hashes > room {
            return Err(LikenessError::Full { what: "fingerprints", limit: capacity.fingerprints });
        }
        let mut work = Work::default();
        for _ in 0..pictures {
            work.pictures.push(self.picture(components)?);
        }
        for _ in 0..hashes {
            let hash = u64::from_le_bytes(self.take()?);
            if work.text.hashes.last().is_some_and(|last| *last >= hash) {
                return Err(LikenessError::Broken("hashes do not rise"));
            }
            work.text.hashes.push(hash);
        }
        work.text.hashes.shrink_to_fit();
        Ok((id, work))
    }

    fn picture(&mut self, components: usize) -> Result<Picture, LikenessError> {
        let (perceptual, difference) = (self.words()?, self.words()?);
        let [flags] = self.take()?;
        if flags & !(FLAT | VECTOR) != 0 {
            return Err(LikenessError::Broken("unknown flags"));
        }
        let fingerprint = ImageFingerprint { perceptual, difference, flat: flags & FLAT != 0 };
        let vector = if flags & VECTOR == 0 { None } else { Some(self.vector(components)?) };
        Ok(Picture { fingerprint, vector })
    }

    fn vector(&mut self, components: usize) -> Result<UnitVector, LikenessError> {
        let scale = f32::from_le_bytes(self.take()?);
        // The largest component, 127 times the scale, is above 0 and, to within 1%, at most 1.
        if components == 0 || !(scale > 0.0 && scale * 127.0 <= 1.02) {
            return Err(LikenessError::Broken("a vector is none"));
        }
        let mut bytes = vec![0; components];
        self.fill(&mut bytes)?;
        Ok(UnitVector { scale, components: bytes.into_iter().map(u8::cast_signed).collect() })
    }
}
