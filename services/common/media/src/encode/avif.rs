//! AVIF: AV1 stills in the box structure of HEIF.

use atelier_av1::{Av1Encoder, Layout};
use avif_serialize::{Aviffy, constants::MatrixCoefficients};
use image::{DynamicImage, RgbImage, RgbaImage};

use crate::{error::MediaError, picture::Picture, planes::Planes};

pub(super) fn still(picture: &Picture, quality: u8) -> Result<Vec<u8>, MediaError> {
    let size = picture.size();
    let (colours, alpha) = match picture {
        Picture::Rgb(picture) => (Planes::full(picture), None),
        Picture::Rgba(picture) => (Planes::full(&without_alpha(picture)), Some(Planes::alpha(picture))),
    };
    let colours = coded(&colours, size, Layout::Still, quality)?;
    // Half way to the best: faults of alpha show as seams.
    let alpha = alpha.map(|alpha| coded(&alpha, size, Layout::Alpha, quality.midpoint(100))).transpose()?;
    // The other values of colour are those that the writer presumes: primaries and curve of sRGB, full range.
    let file = Aviffy::new().set_matrix_coefficients(MatrixCoefficients::Bt709).to_vec(
        &colours,
        alpha.as_deref(),
        size.0,
        size.1,
        8,
    );
    Ok(file)
}

fn coded(planes: &Planes, size: (u32, u32), layout: Layout, quality: u8) -> Result<Vec<u8>, MediaError> {
    let failed = |error| MediaError::encoder("AVIF", error);
    let mut encoder = Av1Encoder::new(size, layout, quality).map_err(failed)?;
    let mut units = encoder.push(&planes.views()).map_err(failed)?;
    units.extend(encoder.finish().map_err(failed)?);
    match <[_; 1]>::try_from(units) {
        Ok([unit]) => Ok(unit.data),
        Err(units) => Err(MediaError::encoder("AVIF", format!("{} pictures of one", units.len()))),
    }
}

fn without_alpha(picture: &RgbaImage) -> RgbImage {
    DynamicImage::from(picture.clone()).into_rgb8()
}
