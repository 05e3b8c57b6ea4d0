//! Between the API's messages and the works of a list.

use std::sync::Arc;

use atelier_core::{
    Fault,
    limits::{MAX_IMAGE_BYTES, MAX_ITEM_ID_BYTES, MAX_TEXT_BYTES},
};
use atelier_proto::moderation::v1 as api;
use bytes::Bytes;

use super::{
    MAX_PICTURES,
    list::{Label, Match, MatchKind},
};
use crate::convert::{at_most, required};

/// Most works of one call.
const MAX_WORKS: usize = 64;
/// Most ids of one call.
const MAX_IDS: usize = 1000;
/// Longest title, owner and licence, in bytes.
const MAX_NOTE_BYTES: usize = 512;
/// Works of a page.
const MAX_PAGE: usize = 1000;
const DEFAULT_PAGE: usize = 100;
/// Works in an answer.
const MAX_MATCHES: u32 = 100;
const DEFAULT_MATCHES: u32 = 16;

/// A work that was sent, checked as far as can be without reading what it holds.
pub(super) struct Sent {
    pub(super) label: Label,
    pub(super) pictures: Vec<Bytes>,
    pub(super) text: String,
}

/// What is compared with a list.
pub(super) enum Content {
    Picture(Bytes),
    Text(String),
}

pub(super) fn works(works: Vec<api::NewWork>) -> Result<Vec<Sent>, Fault> {
    count("works", works.len(), MAX_WORKS)?;
    let mut all: Vec<Sent> = Vec::with_capacity(works.len());
    for (n, new) in works.into_iter().enumerate() {
        let sent = work(new, &format!("works[{n}]"))?;
        if all.iter().any(|other| other.label.id == sent.label.id) {
            return Err(Fault::invalid(
                format!("works[{n}].work.id"),
                "is that of another work in the request",
            ));
        }
        all.push(sent);
    }
    Ok(all)
}

fn work(new: api::NewWork, at: &str) -> Result<Sent, Fault> {
    let api::Work { id, title, owner, license } = required(new.work, &format!("{at}.work"))?;
    check_id(&id, &format!("{at}.work.id"))?;
    for (note, field) in [(&title, "title"), (&owner, "owner"), (&license, "license")] {
        at_most(note.len(), MAX_NOTE_BYTES, || format!("{at}.work.{field}"))?;
    }
    at_most(new.text.len(), MAX_TEXT_BYTES, || format!("{at}.text"))?;
    if new.pictures.len() > MAX_PICTURES {
        let has = new.pictures.len();
        return Err(Fault::invalid(
            format!("{at}.pictures"),
            format!("must be at most {MAX_PICTURES}, has {has}"),
        ));
    }
    if new.pictures.is_empty() && new.text.is_empty() {
        return Err(Fault::invalid(at, "must have pictures or a text"));
    }
    let pictures = new.pictures.into_iter().enumerate();
    let pictures =
        pictures.map(|(m, one)| picture(one, &format!("{at}.pictures[{m}]"))).collect::<Result<_, _>>()?;
    Ok(Sent { label: Label { id, title, owner, license }, pictures, text: new.text })
}

fn picture(picture: api::Picture, at: &str) -> Result<Bytes, Fault> {
    let api::picture::Source::Data(data) = required(picture.source, &format!("{at}.data"))?;
    at_most(data.len(), MAX_IMAGE_BYTES, || format!("{at}.data"))?;
    Ok(data)
}

pub(super) fn ids(ids: &[String]) -> Result<(), Fault> {
    count("ids", ids.len(), MAX_IDS)?;
    ids.iter().enumerate().try_for_each(|(n, id)| check_id(id, &format!("ids[{n}]")))
}

fn check_id(id: &str, at: &str) -> Result<(), Fault> {
    if id.is_empty() {
        return Err(Fault::invalid(at, "is required"));
    }
    if id.chars().any(char::is_control) {
        return Err(Fault::invalid(at, "must not have control characters"));
    }
    at_most(id.len(), MAX_ITEM_ID_BYTES, || at.to_owned())
}

fn count(field: &str, items: usize, most: usize) -> Result<(), Fault> {
    if (1..=most).contains(&items) {
        return Ok(());
    }
    Err(Fault::invalid(field, format!("must be 1 to {most}, has {items}")))
}

/// Works of the page, and the id behind which it begins.
pub(super) fn page(request: &api::ListWorksRequest) -> Result<(usize, Option<String>), Fault> {
    let size = match usize::try_from(request.page_size) {
        Ok(0) => DEFAULT_PAGE,
        // Larger ones are cut, as AIP-158 asks.
        Ok(size) => size.min(MAX_PAGE),
        Err(_) => return Err(Fault::invalid("page_size", "must not be below 0")),
    };
    if request.page_token.is_empty() {
        return Ok((size, None));
    }
    let id = hex::decode(&request.page_token).ok().and_then(|id| String::from_utf8(id).ok());
    let id = id.ok_or_else(|| Fault::invalid("page_token", "must be that of the page before"))?;
    Ok((size, Some(id)))
}

/// What leads to the page behind this work.
pub(super) fn page_token(last: &Label) -> String {
    hex::encode(&last.id)
}

