//! Texts by their sound, with where their syllables meet.

use std::ops::Range;

use crate::{View, letters::is_han, pinyin};

/// A text as [`pinyin`], which has no spaces between syllables: what is found in it may begin or end within one.
#[derive(Clone, Debug)]
pub struct Sound<'t> {
    text: &'t str,
    view: View,
}

impl<'t> Sound<'t> {
    /// How a text sounds.
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        Self { text, view: pinyin(text) }
    }

    /// The text as pinyin.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Whether a syllable of a Chinese character begins or ends at this byte of the view.
    #[must_use]
    pub fn is_edge(&self, at: usize) -> bool {
        let place = self.view.original(at..at).start;
        let (before, after) = self.text.split_at(place);
        let han = |c: Option<char>| c.is_some_and(is_han);
        self.view.is_boundary(at) && (han(before.chars().next_back()) || han(after.chars().next()))
    }

    /// Whether a term that sounds like this part of the view also falls into the same syllables: 先 does not sound like 西安,
    /// although both are "xian". Syllables that are written in Latin letters are not told apart.
    #[must_use]
    pub fn agrees(&self, part: &Range<usize>, term: &Sound<'_>) -> bool {
        (1..part.len()).all(|at| {
            let here = part.start + at;
            let cut = self.is_edge(here) && !term.view.is_boundary(at);
            let run_over = term.is_edge(at) && !self.view.is_boundary(here);
            !cut && !run_over
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree(text: &str, term: &str) -> bool {
        let (text, term) = (Sound::of(text), Sound::of(term));
        let at = text.view().text().find(term.view().text()).unwrap();
        text.agrees(&(at..at + term.view().text().len()), &term)
    }

    #[test]
    fn syllables_are_told_apart() {
        assert!(agree("你这个沙比", "傻逼") && agree("sha逼", "傻逼") && agree("shabi", "傻逼"));
        assert!(agree("煞笔", "shabi") && agree("先生", "先") && agree("先生", "xian"));
        assert!(!agree("西安", "先") && !agree("先生", "西安") && !agree("方案", "反感"));
    }

    #[test]
    fn edges_are_those_of_chinese_characters() {
        let sound = Sound::of("a西安 b");
        assert_eq!(sound.view().text(), "axian b");
        let edges: Vec<_> = (0..=7).filter(|at| sound.is_edge(*at)).collect();
        assert_eq!(edges, [1, 3, 5]);
    }
}
