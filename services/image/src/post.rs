//! What is done with finished pictures: super-resolution and style transfer.

use atelier_core::{ModelRef, limits::MAX_IMAGE_PIXELS};
use atelier_inference::Ticket;
use atelier_media::{Filter, resize_rgba};
use image::{RgbaImage, imageops};
use serde::Deserialize;

use crate::{
    ImageError,
    pixels::{self, Range},
    rows::{Rows, RowsLoader, own_ticket},
};

/// Side of the tiles that a large picture is enlarged in, in pixels: bounds a run's memory.
const TILE: u32 = 256;
/// What a tile sees of its neighbours, in pixels: more than the reach of small super-resolution networks.
const BORDER: u32 = 16;

/// `config.json` of a super-resolution model.
#[derive(Debug, Deserialize)]
struct UpscalerForm {
    factor: u32,
}

/// A super-resolution model: `image` `[batch, 3, h, w]` in 0..1 to `upscaled` `[batch, 3, factor h, factor w]`.
pub(crate) struct Upscaler {
    pub(crate) model: ModelRef,
    /// SPDX identifier, or empty.
    pub(crate) license: String,
    /// 2 or 4.
    pub(crate) factor: u32,
    rows: Rows,
}

impl Upscaler {
    /// Loads a model and runs it once.
    ///
    /// # Errors
    /// A file is missing, or the graph is not what `config.json` says.
    pub(crate) async fn load(loader: &RowsLoader<'_>) -> Result<Self, ImageError> {
        let folder = loader.folder;
        let UpscalerForm { factor } = folder.json("config.json")?;
        let rows = loader.load("model.onnx", "image", &["upscaled"])?;
        let (model, license) = (folder.model().clone(), folder.license().to_owned());
        let upscaler = Self { model, license, factor, rows };
        let probe = upscaler.enlarge(&RgbaImage::new(8, 6), &own_ticket()).await?;
        if !matches!(factor, 2 | 4) || probe.dimensions() != (8 * factor, 6 * factor) {
            return Err(ImageError::folder(
                folder.id(),
                "config.json: factor must be 2 or 4 and the graph's",
            ));
        }
        Ok(upscaler)
    }

    /// The picture, `factor` times as wide and high; colours by the model, transparency by interpolation.
    ///
    /// # Errors
    /// The result would have too many pixels, or a run fails.
    pub(crate) async fn enlarge(
        &self,
        picture: &RgbaImage,
        ticket: &Ticket,
    ) -> Result<RgbaImage, ImageError> {
        let (width, height) = picture.dimensions();
        let scale = u64::from(self.factor);
        if u64::from(width) * u64::from(height) * scale * scale > MAX_IMAGE_PIXELS {
            let description = format!("must not make a picture of more than {MAX_IMAGE_PIXELS} pixels");
            return Err(ImageError::invalid("post_processing", description));
        }
        let mut large = resize_rgba(picture, width * self.factor, height * self.factor, Filter::Lanczos3)?;
        for top in (0..height).step_by(TILE as usize) {
            for left in (0..width).step_by(TILE as usize) {
                self.tile(picture, &mut large, (left, top), ticket).await?;
            }
        }
        Ok(large)
    }

