//! Terms that may begin at any character: looked up by their first bytes.
//!
//! Where no term begins, which is nearly everywhere, a text costs a few bits of small tables. An automaton's next state is a miss of
//! the cache for each character: over 100,000 terms and a Chinese text Aho and Corasick's took three times as long.

use std::{collections::HashMap, ops::Range};

use foldhash::fast::FixedState;

use crate::filter::Filter;

/// Bytes by which terms are looked up: of each, as many as it has of these.
const KEYS: [usize; 6] = [1, 2, 3, 4, 6, 9];

/// Bytes that are skipped at once where they are ASCII and no term begins so.
const BLOCK: usize = 64;

/// Terms by their beginnings.
#[derive(Default)]
pub(crate) struct Prefixes {
    /// One for each length of keys that terms have.
    tables: Vec<Table>,
    /// Whether terms begin with a byte, for each byte.
    begins: Vec<bool>,
    /// Whether any begins with an ASCII character.
    begins_in_ascii: bool,
}

/// Terms with keys of one length.
struct Table {
    key_bytes: usize,
    filter: Filter,
    /// Which entries have the key.
    by_key: HashMap<u128, Range<u32>, FixedState>,
    /// In the order of their texts.
    entries: Vec<Entry>,
    /// The texts of all entries, one after the other.
    texts: String,
}

struct Entry {
    /// Its place in the texts.
    text: Range<u32>,
    term: u32,
    /// The nearest entry before it whose text it begins with, or has.
    within: Option<u32>,
}

impl Prefixes {
    /// Of terms, folded and not empty, with their numbers.
    pub(crate) fn of(terms: Vec<(String, u32)>) -> Self {
        let mut begins = vec![false; 256];
        let mut by_length: [Vec<(String, u32)>; KEYS.len()] = Default::default();
        for term in terms {
            let Some(first) = term.0.bytes().next() else { continue };
            begins[usize::from(first)] = true;
            let class = KEYS.iter().rposition(|bytes| *bytes <= term.0.len());
            by_length[class.unwrap_or_default()].push(term);
        }
        let tables = KEYS.into_iter().zip(by_length).filter(|(_, terms)| !terms.is_empty());
        let tables = tables.map(|(bytes, terms)| Table::of(bytes, terms)).collect();
        Self { tables, begins_in_ascii: begins[..128].contains(&true), begins }
    }

    /// Visits where in a folded text terms stand that start at some of its bytes, by where they start.
    pub(crate) fn find(&self, text: &str, starts: Range<usize>, visit: &mut impl FnMut(Range<usize>, u32)) {
        if self.tables.is_empty() {
            return;
        }
        let bytes = text.as_bytes();
        let begins = |at: &usize| bytes.get(*at).is_some_and(|byte| self.begins[usize::from(*byte)]);
        for from in starts.clone().step_by(BLOCK) {
            let block = from..starts.end.min(from + BLOCK);
            if !self.begins_in_ascii && bytes[block.clone()].is_ascii() {
                continue;
            }
            for at in block.filter(begins) {
                let rest = &bytes[at..];
                let first = first_bytes(rest);
                for table in &self.tables {
                    for entry in table.at(rest, first) {
                        visit(at..at + entry.text.len(), entry.term);
                    }
                }
            }
        }
    }
}

impl Table {
    fn of(key_bytes: usize, mut terms: Vec<(String, u32)>) -> Self {
        terms.sort_unstable();
        let mut table = Self {
            key_bytes,
            filter: Filter::of(terms.len()),
            by_key: HashMap::default(),
            entries: Vec::with_capacity(terms.len()),
            texts: String::with_capacity(terms.iter().map(|(text, _)| text.len()).sum()),
        };
        for (text, term) in terms {
            table.push(&text, term);
        }
        table
    }

    fn push(&mut self, text: &str, term: u32) {
        let number = self.entries.len() as u32;
        let mut within = number.checked_sub(1);
        while let Some(entry) = within.and_then(|known| self.entries.get(known as usize)) {
            if text.starts_with(self.text(entry)) {
                break;
            }
            within = entry.within;
        }
        let start = self.texts.len() as u32;
        self.texts.push_str(text);
        self.entries.push(Entry { text: start..self.texts.len() as u32, term, within });
        let key = self.key(first_bytes(text.as_bytes()));
        self.filter.insert(key);
        self.by_key.entry(key).or_insert(number..number).end = number + 1;
    }

    fn text(&self, entry: &Entry) -> &str {
        &self.texts[entry.text.start as usize..entry.text.end as usize]
    }

    fn key(&self, first: u128) -> u128 {
        first & (u128::MAX >> (128 - 8 * self.key_bytes))
    }

    /// Entries that `rest` begins with, the longest first; `first` are its first bytes.
    #[inline]
    fn at<'t>(&'t self, rest: &[u8], first: u128) -> impl Iterator<Item = &'t Entry> + use<'t> {
        let key = self.key(first);
        let mut next = self.filter.may_have(key).then(|| self.last_at(rest, key)).flatten();
        std::iter::from_fn(move || {
            let entry = self.entries.get(next? as usize)?;
            next = entry.within;
            Some(entry)
        })
    }

    /// The longest of them: it is the last one that is not behind `rest`, or that one begins with it.
    #[inline(never)]
    fn last_at(&self, rest: &[u8], key: u128) -> Option<u32> {
        if rest.len() < self.key_bytes {
            return None;
        }
        let range = self.by_key.get(&key)?;
        let entries = &self.entries[range.start as usize..range.end as usize];
        let before = entries.partition_point(|entry| self.text(entry).as_bytes() <= rest);
        let last = range.start + (before as u32).checked_sub(1)?;
        let nearest = self.text(self.entries.get(last as usize)?);
        let common = nearest.bytes().zip(rest).take_while(|(a, b)| a == *b).count();
        let mut last = Some(last);
        while let Some(entry) = self.entries.get(last? as usize).filter(|entry| entry.text.len() > common) {
            last = entry.within;
        }
        last
    }
}

/// The first sixteen bytes, zeros behind the end, the first one lowest.
fn first_bytes(bytes: &[u8]) -> u128 {
    match bytes.first_chunk() {
        Some(all) => u128::from_le_bytes(*all),
        None => bytes.iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte)),
    }
}
