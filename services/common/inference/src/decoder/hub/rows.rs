//! Keys and values of the tokens that each slot holds.

use super::graph::Plane;

/// Where padding stands among the rows of a slot that holds fewer tokens than others of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Padding {
    /// Before its rows, so that a run adds to all slots at the same place.
    Front,
    /// After its rows, and a run adds before the padding.
    Back,
}

/// For each slot and plane `[tokens, heads, head_size]`: tokens outermost, so that a slot grows with what it holds.
#[derive(Debug)]
pub(super) struct SlotRows<T> {
    slots: Vec<Vec<Vec<T>>>,
    /// Elements of padding.
    pub(super) filler: T,
    pub(super) padding: Padding,
}

impl<T: Copy> SlotRows<T> {
    pub(super) fn new(slots: usize, planes: usize, filler: T, padding: Padding) -> Self {
        Self {
            slots: (0..slots).map(|_| (0..planes).map(|_| Vec::new()).collect()).collect(),
            filler,
            padding,
        }
    }

    /// The first `kept` tokens of each of these slots, as a run takes them: `[slots, heads, longest, head_size]`, the
    /// shorter ones padded.
    pub(super) fn gather(&self, plane: usize, sizes: &Plane, slots: &[usize], kept: &[usize]) -> Vec<T> {
        let longest = kept.iter().copied().max().unwrap_or_default();
        let mut values = Vec::with_capacity(slots.len() * longest * sizes.row());
        for (&slot, &kept) in slots.iter().zip(kept) {
            let rows = &self.slots[slot][plane][..kept * sizes.row()];
            for head in 0..sizes.heads {
                let filler = std::iter::repeat_n(self.filler, (longest - kept) * sizes.head_size);
                if self.padding == Padding::Front {
                    values.extend(filler.clone());
                }
                for row in rows.chunks_exact(sizes.row()) {
                    values.extend_from_slice(&row[head * sizes.head_size..][..sizes.head_size]);
                }
                if self.padding == Padding::Back {
                    values.extend(filler);
                }
            }
        }
        values
    }

    /// Keeps what a run has added after the first `kept` tokens of each of these slots; `values` is
    /// `[slots, heads, longest + added, head_size]`.
    pub(super) fn extend(
        &mut self,
        plane: usize,
        sizes: &Plane,
        slots: &[usize],
        kept: &[usize],
        values: &[T],
    ) {
        let longest = kept.iter().copied().max().unwrap_or_default();
        let tokens = values.len() / (slots.len() * sizes.row());
        let each = slots.iter().zip(kept).zip(values.chunks_exact(tokens * sizes.row()));
        for ((&slot, &kept), values) in each {
            let rows = &mut self.slots[slot][plane];
            rows.truncate(kept * sizes.row());
            let first = match self.padding {
                Padding::Front => longest,
                Padding::Back => kept,
            };
            for token in first..first + tokens - longest {
                for head in 0..sizes.heads {
                    let row = (head * tokens + token) * sizes.head_size;
                    rows.extend_from_slice(&values[row..][..sizes.head_size]);
                }
            }
        }
    }

    /// Tokens of which this plane of the slot has rows.
    pub(super) fn tokens(&self, plane: usize, sizes: &Plane, slot: usize) -> usize {
        self.slots[slot][plane].len() / sizes.row()
    }

    /// Replaces a slot's rows by the first `tokens` of another's.
    pub(super) fn copy(&mut self, sizes: &[Plane], from: usize, to: usize, tokens: usize) {
        if from == to {
            return;
        }
        for (plane, sizes) in sizes.iter().enumerate() {
            let mut rows = std::mem::take(&mut self.slots[to][plane]);
            rows.clear();
            rows.extend_from_slice(&self.slots[from][plane][..tokens * sizes.row()]);
            self.slots[to][plane] = rows;
        }
    }