    /// Writes the colours of one tile.
    async fn tile(
        &self,
        picture: &RgbaImage,
        large: &mut RgbaImage,
        (left, top): (u32, u32),
        ticket: &Ticket,
    ) -> Result<(), ImageError> {
        let (width, height) = picture.dimensions();
        let seen = (left.saturating_sub(BORDER), top.saturating_sub(BORDER));
        let end = ((left + TILE + BORDER).min(width), (top + TILE + BORDER).min(height));
        let part = imageops::crop_imm(picture, seen.0, seen.1, end.0 - seen.0, end.1 - seen.1).to_image();
        let answer = self.rows.submit(pixels::planes(&part, Range::UNIT).into_dyn(), ticket.clone()).await?;
        let expected = (part.width() * self.factor, part.height() * self.factor);
        let enlarged = answer.first().and_then(|planes| pixels::picture(planes, Range::UNIT));
        let enlarged = enlarged
            .filter(|tile| tile.dimensions() == expected)
            .ok_or_else(|| ImageError::folder(&self.model.id, "the graph gives a picture of another size"))?;
        let factor = self.factor;
        for y in top * factor..(top + TILE).min(height) * factor {
            for x in left * factor..(left + TILE).min(width) * factor {
                let [r, g, b, _] = enlarged.get_pixel(x - seen.0 * factor, y - seen.1 * factor).0;
                large.get_pixel_mut(x, y).0[..3].copy_from_slice(&[r, g, b]);
            }
        }
        Ok(())
    }
}

/// `config.json` of a style-transfer model: one graph for each style.
#[derive(Debug, Deserialize)]
struct StyleForm {
    styles: Vec<StyleFile>,
    /// Name of the graphs' input.
    input: String,
    /// Name of the graphs' output.
    output: String,
    /// What black and white are.
    range: [f32; 2],
    /// Width and height that the graphs read, where these are fixed.
    #[serde(default)]
    size: Option<[u32; 2]>,
}

#[derive(Debug, Deserialize)]
struct StyleFile {
    name: String,
    file: String,
}

/// A style-transfer model: planes `[batch, 3, h, w]` in, planes of the same size out.
pub(crate) struct StyleModel {
    pub(crate) model: ModelRef,
    /// SPDX identifier, or empty.
    pub(crate) license: String,
    styles: Vec<(String, Rows)>,
    range: Range,
    size: Option<[u32; 2]>,
}

impl StyleModel {
    /// Loads a model and runs each of its graphs once.
    ///
    /// # Errors
    /// A file is missing, or is not what `config.json` says.
    pub(crate) async fn load(loader: &RowsLoader<'_>) -> Result<Self, ImageError> {
        let folder = loader.folder;
        let form: StyleForm = folder.json("config.json")?;
        let [low, high] = form.range;
        if form.styles.is_empty() || high <= low {
            return Err(ImageError::folder(folder.id(), "config.json: needs styles and a range"));
        }
        let load = |style: StyleFile| {
            Ok((style.name, loader.load(&style.file, &form.input, &[form.output.as_str()])?))
        };
        let styles = form.styles.into_iter().map(load).collect::<Result<Vec<_>, ImageError>>()?;
        let (model, license) = (folder.model().clone(), folder.license().to_owned());
        let loaded = Self { model, license, styles, range: Range { low, high }, size: form.size };
        for style in loaded.styles() {
            loaded.repaint(&RgbaImage::new(64, 64), style, &own_ticket()).await?;
        }
        Ok(loaded)
    }

    /// Names of its styles.
    pub(crate) fn styles(&self) -> impl Iterator<Item = &str> {
        self.styles.iter().map(|(name, _)| name.as_str())
    }

