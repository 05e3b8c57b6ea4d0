//! Texts as fingerprints.

mod units;
mod winnow;

pub(crate) use self::winnow::{Selected, select};

/// Which runs of words a text contains, thinned by winnowing (Schleimer, Wilkerson, Aiken 2003, "Winnowing: Local
/// Algorithms for Document Fingerprinting").
///
/// A text is read as units: words; characters where words are written without spaces between them. A word weighs 4, a
/// Chinese or Japanese character 2, a Thai, Lao, Khmer, Burmese or Tibetan letter 1. A shingle is the shortest run of
/// units from one on that weighs at least 20: 5 words, 10 characters, 20 letters. Of each 4 shingles in a row the one with
/// the lowest hash is kept.
///
/// So a run that two texts share is found for certain if it has **8 words, 13 Chinese or Japanese characters, or 23
/// letters** of the scripts above (4 whole shingles; a mixed run needs a weight of 35). Shorter runs down to one shingle
/// are often found, and still shorter ones never. An index asks for more than that by default, because English has idioms of
/// five words: see [`TextLimits::min_run`](crate::TextLimits::min_run).
///
/// Letters are compared without case, accents, vowel signs and compatibility variants (Unicode NFKD); punctuation and
/// spaces only part words. Hashes are the same in all versions of this crate that read the same file format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextFingerprint {
    /// Rising.
    pub(crate) hashes: Vec<u64>,
}

impl TextFingerprint {
    /// The fingerprint of a text; linear in its length, with working memory of up to twenty times the text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut hashes: Vec<u64> = select(text).into_iter().map(|selected| selected.hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        // The memory is that of the larger values they came from.
        hashes.shrink_to_fit();
        Self { hashes }
    }

    /// How many different shingles were kept: about 0.4 for each word, or for each character of Chinese.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// The text is shorter than one shingle and like none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}
