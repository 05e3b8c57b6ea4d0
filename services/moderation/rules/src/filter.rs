//! What is surely in no table, told by a few bits: a look into a table of 100,000 keys misses the cache.

/// Bits of a filter for each key in it, two of which a key sets: one in some sixty places of a text is looked up in vain.
const BITS_FOR_KEY: usize = 16;

/// Two bits for each key, both in one word (Putze, Sanders and Singler, 2009, "Cache-, Hash- and Space-Efficient Bloom Filters").
pub(crate) struct Filter {
    words: Box<[u64]>,
    /// Shifts a hash so that it becomes the place of a word.
    shift: u32,
}

impl Filter {
    /// An empty one with room for so many keys.
    pub(crate) fn of(keys: usize) -> Self {
        let words = (keys * BITS_FOR_KEY / 64).next_power_of_two().max(2);
        Self { words: vec![0; words].into(), shift: 64 - words.ilog2() }
    }

    /// A key's word and bits.
    #[inline]
    fn place(&self, key: u128) -> (usize, u64) {
        // Fibonacci hashing (Knuth, The Art of Computer Programming 3, section 6.4): the top bits of a product with 2^64 / phi.
        let half = key as u64 ^ ((key >> 64) as u64).rotate_left(29);
        let hash = half.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((hash >> self.shift) as usize, 1 << (hash >> 32 & 63) | 1 << (hash >> 38 & 63))
    }

    pub(crate) fn insert(&mut self, key: u128) {
        let (word, bits) = self.place(key);
        self.words[word] |= bits;
    }

    /// Never wrong about a key that is in it.
    #[inline]
    pub(crate) fn may_have(&self, key: u128) -> bool {
        let (word, bits) = self.place(key);
        self.words[word] & bits == bits
    }
}
