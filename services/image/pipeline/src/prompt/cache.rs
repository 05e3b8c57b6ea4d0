//! Encoded texts that are likely to be asked for again: the negative prompt of everybody, the prompt of a series.

use std::{collections::VecDeque, sync::Arc};

use super::Encoded;

/// Texts that are kept; 77 tokens of SDXL are 0.6 MB.
const TEXTS: usize = 64;

/// What an encoded text depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) clip_skip: usize,
}

/// The texts used last, the latest first.
#[derive(Debug, Default)]
pub(super) struct Cache(VecDeque<(Key, Arc<Encoded>)>);

impl Cache {
    pub(super) fn get(&mut self, key: &Key) -> Option<Arc<Encoded>> {
        let at = self.0.iter().position(|(known, _)| known == key)?;
        let entry = self.0.remove(at)?;
        let encoded = Arc::clone(&entry.1);
        self.0.push_front(entry);
        Some(encoded)
    }

    /// The text that was not used for the longest time makes room.
    pub(super) fn put(&mut self, key: Key, encoded: Arc<Encoded>) {
        self.0.truncate(TEXTS - 1);
        self.0.push_front((key, encoded));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays() {
        let key = |n: usize| Key { text: n.to_string(), clip_skip: 0 };
        let mut cache = Cache::default();
        for n in 0..TEXTS {
            cache.put(key(n), Arc::default());
        }
        assert!(cache.get(&key(0)).is_some());
        cache.put(key(TEXTS), Arc::default());
        assert!(cache.get(&key(0)).is_some());
        assert!(cache.get(&key(1)).is_none());
        assert!(cache.get(&Key { clip_skip: 1, ..key(0) }).is_none());
        assert_eq!(cache.0.len(), TEXTS);
    }
}
