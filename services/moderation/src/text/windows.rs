//! Cutting a long run of tokens into overlapping windows.

use std::ops::Range;

/// How text is cut: windows of `content` tokens, neighbours sharing at least `overlap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowShape {
    content: usize,
    overlap: usize,
}

impl WindowShape {
    /// `None` unless windows hold at least one token and move on by at least one.
    #[must_use]
    pub const fn new(content: usize, overlap: usize) -> Option<Self> {
        if content > overlap { Some(Self { content, overlap }) } else { None }
    }

    /// How many windows cover `tokens`.
    #[must_use]
    pub const fn count(self, tokens: usize) -> usize {
        match tokens {
            0 => 0,
            n if n <= self.content => 1,
            n => 1 + (n - self.content).div_ceil(self.content - self.overlap),
        }
    }

    /// The windows over `tokens`: as few as can be, of one length, and that no longer than the overlap asks for. So no token
    /// is read more often than it must be, and no window is a stump of a sentence, which a classifier reads badly: each is
    /// more than half of the longest.
    pub fn ranges(self, tokens: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
        let count = self.count(tokens);
        let gaps = count.saturating_sub(1);
        let length = (tokens + gaps * self.overlap).div_ceil(count.max(1));
        (0..count).map(move |n| {
            let start = n * (tokens - length) / gaps.max(1);
            start..start + length
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn windows_move_on() {
        assert!(WindowShape::new(8, 8).is_none());
        assert!(WindowShape::new(0, 0).is_none());
        let shape = WindowShape::new(8, 2).unwrap();
        assert_eq!(shape.ranges(0).count(), 0);
        assert!(shape.ranges(8).eq(std::iter::once(0..8)));
        assert_eq!(shape.ranges(9).collect::<Vec<_>>(), [0..6, 3..9]);
        assert_eq!(shape.ranges(15).collect::<Vec<_>>(), [0..7, 4..11, 8..15]);
    }

    proptest! {
        #[test]
        fn every_token_is_read_and_every_cut_is_overlapped(
            content in 1_usize..64, overlap in 0_usize..64, tokens in 0_usize..2_000,
        ) {
            prop_assume!(overlap < content);
            let shape = WindowShape::new(content, overlap).unwrap();
            let ranges: Vec<_> = shape.ranges(tokens).collect();
            prop_assert_eq!(ranges.len(), shape.count(tokens));
            prop_assert_eq!(ranges.first().map_or(0, |r| r.start), 0);
            prop_assert_eq!(ranges.last().map_or(0, |r| r.end), tokens);
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].start < pair[1].start && pair[0].end < pair[1].end);
                prop_assert!(pair[0].end - pair[1].start >= overlap);
            }
            prop_assert!(ranges.iter().all(|r| r.len() <= content && r.len() == ranges[0].len()));
            let read: usize = ranges.iter().map(Range::len).sum();
            prop_assert!(read < tokens + ranges.len().saturating_sub(1) * overlap + ranges.len().max(1));
            prop_assert!(ranges.len() < 2 || 2 * ranges[0].len() > content);
        }
    }
}
