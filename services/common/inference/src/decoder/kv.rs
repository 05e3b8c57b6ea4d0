//! The KV cache of all slots.
//!
//! Each layer has a plane of keys and one of values, `[slots, heads, context_length, head_size]`. Slots are the
//! outermost axis, so any run of neighbouring slots is a contiguous view of a plane: the batch of a run follows the
//! calls in flight without a copy.

#![expect(unsafe_code, reason = "the cache is read and written by C code through views")]

use std::{ffi::c_void, ops::Range, ptr, ptr::NonNull};

/// Planes start at a multiple of this, in bytes: a cache line, and the widest vector registers.
const ALIGNMENT: usize = 64;
const WORD: usize = size_of::<u64>();

/// Sizes of a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KvShape {
    /// Keys and values of each layer: twice the layers.
    pub(crate) planes: usize,
    pub(crate) slots: usize,
    pub(crate) heads: usize,
    pub(crate) context_length: usize,
    pub(crate) head_size: usize,
    /// Size of one element, in bytes.
    pub(crate) element_bytes: usize,
}

impl KvShape {
    fn head_words(&self) -> usize {
        self.context_length * self.row_words()
    }

    /// One token of one head.
    fn row_words(&self) -> usize {
        self.head_size * self.element_bytes / WORD
    }

    fn slot_words(&self) -> usize {
        self.heads * self.head_words()
    }

    fn plane_words(&self) -> usize {
        (self.slots * self.slot_words()).next_multiple_of(ALIGNMENT / WORD)
    }

    /// What a token takes, in bytes.
    pub(crate) fn token_bytes(&self) -> usize {
        self.planes * self.heads * self.row_words() * WORD
    }

    /// Dimensions of a view of so many slots.
    pub(crate) fn view(&self, slots: usize) -> [usize; 4] {
        [slots, self.heads, self.context_length, self.head_size]
    }
}

/// Memory of all planes.
pub(crate) struct KvCache {
    shape: KvShape,
    /// One boxed slice, owned; raw because C code writes to it through pointers that outlive any borrow.
    memory: NonNull<[u64]>,
    /// Words before the first plane.
    offset: usize,
}

// SAFETY: the memory is owned and reached through this value alone.
unsafe impl Send for KvCache {}

impl KvCache {
    /// Pages of the cache become resident when they are first written, so long contexts cost only what they use.
    ///
    /// Rows must be a whole number of 8-byte words.
    pub(crate) fn new(shape: KvShape) -> Self {
        let words = shape.planes * shape.plane_words() + ALIGNMENT / WORD;
        let memory = NonNull::from(Box::leak(vec![0_u64; words].into_boxed_slice()));
        let offset = memory.cast::<u64>().as_ptr().align_offset(ALIGNMENT);
        Self { shape, memory, offset }
    }

    pub(crate) fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Where the view of a plane that begins at this slot starts.
    pub(crate) fn view(&self, plane: usize, slot: usize) -> *mut c_void {
        assert!(plane < self.shape.planes && slot < self.shape.slots, "plane {plane}, slot {slot}");
        self.word(plane, slot, 0).cast()
    }

    /// Copies the first `tokens` rows of a slot.
    pub(crate) fn copy(&mut self, from: usize, to: usize, tokens: usize) {
        let shape = self.shape;
        assert!(from < shape.slots && to < shape.slots, "slots {from} and {to} of {}", shape.slots);
        assert!(tokens <= shape.context_length, "{tokens} tokens of {}", shape.context_length);
        if from == to {
            return;
        }
        for plane in 0..shape.planes {
            for head in 0..shape.heads {
                // SAFETY: plane, slots, head and length are in range; the slots differ, so the rows do not overlap;
                // no run is in progress, as `self` is borrowed mutably.
                unsafe {
                    ptr::copy_nonoverlapping(
                        self.word(plane, from, head),
                        self.word(plane, to, head),
                        tokens * shape.row_words(),
                    );
                }
            }
        }
    }

    /// Gives the memory of a slot's rows back to the operating system, as far as they fill pages. What is read there is
    /// undefined until it is written again.
    pub(crate) fn release(&mut self, slot: usize, tokens: Range<usize>) {
        let shape = self.shape;
        assert!(slot < shape.slots && tokens.end <= shape.context_length, "slot {slot}, tokens {tokens:?}");
        for plane in 0..shape.planes {
            for head in 0..shape.heads {
                let start = self.word(plane, slot, head);
                // SAFETY: the rows are in range, nothing borrows them, and zeros are as good as any other words.
                unsafe {
                    pages::discard(
                        start.add(tokens.start * shape.row_words()),
                        tokens.len() * shape.row_words(),
                    );
                }
            }
        }
    }

    fn word(&self, plane: usize, slot: usize, head: usize) -> *mut u64 {
        let shape = &self.shape;
        let word = plane * shape.plane_words() + slot * shape.slot_words() + head * shape.head_words();
        debug_assert!(self.offset + word < self.memory.len(), "within the cache");
        // SAFETY: plane, slot and head are below the shape's, so the word is inside the allocation.
        unsafe { self.memory.cast::<u64>().as_ptr().add(self.offset + word) }
    }
}

