//! Prompts and texts that are too long, cut where the caller asked for it.

use std::ops::Range;

use crate::{
    TextError,
    template::{Message, Role},
    tokens::{TextTokenizer, Truncated},
};

/// What is done with a text that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truncation {
    /// The call fails.
    Refuse,
    /// A part is left out.
    Cut(Cut),
}

/// Which part of a text is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The beginning.
    Start,
    /// What is around the middle.
    Middle,
    /// The end.
    End,
}

impl Cut {
    /// What is left out of so many tokens to keep fewer.
    pub(crate) fn of(self, length: usize, keep: usize) -> Range<usize> {
        let left_out = length.saturating_sub(keep);
        let start = match self {
            Self::Start => 0,
            Self::Middle => keep.min(length).div_ceil(2),
            Self::End => keep.min(length),
        };
        start..start + left_out
    }
}

/// Tokens that a prompt may have: as many as leave room for the answer, and at least half of the context.
pub(crate) fn room(context_length: usize, max_tokens: usize) -> usize {
    context_length.saturating_sub(max_tokens).max(context_length / 2)
}

/// How often a conversation is shortened: tokens are counted message by message, and the template adds some.
const MAX_ROUNDS: usize = 8;

/// The tokens of a conversation, at most `keep` if it can be shortened to them: [`Cut::Start`] leaves out the oldest turns, but
/// never a system message nor the last one (nor what a last one's tools were called for), and what is left begins with a user's; the others shorten the text of the longest message.
///
/// # Errors
/// Those of `encode`, which renders and tokenizes a conversation.
pub(crate) fn fit(
    mut messages: Vec<Message>,
    keep: usize,
    cut: Cut,
    tokenizer: &TextTokenizer,
    encode: impl Fn(&[Message]) -> Result<Vec<u32>, TextError>,
) -> Result<Truncated, TextError> {
    let mut ids = encode(&messages)?;
    let full_length = ids.len();
    for _ in 0..MAX_ROUNDS {
        let over = ids.len().saturating_sub(keep);
        if over == 0 {
            break;
        }
        let counts = messages
            .iter()
            .map(|message| Ok(tokenizer.encode(&message.content, false)?.len()))
            .collect::<Result<Vec<_>, TextError>>()?;
        let shortened = match cut {
            Cut::Start => leave_out_oldest(&mut messages, &counts, over),
            Cut::Middle | Cut::End => shorten_longest(&mut messages, &counts, over, cut, tokenizer)?,
        };
        if !shortened {
            break;
        }
        ids = encode(&messages)?;
    }
    Ok(Truncated { ids, full_length })
}

/// Whether there was a turn to leave out.
fn leave_out_oldest(messages: &mut Vec<Message>, counts: &[usize], over: usize) -> bool {
    let first = usize::from(messages.first().is_some_and(|message| message.role == Role::System));
    let last = match messages.last().map(|message| message.role) {
        Some(Role::Tool) => messages.iter().rposition(|message| message.role == Role::User).unwrap_or(first),
        Some(Role::System | Role::User | Role::Assistant) | None => messages.len().saturating_sub(1),
    };
    let mut left_out = 0;
    // Turns are left out whole: up to a user's message.
    let end = (first..last).find(|&at| {
        left_out += counts[at];
        left_out >= over && messages[at + 1].role == Role::User
    });
    let end = end.map_or(last, |at| at + 1);
    messages.drain(first..end.max(first)).next().is_some()
}

/// Whether there was text to leave out.
fn shorten_longest(
    messages: &mut [Message],
    counts: &[usize],
    over: usize,
    cut: Cut,
    tokenizer: &TextTokenizer,
) -> Result<bool, TextError> {
    let longest = messages.iter_mut().zip(counts).max_by_key(|(_, count)| **count);
    let Some((message, &count)) = longest.filter(|(_, count)| **count > 0) else { return Ok(false) };
    let tokens = tokenizer.tokens(&message.content, false)?;
    let left_out = cut.of(count, count.saturating_sub(over));
    let byte = |token: usize| tokens.get(token).map_or(message.content.len(), |token| token.bytes.0);
    // A character may be spread over tokens, all of which then cover it.
    let start = message.content.floor_char_boundary(byte(left_out.start));
    let end = message.content.ceil_char_boundary(byte(left_out.end)).max(start);
    message.content.replace_range(start..end, "");
    Ok(start < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_leaves_out_what_is_over() {
        for (cut, expected) in [(Cut::Start, 0..3), (Cut::Middle, 4..7), (Cut::End, 7..10)] {
            assert_eq!(cut.of(10, 7), expected);
            assert!(cut.of(10, 10).is_empty() && cut.of(3, 10).is_empty());
            assert_eq!(cut.of(10, 0).len(), 10);
        }
    }

    #[test]
    fn a_prompt_takes_what_the_answer_leaves() {
        assert_eq!(room(1000, 256), 744);
        assert_eq!(room(1000, 5000), 500);
    }

    #[test]
    fn the_oldest_turns_go_first() {
        let message = |role, content: &str| Message::new(role, content);
        let talk = || {
            vec![
                message(Role::System, "s"),
                message(Role::User, "1"),
                message(Role::Assistant, "2"),
                message(Role::User, "3"),
                message(Role::Assistant, "4"),
                message(Role::User, "5"),
            ]
        };
        for (over, kept) in [(1, "s345"), (20, "s345"), (21, "s5"), (999, "s5")] {
            let mut messages = talk();
            assert!(leave_out_oldest(&mut messages, &[5, 10, 10, 10, 10, 10], over));
            assert_eq!(messages.iter().map(|message| message.content.as_str()).collect::<String>(), kept);
        }
        assert!(!leave_out_oldest(&mut vec![message(Role::User, "1")], &[10], 5));
        let mut called = [talk(), vec![message(Role::Assistant, "6"), message(Role::Tool, "7")]].concat();
        assert!(leave_out_oldest(&mut called, &[5, 10, 10, 10, 10, 10, 1, 1], 999));
        assert_eq!(called.iter().map(|message| message.content.as_str()).collect::<String>(), "s567");
        let mut pair = vec![message(Role::System, "s"), message(Role::User, "1")];
        assert!(!leave_out_oldest(&mut pair, &[5, 10], 5));
    }
}
