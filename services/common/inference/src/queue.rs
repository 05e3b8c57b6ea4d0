//! Calls that wait for a place: bounded, fair between tenants, and in the order of their priorities.

use std::collections::{HashMap, VecDeque};

use atelier_core::TenantId;

/// How urgent a waiting item is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Work that nobody waits for: after the other items of all tenants.
    Low,
    /// As usual.
    #[default]
    Normal,
    /// Before the other items of its tenant.
    High,
}

impl Priority {
    fn next(self) -> Self {
        match self {
            Self::Low => Self::Normal,
            Self::Normal | Self::High => Self::High,
        }
    }
}

/// An item that has seen so many others go before it is one priority higher, and after as many again one more: nobody
/// waits for ever. Counted in items, so that a slow queue is no different from a fast one.
pub const PATIENCE: u64 = 16;

/// An item that has seen so many go before it is next, and where it may not go yet nobody goes: what it needs, which smaller
/// items would take up again and again, gathers for it.
pub const LAST_PATIENCE: u64 = 4 * PATIENCE;

/// Waiting items. Tenants take turns; of one tenant's items the most urgent goes first, and among equals the one that
/// came first. While any tenant has an item that is not of low priority, no low one goes. See also [`PATIENCE`]
/// and [`LAST_PATIENCE`].
#[derive(Debug)]
pub struct FairQueue<T> {
    tenants: HashMap<TenantId, VecDeque<Waiter<T>>>,
    /// Tenants with something waiting; the front one goes next.
    turns: VecDeque<TenantId>,
    length: usize,
    limit: usize,
    /// Items that have gone, ever.
    gone: u64,
}

#[derive(Debug)]
struct Waiter<T> {
    item: T,
    priority: Priority,
    /// `FairQueue::gone` when it came.
    since: u64,
    /// Items that had gone before it by then.
    before: u64,
}

/// An item that has its turn.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<T> {
    /// The item.
    pub item: T,
    /// Its priority, raised by what it has waited.
    pub priority: Priority,
    /// Items that have gone before it.
    pub waited: u64,
}

impl<T> Waiter<T> {
    fn waited(&self, gone: u64) -> u64 {
        self.before + (gone - self.since)
    }

    /// The priority, raised by the items that have gone before.
    fn risen(&self, gone: u64) -> Priority {
        match self.waited(gone) / PATIENCE {
            0 => self.priority,
            1 => self.priority.next(),
            _ => self.priority.next().next(),
        }
    }
}

impl<T> FairQueue<T> {
    /// A queue for at most so many items.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { tenants: HashMap::new(), turns: VecDeque::new(), length: 0, limit, gone: 0 }
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
    pub fn push(&mut self, tenant: TenantId, priority: Priority, item: T) -> Result<(), T> {
        if self.is_full() {
            return Err(item);
        }
        let since = self.gone;
        self.line(tenant).push_back(Waiter { item, priority, since, before: 0 });
        Ok(())
    }

    /// Adds an item that had gone and comes back, before those of its tenant and priority, full or not. `waited` items
    /// have gone before it already.
    pub fn push_front(&mut self, tenant: TenantId, priority: Priority, waited: u64, item: T) {
        let since = self.gone;
        self.line(tenant).push_front(Waiter { item, priority, since, before: waited });
    }

    /// A tenant's items, one of which comes.
    fn line(&mut self, tenant: TenantId) -> &mut VecDeque<Waiter<T>> {
        self.length += 1;
        let line = self.tenants.entry(tenant.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(tenant);
        }
        line
    }

