//! A compiled list of terms: in which view of a text its terms are looked for, and what they mean.

use std::{cell::OnceCell, ops::Range, sync::Arc};

use atelier_core::CategoryId;
use atelier_normalise::{Sound, Squeezed, View, pinyin, skeleton, skeletons};
use atelier_rules::{Found, Matching, Term, TermList, profanity};

use super::file::{Compared, ListMatching, ListRule};

/// What a match of one rule means.
#[derive(Clone, Debug)]
pub(super) struct Meaning {
    pub(super) category: CategoryId,
    /// 0 to 1.
    pub(super) score: f32,
    /// `terms:NAME` or `pattern:NAME`.
    pub(super) reason: Arc<str>,
}

/// A list, compiled once for all tenants that use it.
#[derive(Debug)]
pub(super) struct List {
    compared: Compared,
    terms: TermList,
    /// Terms with letters that stand twice, which stand once here: what "asssholes" is without its repetitions. Tags and
    /// matching are those of the terms.
    once: TermList,
    /// Of a list that is compared by sound: its terms as they were written.
    written: Vec<String>,
    /// By the tags of the terms.
    pub(super) meanings: Vec<Meaning>,
    /// How many terms there are.
    pub(super) len: usize,
}

/// A place where a term stands.
#[derive(Clone, Debug)]
pub(super) struct Hit<'l> {
    pub(super) place: Range<usize>,
    pub(super) meaning: &'l Meaning,
}

/// What terms are looked for in, made when a list first needs it.
pub(super) struct Views<'t> {
    text: &'t str,
    skeletons: OnceCell<(View, Option<Squeezed>)>,
    sound: OnceCell<Sound<'t>>,
}

impl<'t> Views<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, skeletons: OnceCell::new(), sound: OnceCell::new() }
    }
}

impl Meaning {
    /// # Errors
    /// The score is none.
    pub(super) fn new(category: CategoryId, score: f32, reason: String) -> Result<Self, String> {
        match (0.0..=1.0).contains(&score) {
            true => Ok(Self { category, score, reason: reason.into() }),
            false => Err(format!("score must be 0 to 1, is {score}")),
        }
    }
}

impl List {
    /// A list of the rules file, with the terms of its own file.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn compile(name: &str, rule: &ListRule, file: &str) -> Result<Self, String> {
        let meaning = Meaning::new(rule.category, rule.score, format!("terms:{name}"))?;
        let matching = match rule.matching {
            ListMatching::Word => Matching::Word,
            ListMatching::Substring => Matching::Substring,
        };
        let lines = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let term = |allow| move |text: &str| Term { text: text.to_owned(), tag: 0, matching, allow };
        let terms = rule.terms.iter().map(String::as_str).chain(lines).map(term(false));
        let allowed = rule.allow.iter().map(String::as_str).map(term(true));
        Self::build(rule.compared, terms.chain(allowed).collect(), vec![meaning])
    }

    /// The swear words that come with the service.
    ///
    /// # Errors
    /// None are known.
    pub(super) fn profanity() -> Result<Self, String> {
        let (mut terms, mut meanings) = (Vec::new(), Vec::<Meaning>::new());
        for (score, word) in profanity() {
            let tag = match meanings.iter().position(|known| known.score.total_cmp(&score).is_eq()) {
                Some(known) => known,
                None => {
                    meanings.push(Meaning::new(CategoryId::Profanity, score, "terms:profanity".to_owned())?);
                    meanings.len() - 1
                }
            };
            terms.push(Term {
                text: word.to_owned(),
                tag: tag as u32,
                matching: Matching::Word,
                allow: false,
            });
        }
        Self::build(Compared::Undisguised, terms, meanings)
    }

    fn build(compared: Compared, mut terms: Vec<Term>, meanings: Vec<Meaning>) -> Result<Self, String> {
        let written = match compared {
            Compared::Pinyin => terms.iter().map(|term| term.text.clone()).collect(),
            Compared::Plain | Compared::Undisguised => Vec::new(),
        };
        // Terms are compared with a view of the text and must be seen in the same way.
        for term in &mut terms {
            match compared {
                Compared::Plain => {}
                Compared::Undisguised => term.text = skeleton(&term.text).text().to_owned(),
                Compared::Pinyin => term.text = pinyin(&term.text).text().to_owned(),
            }
        }
        let twice = |term: &&Term| compared == Compared::Undisguised && has_double(&term.text);
        let once = terms.iter().filter(twice).map(|term| Term { text: single(&term.text), ..term.clone() });
        let once = TermList::build(once).map_err(|error| error.to_string())?;
        let len = terms.len();
        let terms = match compared {
            Compared::Pinyin => TermList::build_for_hidden_ends(terms),
            Compared::Plain | Compared::Undisguised => TermList::build(terms),
        };
        let terms = terms.map_err(|error| error.to_string())?;
        Ok(Self { compared, terms, once, written, meanings, len })
    }

    /// Adds where terms stand in a text, and where what is allowed does, in bytes of the text.
    pub(super) fn search<'l>(
        &'l self,
        views: &Views<'_>,
        hits: &mut Vec<Hit<'l>>,
        allowed: &mut Vec<Range<usize>>,
    ) {
        let mut add = |found: Found, view: Option<&View>| {
            let original = |range: Range<usize>| view.map_or(range.clone(), |view| view.original(range));
            allowed.extend(found.allowed.into_iter().map(original));
            for one in found.matches {
                if let Some(meaning) = self.meanings.get(one.tag as usize) {
                    hits.push(Hit { place: original(one.range), meaning });
                }
            }
        };
        match self.compared {
            Compared::Plain => add(self.terms.find(views.text), None),
            Compared::Undisguised => {
                let (twice, once) = views.skeletons.get_or_init(|| skeletons(views.text));
                add(self.terms.find(twice.text()), Some(twice));
                let Some(Squeezed { view: once, letters }) = once else { return };
                // What holds no repetition was found above, or is another word: "as" is not "ass".
                let repeats = |range: &Range<usize>| {
                    let place = views.text.get(once.original(range.clone())).unwrap_or_default();
                    once.text().get(range.clone()) != Some(skeleton(place).text())
                };
                for terms in [&self.terms, &self.once] {
                    let found = terms.find_around(once.text(), letters.iter().cloned(), repeats);
                    add(found, Some(once));
                }
            }
            Compared::Pinyin => {
                let sound = views.sound.get_or_init(|| Sound::of(views.text));
                let fits = |term: usize, range: &Range<usize>| {
                    self.written.get(term).is_some_and(|term| sound.agrees(range, &Sound::of(term)))
                };
                let found = self.terms.find_by(sound.view().text(), |at| sound.is_edge(at), fits);
                add(found, Some(sound.view()));
            }
        }
    }
}

/// Whether a letter stands twice in a row.
fn has_double(text: &str) -> bool {
    text.chars().zip(text.chars().skip(1)).any(|(a, b)| a == b && a.is_alphabetic())
}

/// The text with each letter once in a row.
fn single(text: &str) -> String {
    let mut last = None;
    text.chars().filter(|c| last.replace(*c) != Some(*c) || !c.is_alphabetic()).collect()
}
