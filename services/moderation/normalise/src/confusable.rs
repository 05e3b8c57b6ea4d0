//! Letters that look like those of another alphabet, by the confusables of
//! [UTS #39](https://www.unicode.org/reports/tr39/#Confusable_Detection).

use std::{collections::HashMap, sync::LazyLock};

use unicode_security::confusable_detection::skeleton;

use crate::{
    letters::{Alphabet, in_word, is_letter, runs},
    view::Edits,
};

/// The letter of each alphabet that looks like a given one.
static LOOKS: LazyLock<HashMap<(char, Alphabet), char>> = LazyLock::new(looks);

/// Where letters that take part are: the first plane up to the Hangul syllables, and the alphabets of the second.
const LETTERS: [std::ops::RangeInclusive<char>; 3] =
    ['A'..='\u{abff}', '\u{10280}'..='\u{104ff}', '\u{118a0}'..='\u{118ff}'];

/// The alphabet alone in which ordinary words are written. Its letters are what others are read as.
fn is_target(alphabet: Alphabet, c: char) -> bool {
    match alphabet {
        Alphabet::Latin => c.is_ascii_alphabetic(),
        // Russian, Ukrainian, Belarusian, Serbian, Macedonian.
        Alphabet::Cyrillic => matches!(c, '\u{400}'..='\u{45f}'),
        Alphabet::Greek => matches!(c, '\u{391}'..='\u{3c9}'),
        Alphabet::RareLatin | Alphabet::Lookalike => false,
    }
}

fn looks() -> HashMap<(char, Alphabet), char> {
    // UTS #39 maps all that look alike to one prototype, I and l and 1 to one: capitals are kept apart from the rest.
    let prototype = |c: char| (skeleton(c.encode_utf8(&mut [0; 4])).collect::<String>(), c.is_uppercase());
    let letters: Vec<_> = LETTERS
        .into_iter()
        .flatten()
        .filter_map(|c| Some((c, Alphabet::of(c)?)))
        .map(|(c, alphabet)| (c, alphabet, prototype(c)))
        .collect();
    let mut targets: HashMap<&(String, bool), Vec<(Alphabet, char)>> = HashMap::new();
    for (c, alphabet, looks) in letters.iter().filter(|(c, alphabet, _)| is_target(*alphabet, *c)) {
        let known = targets.entry(looks).or_default();
        if known.iter().all(|(other, _)| other != alphabet) {
            known.push((*alphabet, *c));
        }
    }
    let mut found = HashMap::new();
    for (c, alphabet, looks) in &letters {
        // Alphabets without case look like small letters or capitals.
        let other_case = (looks.0.clone(), !looks.1);
        let same = targets.get(looks).into_iter().flatten();
        let any = targets.get(&other_case).into_iter().flatten().filter(|_| *alphabet == Alphabet::Lookalike);
        for (target, letter) in same.chain(any).filter(|(target, _)| target != alphabet) {
            found.entry((*c, *target)).or_insert(*letter);
        }
    }
    found
}

/// Small letters that UTS #39 tells apart and that still serve as these between Latin ones.
const CLOSE: [(char, char); 7] = [
    ('\u{3ba}', 'k'),
    ('\u{43a}', 'k'),
    ('\u{43c}', 'm'),
    ('\u{442}', 't'),
    ('\u{3b7}', 'n'),
    ('\u{3c5}', 'u'),
    ('\u{3b9}', 'i'),
];

/// The letter of `target` that `c` looks like.
fn alike(c: char, target: Alphabet) -> Option<char> {
    LOOKS.get(&(c, target)).copied()
}

/// The letter of `target` that `c` passes for among letters of it.
fn close(c: char, target: Alphabet) -> Option<char> {
    let known = || CLOSE.iter().find(|(known, _)| target == Alphabet::Latin && *known == c);
    alike(c, target).or_else(|| known().map(|(_, letter)| *letter))
}

/// Whether this is a letter that takes part and no plain one: a Chinese text has none, and nothing to look up.
pub(crate) fn may_be_mistaken(c: char) -> bool {
    !c.is_ascii() && Alphabet::of(c).is_some()
}

/// How many letters of each alphabet a word has.
#[derive(Clone, Copy, Default)]
struct Mix {
    ascii: usize,
    latin: usize,
    cyrillic: usize,
    greek: usize,
    rare: usize,
    lookalike: usize,
}

impl Mix {
    fn of(word: &str) -> Self {
        let mut mix = Self::default();
        for c in word.chars() {
            match Alphabet::of(c) {
                Some(Alphabet::Latin) => {
                    mix.latin += 1;
                    mix.ascii += usize::from(c.is_ascii());
                }
                Some(Alphabet::Cyrillic) => mix.cyrillic += 1,
                Some(Alphabet::Greek) => mix.greek += 1,
                Some(Alphabet::RareLatin) => mix.rare += 1,
                Some(Alphabet::Lookalike) => mix.lookalike += 1,
                None => {}
            }
        }
        mix
    }