    /// The next item: of the tenant whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_where(|_, _| true).map(|next| next.item)
    }

    /// The next item that may go, at the priority it has by now. A tenant whose next item may not go keeps its turn.
    pub fn pop_where(&mut self, may_go: impl Fn(&T, Priority) -> bool) -> Option<Next<T>> {
        let (turn, at, priority) = self.candidate(may_go)?;
        let tenant = self.turns.remove(turn)?;
        let line = self.tenants.get_mut(&tenant)?;
        let waiter = line.remove(at)?;
        if line.is_empty() {
            self.tenants.remove(&tenant);
        } else {
            self.turns.push_back(tenant);
        }
        let waited = waiter.waited(self.gone);
        self.length -= 1;
        self.gone += 1;
        Some(Next { item: waiter.item, priority, waited })
    }

    /// Whose turn it is, the place of its next item in its line, and that item's priority by now.
    fn candidate(&self, may_go: impl Fn(&T, Priority) -> bool) -> Option<(usize, usize, Priority)> {
        let firsts = self.turns.iter().enumerate().filter_map(|(turn, tenant)| {
            let line = self.tenants.get(tenant)?.iter().enumerate();
            // The first among equals.
            let (at, waiter) = line.rev().max_by_key(|(_, waiter)| waiter.risen(self.gone))?;
            Some((turn, at, waiter))
        });
        let firsts: Vec<_> = firsts.collect();
        let waited = |&&(_, _, waiter): &&(usize, usize, &Waiter<T>)| waiter.waited(self.gone);
        let longest = firsts.iter().max_by_key(waited).filter(|first| waited(first) >= LAST_PATIENCE);
        let may_go =
            |(_, _, waiter): &&(usize, usize, &Waiter<T>)| may_go(&waiter.item, waiter.risen(self.gone));
        let next = match longest {
            Some(longest) => Some(longest).filter(may_go),
            // Those that are not low in the order of turns, then those that are.
            None => firsts
                .iter()
                .filter(may_go)
                .min_by_key(|(turn, _, waiter)| (waiter.risen(self.gone) == Priority::Low, *turn)),
        };
        next.map(|&(turn, at, waiter)| (turn, at, waiter.risen(self.gone)))
    }

    /// Takes out the items that `leaves` picks.
    pub fn take_out(&mut self, mut leaves: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for line in self.tenants.values_mut() {
            let (left, stay): (VecDeque<_>, VecDeque<_>) =
                line.drain(..).partition(|waiter| leaves(&waiter.item));
            *line = stay;
            taken.extend(left.into_iter().map(|waiter| waiter.item));
        }
        self.tenants.retain(|_, line| !line.is_empty());
        self.turns.retain(|tenant| self.tenants.contains_key(tenant));
        self.length -= taken.len();
        taken
    }

    /// All items, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.tenants.values().flatten().map(|waiter| &waiter.item)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Priority::{High, Low, Normal};

    fn tenant(name: u8) -> TenantId {
        TenantId::new(&format!("t{name}")).expect("the name is valid")
    }

    fn queue(items: &[(u8, Priority, i32)]) -> FairQueue<i32> {
        let mut queue = FairQueue::new(items.len());
        for &(name, priority, item) in items {
            queue.push(tenant(name), priority, item).expect("there is room");
        }
        queue
    }

    fn order_of(queue: &mut FairQueue<i32>, most: usize) -> Vec<i32> {
        std::iter::from_fn(|| queue.pop()).take(most).collect()
    }

    fn order(mut queue: FairQueue<i32>) -> Vec<i32> {
        order_of(&mut queue, usize::MAX)
    }

    #[test]
    fn tenants_take_turns() {
        let items = [(0, 1), (0, 2), (0, 3), (1, 10), (2, 20), (1, 11)];
        assert_eq!(order(queue(&items.map(|(name, item)| (name, Normal, item)))), [1, 10, 20, 2, 11, 3]);
    }

    #[test]
    fn a_tenants_urgent_items_go_before_its_own_and_low_ones_after_everyones() {
        let items = [
            (0, Low, 1),
            (0, Normal, 2),
            (0, High, 3),
            (1, Normal, 10),
            (1, High, 11),
            (2, Low, 20),
            (0, High, 4),
        ];
        assert_eq!(order(queue(&items)), [3, 11, 4, 10, 2, 20, 1]);
    }

    #[test]
    fn no_item_waits_for_ever() {
        for (name, urgent) in [(0, Normal), (0, High), (1, Normal), (1, High)] {
            let mut queue = FairQueue::new(4);
            queue.push(tenant(0), Low, 0).expect("there is room");
            queue.push(tenant(name), urgent, 1).expect("there is room");
            let mut others = 0;
            while queue.pop() == Some(1) {
                others += 1;
                queue.push(tenant(name), urgent, 1).expect("there is room");
            }
            assert!((PATIENCE..=2 * PATIENCE + 1).contains(&others), "{others} before it");
        }
    }

    #[test]
    fn who_has_waited_for_very_long_holds_up_all_others_until_it_may_go() {
        let mut queue = FairQueue::new(4);
        queue.push(tenant(0), Normal, 0).expect("there is room");
        queue.push(tenant(1), Normal, 1).expect("there is room");
        let mut others = 0;
        // As if there never were room for it beside the others.
        while queue.pop_where(|&item, _| item > 0).is_some() {
            others += 1;
            queue.push(tenant(1 + others % 2), High, 1).expect("there is room");
        }
        assert_eq!(u64::from(others), LAST_PATIENCE);
        assert_eq!(order(queue), [0, 1]);
    }

    #[test]
    fn who_comes_back_goes_before_its_equals_though_the_queue_is_full() {
        let mut queue = queue(&[(0, Normal, 1), (0, High, 2)]);
        queue.push_front(tenant(0), Normal, 0, 3);
        assert_eq!(queue.len(), 3);
        assert_eq!(order(queue), [2, 3, 1]);
    }

    #[test]
    fn what_an_item_has_waited_counts_when_it_comes_back() {
        let mut queue = queue(&[(0, Normal, 1), (0, Normal, 2), (0, Low, 3)]);
        assert_eq!(order_of(&mut queue, 2), [1, 2]);
        let next = queue.pop_where(|_, _| true);
        assert_eq!(next, Some(Next { item: 3, priority: Low, waited: 2 }));
        queue.push(tenant(0), Normal, 4).expect("there is room");
        queue.push_front(tenant(0), Low, PATIENCE, 3);
        assert_eq!(order(queue), [3, 4]);
    }

    #[test]
    fn who_may_not_go_keeps_the_turn() {
        let mut queue = queue(&[(0, Normal, 1), (1, Normal, 10), (1, Low, 11)]);
        let next = queue.pop_where(|&item, _| item > 1);
        assert_eq!(next, Some(Next { item: 10, priority: Normal, waited: 0 }));
        // Its most urgent item alone is asked about.
        assert_eq!(queue.pop_where(|_, priority| priority == High), None);
        assert_eq!(order(queue), [1, 11]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_given_twice(
            ops in prop::collection::vec((0_u8..4, 0_u8..5, prop::sample::select(vec![Low, Normal, High])), 0..120),
            limit in 1_usize..12,
        ) {
            let (mut queue, mut inside, mut next, mut gone) = (FairQueue::new(limit), Vec::<(u8, u32, Priority, u64)>::new(), 0_u32, 0);
            for (op, name, priority) in ops {
                match op {
                    0 | 1 => {
                        let item = (name, next, priority, gone);
                        let pushed = queue.push(tenant(name), priority, item).is_ok();
                        prop_assert_eq!(pushed, inside.len() < limit);
                        if pushed { inside.push(item); }
                        next += 1;
                    }
                    2 => match queue.pop() {
                        Some(item) => {
                            let risen = |item: &(u8, u32, Priority, u64)| match (gone - item.3) / PATIENCE {
                                0 => item.2,
                                1 => item.2.next(),
                                _ => High,
                            };
                            // The first of its tenant's most urgent; a low one only where all are low.
                            let most = inside.iter().filter(|other| other.0 == item.0).map(risen).max();
                            let first = inside.iter().position(|other| other.0 == item.0 && Some(risen(other)) == most);
                            prop_assert!(risen(&item) > Low || inside.iter().all(|other| risen(other) == Low));
                            prop_assert_eq!(first.map(|at| inside.remove(at)), Some(item));
                            gone += 1;
                        }
                        None => prop_assert!(inside.is_empty()),
                    },
                    _ => {
                        let leaves = |item: &(u8, u32, Priority, u64)| item.1 % 3 == u32::from(name);
                        let mut taken = queue.take_out(leaves);
                        let (mut left, stay) = inside.into_iter().partition::<Vec<_>, _>(leaves);
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