mod pages {
    use super::WORD;

    /// Lets go of the whole pages among these words: they read as zeros, or as before.
    ///
    /// # Safety
    /// The words are one's own, and nothing borrows them.
    #[cfg(target_os = "linux")]
    pub(super) unsafe fn discard(start: *mut u64, words: usize) {
        use rustix::{
            mm::{Advice, madvise},
            param::page_size,
        };
        let first = start.addr().next_multiple_of(page_size());
        let end = (start.addr() + words * WORD) / page_size() * page_size();
        if let Some(length) = end.checked_sub(first).filter(|&length| length > 0) {
            // SAFETY: the pages lie within the words. Memory that can't be given back stays ours.
            let _ = unsafe { madvise(start.with_addr(first).cast(), length, Advice::LinuxDontNeed) };
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) unsafe fn discard(_: *mut u64, _: usize) {}
}

impl Drop for KvCache {
    fn drop(&mut self) {
        // SAFETY: the pointer came out of a box in `new` and is given back once.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: KvShape =
        KvShape { planes: 2, slots: 3, heads: 2, context_length: 5, head_size: 4, element_bytes: 4 };

    fn row(cache: &KvCache, plane: usize, slot: usize, head: usize, token: usize) -> *mut [f32; 4] {
        let start = cache.view(plane, slot).cast::<f32>();
        // SAFETY: the callers stay within the shape.
        unsafe { start.add((head * SHAPE.context_length + token) * SHAPE.head_size).cast() }
    }

    #[test]
    fn copying_takes_the_first_rows_of_every_head_and_nothing_else() {
        let mut cache = KvCache::new(SHAPE);
        let value = |p: usize, s: usize, h: usize, t: usize| (p * 1000 + s * 100 + h * 10 + t) as f32;
        let each = || {
            (0..2).flat_map(|p| {
                (0..3).flat_map(move |s| (0..2).flat_map(move |h| (0..5).map(move |t| (p, s, h, t))))
            })
        };
        for (p, s, h, t) in each() {
            // SAFETY: a row of the cache, not borrowed elsewhere.
            unsafe { *row(&cache, p, s, h, t) = [value(p, s, h, t); 4] };
        }
        cache.copy(0, 2, 3);
        for (p, s, h, t) in each() {
            let source = if s == 2 && t < 3 { 0 } else { s };
            // SAFETY: a row of the cache, not borrowed elsewhere.
            assert_eq!(unsafe { *row(&cache, p, s, h, t) }, [value(p, source, h, t); 4], "{p} {s} {h} {t}");
        }
    }

    #[test]
    fn what_is_released_leaves_all_else_and_can_be_written_again() {
        // Rows of 256 bytes: sixteen to a page.
        let shape =
            KvShape { planes: 2, slots: 2, heads: 2, context_length: 100, head_size: 64, element_bytes: 4 };
        let mut cache = KvCache::new(shape);
        let each = || {
            (0..2).flat_map(|p| {
                (0..2).flat_map(move |s| (0..2).flat_map(move |h| (0..100).map(move |t| (p, s, h, t))))
            })
        };
        let row = |cache: &KvCache, (p, s, h, t): (usize, usize, usize, usize)| -> *mut [f32; 64] {
            // SAFETY: within the shape.
            unsafe { cache.view(p, s).cast::<[f32; 64]>().add(h * 100 + t) }
        };
        let fill = |cache: &KvCache| {
            for (n, place) in each().enumerate() {
                // SAFETY: a row of the cache, not borrowed elsewhere.
                unsafe { *row(cache, place) = [n as f32 + 1.0; 64] };
            }
        };
        fill(&cache);
        cache.release(1, 20..90);
        let mut gone = 0;
        for (n, place) in each().enumerate() {
            // SAFETY: as above.
            let value = unsafe { *row(&cache, place) };
            match place {
                (_, 1, _, 20..90) => gone += usize::from(value == [0.0; 64]),
                _ => assert_eq!(value, [n as f32 + 1.0; 64], "{place:?}"),
            }
        }
        // Three pages at least lie within seventy rows, for each plane and head; rows need not begin where pages do.
        assert!(gone >= 4 * 47 || cfg!(not(target_os = "linux")), "{gone} rows");
        fill(&cache);
        cache.copy(1, 0, 100);
        // SAFETY: as above.
        assert_eq!(unsafe { *row(&cache, (1, 0, 1, 50)) }, unsafe { *row(&cache, (1, 1, 1, 50)) });
    }

    #[test]
    fn planes_are_aligned_and_zero() {
        let cache = KvCache::new(SHAPE);
        for plane in 0..SHAPE.planes {
            assert_eq!(cache.view(plane, 0) as usize % ALIGNMENT, 0);
            // SAFETY: a row of the cache, not borrowed elsewhere.
            assert_eq!(unsafe { *row(&cache, plane, 2, 1, 4) }, [0.0; 4]);
        }
    }

    #[test]
    #[should_panic(expected = "6 tokens of 5")]
    fn copying_past_the_end_is_refused() {
        KvCache::new(SHAPE).copy(0, 1, 6);
    }
}
