//! Who has a place: slots, and KV rows where the cache may hold fewer than its slots have room for.
//!
//! A call is let in when its prompt fits and all calls could write a little more. As answers grow beyond that, prompts that
//! are only kept go first, then the least urgent call, and of those the last that came: it computes its rows again later.
//! The first that came always goes on, so that every call comes to its end.

use std::cmp::Reverse;

use atelier_inference::{Next, Priority};

use super::Scheduler;
use crate::engine::{
    call::Admitted,
    live::{Live, Seat},
};

/// Tokens that each call could write without another giving way when one is let in: what a call computes again when it
/// loses its place should not be for a few tokens.
const AHEAD: usize = 64;

impl Scheduler {
    /// There is a place, or less urgent calls would make one.
    pub(in crate::engine) fn has_room_for(&self, call: &Admitted, priority: Priority) -> bool {
        self.yielding(call, priority).is_some()
    }

    /// Takes their places from as many less urgent calls as it needs. Gives each, and how many calls had gone before it.
    pub(in crate::engine) fn make_room_for(&mut self, next: &Next<Admitted>) -> Vec<(Admitted, u64)> {
        let slots = self.yielding(&next.item, next.priority).unwrap_or_default();
        slots.into_iter().filter_map(|slot| self.park(slot)).collect()
    }

    /// The slots of the calls that make a place for this one, the weakest first; none where there is one. A call yields to
    /// more urgent ones of its tenant, one of low priority to those of all.
    fn yielding(&self, call: &Admitted, priority: Priority) -> Option<Vec<usize>> {
        let mut weaker = self.seats(|live| {
            live.seat.priority < priority
                && (live.seat.priority == Priority::Low || live.admitted.call.tenant == call.call.tenant)
        });
        weaker.sort_by_key(weakness);
        let mut weaker = weaker.into_iter();
        let mut free = self.free_slots().count();
        let mut claimed = self.claimed(AHEAD) + call.claim(AHEAD, self.decoder.context_length());
        let mut yielding = Vec::new();
        while free < call.call.slots() || self.kv_tokens.is_some_and(|most| claimed > most) {
            let (slot, live) = weaker.next()?;
            free += live.admitted.call.slots();
            claimed -= live.claim(AHEAD);
            yielding.push(slot);
        }
        Some(yielding)
    }

    /// Takes the place of the weakest call, if answers have outgrown the cache.
    pub(in crate::engine) fn relieve(&mut self) -> Option<(Admitted, u64)> {
        let outgrown = self.kv_tokens.is_some_and(|most| self.claimed(0) > most);
        let seats = self.seats(|_| outgrown);
        let (slot, _) = seats.iter().filter(|_| seats.len() > 1).min_by_key(|seat| weakness(seat))?;
        self.park(*slot)
    }

    /// Calls that hold slots.
    fn seats(&self, is_meant: impl Fn(&Live) -> bool) -> Vec<(usize, &Live)> {
        let seats = self.slots.iter().enumerate();
        seats.filter_map(|(slot, live)| Some((slot, live.as_ref().filter(|live| is_meant(live))?))).collect()
    }

    fn park(&mut self, slot: usize) -> Option<(Admitted, u64)> {
        let live = self.vacate(slot)?;
        self.cache.leave(slot);
        let Seat { waited, .. } = live.seat;
        Some((live.park(), waited))
    }

    /// Tokens whose rows calls hold after the next step, or when each has written so many more.
    fn claimed(&self, ahead: usize) -> usize {
        self.live().map(|live| live.claim(ahead)).sum()
    }

    /// Looks up what each slot holds. Where the cache is bounded, forgets prompts that there is no room to keep, and gives back
    /// the memory of rows that nobody needs.
    pub(super) fn give_back(&mut self) {
        if let Some(most) = self.kv_tokens {
            let spare = most.saturating_sub(self.claimed(0));
            let kept: Vec<usize> = (0..self.held.len()).filter(|&slot| self.owner(slot).is_none()).collect();
            self.cache.trim(&kept, spare);
        }
        for slot in 0..self.held.len() {
            let holds = match self.owner(slot) {
                Some(live) => live.claim(0) / live.admitted.call.slots(),
                None => self.cache.rows(slot),
            };
            let held = std::mem::replace(&mut self.held[slot], holds);
            if self.kv_tokens.is_some() && holds < held {
                self.decoder.release(slot, holds..held);
            }
        }
    }

    /// The call that a slot is for, as its own or as that of a branch.
    fn owner(&self, slot: usize) -> Option<&Live> {
        let own = self.branch_of.get(slot).copied().flatten().unwrap_or(slot);
        self.slots.get(own).and_then(Option::as_ref)
    }

    /// Tokens whose rows calls hold, or will after the next step, and prompts that are kept.
    pub(in crate::engine) fn cache_tokens(&self) -> usize {
        self.held.iter().sum()
    }
}

/// The least first: who loses its place before others.
fn weakness((_, live): &(usize, &Live)) -> (Priority, Reverse<u64>) {
    (live.seat.priority, Reverse(live.seat.since))
}
