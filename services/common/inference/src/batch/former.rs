//! Which waiting items run together: a pure data structure, without threads or clocks.
//!
//! - **Fairness**: each tenant has an account of the tokens it was served. The tenant that has used least goes next;
//!   one that was away starts where the least used of the waiting tenants stands, so absence saves up nothing.
//! - **Padding**: a batch takes lengths that are alike: of what it costs, at most one part in [`PADDING`] is padding.
//! - **No starvation**: while an item is older than `age`, the oldest heads every other batch. The batches between stay
//!   fair, or a flood that is older than `age` would make of the queue one line in which everybody stands behind it.
//! - **Budget**: items times the longest length never exceeds `tokens`, but for a longer single item.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use atelier_core::TenantId;

/// Of a batch's tokens one in so many may be padding: less is lost to it than to batches left small, since a queue of
/// mixed messages holds several of each length.
const PADDING: usize = 10;

/// Bounds of a former.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) items: usize,
    pub(super) tokens: usize,
    pub(super) wait: Duration,
    pub(super) age: Duration,
    pub(super) queue: usize,
}

/// One waiting item.
#[derive(Debug)]
pub(super) struct Item<T> {
    /// Unique, and rising with arrival.
    pub(super) id: u64,
    pub(super) tenant: TenantId,
    pub(super) cost: usize,
    pub(super) arrived: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) payload: T,
}

/// What an idle owner does next.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// Run these; `tokens` is their cost with padding.
    Run { batch: Vec<Item<T>>, tokens: usize },
    /// Nothing is ready; ask again after this time, or when an item arrives.
    Wait(Duration),
    /// Nothing waits.
    Idle,
}

/// Tokens of an item: nothing costs nothing.
fn length<T>(item: &Item<T>) -> usize {
    item.cost.max(1)
}

/// The waiting items of a model.
#[derive(Debug)]
pub(super) struct Former<T> {
    limits: Limits,
    /// In order of arrival.
    waiting: VecDeque<Item<T>>,
    /// Tokens served to each tenant that has items waiting.
    served: HashMap<TenantId, u64>,
    /// The last batch was headed by the oldest item because of its age.
    age_had_its_turn: bool,
}

impl<T> Former<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, waiting: VecDeque::new(), served: HashMap::new(), age_had_its_turn: false }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds an item, or gives it back when the queue is full.
    pub(super) fn push(&mut self, item: Item<T>) -> Result<(), Item<T>> {
        if self.waiting.len() >= self.limits.queue {
            return Err(item);
        }
        if !self.served.contains_key(&item.tenant) {
            let least = self.served.values().copied().min().unwrap_or(0);
            self.served.insert(item.tenant.clone(), least);
        }
        self.waiting.push_back(item);
        Ok(())
    }

    /// Takes out an item whose caller has left.
    pub(super) fn remove(&mut self, id: u64) -> Option<Item<T>> {
        let place = self.waiting.iter().position(|item| item.id == id)?;
        let item = self.waiting.remove(place);
        self.forget_absent();
        item
    }

    /// Takes out everything.
    pub(super) fn drain(&mut self) -> Vec<Item<T>> {
        self.served.clear();
        self.waiting.drain(..).collect()
    }

    /// Takes out the items whose deadline has passed.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Item<T>> {
        let late = |item: &Item<T>| item.deadline.is_some_and(|deadline| deadline <= now);
        if !self.waiting.iter().any(late) {
            return Vec::new();
        }
        let (expired, waiting): (Vec<_>, Vec<_>) = self.waiting.drain(..).partition(late);
        self.waiting = waiting.into();
        self.forget_absent();
        expired
    }

    /// Forms the next batch. Expired items must have been taken out before.
    pub(super) fn next(&mut self, now: Instant) -> Next<T> {
        let Some(oldest) = self.waiting.front() else { return Next::Idle };
        let age = now.saturating_duration_since(oldest.arrived);
        let overdue = age >= self.limits.age && !self.age_had_its_turn;
        let batch = self.select(overdue);
        if age < self.limits.wait && batch.can_grow(&self.limits) {
            return Next::Wait(self.limits.wait - age);
        }
        self.age_had_its_turn = overdue;
        let tokens = batch.tokens();
        Next::Run { batch: self.take(batch.places), tokens }
    }

    /// Chooses a batch without taking it. There must be an item.
    fn select(&self, overdue: bool) -> Selection {
        let mut tenants = self.tenants();
        let mut batch = Selection::default();
        // The oldest item of all is the first of the first tenant.
        let mut turn = if overdue { tenants.first_mut() } else { least_served(&mut tenants) };
        while let Some(tenant) = turn {
            tenant.offer(&self.waiting, &mut batch, &self.limits);
            if batch.places.len() == self.limits.items {
                break;
            }
            turn = least_served(&mut tenants);
        }
        batch
    }

    /// The tenants that have items waiting, in order of their oldest item.
    fn tenants(&self) -> Vec<Tenant> {
        let mut index = HashMap::with_capacity(self.served.len());
        let mut tenants: Vec<Tenant> = Vec::with_capacity(self.served.len());
        for (place, item) in self.waiting.iter().enumerate() {
            let n = *index.entry(&item.tenant).or_insert_with(|| {
                let served = self.served.get(&item.tenant).copied().unwrap_or(0);
                tenants.push(Tenant { served, places: VecDeque::new() });
                tenants.len() - 1
            });
            tenants[n].places.push_back(place);
        }
        tenants
    }

    /// Takes the items at these places, oldest first, and charges their tenants.
    fn take(&mut self, mut places: Vec<usize>) -> Vec<Item<T>> {
        places.sort_unstable();
        let mut batch = Vec::with_capacity(places.len());
        // From the back, so that the places before stay where they are.
        for place in places.into_iter().rev() {
            if let Some(item) = self.waiting.remove(place) {
                *self.served.entry(item.tenant.clone()).or_default() += length(&item) as u64;
                batch.push(item);
            }
        }
        batch.reverse();
        self.forget_absent();
        batch
    }

    /// Drops the accounts of tenants that wait for nothing: the map stays as small as the queue.
    fn forget_absent(&mut self) {
        let waiting: HashSet<&TenantId> = self.waiting.iter().map(|item| &item.tenant).collect();
        self.served.retain(|tenant, _| waiting.contains(tenant));
    }
}

