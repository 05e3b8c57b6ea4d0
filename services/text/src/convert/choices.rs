//! Several answers to one prompt: how many, how they are given and what they take.

use atelier_core::limits;
use atelier_proto::common::v1 as common;

use super::count;
use crate::{TextError, generation::Options, truncation::Truncation};

/// How many answers are given and how many tried.
pub(super) fn numbers(n: Option<u32>, best_of: Option<u32>) -> Result<(usize, usize), TextError> {
    let most = limits::MAX_CHOICES;
    let answers = n.map_or(1, |n| n as usize);
    if !(1..=most).contains(&answers) {
        return Err(TextError::invalid("generation.n", format!("must be 1 to {most}")));
    }
    let tries = best_of.map_or(answers, |tries| tries as usize);
    if !(answers..=most).contains(&tries) {
        return Err(TextError::invalid("generation.best_of", format!("must be n, {answers}, to {most}")));
    }
    Ok((answers, tries))
}

/// Checks what depends on how the answer is given: streamed, or with its prompt.
pub(crate) fn delivery(options: &Options, echo: bool, streamed: bool) -> Result<(), TextError> {
    if streamed && options.tries > options.answers {
        return Err(TextError::invalid("generation.best_of", "must be n in a stream"));
    }
    if echo && options.truncation != Truncation::Refuse {
        return Err(TextError::invalid("echo", "must not be set with generation.truncation"));
    }
    Ok(())
}

/// The usage of a call with so many tokens in all of its answers, from that of one of them.
pub(crate) fn whole_usage(one: common::Usage, completion_tokens: usize) -> common::Usage {
    let completion_tokens = count(completion_tokens);
    common::Usage {
        completion_tokens,
        total_tokens: one.prompt_tokens.saturating_add(completion_tokens),
        ..one
    }
}

/// An answer's usage without the prompt, which another answer's counts.
pub(crate) fn usage_of_answer(usage: common::Usage) -> common::Usage {
    let completion_tokens = usage.completion_tokens;
    common::Usage { completion_tokens, total_tokens: completion_tokens, ..common::Usage::default() }
}
