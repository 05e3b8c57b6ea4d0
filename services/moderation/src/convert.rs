//! Between the API's messages and the domain's types.

use std::fmt::Display;

use atelier_core::{
    CategoryId, Fault, ModelRef,
    limits::{MAX_IMAGE_BYTES, MAX_ITEM_ID_BYTES, MAX_TAGS, MAX_TEXT_BYTES},
};
use atelier_ocr::Region;
use atelier_proto::{common::v1 as common, moderation::v1 as api};

use crate::{
    categories::CategorySet,
    follow::{Piece, Verdict},
    moderator::{Modality, Picture, TextInPicture},
    scores::Scores,
};

/// Among the categories of a request: all that is usual.
const USUAL: &str = "*";

/// The categories a request names; none named: what is measured usually.
pub(crate) fn categories(names: &[String], usual: CategorySet) -> Result<CategorySet, Fault> {
    let parsed = names.iter().enumerate().filter(|(_, name)| *name != USUAL).map(|(n, name)| {
        name.parse::<CategoryId>()
            .map_err(|error| Fault::invalid(format!("categories[{n}]"), error.to_string()))
    });
    let named: CategorySet = parsed.collect::<Result<_, _>>()?;
    let all = names.is_empty() || names.iter().any(|name| name == USUAL);
    Ok(if all { named.union(usual) } else { named })
}

/// The number of items of a batch.
pub(crate) fn batch_size(items: usize, most: usize) -> Result<(), Fault> {
    if (1..=most).contains(&items) {
        return Ok(());
    }
    Err(Fault::invalid("items", format!("must be 1 to {most}, has {items}")))
}

/// The item of a message of a stream.
pub(crate) fn required<T>(item: Option<T>, at: &str) -> Result<T, Fault> {
    item.ok_or_else(|| Fault::invalid(at, "is required"))
}

/// A text item at this place of the request.
pub(crate) fn check_text(item: &api::TextItem, at: impl Display) -> Result<(), Fault> {
    check_id(&item.id, &at)?;
    at_most(item.text.len(), MAX_TEXT_BYTES, || format!("{at}.text"))
}

/// Longest text that can be followed, in bytes: places of findings have 32 bits.
const MAX_FOLLOWED_BYTES: u64 = 1 << 30;

/// More of a text of which this much has come before; `later`: not in the first message.
pub(crate) fn piece(request: api::FollowTextRequest, later: bool, before: u64) -> Result<Piece, Fault> {
    at_most(request.text.len(), MAX_TEXT_BYTES, || "text".to_owned())?;
    if before + request.text.len() as u64 > MAX_FOLLOWED_BYTES {
        let problem = format!("must be at most {MAX_FOLLOWED_BYTES} bytes in all");
        return Err(Fault::invalid("text", problem));
    }
    if later && !request.categories.is_empty() {
        return Err(Fault::invalid("categories", "can only be chosen in the first message"));
    }
    Ok(Piece { text: request.text, flush: request.flush })
}

pub(crate) fn verdict(verdict: Verdict, models: Vec<common::ModelRef>) -> api::FollowTextResponse {
    api::FollowTextResponse {
        start_byte: verdict.place.start,
        end_byte: verdict.place.end,
        scores: Some(scores(verdict.scores)),
        models,
    }
}

/// What a request wants of pictures besides scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) tags: usize,
    pub(crate) read_text: bool,
    pub(crate) faces: bool,
}

/// How many tags a request wants.
pub(crate) fn tags(tags: u32) -> Result<usize, Fault> {
    if tags <= MAX_TAGS {
        return Ok(tags as usize);
    }
    Err(Fault::invalid("tags", format!("must be at most {MAX_TAGS}, is {tags}")))
}

/// A picture item at this place of the request; what is in the picture is checked when it is decoded.
pub(crate) fn picture(item: api::ImageItem, at: impl Display, wanted: Wanted) -> Result<Picture, Fault> {
    check_id(&item.id, &at)?;
    let Some(api::image_item::Source::Data(data)) = item.source else {
        return Err(Fault::invalid(format!("{at}.data"), "is required"));
    };
    at_most(data.len(), MAX_IMAGE_BYTES, || format!("{at}.data"))?;
    let text = match (item.skip_text, wanted.read_text) {
        (true, _) => TextInPicture::Skipped,
        (false, true) => TextInPicture::Read,
        (false, false) => TextInPicture::Measured,
    };
    Ok(Picture { data, time_ms: item.time_ms, tags: wanted.tags, faces: wanted.faces, text })
}

fn check_id(id: &str, at: &impl Display) -> Result<(), Fault> {
    at_most(id.len(), MAX_ITEM_ID_BYTES, || format!("{at}.id"))
}

pub(crate) fn at_most(bytes: usize, most: usize, field: impl Fn() -> String) -> Result<(), Fault> {
    if bytes <= most {
        return Ok(());
    }
    Err(Fault::invalid(field(), format!("must be at most {most} bytes, has {bytes}")))
}