/// The waiting items of one tenant while a batch is chosen.
struct Tenant {
    served: u64,
    /// Places of its items in the queue, oldest first, that have not been offered yet.
    places: VecDeque<usize>,
}

impl Tenant {
    /// Adds the tenant's oldest item that fits. Those passed over wait for another batch.
    fn offer<T>(&mut self, waiting: &VecDeque<Item<T>>, batch: &mut Selection, limits: &Limits) {
        while let Some(place) = self.places.pop_front() {
            let length = length(&waiting[place]);
            if batch.admits(length, limits) {
                batch.add(place, length);
                self.served += length as u64;
                return;
            }
        }
    }
}

/// The tenant whose turn it is; ties go to the one whose item is oldest.
fn least_served(tenants: &mut [Tenant]) -> Option<&mut Tenant> {
    let open = tenants.iter_mut().filter(|tenant| !tenant.places.is_empty());
    open.min_by_key(|tenant| (tenant.served, tenant.places.front().copied()))
}

/// A batch in the making.
#[derive(Default)]
struct Selection {
    places: Vec<usize>,
    longest: usize,
    /// Of all lengths, without padding.
    sum: usize,
}

impl Selection {
    fn admits(&self, length: usize, limits: &Limits) -> bool {
        let longest = self.longest.max(length);
        let tokens = longest.saturating_mul(self.places.len() + 1);
        let padding = tokens.saturating_sub(self.sum.saturating_add(length));
        self.places.is_empty() || padding.saturating_mul(PADDING) <= tokens && self.fits(longest, limits)
    }

    /// One more item fits when the longest is this long.
    fn fits(&self, longest: usize, limits: &Limits) -> bool {
        let items = self.places.len() + 1;
        items <= limits.items && items.saturating_mul(longest) <= limits.tokens
    }

    fn can_grow(&self, limits: &Limits) -> bool {
        self.fits(self.longest, limits)
    }

    fn add(&mut self, place: usize, length: usize) {
        self.longest = self.longest.max(length);
        self.sum = self.sum.saturating_add(length);
        self.places.push(place);
    }

    fn tokens(&self) -> usize {
        self.places.len().saturating_mul(self.longest)
    }
}

#[cfg(test)]
mod tests;
