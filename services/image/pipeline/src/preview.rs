//! What latents look like, without a decoder: one linear map for each position.

use image::{Rgba, RgbaImage};
use serde::Deserialize;

/// From the channels of a latent to red, green and blue.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct LatentMap {
    /// What each channel adds to each colour.
    weights: Vec<[f32; 3]>,
    /// Colours of a latent of zeros.
    bias: [f32; 3],
}

impl LatentMap {
    /// The map of a well-known latent space, told by its scaling factor; `None` for another one.
    pub(crate) fn known(channels: usize, scale: f32) -> Option<Self> {
        let is = |other: f32| channels == 4 && (scale - other).abs() < 1e-5;
        if is(0.18215) {
            // Stable Diffusion 1 and 2: fitted by the user keturn, discuss.huggingface.co/t/23204, for -1 to 1.
            let fitted = [
                [0.298, 0.207, 0.208],
                [0.187, 0.286, 0.173],
                [-0.158, 0.189, 0.264],
                [-0.184, -0.271, -0.473],
            ];
            return Some(Self {
                weights: fitted.map(|row| row.map(|weight| weight / 2.0)).to_vec(),
                bias: [0.5; 3],
            });
        }
        if is(0.13025) {
            // Stable Diffusion XL: huggingface.co/blog/TimothyAlexisVass/explaining-the-sdxl-latent-space, for 0 to 255.
            let fitted = [[60.0, 60.0, 60.0], [-60.0, -5.0, 10.0], [25.0, 15.0, -5.0], [-70.0, -50.0, -35.0]];
            let bias = [150.0, 140.0, 130.0].map(|value: f32| value / 255.0);
            return Some(Self {
                weights: fitted.map(|row| row.map(|weight: f32| weight / 255.0)).to_vec(),
                bias,
            });
        }
        None
    }

    /// The map of a folder's own, which gives colours from -1 to 1.
    pub(crate) fn of_signed(self) -> Self {
        let weights = self.weights.into_iter().map(|row| row.map(|weight| weight / 2.0)).collect();
        Self { weights, bias: self.bias.map(|bias| bias / 2.0 + 0.5) }
    }

    pub(crate) fn fits(&self, channels: usize) -> bool {
        self.weights.len() == channels
    }

    /// A picture with one pixel for each position of these latents (channels, height, width).
    pub(crate) fn picture(&self, latents: &[f32], (height, width): (usize, usize)) -> RgbaImage {
        let positions = height * width;
        RgbaImage::from_fn(width as u32, height as u32, |x, y| {
            let at = y as usize * width + x as usize;
            let mut colour = self.bias;
            for (channel, weights) in self.weights.iter().enumerate() {
                let value = latents.get(channel * positions + at).copied().unwrap_or_default();
                colour.iter_mut().zip(weights).for_each(|(colour, weight)| *colour += weight * value);
            }
            let [red, green, blue] = colour.map(|share| (share.clamp(0.0, 1.0) * 255.0).round() as u8);
            Rgba([red, green, blue, u8::MAX])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_spaces_have_colours() {
        let map = LatentMap::known(4, 0.18215).unwrap();
        let picture = map.picture(&[0.0; 24], (2, 3));
        assert_eq!((picture.dimensions(), picture.get_pixel(0, 0).0), ((3, 2), [128, 128, 128, 255]));
        assert!(LatentMap::known(4, 0.13025).unwrap().fits(4));
        assert_eq!(LatentMap::known(16, 0.18215), None);
    }
}