    /// Letters of one alphabet other than Latin and none else.
    fn is_foreign(self) -> bool {
        let [a, b, c] = [self.cyrillic, self.greek, self.lookalike];
        self.latin + self.rare == 0 && a + b + c > 0 && a.max(b).max(c) == a + b + c
    }

    /// The alphabet that the word is meant to be read in: one that all of its letters look like, else the most frequent.
    /// `None`: it is of one alphabet.
    fn target(self, word: &str) -> Option<Alphabet> {
        let Self { latin, cyrillic, greek, .. } = self;
        if (self.rare + self.lookalike == 0
            && [latin, cyrillic, greek].iter().filter(|n| **n > 0).count() < 2)
            || self.is_foreign()
        {
            return None;
        }
        // Latin and Greek side by side: a unit, or a formula such as hv.
        if greek > 0 && latin + greek < 3 {
            return None;
        }
        if self.rare > 0 && cyrillic + greek + self.lookalike == 0 {
            // Phonetic spelling has more of these letters than one among many, and some that look like no other.
            let few = self.ascii >= 2 && self.ascii > self.rare && self.ascii == latin;
            return (few && looks_all(word, Alphabet::Latin, close)).then_some(Alphabet::Latin);
        }
        let mut order = [(latin, Alphabet::Latin), (cyrillic, Alphabet::Cyrillic), (greek, Alphabet::Greek)];
        order.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let present = || order.into_iter().filter(|(count, _)| *count > 0).map(|(_, alphabet)| alphabet);
        let whole = present().find(|target| looks_all(word, *target, close));
        whole.or_else(|| present().next())
    }
}

/// Whether all letters are of the alphabet or look like it.
fn looks_all(word: &str, target: Alphabet, look: fn(char, Alphabet) -> Option<char>) -> bool {
    let fits =
        |c: char| Alphabet::of(c).is_none_or(|alphabet| alphabet == target || look(c, target).is_some());
    word.chars().all(fits)
}

/// Whether all letters look Latin in lower case too, so that a word is read in one way in either.
fn looks_latin(word: &str) -> bool {
    looks_all(word, Alphabet::Latin, alike)
        && word
            .chars()
            .flat_map(char::to_lowercase)
            .all(|c| alike(c, Alphabet::Latin).is_some() || !is_letter(c))
}

fn read_as(word: &str, at: usize, target: Alphabet, edits: &mut Edits) {
    for (offset, c) in word.char_indices() {
        if Alphabet::of(c).is_some_and(|alphabet| alphabet != target)
            && let Some(letter) = close(c, target)
        {
            edits.swap(at + offset, c, letter);
        }
    }
}

/// Words of several alphabets in one of them, and foreign words that look wholly Latin in Latin where nothing else in the
/// text is of their script.
pub(crate) fn mixed_words(text: &str) -> Edits {
    let mut certain = Mix::default();
    let mut any_foreign = false;
    for (_, word) in runs(text, in_word) {
        let mix = Mix::of(word);
        if mix.is_foreign() && !looks_all(word, Alphabet::Latin, alike) {
            certain.cyrillic += mix.cyrillic;
            certain.greek += mix.greek;
            certain.lookalike += mix.lookalike;
        }
        any_foreign |= mix.is_foreign();
        certain.latin += if mix.latin == word.len() { mix.latin } else { 0 };
    }
    each_word(text, |word, mix| {
        let unlikely = any_foreign
            && certain.latin > 0
            && (mix.cyrillic == 0 || certain.cyrillic == 0)
            && (mix.greek == 0 || certain.greek == 0)
            && (mix.lookalike == 0 || certain.lookalike == 0);
        let longer = word.chars().nth(1).is_some();
        (unlikely && longer && mix.is_foreign() && looks_all(word, Alphabet::Latin, alike))
            .then_some(Alphabet::Latin)
    })
}

/// Words of several alphabets in one of them, and all that look wholly Latin in Latin.
pub(crate) fn all_words(text: &str) -> Edits {
    each_word(text, |word, mix| (mix.is_foreign() && looks_latin(word)).then_some(Alphabet::Latin))
}

fn each_word(text: &str, foreign: impl Fn(&str, Mix) -> Option<Alphabet>) -> Edits {
    let mut edits = Edits::default();
    for (range, word) in runs(text, in_word).filter(|(_, word)| !word.is_ascii()) {
        let mix = Mix::of(word);
        if let Some(target) = mix.target(word).or_else(|| foreign(word, mix)) {
            read_as(word, range.start, target, &mut edits);
        }
    }
    edits
}
