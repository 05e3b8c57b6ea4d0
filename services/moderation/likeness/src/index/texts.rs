//! Which work has which fingerprint of text.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use crate::{
    TextFingerprint, WorkId,
    text::{Selected, select},
};

/// A fingerprint of more works than this says little about any, and must not make a search slow.
const MAX_WORKS_PER_FINGERPRINT: usize = 256;

/// What counts as a quotation, and how much of it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLimits {
    /// Works in the answer, at most.
    pub matches: usize,
    /// Ranges of each work, at most; the longest are kept.
    pub ranges: usize,
    /// Fingerprints of the text in a row that the work must have: with 1 a shared run of 8 words or 13 characters is certain
    /// to be found, with 2 one of 12 or 17, with 3 one of 16 or 21. English has idioms of five words, each of them one
    /// fingerprint; two in a row are rarely chance. Texts and works that are found as a whole need no more.
    pub min_run: usize,
}

impl Default for TextLimits {
    fn default() -> Self {
        Self { matches: 16, ranges: 64, min_run: 2 }
    }
}

/// A work that a text quotes.
#[derive(Clone, Debug, PartialEq)]
pub struct TextMatch {
    /// The work.
    pub work: WorkId,
    /// What of the text is in the work, in bytes, rising, without overlaps. What is quoted may go on for up to 3 units
    /// (words or characters) on either side.
    pub ranges: Vec<Range<usize>>,
    /// Different fingerprints that text and work share.
    pub shared: usize,
    /// The most fingerprints of the text in a row that the work has.
    pub longest_run: usize,
    /// Their share of the text's, above 0 to 1: near 1 if the text is nothing but a quotation. A short quotation within a
    /// text has less than its share of the words: shingles that reach over its ends are not shared.
    pub of_query: f32,
    /// Their share of the work's, above 0 to 1: near 1 if all of the work is quoted.
    pub of_work: f32,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Texts(BTreeSet<(u64, WorkId)>);

impl Texts {
    /// All at once: much faster than one by one.
    pub(super) fn from_postings(postings: Vec<(u64, WorkId)>) -> Self {
        Self(postings.into_iter().collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, work: WorkId, text: &TextFingerprint) {
        self.0.extend(text.hashes.iter().map(|hash| (*hash, work)));
    }

    pub(super) fn remove(&mut self, work: WorkId, text: &TextFingerprint) {
        for hash in &text.hashes {
            self.0.remove(&(*hash, work));
        }
    }

    /// `text_of` has the fingerprint of each work of the index.
    pub(super) fn find<'a>(
        &self,
        text: &str,
        limits: &TextLimits,
        text_of: impl Fn(WorkId) -> Option<&'a TextFingerprint>,
    ) -> Vec<TextMatch> {
        let selected = select(text);
        let mut seen = BTreeSet::new();
        let mut tallies: BTreeMap<WorkId, Tally> = BTreeMap::new();
        for (at, Selected { hash, .. }) in selected.iter().enumerate() {
            let fresh = seen.insert(*hash);
            let postings = self.0.range((*hash, WorkId(0))..=(*hash, WorkId(u64::MAX)));
            for (_, work) in postings.take(MAX_WORKS_PER_FINGERPRINT) {
                tallies.entry(*work).or_default().count(at, fresh);
            }
        }
        let mut best: Vec<TextMatch> = tallies
            .into_iter()
            .filter_map(|(work, Tally { shared, longest_run, .. })| {
                let of_work = text_of(work)?.len();
                let is_whole = shared == of_work || shared == seen.len();
                (longest_run >= limits.min_run || is_whole).then(|| TextMatch {
                    work,
                    ranges: Vec::new(),
                    shared,
                    longest_run,
                    of_query: shared as f32 / seen.len() as f32,
                    of_work: shared as f32 / of_work as f32,
                })
            })
            .collect();
        // Stable: equals stay in the order of their ids.
        best.sort_by_key(|found| Reverse(found.shared));
        best.truncate(limits.matches);
        for found in &mut best {
            found.ranges =
                text_of(found.work).map_or(Vec::new(), |work| ranges(&selected, work, limits.ranges));
        }
        best
    }
}

/// What a text shares with one work.
#[derive(Default)]
struct Tally {
    shared: usize,
    longest_run: usize,
    run: usize,
    /// Where the text's fingerprint after the last shared one stands.
    next: usize,
}

impl Tally {
    /// The fingerprint at this place of the text is the work's. `fresh`: the text has not had it before.
    fn count(&mut self, at: usize, fresh: bool) {
        self.shared += usize::from(fresh);
        self.run = if at == self.next { self.run + 1 } else { 1 };
        self.longest_run = self.longest_run.max(self.run);
        self.next = at + 1;
    }
}

/// The shared shingles, those that overlap made one. Neighbours among the kept are at most 4 units apart and at least 5
/// long: a quotation is one range.
fn ranges(selected: &[Selected], work: &TextFingerprint, most: usize) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for Selected { range, .. } in selected.iter().filter(|one| work.hashes.binary_search(&one.hash).is_ok()) {
        match ranges.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => ranges.push(range.clone()),
        }
    }
    ranges.sort_by_key(|range| Reverse(range.len()));
    ranges.truncate(most);
    ranges.sort_by_key(|range| range.start);
    ranges
}