    /// Forgets all but the first `tokens` of a slot, and gives back their memory.
    pub(super) fn release(&mut self, sizes: &[Plane], slot: usize, tokens: usize) {
        for (rows, sizes) in self.slots[slot].iter_mut().zip(sizes) {
            rows.truncate(tokens * sizes.row());
            rows.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> [Plane; 1] {
        [Plane { past: String::new(), present: String::new(), heads: 2, head_size: 3 }]
    }

    /// `[slots, heads, tokens, head_size]`, each element telling where it belongs.
    fn present(slots: &[usize], tokens: usize) -> Vec<usize> {
        let sizes = &sizes()[0];
        let mut values = Vec::new();
        for slot in slots {
            for head in 0..sizes.heads {
                for token in 0..tokens {
                    values.extend((0..sizes.head_size).map(|n| slot * 1000 + head * 100 + token * 10 + n));
                }
            }
        }
        values
    }

    #[test]
    fn what_runs_add_comes_back_in_any_company() {
        let sizes = sizes();
        let mut rows = SlotRows::new(3, 1, 7, Padding::Front);
        rows.extend(0, &sizes[0], &[2, 0], &[0, 0], &present(&[2, 0], 4));
        rows.extend(0, &sizes[0], &[1], &[0], &present(&[1], 2));
        rows.extend(0, &sizes[0], &[1], &[2], &present(&[1], 5));
        assert_eq!(rows.gather(0, &sizes[0], &[0, 1, 2], &[4; 3]), present(&[0, 1, 2], 4));
        assert_eq!(rows.gather(0, &sizes[0], &[1], &[5]), present(&[1], 5));
        assert!(rows.gather(0, &sizes[0], &[1], &[0]).is_empty());
        // Tokens above the kept ones are forgotten.
        rows.extend(0, &sizes[0], &[1], &[1], &present(&[1], 3));
        assert_eq!(rows.tokens(0, &sizes[0], 1), 3);
        assert_eq!(rows.gather(0, &sizes[0], &[1], &[3]), present(&[1], 3));
    }

    #[test]
    fn shorter_slots_are_padded_in_front() {
        let sizes = sizes();
        let mut rows = SlotRows::new(2, 1, 7, Padding::Front);
        rows.extend(0, &sizes[0], &[0], &[0], &present(&[0], 3));
        rows.extend(0, &sizes[0], &[1], &[0], &present(&[1], 1));
        let gathered = rows.gather(0, &sizes[0], &[1, 0], &[1, 3]);
        let head = |head: usize| [7, 7, 7, 7, 7, 7, 1000 + head * 100, 1001 + head * 100, 1002 + head * 100];
        assert_eq!(gathered[..18], [head(0), head(1)].concat());
        assert_eq!(gathered[18..], present(&[0], 3));
        // A run gives them back with the padding and a row more.
        rows.extend(0, &sizes[0], &[1, 0], &[1, 3], &present(&[1, 0], 4));
        assert_eq!(rows.gather(0, &sizes[0], &[0], &[4]), present(&[0], 4));
        let last: Vec<usize> = [0, 1]
            .iter()
            .flat_map(|head| [0, 30].map(|token| (head, token)))
            .flat_map(|(head, token)| (0..3).map(move |n| 1000 + head * 100 + token + n))
            .collect();
        assert_eq!(rows.gather(0, &sizes[0], &[1], &[2]), last);
    }

    #[test]
    fn padding_may_stand_behind() {
        let sizes = sizes();
        let mut rows = SlotRows::new(2, 1, 7, Padding::Back);
        rows.extend(0, &sizes[0], &[0], &[0], &present(&[0], 3));
        rows.extend(0, &sizes[0], &[1], &[0], &present(&[1], 1));
        let gathered = rows.gather(0, &sizes[0], &[1, 0], &[1, 3]);
        let head = |head: usize| [1000 + head * 100, 1001 + head * 100, 1002 + head * 100, 7, 7, 7, 7, 7, 7];
        assert_eq!(gathered[..18], [head(0), head(1)].concat());
        assert_eq!(gathered[18..], present(&[0], 3));
        rows.extend(0, &sizes[0], &[1, 0], &[1, 3], &present(&[1, 0], 4));
        assert_eq!(rows.gather(0, &sizes[0], &[0], &[4]), present(&[0], 4));
        assert_eq!(rows.gather(0, &sizes[0], &[1], &[2]), present(&[1], 2));
    }

    #[test]
    fn copying_takes_the_first_tokens() {
        let sizes = sizes();
        let mut rows = SlotRows::new(2, 1, 0, Padding::Front);
        rows.extend(0, &sizes[0], &[0], &[0], &present(&[0], 4));
        rows.extend(0, &sizes[0], &[1], &[0], &present(&[1], 6));
        rows.copy(&sizes, 0, 1, 3);
        assert_eq!(rows.tokens(0, &sizes[0], 1), 3);
        assert_eq!(rows.gather(0, &sizes[0], &[1], &[3]), present(&[0], 3));
        assert_eq!(rows.gather(0, &sizes[0], &[0], &[4]), present(&[0], 4));
    }
}
