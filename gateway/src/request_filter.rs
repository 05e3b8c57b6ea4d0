//! Whether a prompt may pass to a model.

use atelier_core::{Fault, limits::MAX_TEXT_BYTES};
use atelier_policy::Stage;

use crate::{
    judge::{Call, Judge, Judged},
    moderator::Content,
};

/// One turn of a conversation: who speaks (the wire's number) and what.
pub(crate) type Turn<'a> = (i32, &'a str);

/// Judges all of a conversation: a caller can put words into anyone's mouth, the model's included.
pub(crate) async fn check(judge: &Judge, call: &Call, turns: &[Turn<'_>]) -> Result<Judged, Fault> {
    let judged = judge.whole(call, Stage::Input, Content::Texts(items(turns)), false).await?;
    match call.refusal(&judged.verdict) {
        Some(fault) => Err(fault),
        None => Ok(judged),
    }
}

/// The texts to measure. Turns of one speaker in a row are one text, as they are to the model: what is harmless in
/// pieces may not be so together.
fn items(turns: &[Turn<'_>]) -> Vec<String> {
    let mut items: Vec<(i32, String)> = Vec::new();
    for &(speaker, text) in turns.iter().filter(|(_, text)| !text.is_empty()) {
        match items.last_mut() {
            Some((last, joined)) if *last == speaker && joined.len() + text.len() < MAX_TEXT_BYTES => {
                joined.push('\n');
                joined.push_str(text);
            }
            _ => items.push((speaker, text.to_owned())),
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
        assert_eq!(items(&turns), ["rules", "how to\ndo it", "so", "and"]);
        assert!(items(&[(1, "")]).is_empty());
    }

    #[test]
    fn texts_stay_within_what_moderation_reads() {
        let half = "x".repeat(MAX_TEXT_BYTES / 2);
        let items = items(&[(2, &half), (2, &half), (2, "y")]);
        assert!(items.iter().all(|item| item.len() <= MAX_TEXT_BYTES));
        assert_eq!(items.len(), 2);
    }
}
