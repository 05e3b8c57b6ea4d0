//! Which prompts' KV rows lie in which slots, and which of them a new call takes over. Bookkeeping alone: what is to be
//! copied is for the scheduler to do.
//!
//! Every slot remembers the prompt whose rows it holds, also after its call has ended. A slot that is needed for another
//! call first hands what it holds to one of the slots that only keep, where the least recently used goes. What another
//! slot holds as well is not kept twice.
//!
//! Prompts are shared in whole units of a few tokens, and rows of answers never: those come from runs of one token, where
//! sums may differ in the last bits. Without them a call computes exactly what it computes alone.

use atelier_core::TenantId;
use serde::{Deserialize, Serialize};

/// KV rows of prompts, kept for calls that begin alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrefixCacheConfig {
    /// Slots of the KV cache, beside those of running calls, that only keep prompts of calls that have ended; each may
    /// grow as large as that of a call. 0: nothing is used again.
    pub slots: usize,
    /// Takes over what calls of other tenants have left. The time to the first token then tells a tenant how others'
    /// prompts begin.
    pub shared_between_tenants: bool,
}

impl Default for PrefixCacheConfig {
    fn default() -> Self {
        Self { slots: 4, shared_between_tenants: false }
    }
}

/// Rows that are to be copied: those of the first `tokens` tokens of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowCopy {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) tokens: usize,
}

/// What the slots hold.
pub(super) struct PrefixCache {
    /// The slots of calls first, then those that only keep.
    slots: Vec<Option<Prefix>>,
    /// How many slots calls have.
    calls: usize,
    /// Rows are shared in multiples of so many tokens.
    unit: usize,
    shared_between_tenants: bool,
    /// Counts uses, to order them.
    clock: u64,
}

/// The prompt whose rows a slot holds.
struct Prefix {
    tenant: TenantId,
    prompt: Vec<u32>,
    /// Tokens whose rows are there; a multiple of the unit.
    rows: usize,
    /// When it was last begun, found or left.
    used: u64,
}

impl Prefix {
    fn tokens(&self) -> &[u32] {
        &self.prompt[..self.rows]
    }
}

impl PrefixCache {
    /// An empty cache for so many slots of calls, and those that `config` adds.
    pub(super) fn new(config: &PrefixCacheConfig, calls: usize, unit: usize) -> Self {
        Self {
            slots: (0..calls + config.slots).map(|_| None).collect(),
            calls,
            unit,
            shared_between_tenants: config.shared_between_tenants,
            clock: 0,
        }
    }

