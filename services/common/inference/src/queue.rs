//! Calls that wait for a place: bounded, and fair between tenants.

use std::collections::{HashMap, VecDeque};

use atelier_core::TenantId;

/// Waiting items. Tenants take turns; the items of one tenant go in the order in which they came.
#[derive(Debug)]
pub struct FairQueue<T> {
    tenants: HashMap<TenantId, VecDeque<T>>,
    /// Tenants with something waiting; the front one goes next.
    turns: VecDeque<TenantId>,
    length: usize,
    limit: usize,
}

impl<T> FairQueue<T> {
    /// A queue for at most so many items.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { tenants: HashMap::new(), turns: VecDeque::new(), length: 0, limit }
    }

    /// Items waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// One more would be given back.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.length >= self.limit
    }

    /// Adds an item behind those of its tenant.
    ///
    /// # Errors
    /// The item itself, if the queue is full.
    pub fn push(&mut self, tenant: TenantId, item: T) -> Result<(), T> {
        if self.is_full() {
            return Err(item);
        }
        let waiting = self.tenants.entry(tenant.clone()).or_default();
        if waiting.is_empty() {
            self.turns.push_back(tenant);
        }
        waiting.push_back(item);
        self.length += 1;
        Ok(())
    }

    /// The next item: of the tenant whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let tenant = self.turns.pop_front()?;
        let waiting = self.tenants.get_mut(&tenant)?;
        let item = waiting.pop_front();
        if waiting.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        self.length -= usize::from(item.is_some());
        item
    }

    /// Takes out the items that `leaves` picks.
    pub fn take_out(&mut self, mut leaves: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for waiting in self.tenants.values_mut() {
            let (left, stay): (VecDeque<T>, VecDeque<T>) = waiting.drain(..).partition(&mut leaves);
            *waiting = stay;
            taken.extend(left);
        }
        self.tenants.retain(|_, waiting| !waiting.is_empty());
        self.turns.retain(|tenant| self.tenants.contains_key(tenant));
        self.length -= taken.len();
        taken
    }

    /// All items, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.tenants.values().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(name: u8) -> TenantId {
        TenantId::new(&format!("t{name}")).expect("the name is valid")
    }

    #[test]
    fn tenants_take_turns() {
        let mut queue = FairQueue::new(8);
        for (name, item) in [(0, 1), (0, 2), (0, 3), (1, 10), (2, 20), (1, 11)] {
            queue.push(tenant(name), item).expect("there is room");
        }
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [1, 10, 20, 2, 11, 3]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_given_twice(ops in prop::collection::vec((0_u8..4, 0_u8..5), 0..80), limit in 1_usize..12) {
            let (mut queue, mut inside, mut next) = (FairQueue::new(limit), Vec::<(u8, u32)>::new(), 0_u32);
            for (op, name) in ops {
                match op {
                    0 | 1 => {
                        let pushed = queue.push(tenant(name), (name, next)).is_ok();
                        prop_assert_eq!(pushed, inside.len() < limit);
                        if pushed { inside.push((name, next)); }
                        next += 1;
                    }
                    2 => match queue.pop() {
                        Some(item) => {
                            // First of its tenant.
                            let first = inside.iter().position(|other| other.0 == item.0);
                            prop_assert_eq!(first.map(|at| inside.remove(at)), Some(item));
                        }
                        None => prop_assert!(inside.is_empty()),
                    },
                    _ => {
                        let mut taken = queue.take_out(|item| item.1 % 3 == u32::from(name));
                        let (mut left, stay) = inside.into_iter().partition::<Vec<_>, _>(|item| item.1 % 3 == u32::from(name));
                        inside = stay;
                        taken.sort_unstable();
                        left.sort_unstable();
                        prop_assert_eq!(taken, left);
                    }
                }
                prop_assert_eq!(queue.len(), inside.len());
                prop_assert_eq!(queue.iter().count(), inside.len());
            }
        }
    }
}
