//! Requests for clips.

use atelier_media::ClipFormat;
use atelier_proto::image::v1 as proto;

use super::{
    check::{counted, size, within},
    generation::{Diffusion, diffusion, prompt, video_format},
    output,
};
use crate::{
    ImageError,
    output::Output,
    video::{Clip, Keyframe},
};

/// Most keyframes.
const MAX_KEYFRAMES: usize = 16;

/// A checked request for a clip.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) model: String,
    pub(crate) clip: Clip,
    pub(crate) diffusion: Diffusion,
    /// How frames are sent on their own; absent: they aren't.
    pub(crate) frames: Option<Output>,
}

/// Checks a request. `random_seed` is for a walk that names no seed.
///
/// # Errors
/// The field that is out of its range.
pub(crate) fn order(
    request: proto::GenerateVideoRequest,
    random_seed: impl FnOnce() -> u64,
) -> Result<Order, ImageError> {
    counted(&request.keyframes, 1..=MAX_KEYFRAMES, "keyframes")?;
    if request.diffusion.as_ref().is_some_and(|config| config.num_images.is_some()) {
        return Err(ImageError::invalid("diffusion.num_images", "must be absent: a frame is one picture"));
    }
    let diffusion = diffusion(request.diffusion)?;
    let config = request.video.unwrap_or_default();
    let format = match video_format(config.format)? {
        proto::VideoFormat::Unspecified | proto::VideoFormat::Webp => ClipFormat::WebP,
        proto::VideoFormat::Gif => ClipFormat::Gif,
        proto::VideoFormat::Mp4 => ClipFormat::Mp4,
        proto::VideoFormat::Webm => ClipFormat::WebM,
    };
    let quality = within(config.quality, 1..=100, "video.quality")?.unwrap_or(80);
    let clip = Clip {
        keyframes: keyframes(request.keyframes, diffusion.seed.unwrap_or_else(random_seed))?,
        format,
        frames_per_second: within(config.frames_per_second, 1..=60, "video.frames_per_second")?.unwrap_or(12),
        frames: size(within(config.num_frames, 2..=240, "video.num_frames")?.unwrap_or(24)),
        is_loop: config.r#loop,
        // The range ends at 100.
        quality: u8::try_from(quality).unwrap_or(100),
        drift: within(request.drift, 0.0..=1.0, "drift")?.unwrap_or(0.0),
    };
    let frames = request.frames.map(|config| output(Some(config), "frames")).transpose()?;
    if frames.is_some_and(|frames| frames.transparent) {
        return Err(ImageError::invalid("frames.background", "must be opaque: clips have no alpha"));
    }
    Ok(Order { model: request.model, clip, diffusion, frames })
}

/// Keyframes with everything they inherit from the one before.
fn keyframes(asked: Vec<proto::Keyframe>, first_seed: u64) -> Result<Vec<Keyframe>, ImageError> {
    let mut keyframes: Vec<Keyframe> = Vec::with_capacity(asked.len());
    for (n, keyframe) in asked.into_iter().enumerate() {
        prompt(&keyframe.prompt, &format!("keyframes[{n}].prompt"))?;
        prompt(&keyframe.negative_prompt, &format!("keyframes[{n}].negative_prompt"))?;
        let before = keyframes.last();
        let inherited = |own: String, of: fn(&Keyframe) -> &String| {
            if own.is_empty() { before.map(of).cloned().unwrap_or_default() } else { own }
        };
        let next = Keyframe {
            seed: keyframe.seed.or(before.map(|before| before.seed)).unwrap_or(first_seed),
            prompt: inherited(keyframe.prompt, |before| &before.prompt),
            negative_prompt: inherited(keyframe.negative_prompt, |before| &before.negative_prompt),
        };
        keyframes.push(next);
    }
    Ok(keyframes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_inherit_from_the_one_before() {
        let keyframe =
            |prompt: &str, seed| proto::Keyframe { prompt: prompt.into(), seed, ..Default::default() };
        let asked = vec![keyframe("a cat", None), keyframe("", Some(7)), keyframe("a dog", None)];
        let known: Vec<_> = keyframes(asked, 3).unwrap().into_iter().map(|k| (k.prompt, k.seed)).collect();
        assert_eq!(known, [("a cat".into(), 3), ("a cat".into(), 7), ("a dog".into(), 7)]);
    }

    #[test]
    fn fields_at_fault_are_named() {
        let field = |change: fn(&mut proto::GenerateVideoRequest)| {
            let mut request = proto::GenerateVideoRequest {
                keyframes: vec![proto::Keyframe { prompt: "a cat".into(), ..Default::default() }],
                ..Default::default()
            };
            change(&mut request);
            match order(request, || 0) {
                Err(ImageError::Invalid { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(field(|r| r.keyframes.clear()), "keyframes");
        assert_eq!(field(|r| r.keyframes[0].prompt = "x".repeat(20_000)), "keyframes[0].prompt");
        assert_eq!(field(|r| r.drift = Some(1.5)), "drift");
        assert_eq!(
            field(|r| r.video = Some(proto::VideoConfig { num_frames: Some(1), ..Default::default() })),
            "video.num_frames"
        );
        assert_eq!(
            field(
                |r| r.diffusion = Some(proto::DiffusionConfig { num_images: Some(1), ..Default::default() })
            ),
            "diffusion.num_images"
        );
    }
}
