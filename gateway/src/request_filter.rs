//! Whether a prompt, and the pictures that come with it, may pass to a model.

use std::borrow::Cow;

use atelier_core::{Fault, Reason, limits::MAX_TEXT_BYTES};
use atelier_policy::{Outcome, Stage};
use bytes::Bytes;
use futures::{StreamExt, stream};

use crate::{
    audit::Part,
    judge::{Call, Judge, Judged},
    moderator::Content,
    picture::Picture,
};

/// Pictures of one call that are measured at once.
const PICTURES_AT_ONCE: usize = 4;

/// One turn of a conversation: who speaks (the wire's number) and what.
pub(crate) type Turn<'a> = (i32, Cow<'a, str>);

/// Judges all of a conversation: a caller can put words into anyone's mouth, the model's included.
pub(crate) async fn check(judge: &Judge, call: &Call, turns: &[Turn<'_>]) -> Result<Judged, Fault> {
    let judged = judge.whole(call, Stage::Input, Content::Texts(items(turns)), false).await?;
    match call.refusal(&judged.verdict) {
        Some(fault) => Err(fault),
        None => Ok(judged),
    }
}

/// A picture that came with a request.
pub(crate) struct Shown {
    /// Where it stands in the request.
    pub(crate) field: String,
    pub(crate) data: Bytes,
}

/// Judges what a model of pictures is told and shown. Each text and each picture is measured on its own; the first that
/// does not pass ends it.
pub(crate) async fn check_all(
    judge: &Judge,
    call: &Call,
    prompts: &[&str],
    shown: Vec<Shown>,
) -> Result<Judged, Fault> {
    let texts = prompts.iter().filter(|prompt| !prompt.is_empty()).flat_map(|prompt| read_as(prompt));
    let texts = judge.whole(call, Stage::Input, Content::Texts(texts.collect()), false).await?;
    if let Some(fault) = call.refusal(&texts.verdict) {
        return Err(fault);
    }
    let looks = shown.into_iter().zip(0..).map(|(picture, number)| look(judge, call, picture, number));
    let mut looks = stream::iter(looks).buffered(PICTURES_AT_ONCE);
    let mut all = texts;
    while let Some(judged) = looks.next().await {
        let judged = judged?;
        if judged.verdict.outcome() != Outcome::Pass
            && let Some(fault) = call.refusal(&judged.verdict)
        {
            return Err(fault);
        }
        all = all.join(judged);
    }
    Ok(all)
}

async fn look(judge: &Judge, call: &Call, shown: Shown, number: u32) -> Result<Judged, Fault> {
    let picture = [Picture { data: shown.data, ..Picture::default() }];
    let judged = judge.pictures(call, Stage::Input, Part::Picture, &picture, number).await;
    let judged = judged.map_err(|fault| renamed(fault, &shown.field))?;
    judged.into_iter().next().ok_or_else(|| Fault::internal("a picture was not judged"))
}

/// The moderation service's complaint about an item, in terms of what the caller sent.
pub(crate) fn renamed(fault: Fault, field: &str) -> Fault {
    match (fault.reason(), fault.violations().first()) {
        (Reason::InvalidArgument, Some(violation)) => Fault::invalid(field, violation.description.as_str()),
        _ => fault,
    }
}

/// A prompt as it stands and, where weights stand in it, as the model reads it: `k(il:1.0)l` is no way around a detector.
fn read_as(prompt: &str) -> Vec<String> {
    let mut read = String::with_capacity(prompt.len());
    let (mut open, mut characters) = (0_usize, prompt.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' => read.extend(characters.next()),
            '(' => open += 1,
            ')' if open > 0 => {
                open -= 1;
                let unweighted = read.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
                if let Some(unweighted) = unweighted.strip_suffix(':') {
                    read.truncate(unweighted.len());
                }
            }
            '[' | ']' => {}
            other => read.push(other),
        }
    }
    let both = [prompt.to_owned(), read];
    if both[0] == both[1] { both.into_iter().take(1).collect() } else { both.into() }
}

/// The texts to measure. Turns of one speaker in a row are one text, as they are to the model: what is harmless in
/// pieces may not be so together.
fn items(turns: &[Turn<'_>]) -> Vec<String> {
    let mut items: Vec<(i32, String)> = Vec::new();
    for (speaker, text) in turns.iter().filter(|(_, text)| !text.is_empty()) {
        match items.last_mut() {
            Some((last, joined)) if last == speaker && joined.len() + text.len() < MAX_TEXT_BYTES => {
                joined.push('\n');
                joined.push_str(text);
            }
            _ => items.push((*speaker, text.to_string())),
        }
    }
    items.into_iter().map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_of_one_speaker_are_one_text() {
        let turns = [(1, "rules"), (2, "how to"), (2, "do it"), (3, "so"), (3, ""), (2, "and")];
        let turns = turns.map(|(speaker, text)| (speaker, text.into()));
        assert_eq!(items(&turns), ["rules", "how to\ndo it", "so", "and"]);
        assert!(items(&[(1, "".into())]).is_empty());
    }

    #[test]
    fn weighted_prompts_are_measured_as_they_are_read_too() {
        assert_eq!(read_as("a red apple"), ["a red apple"]);
        assert_eq!(read_as("k(il:1.0)l [no]"), ["k(il:1.0)l [no]", "kill no"]);
        assert_eq!(read_as("((a): 1.3)b"), ["((a): 1.3)b", "ab"]);
        assert_eq!(read_as(r"at \(noon: 12\)"), [r"at \(noon: 12\)", "at (noon: 12)"]);
        assert_eq!(read_as("at 12:30) ok"), ["at 12:30) ok"]);
    }

    #[test]
    fn texts_stay_within_what_moderation_reads() {
        let half = "x".repeat(MAX_TEXT_BYTES / 2);
        let items = items(&[half.as_str(), &half, "y"].map(|text| (2, text.into())));
        assert!(items.iter().all(|item| item.len() <= MAX_TEXT_BYTES));
        assert_eq!(items.len(), 2);
    }
}
