//! The memory that models may take together, and who makes room for whom.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use atelier_core::ModelId;

/// What all models may take.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Bytes; 0: any number.
    limit: u64,
    taken: AtomicU64,
}

impl Budget {
    /// A budget of so many bytes; 0: any number.
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, taken: AtomicU64::new(0) })
    }

    /// Bytes that models may take; 0: any number.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that models take.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// A model's part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// A part that is empty so far.
    pub(crate) fn empty(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Its size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more, or nothing; the error is how many bytes others would have to give back for it.
    pub(crate) fn grow(&mut self, more: u64) -> Result<(), u64> {
        let limit = match self.budget.limit {
            0 => u64::MAX,
            limit => limit,
        };
        let grown = |taken: u64| taken.checked_add(more).filter(|&sum| sum <= limit);
        match self.budget.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) {
            Ok(_) => {
                self.bytes += more;
                Ok(())
            }
            Err(taken) => Err(taken.saturating_add(more).saturating_sub(limit)),
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A model that no call uses and that may be unloaded.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    pub id: ModelId,
    pub bytes: u64,
    /// Grows with time.
    pub last_used: u64,
}

/// Which models give back so many bytes, those longest unused first. The error is what all of them would give back, where
/// that is not enough: then none has to go.
pub(crate) fn victims(mut idle: Vec<Idle>, missing: u64) -> Result<Vec<ModelId>, u64> {
    let all = idle.iter().map(|model| model.bytes).sum();
    if all < missing {
        return Err(all);
    }
    idle.sort_by_key(|model| model.last_used);
    let mut freed = 0;
    let needed = idle.into_iter().take_while(|model| {
        let goes = freed < missing;
        freed += model.bytes;
        goes
    });
    Ok(needed.map(|model| model.id).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn idle(n: usize, bytes: u64, last_used: u64) -> Idle {
        Idle { id: ModelId::new(&format!("m{n}")).expect("the name is valid"), bytes, last_used }
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let budget = Budget::new(100);
        let mut first = Reservation::empty(&budget);
        assert_eq!(first.grow(70), Ok(()));
        let mut second = Reservation::empty(&budget);
        assert_eq!(second.grow(40), Err(10));
        assert_eq!((second.bytes(), budget.taken()), (0, 70));
        drop(first);
        assert_eq!(second.grow(100), Ok(()));
        assert_eq!(second.grow(1), Err(1));
        assert_eq!(Reservation::empty(&Budget::new(0)).grow(u64::MAX), Ok(()));
    }

    proptest! {
        #[test]
        fn the_longest_unused_make_just_enough_room(
            models in prop::collection::vec((1_u64..50, 0_u64..1000), 0..8),
            missing in 1_u64..200,
        ) {
            let all: Vec<_> = models.iter().enumerate().map(|(n, &(bytes, at))| idle(n, bytes, at)).collect();
            let total: u64 = all.iter().map(|model| model.bytes).sum();
            match victims(all.clone(), missing) {
                Err(sum) => prop_assert!(sum == total && sum < missing),
                Ok(ids) => {
                    let gone: Vec<_> = ids.iter().filter_map(|id| all.iter().find(|model| model.id == *id)).collect();
                    let freed: u64 = gone.iter().map(|model| model.bytes).sum();
                    prop_assert!(freed >= missing);
                    // One less would not do.
                    prop_assert!(gone.last().is_some_and(|last| freed - last.bytes < missing));
                    let newest = gone.iter().map(|model| model.last_used).max();
                    let stay = all.iter().filter(|model| !ids.contains(&model.id));
                    prop_assert!(stay.map(|model| model.last_used).min() >= newest || ids.len() == all.len());
                }
            }
        }
    }
}