    /// The picture in a style; empty: the first one. Transparency is lost.
    ///
    /// # Errors
    /// There is no such style, or the run fails.
    pub(crate) async fn repaint(
        &self,
        picture: &RgbaImage,
        style: &str,
        ticket: &Ticket,
    ) -> Result<RgbaImage, ImageError> {
        let rows =
            self.styles.iter().find(|(name, _)| style.is_empty() || name == style).map(|(_, rows)| rows);
        let Some(rows) = rows else {
            let known: Vec<_> = self.styles().collect();
            let description = format!("must be one of {}", known.join(", "));
            return Err(ImageError::invalid("post_processing.style_transfer.style", description));
        };
        let (width, height) = picture.dimensions();
        let planes = match self.size {
            Some([width, height]) => {
                pixels::planes(&resize_rgba(picture, width, height, Filter::Lanczos3)?, self.range)
            }
            None => pixels::planes(picture, self.range),
        };
        let answer = rows.submit(planes.into_dyn(), ticket.clone()).await?;
        let painted = answer.first().and_then(|planes| pixels::picture(planes, self.range));
        let painted =
            painted.ok_or_else(|| ImageError::folder(&self.model.id, "the graph gives no picture"))?;
        // Networks with strides round sizes.
        if painted.dimensions() == (width, height) {
            Ok(painted)
        } else {
            Ok(resize_rgba(&painted, width, height, Filter::Lanczos3)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use atelier_inference::{BatcherConfig, ModelStore, Runtime, RuntimeConfig, SessionConfig};

    use super::*;

    /// Pixels computed by `tests/golden/image/upscaling.py`.
    #[tokio::test]
    async fn pictures_are_enlarged_as_the_reference_does() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/image/");
        let text = std::fs::read_to_string(format!("{folder}upscaling.json")).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
        let number = |value: &serde_json::Value| u32::try_from(value.as_u64().unwrap()).unwrap();
        let picture = image::open(format!("{folder}{}", golden["picture"].as_str().unwrap())).unwrap();
        let [left, top, right, bottom] = std::array::from_fn(|n| number(&golden["part"][n]));
        let part = picture.crop_imm(left, top, right - left, bottom - top).into_rgba8();

        let runtime = Runtime::start(&RuntimeConfig::default()).unwrap();
        let (session, batcher) = (SessionConfig::default(), BatcherConfig::default());
        for result in golden["results"].as_array().unwrap() {
            let folder = ModelStore::default().open(result["model"].as_str().unwrap()).unwrap();
            let loader =
                RowsLoader { runtime: &runtime, folder: &folder, session: &session, batcher: &batcher };
            let upscaler = Upscaler::load(&loader).await.unwrap();
            let large = upscaler.enlarge(&part, &own_ticket()).await.unwrap();
            assert_eq!(large.dimensions(), (number(&result["width"]), number(&result["height"])));
            for sample in result["samples"].as_array().unwrap() {
                let [y, x, red, green, blue] = std::array::from_fn(|n| number(&sample[n]));
                let pixel = large.get_pixel(x, y).0;
                let apart =
                    pixel.iter().zip([red, green, blue]).map(|(&a, b)| u32::from(a).abs_diff(b)).max();
                assert!(apart <= Some(number(&golden["tolerance"])), "{x}, {y}: {pixel:?}");
            }
        }
    }

    #[tokio::test]
    async fn tiles_leave_no_seams() {
        let runtime = Runtime::start(&RuntimeConfig::default()).unwrap();
        let (session, batcher) = (SessionConfig::default(), BatcherConfig::default());
        let folder = ModelStore::default().open("emoji-upscale-x2").unwrap();
        let loader = RowsLoader { runtime: &runtime, folder: &folder, session: &session, batcher: &batcher };
        let upscaler = Upscaler::load(&loader).await.unwrap();
        let wave =
            |x: u32, y: u32| image::Rgba([((x * 7 + y * 3) % 256) as u8, ((x * x + y) % 256) as u8, 90, 255]);
        let picture = RgbaImage::from_fn(TILE + 60, 40, wave);
        let whole = upscaler.enlarge(&picture, &own_ticket()).await.unwrap();
        // The part around the seam, enlarged in one piece.
        let left = TILE - 40;
        let part = imageops::crop_imm(&picture, left, 0, 80, 40).to_image();
        let part = upscaler.enlarge(&part, &own_ticket()).await.unwrap();
        for y in 0..80 {
            for x in 40..120 {
                let (tiled, single) = (whole.get_pixel(left * 2 + x, y), part.get_pixel(x, y));
                let apart = tiled.0.iter().zip(single.0).map(|(&a, b)| a.abs_diff(b)).max();
                assert!(apart <= Some(1), "{x}, {y}: {tiled:?} {single:?}");
            }
        }
    }
}
