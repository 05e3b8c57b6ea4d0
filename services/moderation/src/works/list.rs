//! The protected works of one tenant.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::Arc,
};

use atelier_likeness::{
    Capacity, ImageLimits, ImageMatch, ImageQuery, Index, LikenessError, TextLimits, TextMatch, UnitVector,
    View, Work, WorkId,
};
use serde::{Deserialize, Serialize};

use super::views::LEAST_COSINE;

/// How much two unrelated fingerprints of pictures differ, in bits: half of them.
const UNRELATED: f32 = 256.0;

/// The similarity that vectors alone give, at the least cosine and at 1: enough to be looked at, not to be certain.
const BY_VECTOR: [f32; 2] = [0.5, 0.85];

/// What a work is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The caller's name for it.
    pub id: String,
    /// Its title; may be empty, as what follows.
    pub title: String,
    /// Who owns it.
    pub owner: String,
    /// What its use is subject to.
    pub license: String,
}

/// A work to be put on a list.
#[derive(Clone, Debug, PartialEq)]
pub struct NewWork {
    /// What it is called.
    pub label: Label,
    /// What it is known by.
    pub work: Work,
}

/// How content and work hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    /// The same picture or its middle, or the same text as a whole.
    Exact,
    /// A picture made from one of the work's.
    Edited,
    /// A text that holds words of the work as they are.
    Quotation,
}

/// A work that content is taken from.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// The work.
    pub label: Arc<Label>,
    /// How the two hang together.
    pub kind: MatchKind,
    /// 0 to 1: of pictures 1 minus the share of the bits by which unrelated ones differ, or, where vectors alone speak for the
    /// match, 0.5 to 0.85; of texts the larger of the shares of the one in the other.
    pub similarity: f32,
    /// What of a text is in the work, in bytes, rising, without overlaps.
    pub ranges: Vec<Range<usize>>,
    /// Bits of 512 in which the fingerprints of two pictures differ.
    pub distance: Option<u32>,
    /// The cosine of the vectors of two pictures, -1 to 1, where both have one.
    pub cosine: Option<f32>,
}

/// The works of one tenant: what they are called, and the index that knows them by number.
#[derive(Clone, Debug)]
pub struct List {
    pub(super) labels: BTreeMap<WorkId, Arc<Label>>,
    pub(super) index: Index,
    /// The model that the vectors of pictures are of; none: there are no vectors.
    pub(super) vectors: Option<String>,
    numbers: BTreeMap<String, WorkId>,
}

impl List {
    /// An empty list.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self { labels: BTreeMap::new(), index: Index::new(capacity), vectors: None, numbers: BTreeMap::new() }
    }

    /// Puts labels and an index with vectors of this model together; `None` unless each work has one label, and an id of its own.
    pub(super) fn of(
        labels: BTreeMap<WorkId, Arc<Label>>,
        index: Index,
        vectors: Option<String>,
    ) -> Option<Self> {
        let numbers: BTreeMap<_, _> =
            labels.iter().map(|(number, label)| (label.id.clone(), *number)).collect();
        let fits = numbers.len() == labels.len()
            && labels.len() == index.len()
            && labels.keys().all(|number| index.contains(*number));
        fits.then_some(Self { labels, index, vectors, numbers })
    }

    /// From now on vectors are of this model; `true` if there were some of another, which are dropped.
    pub(super) fn vectors_become(&mut self, model: Option<&str>) -> bool {
        if self.vectors.as_deref() == model {
            return false;
        }
        self.vectors = model.map(str::to_owned);
        self.index.forget_vectors()
    }

    /// Works on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// There are no works on the list.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// A work on the list has a text.
    #[must_use]
    pub fn has_texts(&self) -> bool {
        self.index.fingerprints() > 0
    }

    /// A work on the list has a picture.
    #[must_use]
    pub fn has_pictures(&self) -> bool {
        self.index.pictures() > 0
    }

    /// Puts a work on the list; `true` if it replaces the one of that id.
    ///
    /// # Errors
    /// The list is full. The one of that id is gone then.
    pub fn add(&mut self, new: NewWork) -> Result<bool, LikenessError> {
        let replaces = self.remove(&new.label.id);
        let last = self.labels.last_key_value().map_or(0, |(number, _)| number.0);
        let number = WorkId(last.saturating_add(1));
        self.index.add(number, new.work)?;
        self.numbers.insert(new.label.id.clone(), number);
        self.labels.insert(number, Arc::new(new.label));
        Ok(replaces)
    }

    /// Takes a work off the list: `false` if it is not on it.
    pub fn remove(&mut self, id: &str) -> bool {
        let Some(number) = self.numbers.remove(id) else { return false };
        self.labels.remove(&number);
        self.index.remove(number)
    }

    /// Works in the order of their ids, from behind this id on.
    pub fn after(&self, id: Option<&str>) -> impl Iterator<Item = &Arc<Label>> {
        let from = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.numbers
            .range::<str, _>((from, Bound::Unbounded))
            .filter_map(|(_, number)| self.labels.get(number))
    }

    /// At most so many works that a text quotes, those that it shares most with first.
    #[must_use]
    pub fn find_text(&self, text: &str, most: usize) -> Vec<Match> {
        let limits = TextLimits { matches: most, ..TextLimits::default() };
        let found = self.index.find_text(text, &limits).into_iter();
        found.filter_map(|found| Some(quotation(self.labels.get(&found.work)?, found))).collect()
    }

    /// At most so many works that have a picture like this one, nearest first.
    ///
    /// # Errors
    /// The vector is not of the model that those of the list are of.
    pub fn find_picture(
        &self,
        query: &ImageQuery,
        vector: Option<&UnitVector>,
        most: usize,
    ) -> Result<Vec<Match>, LikenessError> {
        let limits = ImageLimits { matches: most, min_cosine: Some(LEAST_COSINE), ..ImageLimits::default() };
        let found = self.index.find_image(query, vector, &limits)?.into_iter();
        Ok(found.filter_map(|found| Some(copy(self.labels.get(&found.work)?, found))).collect())
    }
}

fn quotation(label: &Arc<Label>, found: TextMatch) -> Match {
    let similarity = found.of_query.max(found.of_work);
    let is_whole = found.of_query.min(found.of_work) == 1.0;
    let kind = if is_whole { MatchKind::Exact } else { MatchKind::Quotation };
    Match { label: Arc::clone(label), kind, similarity, ranges: found.ranges, distance: None, cosine: None }
}

fn copy(label: &Arc<Label>, found: ImageMatch) -> Match {
    let is_same = found.distance == Some(0) && found.view == View::default();
    let kind = if is_same { MatchKind::Exact } else { MatchKind::Edited };
    let by_bits = found.distance.map(|bits| (1.0 - bits as f32 / UNRELATED).max(0.0));
    let near = |cosine: f32| (cosine - LEAST_COSINE) / (1.0 - LEAST_COSINE);
    let by_vector = found.cosine.map(|cosine| BY_VECTOR[0] + (BY_VECTOR[1] - BY_VECTOR[0]) * near(cosine));
    Match {
        label: Arc::clone(label),
        kind,
        similarity: by_bits.or(by_vector).unwrap_or(0.0),
        ranges: Vec::new(),
        distance: found.distance,
        cosine: found.cosine,
    }
}
