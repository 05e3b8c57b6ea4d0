//! The steps that views are made in, and which of them have nothing to do in a text.

use std::sync::LazyLock;

use crate::{
    compose, confusable, fold, han, invisible, leet, spaced, styled,
    table::Table,
    view::{Edits, View},
};

/// A step of a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Unseen,
    Enclosed,
    HalvesOfFlags,
    SmallCapitals,
    UpsideDown,
    FormKc,
    MixedWords,
    Flags,
    Joiners,
    Joined,
    AllWords,
    Folded,
    Halves,
    Letters,
}

/// What makes a text readable.
pub(crate) const READABLE: [Step; 7] = [
    Step::Unseen,
    Step::Enclosed,
    Step::HalvesOfFlags,
    Step::SmallCapitals,
    Step::UpsideDown,
    Step::FormKc,
    Step::MixedWords,
];

/// What follows on them for terms.
pub(crate) const UNDRAWN: [Step; 7] =
    [Step::Flags, Step::Joiners, Step::Joined, Step::AllWords, Step::Folded, Step::Halves, Step::Letters];

fn all() -> impl Iterator<Item = Step> {
    READABLE.into_iter().chain(UNDRAWN)
}

/// A bit for each step that may change something where a character stands. Those beyond the first plane are rare: any may.
static STEPS: LazyLock<Table<u16>> = LazyLock::new(|| {
    Table::new(|c| match c {
        ..='\u{ffff}' => all().filter(|step| step.concerns(c)).fold(0, |bits, step| bits | step.bit()),
        _ => u16::MAX,
    })
});

impl Step {
    fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Whether the step may do something because this character stands in a text. In a text of others it does nothing.
    fn concerns(self, c: char) -> bool {
        match self {
            Self::Unseen | Self::Joiners => invisible::is_unseen(c),
            Self::Enclosed => styled::enclosed_letter(c).is_some(),
            Self::HalvesOfFlags | Self::Flags => styled::flag_letter(c).is_some(),
            Self::SmallCapitals | Self::UpsideDown => styled::is_rare(c),
            Self::FormKc => compose::may_compose(c),
            Self::MixedWords | Self::AllWords => confusable::may_be_mistaken(c),
            Self::Joined => true,
            Self::Folded => fold::may_fold(c),
            Self::Halves => han::is_radical(c),
            Self::Letters => leet::may_read(c),
        }
    }

    fn edits(self, text: &str) -> Edits {
        match self {
            Self::Unseen => invisible::unseen(text),
            Self::Enclosed => styled::enclosed(text),
            Self::HalvesOfFlags => styled::halves_of_flags(text),
            Self::SmallCapitals => styled::small_capitals(text),
            Self::UpsideDown => styled::upside_down(text),
            Self::FormKc => compose::form_kc(text),
            Self::MixedWords => confusable::mixed_words(text),
            Self::Flags => styled::flags(text),
            Self::Joiners => invisible::joiners(text),
            Self::Joined => spaced::joined(text),
            Self::AllWords => confusable::all_words(text),
            Self::Folded => fold::folded(text),
            Self::Halves => han::halves(text),
            Self::Letters => leet::letters(text),
        }
    }
}

/// The steps that may have something to do where these characters stand, as bits.
fn concerned(chars: impl Iterator<Item = char>) -> u16 {
    let steps = &*STEPS;
    chars.fold(0, |bits, c| bits | steps.get(c))
}

/// A view, and which steps may have something to do in it.
pub(crate) struct Stage {
    pub(crate) view: View,
    concerned: u16,
}

impl Stage {
    pub(crate) fn of(view: View) -> Self {
        Self { concerned: concerned(view.text().chars()), view }
    }

    /// The steps taken one after another, and whether any changed the view.
    pub(crate) fn take(mut self, steps: &[Step]) -> (Self, bool) {
        let mut changed = false;
        for step in steps {
            if self.concerned & step.bit() == 0 {
                continue;
            }
            let edits = step.edits(self.view.text());
            if !edits.is_empty() {
                self.view = self.view.edit(&edits);
                self.concerned |= concerned(edits.chars());
                changed = true;
            }
        }
        (self, changed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Alone, or beside letters and marks of several scripts.
    fn beside(c: char) -> [String; 4] {
        [String::from(c), format!("a{c}b"), format!("{c}\u{301}c"), format!("你{c}好д{c}")]
    }

    #[test]
    fn a_step_that_no_character_concerns_does_nothing() {
        let plain = |step: Step, text: &str| !text.chars().any(|c| step.concerns(c));
        for c in '\0'..='\u{ffff}' {
            for text in beside(c) {
                for step in all().filter(|step| plain(*step, &text)) {
                    assert!(step.edits(&text).is_empty(), "{step:?} {text:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn steps_are_left_out_only_where_they_do_nothing(text in "(?s)[a-cA 1|/_.-]{0,4}[\\u{0}-\\u{ffff}]{0,12}[а-гα-δ中傻習氵去ａ０]{0,4}") {
            for step in all() {
                let (left_out, _) = Stage::of(View::of(&text)).take(&[step]);
                prop_assert_eq!(left_out.view, View::of(&text).edit(&step.edits(&text)));
            }
            let taken = all().fold(View::of(&text), |view, step| {
                let edits = step.edits(view.text());
                view.edit(&edits)
            });
            prop_assert_eq!(Stage::of(View::of(&text)).take(&all().collect::<Vec<_>>()).0.view, taken);
        }
    }
}
