//! Judging a text while it is being written.

use atelier_proto::moderation::v1::{Finding, FollowTextRequest, FollowTextResponse};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::harness::{Client, fields, score, test};

const CALM: &str = "The library opens at nine and the children love the story hour. ";
const INSULT: &str = "You are a worthless piece of shit, shut the fuck up, everybody hates you. ";

fn piece(text: impl ToString) -> FollowTextRequest {
    FollowTextRequest { text: text.to_string(), ..FollowTextRequest::default() }
}

async fn follow(
    client: &mut Client,
    pieces: Vec<FollowTextRequest>,
) -> Result<Vec<FollowTextResponse>, Status> {
    client.follow_text(stream::iter(pieces)).await?.into_inner().try_collect().await
}

/// Verdicts join, and end where the text ends.
fn joined(verdicts: &[FollowTextResponse], bytes: usize) {
    let mut end = 0;
    for verdict in verdicts {
        assert!(verdict.start_byte <= end && verdict.end_byte > end, "{verdict:?}");
        end = verdict.end_byte;
    }
    assert_eq!(end, bytes as u64);
}

#[test]
fn verdicts_come_in_order_and_point_into_the_whole_text() {
    test(async |mut client| {
        let mail = "Write to jane.doe@example.org today. ";
        let text =
            [CALM.repeat(20), INSULT.to_owned(), CALM.repeat(20), mail.to_owned(), CALM.to_owned()].concat();
        let letters: Vec<_> =
            text.as_bytes().chunks(7).map(|chunk| piece(std::str::from_utf8(chunk).unwrap())).collect();
        let verdicts = follow(&mut client, letters).await.unwrap();
        joined(&verdicts, text.len());
        assert!(verdicts.len() > 1);

        let harassment =
            |verdict: &FollowTextResponse| score(verdict.scores.as_ref().unwrap(), "harassment") >= 0.5;
        let insult = text.find(INSULT).unwrap() as u64;
        let flagged: Vec<_> = verdicts.iter().filter(|verdict| harassment(verdict)).collect();
        assert!(!flagged.is_empty());
        assert!(flagged.iter().all(|verdict| verdict.start_byte < insult + INSULT.len() as u64 && verdict.end_byte > insult));

        let findings = verdicts.iter().flat_map(|verdict| &verdict.scores.as_ref().unwrap().findings);
        let mails: Vec<_> = findings.filter(|finding| finding.reason == "personal-data:email").collect();
        // The part of personal data, and the whole; told once though two parts hold it.
        assert_eq!(mails.len(), 2);
        let part = |mail: &&Finding| &text[mail.start_byte as usize..mail.end_byte as usize];
        assert!(mails.iter().all(|mail| part(mail) == "jane.doe@example.org"));
        assert!(verdicts[0].models.iter().any(|model| model.id == "rules"));
        assert_eq!(verdicts[0].scores.as_ref().unwrap().language, "en");
    });
}

#[test]
fn a_flush_is_answered_before_the_text_goes_on() {
    test(async |mut client| {
        // The call stands before anything is written.
        let (tell, told) = mpsc::channel(4);
        let mut verdicts = client.follow_text(ReceiverStream::new(told)).await.unwrap().into_inner();
        for (n, text) in [INSULT, CALM].into_iter().enumerate() {
            tell.send(FollowTextRequest { flush: true, ..piece(text) }).await.unwrap();
            let verdict = verdicts.message().await.unwrap().unwrap();
            assert_eq!(verdict.end_byte, [INSULT.len(), INSULT.len() + CALM.len()][n] as u64);
        }
        drop(tell);
        assert_eq!(verdicts.message().await.unwrap(), None);
        assert_eq!(follow(&mut client, vec![]).await.unwrap(), []);
    });
}

#[test]
fn only_the_categories_asked_for_are_measured() {
    test(async |mut client| {
        let first =
            FollowTextRequest { categories: vec!["spam".to_owned(), "hate".to_owned()], ..piece(CALM) };
        let verdicts = follow(&mut client, vec![first, piece(CALM)]).await.unwrap();
        let scores = verdicts[0].scores.as_ref().unwrap();
        assert_eq!(scores.categories.len(), 1);
        assert_eq!(scores.unsupported_categories, ["spam"]);
        joined(&verdicts, 2 * CALM.len());
    });
}

#[test]
fn what_is_wrong_ends_the_call_and_is_named() {
    test(async |mut client| {
        let late = FollowTextRequest { categories: vec!["hate".to_owned()], ..piece("b") };
        let unknown = FollowTextRequest { categories: vec!["rudeness".to_owned()], ..piece("a") };
        let long = piece("a".repeat((1 << 20) + 1));
        for (pieces, field) in
            [(vec![piece("a"), late], "categories"), (vec![unknown], "categories[0]"), (vec![long], "text")]
        {
            let status = follow(&mut client, pieces).await.unwrap_err();
            assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![field.to_owned()]));
        }
    });
}

#[test]
fn what_came_before_an_error_is_judged_first() {
    test(async |mut client| {
        let late = FollowTextRequest { categories: vec!["hate".to_owned()], ..piece("b") };
        let text = [CALM, INSULT].concat();
        let pieces = [piece(CALM), piece(INSULT), late];
        let mut verdicts = client.follow_text(stream::iter(pieces)).await.unwrap().into_inner();
        let mut all = Vec::new();
        let status = loop {
            match verdicts.message().await {
                Ok(verdict) => all.push(verdict.unwrap()),
                Err(status) => break status,
            }
        };
        joined(&all, text.len());
        assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["categories".to_owned()]));
    });
}

#[test]
fn a_long_text_at_once_is_judged_in_parts_that_join() {
    test(async |mut client| {
        let text = CALM.repeat(600);
        let mut verdicts = client.follow_text(stream::iter([piece(&text)])).await.unwrap().into_inner();
        let mut all = Vec::new();
        while let Some(verdict) = verdicts.next().await {
            all.push(verdict.unwrap());
        }
        joined(&all, text.len());
        assert!(all.len() > 1 && all.len() < 8, "{}", all.len());
    });
}
