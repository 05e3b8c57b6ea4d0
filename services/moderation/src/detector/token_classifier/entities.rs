//! From what a model says of tokens to names and addresses.

use std::ops::Range;

use atelier_core::CategoryId;

use super::tags::Tag;

/// Most characters between two words of a find: ", " and the like, or a line's end and what indents the next.
const MOST_BETWEEN: usize = 3;

/// Something found, word for word.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entity {
    pub(super) category: CategoryId,
    /// Bytes of the text.
    pub(super) place: Range<usize>,
    /// Mean of its words' shares, 0 to 1.
    pub(super) score: f32,
}

/// An entity that may go on.
struct Open {
    category: CategoryId,
    place: Range<usize>,
    /// All of its words' kinds, and the last one's.
    kinds: Vec<usize>,
    last: usize,
    shares: f32,
    words: f32,
    /// Has a word that makes a find by itself.
    whole: bool,
}

impl Open {
    fn new(place: Range<usize>, tag: Tag) -> Self {
        let Tag { category, kind, supporting, share, .. } = tag;
        Self { category, place, kinds: vec![kind], last: kind, shares: share, words: 1.0, whole: !supporting }
    }

    /// Whether a word goes on with it that this stands before. A given name goes on with a surname and a street with a city,
    /// over a comma too, but what begins anew and is in it already begins another one.
    fn goes_on(&self, between: &str, tag: Tag) -> bool {
        let plain = between.chars().all(|c| c.is_whitespace() && c != '\n');
        let again = self.kinds.contains(&tag.kind) && (tag.kind != self.last || !plain);
        tag.category == self.category && is_joint(between) && !(tag.begins && again)
    }

    fn add(&mut self, end: usize, tag: Tag) {
        self.place.end = end;
        if !self.kinds.contains(&tag.kind) {
            self.kinds.push(tag.kind);
        }
        self.last = tag.kind;
        self.shares += tag.share;
        self.words += 1.0;
        self.whole |= !tag.supporting;
    }

    fn close(self) -> Option<Entity> {
        let Self { category, place, shares, words, whole, .. } = self;
        whole.then(|| Entity { category, place, score: shares / words })
    }
}

/// What the tokens of a text, by their places, amount to: in order and apart. A word is what its first token says, as models are
/// trained; places that are no characters of the text are passed over.
pub(super) fn entities(text: &str, tokens: impl Iterator<Item = (Range<usize>, Option<Tag>)>) -> Vec<Entity> {
    let (mut found, mut open): (Vec<Entity>, Option<Open>) = (Vec::new(), None);
    // Where the last word ends, and whether that word belongs to the open one.
    let (mut end, mut taken) = (0, false);
    for (place, tag) in tokens {
        let Some(place) = trimmed(text, place).filter(|place| place.start >= end) else { continue };
        if place.start == end && is_within_word(text, end) {
            end = place.end;
            if let Some(open) = open.as_mut().filter(|_| taken) {
                open.place.end = end;
            }
            continue;
        }
        end = place.end;
        taken = tag.is_some();
        let Some(tag) = tag else { continue };
        let between = |open: &Open| text.get(open.place.end..place.start).unwrap_or_default();
        match open.as_mut().filter(|open| open.goes_on(between(open), tag)) {
            Some(open) => open.add(end, tag),
            None => found.extend(open.replace(Open::new(place, tag)).and_then(Open::close)),
        }
    }
    found.extend(open.and_then(Open::close));
    found
}

/// A token's place without the spaces that some tokenizers count to it; `None` where nothing is left.
fn trimmed(text: &str, place: Range<usize>) -> Option<Range<usize>> {
    let whole = text.get(place.clone())?;
    let start = place.end - whole.trim_start().len();
    let length = whole.trim().len();
    (length > 0).then_some(start..start + length)
}

/// Whether a word goes on over this byte, which lies between two tokens.
fn is_within_word(text: &str, at: usize) -> bool {
    let left = text.get(..at).and_then(|before| before.chars().next_back());
    let right = text.get(at..).and_then(|behind| behind.chars().next());
    let goes_on = |c: char| c.is_alphanumeric() && !is_unspaced(c);
    left.is_some_and(goes_on) && right.is_some_and(goes_on)
}

