//! What is read of a request before it is judged: texts and pictures within the API's bounds. Everything else is the
//! image service's to check, so that each range stands in one place.

use atelier_core::{
    Fault,
    limits::{MAX_IMAGE_BYTES, MAX_PROMPT_BYTES},
};
use atelier_proto::image::v1 as image;
use bytes::Bytes;

use crate::request_filter::Shown;

/// Most pictures that guide one generation.
const MAX_CONTROL_IMAGES: usize = 16;
/// Most places of a walk, and pictures of a reconstruction.
const MAX_PLACES: usize = 16;
/// Most rows and columns of a style mix.
const MAX_MIXED: usize = 8;

/// A prompt, in either direction.
pub(super) fn prompt(field: impl Into<String>, prompt: &str) -> Result<(), Fault> {
    if prompt.len() > MAX_PROMPT_BYTES {
        return Err(Fault::invalid(field, format!("must be at most {MAX_PROMPT_BYTES} bytes")));
    }
    Ok(())
}

/// The pictures that a picture is made from. A mask only says where: no one gets to see it, and it is not judged.
pub(super) fn shown(
    init: Option<&image::InitImage>,
    control: &[image::ControlImage],
) -> Result<Vec<Shown>, Fault> {
    let mut shown = Vec::new();
    if let Some(init) = init {
        shown.push(picture("init_image.data", &init.data)?);
        if init.mask.len() > MAX_IMAGE_BYTES {
            return Err(Fault::invalid(
                "init_image.mask",
                format!("must be at most {MAX_IMAGE_BYTES} bytes"),
            ));
        }
    }
    count("control_images", control.len(), MAX_CONTROL_IMAGES)?;
    for (n, control) in control.iter().enumerate() {
        shown.push(picture(format!("control_images[{n}].data"), &control.data)?);
    }
    Ok(shown)
}

/// The prompts of a clip, in both directions.
pub(super) fn keyframes(keyframes: &[image::Keyframe]) -> Result<Vec<&str>, Fault> {
    if keyframes.is_empty() {
        return Err(Fault::invalid("keyframes", format!("must be 1 to {MAX_PLACES}")));
    }
    count("keyframes", keyframes.len(), MAX_PLACES)?;
    for (n, keyframe) in keyframes.iter().enumerate() {
        prompt(format!("keyframes[{n}].prompt"), &keyframe.prompt)?;
        prompt(format!("keyframes[{n}].negative_prompt"), &keyframe.negative_prompt)?;
    }
    Ok(keyframes.iter().flat_map(|keyframe| [&*keyframe.prompt, &*keyframe.negative_prompt]).collect())
}

/// The pictures that an exploration starts from.
pub(super) fn explored(exploration: &image::explore_request::Exploration) -> Result<Vec<Shown>, Fault> {
    use image::explore_request::Exploration;
    match exploration {
        Exploration::Grid(_) => Ok(Vec::new()),
        Exploration::Walk(walk) => points("walk.points", "", MAX_PLACES, walk.points.iter().map(Some)),
        Exploration::Mix(mix) => {
            let mut shown = points("mix.rows", "", MAX_MIXED, mix.rows.iter().map(Some))?;
            shown.extend(points("mix.columns", "", MAX_MIXED, mix.columns.iter().map(Some))?);
            Ok(shown)
        }
        Exploration::Arithmetic(sum) => {
            let terms = sum.terms.iter().map(|term| term.point.as_ref());
            points("arithmetic.terms", ".point", MAX_PLACES, terms)
        }
        Exploration::Reconstruction(of) => {
            count("reconstruction.images", of.images.len(), MAX_PLACES)?;
            let images = of.images.iter().enumerate();
            images.map(|(n, data)| picture(format!("reconstruction.images[{n}]"), data)).collect()
        }
    }
}

fn points<'a>(
    field: &str,
    inner: &str,
    most: usize,
    points: impl ExactSizeIterator<Item = Option<&'a image::LatentPoint>>,
) -> Result<Vec<Shown>, Fault> {
    use image::latent_point::Point;
    count(field, points.len(), most)?;
    let mut shown = Vec::new();
    for (n, point) in points.enumerate() {
        if let Some(Point::Image(data)) = point.and_then(|point| point.point.as_ref()) {
            shown.push(picture(format!("{field}[{n}]{inner}.image"), data)?);
        }
    }
    Ok(shown)
}

fn picture(field: impl Into<String>, data: &Bytes) -> Result<Shown, Fault> {
    let field = field.into();
    if data.is_empty() || data.len() > MAX_IMAGE_BYTES {
        return Err(Fault::invalid(field, format!("must be 1 to {MAX_IMAGE_BYTES} bytes")));
    }
    Ok(Shown { field, data: data.clone() })
}

fn count(field: &str, count: usize, most: usize) -> Result<(), Fault> {
    if count > most {
        return Err(Fault::invalid(field, format!("must be at most {most}")));
    }
    Ok(())
}
