//! The works of one tenant.

mod file;
mod pictures;
mod texts;

use std::{collections::BTreeMap, fmt};

use self::{pictures::Pictures, texts::Texts};
pub use self::{
    pictures::{ImageLimits, ImageMatch},
    texts::{TextLimits, TextMatch},
};
use crate::{ImageFingerprint, ImageQuery, LikenessError, TextFingerprint, UnitVector};

/// The caller's number for a work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkId(pub u64);

impl fmt::Display for WorkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One picture of a work.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// What it looks like.
    pub fingerprint: ImageFingerprint,
    /// What a model makes of it. All vectors of an index come from one model.
    pub vector: Option<UnitVector>,
}

/// What the index keeps of a work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// At most [`Work::MAX_PICTURES`]; also crops of a picture, so that what was cut from it is found.
    pub pictures: Vec<Picture>,
    /// Empty for a work without text.
    pub text: TextFingerprint,
}

impl Work {
    /// The most pictures a work may have.
    pub const MAX_PICTURES: usize = 256;
}

/// How much an index may hold. In memory a work takes about 100 bytes, a picture 80 and one more for each component of its
/// vector (all pictures have room for one as soon as one has a vector), a fingerprint of text 34: 14 bytes for each word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Works.
    pub works: usize,
    /// Pictures of all works.
    pub pictures: usize,
    /// Fingerprints of text of all works, the sum of [`TextFingerprint::len`].
    pub fingerprints: usize,
}

impl Default for Capacity {
    /// 100,000 works, 200,000 pictures, 20 million fingerprints (50 million words): up to 700 MB of text.
    fn default() -> Self {
        Self { works: 100_000, pictures: 200_000, fingerprints: 20_000_000 }
    }
}

/// The works of one tenant, in memory. Answers do not depend on the order in which works were added.
#[derive(Clone, Debug)]
pub struct Index {
    capacity: Capacity,
    works: BTreeMap<WorkId, Kept>,
    pictures: Pictures,
    texts: Texts,
}

/// What is kept by work rather than in the tables that are searched.
#[derive(Clone, Debug)]
struct Kept {
    pictures: usize,
    text: TextFingerprint,
}

impl Index {
    /// An empty index.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self { capacity, works: BTreeMap::new(), pictures: Pictures::default(), texts: Texts::default() }
    }

    /// Works in the index.
    #[must_use]
    pub fn len(&self) -> usize {
        self.works.len()
    }

    /// There are no works in the index.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    /// Pictures of all works.
    #[must_use]
    pub fn pictures(&self) -> usize {
        self.pictures.len()
    }

    /// Fingerprints of text of all works.
    #[must_use]
    pub fn fingerprints(&self) -> usize {
        self.texts.len()
    }

    /// The index has this work.
    #[must_use]
    pub fn contains(&self, id: WorkId) -> bool {
        self.works.contains_key(&id)
    }

    /// Adds a work.
    ///
    /// # Errors
    /// The index has a work of that id or is full; the work has nothing that could match, more than
    /// [`Work::MAX_PICTURES`] pictures, or a vector of another length than those before. The index is then as it was.
    pub fn add(&mut self, id: WorkId, work: Work) -> Result<(), LikenessError> {
        self.check(id, &work)?;
        self.texts.add(id, &work.text);
        self.keep(id, work);
        Ok(())
    }

    /// Takes a work out: `false` if the index does not have it. Takes time for the work and for all pictures.
    pub fn remove(&mut self, id: WorkId) -> bool {
        let Some(kept) = self.works.remove(&id) else { return false };
        self.pictures.remove(id, kept.pictures);
        self.texts.remove(id, &kept.text);
        true
    }

    /// Drops all vectors, as when another model is to make them; `true` if there were any.
    pub fn forget_vectors(&mut self) -> bool {
        self.pictures.forget_vectors()
    }

    /// Works that have a picture like this one, nearest first: those within the distance by distance, the rest by cosine,
    /// equals by id. Compares with every picture.
    ///
    /// # Errors
    /// The vector has another length than those of the index.
    pub fn find_image(
        &self,
        query: &ImageQuery,
        vector: Option<&UnitVector>,
        limits: &ImageLimits,
    ) -> Result<Vec<ImageMatch>, LikenessError> {
        self.pictures.check_vectors(vector.into_iter())?;
        Ok(self.pictures.find(query, vector, limits))
    }

    /// Works that a text quotes, those that it shares most fingerprints with first, equals by id. Takes time for the text
    /// and, for each fingerprint of it, for up to 256 works that have it too (the lowest ids).
    #[must_use]
    pub fn find_text(&self, text: &str, limits: &TextLimits) -> Vec<TextMatch> {
        self.texts.find(text, limits, |id| self.works.get(&id).map(|kept| &kept.text))
    }

    fn check(&self, id: WorkId, work: &Work) -> Result<(), LikenessError> {
        let capacity = self.capacity;
        let pictures = self.pictures.len() + work.pictures.len();
        let fingerprints = self.texts.len() + work.text.len();
        if self.works.contains_key(&id) {
            Err(LikenessError::Known(id))
        } else if work.pictures.is_empty() && work.text.is_empty() {
            Err(LikenessError::Nothing(id))
        } else if work.pictures.len() > Work::MAX_PICTURES {
            Err(LikenessError::TooManyPictures(id))
        } else if self.works.len() >= capacity.works {
            Err(LikenessError::Full { what: "works", limit: capacity.works })
        } else if pictures > capacity.pictures {
            Err(LikenessError::Full { what: "pictures", limit: capacity.pictures })
        } else if fingerprints > capacity.fingerprints {
            Err(LikenessError::Full { what: "fingerprints", limit: capacity.fingerprints })
        } else {
            self.pictures.check_vectors(work.pictures.iter().filter_map(|picture| picture.vector.as_ref()))
        }
    }

    fn keep(&mut self, id: WorkId, work: Work) {
        self.pictures.add(id, &work.pictures);
        self.works.insert(id, Kept { pictures: work.pictures.len(), text: work.text });
    }
}

#[cfg(test)]
mod tests;
