//! A table of pictures, searched from end to end.
//!
//! Comparing 512 bits takes nanoseconds: a hundred thousand pictures are compared in a few milliseconds, without a
//! structure that would have to be kept and that is of little use at distances of a hundred bits.

use crate::{ImageFingerprint, ImageQuery, LikenessError, Picture, UnitVector, View, WorkId};

/// When a picture counts as like another, and how many such works are wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageLimits {
    /// Works in the answer, at most.
    pub matches: usize,
    /// The most bits, of 512, that the fingerprints may differ in. Unrelated photographs: below 150 bits in one pair of a
    /// thousand; edited copies: see `tests/robustness.rs`.
    pub max_distance: u32,
    /// Vectors with at least this cosine are alike, whatever the fingerprints say. The value is the model's; `None` leaves
    /// cosines as mere information.
    pub min_cosine: Option<f32>,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self { matches: 16, max_distance: 100, min_cosine: None }
    }
}

/// A work that has a picture like the one asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ImageMatch {
    /// The work.
    pub work: WorkId,
    /// Bits of 512 that differ, of the nearest of its pictures; `None` if that is farther than `max_distance` or one of the
    /// two is flat: then the cosine alone speaks for the work.
    pub distance: Option<u32>,
    /// How the picture was looked at when it was nearest; as it is, if there is no distance.
    pub view: View,
    /// The highest cosine of its pictures' vectors, -1 to 1; `None` if one of the two has none.
    pub cosine: Option<f32>,
}

/// Columns of equal length. The pictures of a work are neighbours.
#[derive(Clone, Debug, Default)]
pub(super) struct Pictures {
    owners: Vec<WorkId>,
    fingerprints: Vec<ImageFingerprint>,
    /// Components of each vector; 0 as long as there was none.
    components: usize,
    /// 0 for a picture without vector.
    scales: Vec<f32>,
    /// `components` for each picture.
    vectors: Vec<i8>,
}

impl Pictures {
    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn check_vectors<'a>(
        &self,
        vectors: impl Iterator<Item = &'a UnitVector>,
    ) -> Result<(), LikenessError> {
        let mut expected = self.components;
        for got in vectors.map(UnitVector::components) {
            if expected != 0 && got != expected {
                return Err(LikenessError::Components { expected, got });
            }
            expected = got;
        }
        Ok(())
    }

    /// The vectors must have been checked.
    pub(super) fn add(&mut self, owner: WorkId, pictures: &[Picture]) {
        for Picture { fingerprint, vector } in pictures {
            if let Some(vector) = vector
                && self.components == 0
            {
                self.components = vector.components();
                self.vectors.resize(self.components * self.owners.len(), 0);
            }
            self.owners.push(owner);
            self.fingerprints.push(*fingerprint);
            self.scales.push(vector.as_ref().map_or(0.0, |vector| vector.scale));
            self.vectors.extend(vector.iter().flat_map(|vector| &vector.components));
            self.vectors.resize(self.components * self.owners.len(), 0);
        }
    }

    pub(super) fn remove(&mut self, owner: WorkId, count: usize) {
        let Some(first) = self.owners.iter().position(|other| *other == owner) else { return };
        let rows = first..first + count;
        self.vectors.drain(rows.start * self.components..rows.end * self.components);
        self.owners.drain(rows.clone());
        self.fingerprints.drain(rows.clone());
        self.scales.drain(rows);
        // The next model may have another length.
        if self.scales.iter().all(|scale| *scale == 0.0) {
            self.forget_vectors();
        }
    }

    /// `true` if there were any.
    pub(super) fn forget_vectors(&mut self) -> bool {
        let had = self.components != 0;
        self.components = 0;
        self.vectors = Vec::new();
        self.scales.fill(0.0);
        had
    }

    /// Works and their pictures, in the order in which they were added.
    pub(super) fn by_work(&self) -> impl Iterator<Item = (WorkId, Vec<Picture>)> {
        let mut next = 0;
        self.owners.chunk_by(PartialEq::eq).filter_map(move |owners| {
            let rows = next..next + owners.len();
            next = rows.end;
            Some((*owners.first()?, rows.filter_map(|row| self.picture(row)).collect()))
        })
    }

    pub(super) fn components(&self) -> usize {
        self.components
    }

    fn picture(&self, row: usize) -> Option<Picture> {
        let (scale, components) = self.vector(row)?;
        let vector = (scale != 0.0).then(|| UnitVector { scale, components: components.to_vec() });
        Some(Picture { fingerprint: *self.fingerprints.get(row)?, vector })
    }

    fn vector(&self, row: usize) -> Option<(f32, &[i8])> {
        let components = self.vectors.get(row * self.components..(row + 1) * self.components)?;
        Some((*self.scales.get(row)?, components))
    }

    pub(super) fn find(
        &self,
        query: &ImageQuery,
        vector: Option<&UnitVector>,
        limits: &ImageLimits,
    ) -> Vec<ImageMatch> {
        let mut found: Vec<ImageMatch> = Vec::new();
        let mut first = 0;
        for owners in self.owners.chunk_by(PartialEq::eq) {
            let rows = first..first + owners.len();
            first = rows.end;
            let near = rows
                .clone()
                .filter_map(|row| nearest(query, self.fingerprints.get(row)?, limits.max_distance))
                .min_by_key(|near| near.0);
            let cosine = vector.and_then(|vector| {
                let cosines = rows.filter_map(|row| self.vector(row)).filter(|(scale, _)| *scale != 0.0);
                cosines.map(|(scale, components)| vector.cosine(scale, components)).max_by(f32::total_cmp)
            });
            let is_alike =
                cosine.is_some_and(|cosine| limits.min_cosine.is_some_and(|least| cosine >= least));
            if let Some(work) = owners.first().filter(|_| near.is_some() || is_alike) {
                let view = near.map_or(View::default(), |(_, view)| view);
                found.push(ImageMatch { work: *work, distance: near.map(|near| near.0), view, cosine });
            }
        }
        let rank =
            |found: &ImageMatch| found.distance.filter(|d| *d <= limits.max_distance).unwrap_or(u32::MAX);
        let cosine = |found: &ImageMatch| found.cosine.unwrap_or(-2.0);
        found.sort_by(|a, b| {
            let by_distance = rank(a).cmp(&rank(b));
            by_distance.then(cosine(b).total_cmp(&cosine(a))).then(a.work.cmp(&b.work))
        });
        found.truncate(limits.matches);
        found
    }
}

fn nearest(query: &ImageQuery, other: &ImageFingerprint, most: u32) -> Option<(u32, View)> {
    let views = query.views.iter();
    let near =
        views.filter_map(|(view, fingerprint)| Some((fingerprint.distance_within(other, most)?, *view)));
    near.min_by_key(|near| near.0)
}
