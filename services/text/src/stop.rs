//! Stop sequences in a stream of text.
//!
//! The sequence that is complete first ends the text (of two complete at once, the longer), and the text ends before it.
//! So the result does not depend on how the text falls into tokens.

use std::sync::Arc;

use crate::tools::ToolCall;

/// What may leave after a piece of text came in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passed {
    /// Text that can no longer be part of a stop sequence.
    pub text: String,
    /// Calls that are complete.
    pub calls: Vec<ToolCall>,
    /// A call has been opened: what follows keeps to the grammar of calls, if there is one.
    pub opened: bool,
    /// The stop sequence that ended the text; nothing may follow.
    pub stopped: Option<Arc<str>>,
}

impl Passed {
    /// Text alone.
    #[must_use]
    pub fn text(text: String) -> Self {
        Self { text, ..Self::default() }
    }

    /// This and what comes after it.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        self.text += &later.text;
        self.calls.extend(later.calls);
        Self { opened: later.opened, stopped: later.stopped, ..self }
    }
}

/// Holds back what may be the beginning of a stop sequence.
#[derive(Debug)]
pub struct StopMatcher {
    sequences: Vec<Arc<str>>,
    held: String,
}

impl StopMatcher {
    /// A matcher for these sequences; none of them is empty.
    #[must_use]
    pub fn new(sequences: Vec<Arc<str>>) -> Self {
        Self { sequences, held: String::new() }
    }

    /// Takes more text and gives what may leave.
    pub fn push(&mut self, text: &str) -> Passed {
        if self.sequences.is_empty() {
            return Passed::text(text.to_owned());
        }
        self.held.push_str(text);
        // The smallest end decides; of one sequence, the first occurrence has it.
        let found = self.sequences.iter().filter_map(|sequence| {
            let start = self.held.find(&**sequence)?;
            Some((start + sequence.len(), start, sequence))
        });
        if let Some((_, start, sequence)) = found.min_by_key(|&(end, start, _)| (end, start)) {
            let stopped = Some(Arc::clone(sequence));
            self.held.truncate(start);
            return Passed { stopped, ..Passed::text(std::mem::take(&mut self.held)) };
        }
        let keep = self.sequences.iter().map(|sequence| overlap(&self.held, sequence)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Passed::text(std::mem::replace(&mut self.held, rest))
    }

    /// The text has ended otherwise: what was held back is text after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Length of the longest proper beginning of `sequence` with which `text` ends.
pub(crate) fn overlap(text: &str, sequence: &str) -> usize {
    let longest = text.len().min(sequence.len() - 1);
    let fits = |&length: &usize| text.as_bytes().ends_with(&sequence.as_bytes()[..length]);
    // A match on bytes may part a character only if it parts the same one in both, which no UTF-8 text allows at the
    // start of a sequence; still, only whole characters are cut off.
    (1..=longest).rev().filter(fits).find(|&length| text.is_char_boundary(text.len() - length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds the pieces; gives the text that left and the sequence that ended it.
    fn feed(pieces: &[&str], stops: &[&str]) -> (String, Option<String>) {
        let mut matcher = StopMatcher::new(stops.iter().map(|&stop| stop.into()).collect());
        let mut text = String::new();
        for piece in pieces {
            let passed = matcher.push(piece);
            text += &passed.text;
            if let Some(stopped) = passed.stopped {
                return (text, Some(stopped.as_ref().to_owned()));
            }
        }
        (text + &matcher.finish(), None)
    }

    #[test]
    fn a_sequence_across_pieces_is_found() {
        assert_eq!(
            feed(&["Hello\n", "\nUs", "er: x"], &["\n\nUser:"]),
            ("Hello".into(), Some("\n\nUser:".into()))
        );
        assert_eq!(feed(&["a", "b", "a", "b", "c"], &["abc"]), ("ab".into(), Some("abc".into())));
        assert_eq!(feed(&["你", "好吗", "？再见"], &["？再"]), ("你好吗".into(), Some("？再".into())));
    }

    #[test]
    fn a_mere_beginning_leaves_in_the_end() {
        assert_eq!(feed(&["one <", "|im_"], &["<|im_end|>"]), ("one <|im_".into(), None));
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let mut matcher = StopMatcher::new(vec!["END".into()]);
        assert_eq!(matcher.push("the E").text, "the ");
        assert_eq!(matcher.push("N").text, "");
        assert_eq!(matcher.push("x").text, "ENx");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_no_stop_sequence_is_left(
            text in "[ab你é]{0,24}",
            stops in prop::collection::vec("[ab你é]{1,4}", 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let mut borders: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            borders.push(text.len());
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| borders[cut.index(borders.len())]).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
            let whole = feed(&[&text], &stops);
            prop_assert_eq!(&feed(&pieces, &stops), &whole);
            prop_assert!(stops.iter().all(|stop| !whole.0.contains(stop)));
            match whole.1 {
                Some(stop) => prop_assert!(text.starts_with(&(whole.0 + &stop))),
                None => prop_assert_eq!(whole.0, text),
            }
        }
    }
}
