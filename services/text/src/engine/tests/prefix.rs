//! Which slot a prompt's rows are taken from, and which rows make room.

use super::*;
use crate::engine::prefix::RowCopy;

const CHUNK: usize = 4;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("the name is valid")
}

/// Two slots for calls, two that only keep.
fn cache(shared_between_tenants: bool) -> PrefixCache {
    PrefixCache::new(&PrefixCacheConfig { slots: 2, shared_between_tenants }, 2, CHUNK)
}

/// A call from its beginning to its end: the copies before it and the tokens that it found.
fn call(cache: &mut PrefixCache, slot: usize, name: &str, prompt: &[u32]) -> (Vec<RowCopy>, usize) {
    let begun = cache.begin(slot, &tenant(name), prompt, prompt.len() - 1);
    cache.grow(slot, prompt.len() + 3);
    cache.leave(slot);
    begun
}

/// Ten tokens that begin with this one.
fn prompt(first: u32) -> Vec<u32> {
    (first..first + 10).collect()
}

fn copy(from: usize, to: usize, tokens: usize) -> RowCopy {
    RowCopy { from, to, tokens }
}

#[test]
fn the_longest_prefix_is_taken_in_whole_chunks_and_never_all_of_a_prompt() {
    let mut cache = cache(false);
    assert_eq!(call(&mut cache, 0, "a", &prompt(0)), (vec![], 0));
    let mut longer = prompt(0)[..9].to_vec();
    longer.extend([90, 91, 92, 93]);
    // Nine tokens are alike and two chunks are whole; they lie where the call runs.
    assert_eq!(call(&mut cache, 0, "a", &longer), (vec![], 8));
    // What is longer lies in slot 0, what parts sooner in slot 1.
    assert_eq!(call(&mut cache, 1, "a", &[0, 1, 2, 3, 80, 81, 82, 83, 84]).1, 4);
    let copies = vec![copy(1, 2, 8), copy(0, 1, 12)];
    assert_eq!(call(&mut cache, 1, "a", &[&longer[..12], &[70; 3]].concat()), (copies, 12));
    // All of the prompt is there; the last token is run all the same.
    assert_eq!(call(&mut cache, 0, "a", &longer[..12]).1, 8);
    assert_eq!(call(&mut cache, 0, "a", &longer[..4]).1, 0);
}

#[test]
fn rows_of_a_short_last_chunk_and_of_an_answer_are_not_taken() {
    let mut cache = cache(false);
    cache.begin(0, &tenant("a"), &[1, 2, 3, 4, 5, 6], 5);
    cache.grow(0, 4);
    assert_eq!(cache.begin(1, &tenant("a"), &[1, 2, 3, 4, 5, 6, 7, 8, 9], 8).1, 4);
    cache.forget(1);
    // It has written 7 and 8 since.
    cache.grow(0, 8);
    assert_eq!(cache.begin(1, &tenant("a"), &[1, 2, 3, 4, 5, 6, 7, 8, 9], 8).1, 4);
}

#[test]
fn tenants_take_nothing_from_each_other_unless_they_share() {
    for shared in [false, true] {
        let mut cache = cache(shared);
        call(&mut cache, 0, "a", &prompt(0));
        assert_eq!(call(&mut cache, 1, "b", &prompt(0)).1, if shared { 8 } else { 0 });
        assert_eq!(call(&mut cache, 1, "b", &prompt(0)).1, 8);
    }
}

#[test]
fn the_least_recently_used_makes_room() {
    let mut cache = cache(false);
    // Each finds the one before it in its slot and has it moved to a slot that keeps.
    assert_eq!(call(&mut cache, 0, "a", &prompt(0)).0, []);
    assert_eq!(call(&mut cache, 0, "a", &prompt(100)).0, [copy(0, 2, 8)]);
    assert_eq!(call(&mut cache, 0, "a", &prompt(200)).0, [copy(0, 3, 8)]);
    // The first is used again, so that the second is the oldest.
    assert_eq!(call(&mut cache, 1, "a", &prompt(0)), (vec![copy(2, 1, 8)], 8));
    assert_eq!(call(&mut cache, 0, "a", &prompt(300)).0, [copy(0, 3, 8)]);
    let found: Vec<usize> = [0, 100, 200, 300]
        .map(|first| cache.find(0, &tenant("a"), &prompt(first)))
        .into_iter()
        .map(|found| found.map_or(0, |(_, rows)| rows))
        .collect();
    assert_eq!(found, [8, 0, 8, 8]);
}

#[test]
fn nothing_is_kept_twice() {
    let mut cache = cache(false);
    call(&mut cache, 0, "a", &prompt(0));
    call(&mut cache, 1, "a", &prompt(0));
    // The other slot holds the same.
    assert_eq!(call(&mut cache, 1, "a", &prompt(100)), (vec![], 0));
    assert_eq!(call(&mut cache, 1, "a", &prompt(200)).0, [copy(1, 2, 8)]);
    // What goes on from a kept prompt takes its place.
    let longer = [prompt(100), prompt(110)].concat();
    assert_eq!(call(&mut cache, 0, "a", &longer).0, [copy(0, 3, 8), copy(2, 0, 8)]);
    assert_eq!(call(&mut cache, 0, "a", &prompt(300)).0, [copy(0, 2, 20)]);
}

#[test]
fn a_call_that_moves_takes_its_rows_and_spares_those_it_finds() {
    let mut cache = cache(false);
    call(&mut cache, 0, "a", &prompt(0));
    cache.begin(1, &tenant("a"), &prompt(100), 9);
    cache.grow(1, 10);
    assert_eq!(cache.shift(1, 0, 13), [copy(0, 2, 8), copy(1, 0, 13)]);
    assert_eq!(cache.find(1, &tenant("a"), &prompt(100)), Some((0, 8)));
    assert_eq!(cache.find(1, &tenant("a"), &prompt(0)), Some((2, 8)));
}

#[test]
fn without_slots_that_keep_nothing_is_used_again() {
    let mut cache = PrefixCache::new(&PrefixCacheConfig { slots: 0, shared_between_tenants: true }, 2, CHUNK);
    assert_eq!(call(&mut cache, 0, "a", &prompt(0)), (vec![], 0));
    assert_eq!(call(&mut cache, 0, "a", &prompt(0)), (vec![], 0));
    assert_eq!(cache.shift(1, 0, 5), [copy(1, 0, 5)]);
}
