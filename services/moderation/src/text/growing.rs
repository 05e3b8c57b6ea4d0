//! A text that is still being written, cut into overlapping parts to judge.

use std::ops::Range;

/// How much of a growing text is judged at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// New bytes from which on a part is judged.
    pub step: usize,
    /// Bytes before them that are judged again, so that what straddles a cut is seen whole.
    pub overlap: usize,
}

/// Most new bytes of one part: of more than that, the first verdict would be long in coming.
const MOST_NEW_BYTES: usize = 16 << 10;

/// Text on its way. Holds what is not judged yet and the overlap before it, whatever the length of the whole.
#[derive(Debug)]
pub struct Growing {
    steps: Steps,
    text: String,
    /// Where in the whole text `text` begins.
    start: u64,
    /// Up to here, in `text`, all has been in a part.
    judged: usize,
    /// Up to here, in `text`, all is to be judged even if it is less than a step.
    due: usize,
}

/// A part to judge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The overlap and the new text.
    pub text: String,
    /// Its bytes in the whole text.
    pub place: Range<u64>,
    /// Where in the part the new text begins.
    pub new: usize,
}

impl Growing {
    /// A text that has not begun.
    #[must_use]
    pub fn new(steps: Steps) -> Self {
        Self {
            steps: Steps { step: steps.step.max(1), ..steps },
            text: String::new(),
            start: 0,
            judged: 0,
            due: 0,
        }
    }

    /// More text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Asks for everything that has come to be judged now.
    pub fn flush(&mut self) {
        self.due = self.text.len();
    }

    /// Bytes that no part has held yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.text.len() - self.judged
    }

    /// The next part, if there is enough for one.
    pub fn part(&mut self) -> Option<Part> {
        let due = self.due > self.judged;
        if !due && self.pending() < self.steps.step {
            return None;
        }
        let most = self.text.len().min(self.judged + MOST_NEW_BYTES);
        let end =
            if due && most <= self.due { most } else { self.cut(self.judged + self.steps.step / 2, most) };
        let end = self.text.ceil_char_boundary(end);
        let part = Part {
            text: self.text.get(..end).unwrap_or_default().to_owned(),
            place: self.start..self.start + end as u64,
            new: self.judged,
        };
        self.judged = end;
        let kept = self.overlap_start();
        self.text.drain(..kept);
        self.start += kept as u64;
        self.judged -= kept;
        self.due = self.due.saturating_sub(kept);
        Some(part)
    }

    /// The last place from `least` to `most` at which no word is cut; `most` if there is none.
    fn cut(&self, least: usize, most: usize) -> usize {
        let most = self.text.ceil_char_boundary(most);
        let least = self.text.ceil_char_boundary(least.min(most));
        let fresh = self.text.get(least..most).unwrap_or_default();
        let ends = |(_, letter): &(usize, char)| !letter.is_ascii_alphanumeric() && !is_cased(*letter);
        fresh.char_indices().rev().find(ends).map_or(most, |(at, letter)| least + at + letter.len_utf8())
    }

    /// Where the overlap before what is judged begins: at a word, if one begins there.
    fn overlap_start(&self) -> usize {
        let from = self.text.ceil_char_boundary(self.judged.saturating_sub(self.steps.overlap));
        if from == 0 {
            return 0;
        }
        let half = self.text.ceil_char_boundary(from + (self.judged - from) / 2);
        let overlap = self.text.get(from..half).unwrap_or_default();
        overlap.find(char::is_whitespace).map_or(from, |at| from + at)
    }
}

/// Letters of scripts that write words of several letters: those between two of them are no place to cut.
fn is_cased(letter: char) -> bool {
    letter.is_lowercase() || letter.is_uppercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STEPS: Steps = Steps { step: 20, overlap: 8 };

    #[test]
    fn words_stay_whole_and_the_overlap_is_read_again() {
        let mut growing = Growing::new(STEPS);
        growing.push("the quick brown");
        assert_eq!(growing.part(), None);
        growing.push(" fox jumps");
        let first = growing.part().unwrap();
        assert_eq!((first.text.as_str(), first.place, first.new), ("the quick brown fox ", 0..20, 0));
        assert_eq!(growing.part(), None);
        growing.flush();
        let last = growing.part().unwrap();
        assert_eq!((last.text.as_str(), last.new), (" fox jumps", 5));
        assert_eq!((last.place, growing.pending(), growing.part()), (15..25, 0, None));
    }

    #[test]
    fn a_text_without_spaces_is_cut_between_its_characters() {
        let mut growing = Growing::new(STEPS);
        growing.push("今天天气很好我们去公园");
        let part = growing.part().unwrap();
        assert_eq!((part.text.as_str(), growing.pending()), ("今天天气很好我们去公园", 0));
    }

    proptest! {
        #[test]
        fn every_byte_is_new_once_and_in_order(
            pieces in proptest::collection::vec((any::<bool>(), "[a-z 今天é]{0,60}"), 1..30),
            step in 0_usize..80,
            overlap in 0_usize..80,
        ) {
            let mut growing = Growing::new(Steps { step, overlap });
            let (mut whole, mut seen, mut end) = (String::new(), String::new(), 0);
            for (n, (flush, piece)) in pieces.iter().enumerate() {
                growing.push(piece);
                whole.push_str(piece);
                if *flush || n + 1 == pieces.len() {
                    growing.flush();
                }
                while let Some(part) = growing.part() {
                    prop_assert_eq!(part.place.start + part.new as u64, end);
                    prop_assert_eq!(part.place.end - part.place.start, part.text.len() as u64);
                    prop_assert!(part.new <= overlap + 4 && part.new < part.text.len());
                    prop_assert_eq!(&whole[part.place.start as usize..part.place.end as usize], &part.text);
                    seen.push_str(&part.text[part.new..]);
                    end = part.place.end;
                }
                prop_assert!(growing.text.len() <= overlap + 4 + growing.pending());
            }
            prop_assert_eq!(seen, whole);
        }
    }
}
