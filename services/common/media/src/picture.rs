//! A picture with or without alpha.

use image::{RgbImage, RgbaImage};

/// A picture of 8 bits a channel in sRGB, row by row from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Opaque.
    Rgb(RgbImage),
    /// With straight alpha: colours are not multiplied by it.
    Rgba(RgbaImage),
}

impl Picture {
    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.size().0
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.size().1
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        match self {
            Self::Rgb(picture) => picture.dimensions(),
            Self::Rgba(picture) => picture.dimensions(),
        }
    }
}

impl From<RgbImage> for Picture {
    fn from(picture: RgbImage) -> Self {
        Self::Rgb(picture)
    }
}

impl From<RgbaImage> for Picture {
    fn from(picture: RgbaImage) -> Self {
        Self::Rgba(picture)
    }
}
