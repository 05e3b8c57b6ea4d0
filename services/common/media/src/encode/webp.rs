//! WebP by libwebp.

use webp::{Encoder, WebPConfig, WebPMemory};

use crate::{error::MediaError, picture::Picture};

/// A WebP file; lossless at quality 100.
pub(super) fn still(picture: &Picture, quality: u8) -> Result<Vec<u8>, MediaError> {
    encoded(picture, quality, quality == 100).map(|file| file.to_vec())
}

/// A WebP file of one picture, which has been found to have sides of 1 to 16383 pixels.
pub(crate) fn encoded(picture: &Picture, quality: u8, lossless: bool) -> Result<WebPMemory, MediaError> {
    let mut config = WebPConfig::new().map_err(|()| MediaError::encoder("WebP", "no configuration"))?;
    config.quality = f32::from(quality);
    if lossless {
        config.lossless = 1;
        // Effort, for lossless pictures.
        config.quality = 75.0;
        // Colours stay even where they can't be seen.
        config.exact = 1;
    }
    let encoder = match picture {
        Picture::Rgb(picture) => Encoder::from_rgb(picture, picture.width(), picture.height()),
        Picture::Rgba(picture) => Encoder::from_rgba(picture, picture.width(), picture.height()),
    };
    encoder.encode_advanced(&config).map_err(|error| MediaError::encoder("WebP", format!("{error:?}")))
}
