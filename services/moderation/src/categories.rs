//! A set of categories of the taxonomy, small enough to copy.

use atelier_core::CategoryId;

// One bit a category.
const _: () =
    assert!(CategoryId::ALL.len() <= u64::BITS as usize, "the taxonomy no longer fits the set's bits");

/// A set of categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CategorySet(u64);

impl CategorySet {
    /// All of the taxonomy.
    #[must_use]
    pub fn all() -> Self {
        CategoryId::ALL.iter().copied().collect()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `category` is in it.
    #[must_use]
    pub const fn contains(self, category: CategoryId) -> bool {
        self.0 & bit(category) != 0
    }

    /// What both sets hold.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either set holds.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What this set holds and the other does not.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The categories, in the order of the taxonomy.
    pub fn iter(self) -> impl Iterator<Item = CategoryId> {
        CategoryId::ALL.iter().copied().filter(move |category| self.contains(*category))
    }
}

impl FromIterator<CategoryId> for CategorySet {
    fn from_iter<I: IntoIterator<Item = CategoryId>>(categories: I) -> Self {
        Self(categories.into_iter().fold(0, |bits, category| bits | bit(category)))
    }
}

const fn bit(category: CategoryId) -> u64 {
    1 << category as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_behave_as_sets() {
        let some: CategorySet =
            [CategoryId::Hate, CategoryId::Sexual, CategoryId::Hate].into_iter().collect();
        assert!(some.contains(CategoryId::Hate) && !some.contains(CategoryId::Violence));
        assert_eq!(some.iter().collect::<Vec<_>>(), [CategoryId::Hate, CategoryId::Sexual]);
        assert_eq!(CategorySet::all().iter().count(), CategoryId::ALL.len());
        let rest = CategorySet::all().difference(some);
        assert!(rest.intersection(some).is_empty());
        assert_eq!(rest.union(some), CategorySet::all());
    }
}
