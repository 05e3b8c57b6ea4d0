//! Resizing of pictures of 8 bits a channel.
//!
//! A crate of its own because the resizer is generic over its pixels and so is compiled here, for minutes. Nothing
//! generic leaves, so that no other crate compiles it again.

use fast_image_resize::{
    FilterType, ImageBufferError, PixelTrait, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::{U8x3, U8x4},
};
use image::{ImageBuffer, Pixel, RgbImage, RgbaImage};

/// How pixels are weighed. When shrinking, supports are widened, so nothing aliases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// A triangle: Pillow's `BILINEAR`.
    Bilinear,
    /// A cubic spline through the pixels (Catmull and Rom): Pillow's `BICUBIC`.
    Bicubic,
    /// A windowed sinc with three lobes: Pillow's `LANCZOS`.
    Lanczos3,
}

/// Why a picture was not resized. No picture with at least one pixel is known to cause it.
#[derive(Debug, thiserror::Error)]
pub enum ResizeError {
    /// A buffer has not the length that its size asks for.
    #[error(transparent)]
    Buffer(#[from] ImageBufferError),
    /// The resizer refused.
    #[error(transparent)]
    Resizer(#[from] fast_image_resize::ResizeError),
}

/// Resizes to exactly this size, in pixels.
///
/// # Errors
/// See [`ResizeError`].
pub fn resize_rgb(
    picture: &RgbImage,
    (width, height): (u32, u32),
    filter: Filter,
) -> Result<RgbImage, ResizeError> {
    resize::<_, U8x3>(picture, (width, height), filter)
}

/// As [`resize_rgb`], with colours weighted by their alpha: what is transparent lends no colour to its neighbours.
///
/// # Errors
/// See [`ResizeError`].
pub fn resize_rgba(
    picture: &RgbaImage,
    (width, height): (u32, u32),
    filter: Filter,
) -> Result<RgbaImage, ResizeError> {
    resize::<_, U8x4>(picture, (width, height), filter)
}

/// `P` and `R` are the same kind of pixel in the words of two crates.
fn resize<P, R>(
    picture: &ImageBuffer<P, Vec<u8>>,
    (width, height): (u32, u32),
    filter: Filter,
) -> Result<ImageBuffer<P, Vec<u8>>, ResizeError>
where
    P: Pixel<Subpixel = u8>,
    R: PixelTrait<Component = u8>,
{
    let mut resized = ImageBuffer::new(width, height);
    // Typed views: the untyped ones would compile the resizer for all kinds of pixels.
    let from = TypedImageRef::<R>::from_buffer(picture.width(), picture.height(), picture.as_raw())?;
    let mut to = TypedImage::<R>::from_buffer(width, height, &mut resized)?;
    let filter = match filter {
        Filter::Bilinear => FilterType::Bilinear,
        Filter::Bicubic => FilterType::CatmullRom,
        Filter::Lanczos3 => FilterType::Lanczos3,
    };
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new().resize_typed(&from, &mut to, &options)?;
    Ok(resized)
}