/// Letters of scripts without spaces between words: each token counts as a word.
fn is_unspaced(letter: char) -> bool {
    matches!(letter,
        // Thai and Lao, Burmese, Khmer.
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        // Radicals, kana and bopomofo; Chinese characters.
        | '\u{2e80}'..='\u{312f}' | '\u{31a0}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Whether this may stand within a name or an address.
fn is_joint(between: &str) -> bool {
    let may = |c: char| c.is_whitespace() || matches!(c, ',' | '.' | '-' | '\'' | '’' | '/' | '#');
    let few = between.chars().nth(MOST_BETWEEN).is_none();
    few && between.chars().all(may) && between.matches('\n').count() < 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIVEN: Tag =
        Tag { category: CategoryId::PersonalDataName, kind: 0, begins: true, supporting: false, share: 0.9 };
    const SURNAME: Tag = Tag { kind: 1, share: 0.7, ..GIVEN };
    const STREET: Tag = Tag { category: CategoryId::PersonalDataAddress, kind: 2, ..GIVEN };
    const CITY: Tag = Tag { kind: 3, supporting: true, ..STREET };
    const NUMBER: Tag = Tag { kind: 4, ..CITY };

    fn on(tag: Tag) -> Tag {
        Tag { begins: false, ..tag }
    }

    /// What is found where these parts of a text, one behind the other, have these tags.
    fn found<'t>(text: &'t str, tagged: &[(&str, Tag)]) -> Vec<&'t str> {
        let mut from = 0;
        let tokens = tagged.iter().map(|(part, tag)| {
            let start = from + text[from..].find(part).unwrap();
            from = start + part.len();
            (start..from, Some(*tag))
        });
        entities(text, tokens).into_iter().map(|entity| &text[entity.place]).collect()
    }

    #[test]
    fn words_become_names() {
        assert_eq!(
            found("Dear Anna Keller,", &[("Anna", GIVEN), ("Kell", SURNAME), ("er", GIVEN)]),
            ["Anna Keller"]
        );
        assert_eq!(found("Smith, John", &[("Smith", SURNAME), ("John", GIVEN)]), ["Smith, John"]);
        assert_eq!(
            found(
                "Anna Maria O'Hara",
                &[("Anna", GIVEN), ("Maria", GIVEN), ("O", SURNAME), ("Hara", on(SURNAME))]
            ),
            ["Anna Maria O'Hara"]
        );
        assert_eq!(
            found("Tom, Dick and Eve", &[("Tom", GIVEN), ("Dick", GIVEN), ("Eve", GIVEN)]),
            ["Tom", "Dick", "Eve"]
        );
        let four = [("Al", GIVEN), ("Bo", SURNAME), ("Cy", GIVEN), ("Do", SURNAME)];
        assert_eq!(found("Al Bo Cy Do", &four), ["Al Bo", "Cy Do"]);
        assert_eq!(found("张伟收", &[("张", SURNAME), ("伟", on(GIVEN))]), ["张伟"]);
    }

    #[test]
    fn parts_become_addresses_and_a_city_alone_does_not() {
        let letter =
            [("14", NUMBER), ("Rose", STREET), ("wood", STREET), ("Lane", on(STREET)), ("York", CITY)];
        assert_eq!(found("to 14 Rosewood Lane,\nYork.", &letter), ["14 Rosewood Lane,\nYork"]);
        assert_eq!(found("14 in York", &[("14", NUMBER), ("York", CITY)]), Vec::<&str>::new());
        let two = [("Elm", STREET), ("1", NUMBER), ("Oak", STREET), ("2", NUMBER)];
        assert_eq!(found("Elm 1, Oak 2", &two), ["Elm 1", "Oak 2"]);
        assert_eq!(found("Elm\n\nYork", &[("Elm", STREET), ("York", CITY)]), ["Elm"]);
    }

    #[test]
    fn scores_are_means_of_words() {
        let tokens = [
            (0..2, Some(GIVEN)),
            (2..4, Some(Tag { share: 0.1, ..GIVEN })),
            (5..7, Some(SURNAME)),
            (7..8, None),
        ];
        let found = entities("Anna Bo!", tokens.into_iter());
        assert_eq!(found.len(), 1);
        assert!((found[0].score - 0.8).abs() < 1e-6 && found[0].place == (0..7));
    }

    fn tag() -> impl Strategy<Value = Option<Tag>> {
        let tag = proptest::sample::select(vec![GIVEN, SURNAME, STREET, CITY, NUMBER]);
        let share =
            (tag, any::<bool>(), 0.0_f32..=1.0).prop_map(|(tag, begins, share)| Tag { begins, share, ..tag });
        proptest::option::of(share)
    }

    proptest! {
        /// Whatever places tokens claim to have.
        #[test]
        fn finds_are_parts_of_the_text_in_order_and_apart(
            text in "[a-cA-C0-2 ,.\n'张é\u{301}]{0,40}",
            tokens in proptest::collection::vec((0_usize..60, 0_usize..8, tag()), 0..40),
            sorted in any::<bool>(),
        ) {
            let mut tokens = tokens;
            if sorted {
                tokens.sort_by_key(|(start, ..)| *start);
            }
            let tokens = tokens.into_iter().map(|(start, length, tag)| (start..start + length, tag));
            let mut end = 0;
            for entity in entities(&text, tokens) {
                prop_assert!(entity.place.start >= end && !entity.place.is_empty());
                prop_assert!(text.get(entity.place.clone()).is_some_and(|part| part.trim() == part));
                prop_assert!((0.0..=1.0).contains(&entity.score));
                end = entity.place.end;
            }
        }
    }
}