    /// How many slots calls have: the first ones.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    fn is_off(&self) -> bool {
        self.calls == self.slots.len()
    }

    /// A call gets a slot. Gives the copies to make, in order, and of how many tokens of its prompt the slot then holds
    /// the rows: of `most` at the most, for logits are wanted after the others.
    pub(super) fn begin(
        &mut self,
        slot: usize,
        tenant: &TenantId,
        prompt: &[u32],
        most: usize,
    ) -> (Vec<RowCopy>, usize) {
        if self.is_off() {
            return (Vec::new(), 0);
        }
        let found = self.find(slot, tenant, &prompt[..most]);
        let rows = found.map_or(0, |(_, rows)| rows);
        // First, for what was found is then the last to make room.
        if let Some((source, _)) = found {
            self.touch(source);
        }
        let used = self.tick();
        let mut copies = Vec::new();
        match found {
            // The new call holds all of it.
            Some((source, rows)) if source == slot && self.rows(slot) == rows => {}
            _ => copies.extend(self.rescue(slot)),
        }
        copies.extend(found.filter(|&(source, _)| source != slot).map(|(from, tokens)| RowCopy {
            from,
            to: slot,
            tokens,
        }));
        self.slots[slot] = Some(Prefix { tenant: tenant.clone(), prompt: prompt.to_vec(), rows, used });
        (copies, rows)
    }

    /// A call moves to another slot, with the rows of so many tokens. Gives the copies to make, in order.
    pub(super) fn shift(&mut self, from: usize, to: usize, tokens: usize) -> Vec<RowCopy> {
        let mut copies: Vec<RowCopy> = self.rescue(to).into_iter().collect();
        if tokens > 0 {
            copies.push(RowCopy { from, to, tokens });
        }
        self.slots[to] = self.slots[from].take();
        copies
    }

    /// The call in a slot has taken in so many tokens.
    pub(super) fn grow(&mut self, slot: usize, tokens: usize) {
        if let Some(prefix) = &mut self.slots[slot] {
            prefix.rows = tokens.min(prefix.prompt.len()) / self.unit * self.unit;
        }
    }

    /// The call in a slot has ended; its rows stay.
    pub(super) fn leave(&mut self, slot: usize) {
        self.touch(slot);
    }

    /// A slot's rows are not to be trusted.
    pub(super) fn forget(&mut self, slot: usize) {
        self.slots[slot] = None;
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn touch(&mut self, slot: usize) {
        let now = self.tick();
        if let Some(prefix) = &mut self.slots[slot] {
            prefix.used = now;
        }
    }

    /// Forgets prompts in these slots, those first that were used longest ago, until rows of so many tokens are left there.
    pub(super) fn trim(&mut self, slots: &[usize], most: usize) {
        let used = |&slot: &usize| self.slots[slot].as_ref().map(|prefix| (prefix.used, slot));
        let mut kept: Vec<_> = slots.iter().filter_map(used).collect();
        kept.sort_unstable();
        let mut rows: usize = kept.iter().map(|&(_, slot)| self.rows(slot)).sum();
        for (_, slot) in kept {
            if rows <= most {
                break;
            }
            rows -= self.rows(slot);
            self.forget(slot);
        }
    }

    /// Tokens of a prompt whose rows a slot holds.
    pub(super) fn rows(&self, slot: usize) -> usize {
        self.slots[slot].as_ref().map_or(0, |prefix| prefix.rows)
    }

    fn may_share(&self, one: &TenantId, other: &TenantId) -> bool {
        self.shared_between_tenants || one == other
    }

    /// The slot that holds most of a prompt, and of how many tokens; `home`, where nothing need be copied, before
    /// others that hold as much.
    pub(super) fn find(&self, home: usize, tenant: &TenantId, prompt: &[u32]) -> Option<(usize, usize)> {
        let held = self.slots.iter().enumerate().filter_map(|(slot, prefix)| {
            let prefix = prefix.as_ref().filter(|prefix| self.may_share(tenant, &prefix.tenant))?;
            let alike = prefix.tokens().iter().zip(prompt).take_while(|(one, other)| one == other);
            Some((slot, alike.count() / self.unit * self.unit))
        });
        held.filter(|&(_, rows)| rows > 0).max_by_key(|&(slot, rows)| (rows, slot == home))
    }

    /// Whether the first holds all that the second does, for the same callers.
    fn covers(&self, one: &Prefix, other: &Prefix) -> bool {
        self.may_share(&one.tenant, &other.tenant) && one.tokens().starts_with(other.tokens())
    }

    /// What a slot holds is about to be overwritten: finds it a place among those that only keep, if it is worth one.
    pub(super) fn rescue(&mut self, slot: usize) -> Option<RowCopy> {
        let leaving = self.slots[slot].take()?;
        if leaving.rows == 0 || self.slots.iter().flatten().any(|held| self.covers(held, &leaving)) {
            return None;
        }
        // The least goes: what the leaving rows repeat, then an empty slot, then what was used longest ago.
        let worth = |slot: usize| match &self.slots[slot] {
            Some(kept) if self.covers(&leaving, kept) => (0, 0),
            None => (1, 0),
            Some(kept) => (2, kept.used),
        };
        let to = (self.calls..self.slots.len())
            .min_by_key(|&to| worth(to))
            .filter(|&to| worth(to) < (2, leaving.used))?;
        let tokens = leaving.rows;
        self.slots[to] = Some(leaving);
        Some(RowCopy { from: slot, to, tokens })
    }
}