/// The content, and how many works are wanted.
pub(super) fn content(request: api::FindSimilarRequest) -> Result<(Content, usize), Fault> {
    use api::find_similar_request::Content as Sent;
    let most = match request.max_matches {
        0 => DEFAULT_MATCHES,
        most @ 1..=MAX_MATCHES => most,
        most => {
            return Err(Fault::invalid("max_matches", format!("must be at most {MAX_MATCHES}, is {most}")));
        }
    };
    let content = match required(request.content, "content")? {
        Sent::Picture(sent) => Content::Picture(picture(sent, "picture")?),
        Sent::Text(text) => {
            at_most(text.len(), MAX_TEXT_BYTES, || "text".to_owned())?;
            Content::Text(text)
        }
    };
    Ok((content, most as usize))
}

pub(super) fn label(label: &Arc<Label>) -> api::Work {
    let Label { id, title, owner, license } = Label::clone(label);
    api::Work { id, title, owner, license }
}

pub(super) fn found(found: Match) -> api::Match {
    let kind = match found.kind {
        MatchKind::Exact => api::MatchKind::Exact,
        MatchKind::Edited => api::MatchKind::Edited,
        MatchKind::Quotation => api::MatchKind::Quotation,
    };
    let range = |range: std::ops::Range<usize>| api::ByteRange {
        start_byte: range.start as u32,
        end_byte: range.end as u32,
    };
    api::Match {
        work: Some(label(&found.label)),
        kind: kind.into(),
        similarity: found.similarity,
        ranges: found.ranges.into_iter().map(range).collect(),
        distance: found.distance,
        cosine: found.cosine,
    }
}

#[cfg(test)]
mod tests {
    use atelier_core::Reason;

    use super::*;

    fn field<T>(refused: Result<T, Fault>) -> String {
        let fault = refused.err().unwrap();
        assert_eq!(fault.reason(), Reason::InvalidArgument);
        fault.violations()[0].field.clone()
    }

    fn new(id: &str) -> api::NewWork {
        let work = api::Work { id: id.to_owned(), ..api::Work::default() };
        api::NewWork { work: Some(work), pictures: Vec::new(), text: "a text".to_owned() }
    }

    fn picture_of(bytes: usize) -> api::Picture {
        api::Picture { source: Some(api::picture::Source::Data(vec![0; bytes].into())) }
    }

    #[test]
    fn works_are_named_where_they_are_wrong() {
        let good = new("a");
        assert_eq!(works(vec![good.clone(), new("b")]).ok().unwrap().len(), 2);
        type Change = fn(&mut api::NewWork);
        let wrong: [(&str, Change); 11] = [
            ("works[1].work", |new| new.work = None),
            ("works[1].work.id", |new| new.work.as_mut().unwrap().id = String::new()),
            ("works[1].work.id", |new| new.work.as_mut().unwrap().id = "i".repeat(257)),
            ("works[1].work.id", |new| new.work.as_mut().unwrap().id = "a\nb".to_owned()),
            ("works[1].work.id", |new| new.work.as_mut().unwrap().id = "a".to_owned()),
            ("works[1].work.title", |new| new.work.as_mut().unwrap().title = "t".repeat(513)),
            ("works[1].text", |new| new.text = "t".repeat(MAX_TEXT_BYTES + 1)),
            ("works[1]", |new| new.text = String::new()),
            ("works[1].pictures", |new| new.pictures = vec![picture_of(1); MAX_PICTURES + 1]),
            ("works[1].pictures[1].data", |new| new.pictures = vec![picture_of(1), api::Picture::default()]),
            ("works[1].pictures[0].data", |new| new.pictures = vec![picture_of(MAX_IMAGE_BYTES + 1)]),
        ];
        for (at, spoil) in wrong {
            let mut bad = new("b");
            spoil(&mut bad);
            assert_eq!(field(works(vec![good.clone(), bad])), at);
        }
        assert_eq!(field(works(vec![])), "works");
        assert_eq!(field(works(vec![good; MAX_WORKS + 1])), "works");
        assert_eq!(field(ids(&[])), "ids");
        assert_eq!(field(ids(&["a".to_owned(), String::new()])), "ids[1]");
    }

    #[test]
    fn pages_follow_one_another() {
        let ask = |page_size, page_token: &str| {
            page(&api::ListWorksRequest { page_size, page_token: page_token.to_owned() })
        };
        let token = page_token(&Label { id: "床".to_owned(), ..Label::default() });
        assert_eq!(ask(0, "").unwrap(), (DEFAULT_PAGE, None));
        assert_eq!(ask(i32::MAX, &token).unwrap(), (MAX_PAGE, Some("床".to_owned())));
        assert_eq!(field(ask(-1, "")), "page_size");
        assert_eq!(field(ask(1, "no token")), "page_token");
        assert_eq!(field(ask(1, "ff")), "page_token");
    }

    #[test]
    fn what_is_compared_is_checked() {
        use api::find_similar_request::Content as Sent;
        let ask = |sent, max_matches| content(api::FindSimilarRequest { content: sent, max_matches });
        let text = |bytes: usize| Some(Sent::Text("t".repeat(bytes)));
        assert_eq!(ask(text(1), 0).ok().unwrap().1, 16);
        assert_eq!(field(ask(None, 0)), "content");
        assert_eq!(field(ask(text(1), 101)), "max_matches");
        assert_eq!(field(ask(text(MAX_TEXT_BYTES + 1), 0)), "text");
        assert_eq!(field(ask(Some(Sent::Picture(api::Picture::default())), 0)), "picture.data");
    }
}