pub(crate) fn scores(scores: Scores) -> api::Scores {
    let category = |score: crate::scores::CategoryScore| api::CategoryScore {
        category: score.category.to_string(),
        score: score.score,
        detector: score.detector.to_string(),
        severity: score.category.severity(score.score),
    };
    let finding = |finding: crate::scores::Finding| api::Finding {
        category: finding.category.to_string(),
        score: finding.score,
        start_byte: finding.place.start as u32,
        end_byte: finding.place.end as u32,
        reason: finding.reason.into_owned(),
        region: finding.region.map(region),
        time_ms: finding.time_ms,
    };
    let tag = |tag: crate::scores::Tag| api::Tag { label: tag.label.to_string(), score: tag.score };
    let face = |face: crate::scores::Face| api::Face {
        region: Some(region(face.region)),
        score: face.score,
        time_ms: face.time_ms,
    };
    let faces = |faces: Vec<crate::scores::Face>| api::Faces { faces: faces.into_iter().map(face).collect() };
    api::Scores {
        categories: scores.categories.into_iter().map(category).collect(),
        unsupported_categories: scores.unsupported.iter().map(|category| category.to_string()).collect(),
        windows: scores.windows,
        findings: scores.findings.into_iter().map(finding).collect(),
        tags: scores.tags.into_iter().map(tag).collect(),
        faces: scores.faces.map(faces),
        frames: scores.frames,
        text_truncated: scores.text_truncated,
        language: scores.language.to_owned(),
    }
}

fn region(Region { left, top, width, height }: Region) -> api::Region {
    api::Region { left, top, width, height }
}

pub(crate) fn model(model: ModelRef) -> common::ModelRef {
    common::ModelRef { id: model.id.to_string(), revision: model.revision.to_string() }
}

pub(crate) fn detector((modality, named): (Modality, ModelRef)) -> api::Detector {
    let modality = match modality {
        Modality::Text => api::Modality::Text,
        Modality::Image => api::Modality::Image,
        Modality::TextInImage => api::Modality::TextInImage,
    };
    api::Detector { model: Some(model(named)), modality: modality.into() }
}

/// A fault as the answer to one item of a stream.
pub(crate) fn item_error(fault: &Fault) -> api::ItemError {
    api::ItemError {
        reason: fault.reason().as_str().to_owned(),
        message: fault.message().to_owned(),
        field: fault.violations().first().map(|violation| violation.field.clone()).unwrap_or_default(),
        retryable: fault.reason().is_retryable(),
    }
}

/// An item's id as it is given back: an id that is too long is cut, so that its error does not grow with it.
pub(crate) fn echo(mut id: String) -> String {
    id.truncate(id.floor_char_boundary(MAX_ITEM_ID_BYTES));
    id
}

#[cfg(test)]
mod tests {
    use atelier_core::Reason;

    use super::*;

    fn field(fault: Fault) -> String {
        assert_eq!(fault.reason(), Reason::InvalidArgument);
        fault.violations()[0].field.clone()
    }

    #[test]
    fn categories_are_named_where_they_are_wrong() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let usual: CategorySet = [CategoryId::Spam].into_iter().collect();
        let of = |named: &[&str]| categories(&names(named), usual).map(|set| set.iter().collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), [CategoryId::Spam]);
        assert_eq!(of(&["hate", "hate"]).unwrap(), [CategoryId::Hate]);
        assert_eq!(of(&["hate", "*"]).unwrap(), [CategoryId::Hate, CategoryId::Spam]);
        assert_eq!(field(of(&["hate", "no", "none"]).unwrap_err()), "categories[1]");
    }

    #[test]
    fn items_are_bounded_and_named() {
        let text = |id: usize, text: usize| api::TextItem { id: "i".repeat(id), text: "t".repeat(text) };
        assert!(check_text(&text(MAX_ITEM_ID_BYTES, MAX_TEXT_BYTES), "item").is_ok());
        assert_eq!(field(check_text(&text(0, MAX_TEXT_BYTES + 1), "items[7]").unwrap_err()), "items[7].text");
        assert_eq!(field(check_text(&text(MAX_ITEM_ID_BYTES + 1, 0), "item").unwrap_err()), "item.id");
        let item = |source| api::ImageItem { source, ..api::ImageItem::default() };
        assert_eq!(field(picture(item(None), "items[0]", Wanted::default()).unwrap_err()), "items[0].data");
        let huge = api::image_item::Source::Data(vec![0; MAX_IMAGE_BYTES + 1].into());
        assert_eq!(field(picture(item(Some(huge)), "item", Wanted::default()).unwrap_err()), "item.data");
        assert_eq!(tags(MAX_TAGS).unwrap(), MAX_TAGS as usize);
        assert_eq!(field(tags(MAX_TAGS + 1).unwrap_err()), "tags");
        for (skip_text, read_text, text) in [
            (true, true, TextInPicture::Skipped),
            (false, true, TextInPicture::Read),
            (false, false, TextInPicture::Measured),
        ] {
            let source = Some(api::image_item::Source::Data(vec![0].into()));
            let item = api::ImageItem { skip_text, ..item(source) };
            assert_eq!(picture(item, "item", Wanted { read_text, ..Wanted::default() }).unwrap().text, text);
        }
        assert_eq!(field(batch_size(0, 5).unwrap_err()), "items");
        assert_eq!(field(batch_size(6, 5).unwrap_err()), "items");
    }

    #[test]
    fn ids_are_given_back_and_never_grow() {
        assert_eq!(echo("a".to_owned()), "a");
        assert_eq!(echo("é".repeat(MAX_ITEM_ID_BYTES)).len(), MAX_ITEM_ID_BYTES);
        assert!(echo(format!("x{}", "é".repeat(MAX_ITEM_ID_BYTES))).len() < MAX_ITEM_ID_BYTES);
    }

    #[test]
    fn item_errors_say_what_to_do() {
        let error = item_error(&Fault::new(Reason::QueueFull, "full"));
        assert!(error.retryable && error.field.is_empty() && error.reason == "QUEUE_FULL");
        assert_eq!(item_error(&Fault::invalid("item.text", "must be less")).field, "item.text");
    }
}
