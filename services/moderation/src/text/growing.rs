//! A text that is still being written, cut into overlapping parts to judge.
//!
//! Each part costs its overlap once more, so parts are judged when they hold a step of new text: then all of them together cost
//! little more than the text judged at once. A flush can't change that while text keeps coming, or a caller who flushes each
//! token would have each read some thirty times; it counts once the text pauses.

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

/// Bytes by which the overlap may be longer so as to begin with a word.
const LONG_WORD: usize = 16;

/// Text on its way. Holds what is not judged yet and the overlap before it, whatever the length of the whole.
#[derive(Debug)]
pub struct Growing {
    steps: Steps,
    text: String,
    /// Where in the whole text `text` begins.
    start: u64,
    /// Up to here, in `text`, all has been in a part.
    judged: usize,
    /// Up to here, in `text`, the caller has asked for verdicts.
    flushed: usize,
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
            flushed: 0,
            due: 0,
        }
    }

    /// More text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Asks for everything that has come to be judged at the next [`Growing::pause`].
    pub fn flush(&mut self) {
        self.flushed = self.text.len();
    }

    /// Whether a flush waits for the text to pause.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.flushed > self.judged
    }

    /// Nothing more comes for now: what was flushed is judged however little it is.
    pub fn pause(&mut self) {
        self.due = self.flushed;
    }

    /// Nothing more comes at all: the rest is judged however little it is.
    pub fn end(&mut self) {
        self.flush();
        self.pause();
    }

    /// Bytes that no part has held yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.text.len() - self.judged
    }

    /// The next part, if there is enough for one.
    pub fn part(&mut self) -> Option<Part> {
        if self.due <= self.judged && self.pending() < self.steps.step {
            return None;
        }
        let most = self.text.len().min(self.judged + MOST_NEW_BYTES);
        let end = match self.flushed >= most {
            true => most,
            false => self.cut(self.judged + self.steps.step / 2, most),
        };
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
        self.flushed = self.flushed.saturating_sub(kept);
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

    /// Where the overlap before what is judged begins: at the word that it would cut, if that is no long one.
    fn overlap_start(&self) -> usize {
        let from = self.text.floor_char_boundary(self.judged.saturating_sub(self.steps.overlap));
        let least = self.text.floor_char_boundary(from.saturating_sub(LONG_WORD.min(self.steps.overlap)));
        let before = self.text.get(least..from).unwrap_or_default();
        before.rfind(char::is_whitespace).map_or(if least == 0 { 0 } else { from }, |at| least + at)
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
    use crate::text::WindowShape;

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
        assert!(growing.is_flushed() && growing.part().is_none());
        growing.pause();
        let last = growing.part().unwrap();
        assert_eq!((last.text.as_str(), last.new), (" brown fox jumps", 11));
        assert_eq!((last.place, growing.pending(), growing.part()), (9..25, 0, None));
    }

    #[test]
    fn a_text_without_spaces_is_cut_between_its_characters() {
        let mut growing = Growing::new(STEPS);
        growing.push("今天天气很好我们去公园");
        let part = growing.part().unwrap();
        assert_eq!((part.text.as_str(), growing.pending()), ("今天天气很好我们去公园", 0));
    }

    #[test]
    fn a_flush_is_cut_where_it_ends_when_it_is_a_step() {
        let mut growing = Growing::new(STEPS);
        growing.push("the quick brown fox ju");
        growing.flush();
        assert_eq!(growing.part().unwrap().text, "the quick brown fox ju");
        assert!(!growing.is_flushed());
    }

    /// The service's.
    const DEFAULT: Steps = Steps { step: 384, overlap: 128 };
    /// Around each window of the default model.
    const FRAME: usize = 5;

    /// Tokens as many as a vocabulary of short pieces gives: one for each sign, and for each four letters of a word.
    fn tokens(text: &str) -> usize {
        let word =
            |word: &str| word.chars().filter(|c| !c.is_ascii_alphabetic()).count() + word.len().div_ceil(4);
        let (signs, words): (String, String) = text.chars().partition(|c| !c.is_ascii());
        signs.chars().count() + words.split_whitespace().map(word).sum::<usize>()
    }

    /// Tokens that the model reads.
    fn read(text: &str) -> usize {
        let shape = WindowShape::new(128 - FRAME, 32).unwrap();
        shape.ranges(tokens(text)).map(|window| window.len() + FRAME).sum()
    }

    const ENGLISH: &str = "It was late when the ferry left, and those who had waited all day on the quay, with their bags \
                           and their children, watched it go; nobody had told them that there would be another one. ";
    const CHINESE: &str = "渡轮离开的时候天色已经很晚了，那些带着行李和孩子在码头上等了一整天的人，只能看着它远去；没有人告诉他们还会有下一班。";

    proptest! {
        /// Whatever pieces the text comes in, and however often it is flushed.
        #[test]
        fn a_text_that_grows_costs_little_more_than_one_that_is_whole(
            sample in proptest::sample::select(vec![ENGLISH, CHINESE]),
            bytes in 2_000_usize..12_000,
            pieces in proptest::collection::vec((1_usize..500, any::<bool>()), 1..8),
            small in any::<bool>(),
        ) {
            let whole = sample.repeat(bytes / sample.len() + 1);
            let mut growing = Growing::new(DEFAULT);
            let (mut rest, mut cost) = (whole.as_str(), 0);
            for (length, flush) in pieces.iter().cycle() {
                let length = if small { length % 8 + 1 } else { *length };
                let (piece, after) = rest.split_at(rest.ceil_char_boundary(length.min(rest.len())));
                growing.push(piece);
                if *flush {
                    growing.flush();
                }
                rest = after;
                if rest.is_empty() {
                    growing.end();
                }
                while let Some(part) = growing.part() {
                    cost += read(&part.text);
                }
                if rest.is_empty() {
                    break;
                }
            }
            let once = read(&whole);
            prop_assert!(cost * 10 <= once * 13, "{} tokens for {}", cost, once);
        }

        #[test]
        fn every_byte_is_new_once_and_in_order(
            pieces in proptest::collection::vec((any::<bool>(), "[a-z 今天é]{0,60}"), 1..30),
            step in 0_usize..80,
            overlap in 0_usize..80,
        ) {
            let mut growing = Growing::new(Steps { step, overlap });
            let most = overlap + LONG_WORD + 4;
            let (mut whole, mut seen, mut end) = (String::new(), String::new(), 0);
            for (n, (flush, piece)) in pieces.iter().enumerate() {
                growing.push(piece);
                whole.push_str(piece);
                if *flush {
                    growing.flush();
                    growing.pause();
                }
                if n + 1 == pieces.len() {
                    growing.end();
                }
                while let Some(part) = growing.part() {
                    prop_assert_eq!(part.place.start + part.new as u64, end);
                    prop_assert_eq!(part.place.end - part.place.start, part.text.len() as u64);
                    prop_assert!(part.new >= overlap.min(part.place.start as usize + part.new));
                    prop_assert!(part.new <= most && part.new < part.text.len());
                    prop_assert_eq!(&whole[part.place.start as usize..part.place.end as usize], &part.text);
                    seen.push_str(&part.text[part.new..]);
                    end = part.place.end;
                }
                prop_assert!(growing.text.len() <= most + growing.pending());
            }
            prop_assert_eq!(seen, whole);
        }
    }
}
