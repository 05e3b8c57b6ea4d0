//! What requests may ask, by the fields of `atelier.image.v1`.

use std::ops::RangeInclusive;

use crate::{Capabilities, PipelineError, Request};

/// Steps that a request may ask for.
pub(crate) const MOST_STEPS: usize = 1000;
/// Pictures of one request.
const MOST_IMAGES: usize = 16;
/// Ranges of the API.
const GUIDANCE_SCALE: RangeInclusive<f32> = 0.0..=50.0;
const SHARE: RangeInclusive<f32> = 0.0..=1.0;
const CONTROL_SCALE: RangeInclusive<f32> = 0.0..=2.0;

/// Size of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// Checks all that can be checked before anything runs; the size of the answer.
pub(crate) fn request(request: &Request, capabilities: &Capabilities) -> Result<Size, PipelineError> {
    let size = Size {
        width: side("diffusion.width", request.width, capabilities.default_width, capabilities)?,
        height: side("diffusion.height", request.height, capabilities.default_height, capabilities)?,
    };
    if request.steps.is_some_and(|steps| !(1..=MOST_STEPS).contains(&steps)) {
        let range = format!("must be between 1 and {MOST_STEPS}");
        return Err(PipelineError::invalid("diffusion.num_inference_steps", range));
    }
    if let Some(scale) = request.guidance_scale {
        within("diffusion.guidance_scale", scale, GUIDANCE_SCALE)?;
    }
    within("diffusion.guidance_rescale", request.guidance_rescale, SHARE)?;
    within("diffusion.eta", request.eta, SHARE)?;
    if request.clip_skip > capabilities.max_clip_skip {
        let most = capabilities.max_clip_skip;
        let range =
            if most == 0 { "must be 0 for this model".to_owned() } else { format!("must be at most {most}") };
        return Err(PipelineError::invalid("diffusion.clip_skip", range));
    }
    if request.num_images > MOST_IMAGES {
        let range = format!("must be between 1 and {MOST_IMAGES}");
        return Err(PipelineError::invalid("diffusion.num_images", range));
    }
    init(request, capabilities)?;
    controls(request, capabilities)?;
    Ok(size)
}

/// The number of the style that is asked for.
pub(crate) fn style(request: &Request, capabilities: &Capabilities) -> Result<Option<usize>, PipelineError> {
    let Some(name) = request.style.as_deref().filter(|name| !name.is_empty()) else { return Ok(None) };
    match capabilities.styles.iter().position(|style| style == name) {
        Some(style) => Ok(Some(style)),
        None if capabilities.styles.is_empty() => {
            Err(PipelineError::invalid("diffusion.style", "must be empty: this model has no styles"))
        }
        None => {
            let known = capabilities.styles.join(", ");
            Err(PipelineError::invalid("diffusion.style", format!("must be one of {known}")))
        }
    }
}

fn side(
    field: &str,
    asked: Option<u32>,
    usual: u32,
    capabilities: &Capabilities,
) -> Result<u32, PipelineError> {
    let Capabilities { min_size, max_size, size_multiple, .. } = *capabilities;
    let side = asked.unwrap_or(usual);
    if side == usual {
        return Ok(side);
    }
    if size_multiple == 0 {
        return Err(PipelineError::invalid(field, format!("must be {usual}, the only one of this model")));
    }
    if !(min_size..=max_size).contains(&side) || !side.is_multiple_of(size_multiple) {
        let range = format!("must be a multiple of {size_multiple} between {min_size} and {max_size}");
        return Err(PipelineError::invalid(field, range));
    }
    Ok(side)
}

fn within(field: &str, value: f32, range: RangeInclusive<f32>) -> Result<(), PipelineError> {
    if range.contains(&value) {
        return Ok(());
    }
    let range = format!("must be between {} and {}", range.start(), range.end());
    Err(PipelineError::invalid(field, range))
}

fn init(request: &Request, capabilities: &Capabilities) -> Result<(), PipelineError> {
    let Some(init) = &request.init else { return Ok(()) };
    if !capabilities.image_to_image {
        return Err(PipelineError::invalid("init_image", "must be absent: this model reads no pictures"));
    }
    if init.picture.width() == 0 || init.picture.height() == 0 {
        return Err(PipelineError::invalid("init_image.data", "must have pixels"));
    }
    if init.strength.is_some_and(|strength| !(strength > 0.0 && strength <= 1.0)) {
        return Err(PipelineError::invalid("init_image.strength", "must be above 0 and up to 1"));
    }
    if let Some(mask) = &init.mask {
        if !capabilities.inpainting {
            return Err(PipelineError::invalid(
                "init_image.mask",
                "must be absent: this model has no use for it",
            ));
        }
        if mask.dimensions() != init.picture.dimensions() {
            let ((width, height), (own_width, own_height)) = (init.picture.dimensions(), mask.dimensions());
            let sizes = format!("must be {width}x{height}, as the picture is, not {own_width}x{own_height}");
            return Err(PipelineError::invalid("init_image.mask", sizes));
        }
    }
    Ok(())
}

fn controls(request: &Request, capabilities: &Capabilities) -> Result<(), PipelineError> {
    if request.controls.len() > capabilities.control_nets {
        let most = match capabilities.control_nets {
            0 => "must be empty: this model has no ControlNets".to_owned(),
            nets => format!("must be at most {nets}, one for each of the model's ControlNets"),
        };
        return Err(PipelineError::invalid("control_images", most));
    }
    for (n, control) in request.controls.iter().enumerate() {
        let field = |name: &str| format!("control_images[{n}].{name}");
        if control.picture.width() == 0 || control.picture.height() == 0 {
            return Err(PipelineError::invalid(field("data"), "must have pixels"));
        }
        within(&field("scale"), control.scale, CONTROL_SCALE)?;
        within(&field("guidance_start"), control.guidance_start, SHARE)?;
        within(&field("guidance_end"), control.guidance_end, control.guidance_start..=1.0)?;
    }
    Ok(())
}
