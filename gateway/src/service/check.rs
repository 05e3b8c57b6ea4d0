//! Judging without generating.

use atelier_core::{
    ContentHash, Fault,
    limits::{MAX_IMAGE_BYTES, MAX_TEXT_BYTES},
};
use atelier_policy::Outcome;
use atelier_proto::gateway::v1::{self as api, check_request::Content as Asked};
use tonic::Request;

use super::Gateway;
use crate::{
    convert,
    moderator::{Content, Shown},
    request_filter::renamed,
};

pub(super) async fn check(
    gateway: &Gateway,
    request: Request<api::CheckRequest>,
) -> Result<api::CheckResponse, Fault> {
    let call = gateway.admit(&request, "Check")?.into_call(None);
    let request = request.into_inner();
    let stage = convert::stage(request.stage)?;
    let (field, content, hash) = match request.content {
        Some(Asked::Text(text)) if text.is_empty() || text.len() > MAX_TEXT_BYTES => {
            return Err(Fault::invalid("text", format!("must be 1 to {MAX_TEXT_BYTES} bytes")));
        }
        Some(Asked::Image(image)) if image.is_empty() || image.len() > MAX_IMAGE_BYTES => {
            return Err(Fault::invalid("image", format!("must be 1 to {MAX_IMAGE_BYTES} bytes")));
        }
        Some(Asked::Text(text)) => {
            let hash = ContentHash::of(text.as_bytes());
            ("text", Content::Texts(vec![text]), hash)
        }
        Some(Asked::Image(image)) => {
            let hash = ContentHash::of(&image);
            ("image", Content::Images(vec![Shown { data: image, ..Shown::default() }]), hash)
        }
        None => return Err(Fault::invalid("content", "must be a text or an image")),
    };
    let judged =
        gateway.judge.whole(&call, stage, content, true).await.map_err(|fault| renamed(fault, field))?;
    if judged.verdict.outcome() == Outcome::Unavailable
        && let Some(fault) = call.refusal(&judged.verdict)
    {
        return Err(fault);
    }
    Ok(api::CheckResponse {
        verdict: Some(convert::verdict(&judged.verdict)),
        provenance: Some(convert::provenance(&call, Vec::new(), &judged.detectors, hash.to_string())),
        scores: Some(convert::scores_message(judged.scores)),
    })
}
