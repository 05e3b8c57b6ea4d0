//! Between latents and pixels.

mod tiles;

use atelier_inference::{ElementType, Model, ModelFolder, RunControl, Runtime, SessionConfig};
use serde::Deserialize;

pub(crate) use self::tiles::Planes;
use self::tiles::Tiling;
use crate::{PipelineError, ports, values};

/// Pictures of more pixels than this are cut into tiles, unless the model was trained on larger ones: the activations of a
/// picture of a megapixel take some 4 GB.
const TILE_ABOVE: usize = 1024 * 1024;

/// `vae_decoder/config.json`.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    latent_channels: Option<usize>,
    out_channels: usize,
    scaling_factor: Option<f32>,
    shift_factor: Option<f32>,
    latents_mean: Option<Vec<f32>>,
    latents_std: Option<Vec<f32>>,
    block_out_channels: Vec<usize>,
    spatial_compression_ratio: Option<usize>,
    sample_size: Option<usize>,
    pub(crate) preview_rgb: Option<crate::preview::LatentMap>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            latent_channels: None,
            out_channels: 3,
            scaling_factor: None,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            block_out_channels: Vec::new(),
            spatial_compression_ratio: None,
            sample_size: None,
            preview_rgb: None,
        }
    }
}

/// A graph of one input and one output.
struct Graph {
    model: Model,
    input: String,
    element: ElementType,
    output: String,
    /// The output is a mean and a logarithm of a variance.
    is_distribution: bool,
}

impl Graph {
    fn load(
        (runtime, session): (&Runtime, &SessionConfig),
        folder: &ModelFolder,
        file: &str,
    ) -> Result<Self, PipelineError> {
        let model = Model::load_file(runtime, folder, file, session)?;
        let (input, output) = match (model.inputs(), model.outputs()) {
            ([input], [output, ..]) => (input.clone(), output.name.clone()),
            (inputs, _) => {
                let problem = format!("{file}: {} inputs where one is expected", inputs.len());
                return Err(PipelineError::folder(folder.id(), problem));
            }
        };
        let is_distribution = output == "latent_parameters";
        Ok(Self { model, input: input.name, element: input.element_type, output, is_distribution })
    }

    fn run(&mut self, planes: &Planes, control: &RunControl) -> Result<Planes, PipelineError> {
        let shape = [1, planes.channels, planes.height, planes.width];
        let inputs = [(self.input.as_str(), values::tensor(self.element, &shape, &planes.values)?)];
        let output = self.model.run(&inputs, &[self.output.as_str()], control)?.swap_remove(0);
        let (channels, height, width) = match *output.shape() {
            [1, channels, height, width] => (channels, height, width),
            _ => (0, 0, 0),
        };
        let mut values = values::floats(output)?;
        // Of a distribution its mode, which is the mean.
        let channels = if self.is_distribution { channels / 2 } else { channels };
        values.truncate(channels * height * width);
        Ok(Planes { channels, height, width, values })
    }
}

/// The autoencoder of a pipeline.
pub(crate) struct Vae {
    decoder: Graph,
    encoder: Option<Graph>,
    /// Pixels of a latent's side.
    factor: usize,
    latent_channels: usize,
    picture_channels: usize,
    /// What a latent of each channel is multiplied by, then added, before it is decoded.
    affine: Vec<(f32, f32)>,
    /// Side of a tile in pixels.
    tile: usize,
    tile_above: usize,
}

impl Vae {
    /// `usual_scale`: the scaling factor of the family, for folders that don't say.
    pub(crate) fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        session: &SessionConfig,
        usual_scale: f32,
    ) -> Result<(Self, Config), PipelineError> {
        let problem = |problem: &str| PipelineError::folder(folder.id(), problem);
        let config: Config = ports::config(folder, &["vae_decoder", "vae"])?.unwrap_or_default();
        let decoder = Graph::load((runtime, session), folder, "vae_decoder/model.onnx")?;
        let encoder = match folder.has("vae_encoder/model.onnx") {
            true => Some(Graph::load((runtime, session), folder, "vae_encoder/model.onnx")?),
            false => None,
        };
        let of_graph =
            decoder.model.inputs().first().and_then(|port| port.dimensions.get(1).copied().flatten());
        let latent_channels = config
            .latent_channels
            .or(of_graph)
            .ok_or_else(|| problem("vae_decoder/config.json: it does not say latent_channels"))?;
        // Each block but the last halves the sides.
        let blocks = config.block_out_channels.len();
        let factor = match (config.spatial_compression_ratio, blocks) {
            (Some(ratio), _) => ratio,
            (None, 0) => 8,
            (None, blocks) => 1 << (blocks - 1),
        };
        let scale = config.scaling_factor.unwrap_or(usual_scale);
        let shift = config.shift_factor.unwrap_or(0.0);
        let affine = match (&config.latents_mean, &config.latents_std) {
            (Some(mean), Some(deviation))
                if mean.len() == latent_channels && deviation.len() == latent_channels =>
            {
                mean.iter().zip(deviation).map(|(mean, deviation)| (deviation / scale, *mean)).collect()
            }
            _ => vec![(1.0 / scale, shift); latent_channels],
        };
        if affine.iter().any(|(scale, shift)| !scale.is_normal() || !shift.is_finite()) || factor == 0 {
            return Err(problem("vae_decoder/config.json: its factors are no numbers to divide by"));
        }
        let tile = config.sample_size.unwrap_or(512).max(factor);
        let vae = Self {
            decoder,
            encoder,
            factor,
            latent_channels,
            picture_channels: config.out_channels,
            affine,
            tile,
            tile_above: TILE_ABOVE.max(tile * tile),
        };
        Ok((vae, config))
    }

    pub(crate) fn factor(&self) -> usize {
        self.factor
    }

    pub(crate) fn latent_channels(&self) -> usize {
        self.latent_channels
    }

    pub(crate) fn picture_channels(&self) -> usize {
        self.picture_channels
    }

    pub(crate) fn scale(&self) -> f32 {
        self.affine.first().map_or(1.0, |(scale, _)| 1.0 / scale)
    }

    pub(crate) fn encodes(&self) -> bool {
        self.encoder.is_some()
    }

    pub(crate) fn tile_above(&mut self, pixels: usize) {
        self.tile_above = pixels;
    }

    /// A picture's planes, each from -1 to 1, as latents.
    pub(crate) fn encode(
        &mut self,
        picture: &Planes,
        control: &RunControl,
    ) -> Result<Vec<f32>, PipelineError> {
        let Some(encoder) = &mut self.encoder else {
            return Err(PipelineError::invalid("init_image", "this model reads no pictures"));
        };
        let (height, width) = (picture.height / self.factor, picture.width / self.factor);
        let mut latents = if picture.height * picture.width > self.tile_above {
            let tiling = Tiling { read: self.tile, made: self.tile / self.factor };
            tiling.run(picture, self.latent_channels, (height, width), |tile| encoder.run(tile, control))?
        } else {
            encoder.run(picture, control)?
        };
        if latents.values.len() != self.latent_channels * height * width {
            let problem =
                format!("the encoder made {}x{} of {height}x{width}", latents.height, latents.width);
            return Err(atelier_inference::InferenceError::InvalidRun(problem).into());
        }
        for (plane, (scale, shift)) in latents.values.chunks_exact_mut(height * width).zip(&self.affine) {
            // Multiplied, as the reference does, by what decoding divides by.
            let scale = 1.0 / scale;
            plane.iter_mut().for_each(|value| *value = (*value - shift) * scale);
        }
        Ok(latents.values)
    }

    /// Latents of one picture as planes between -1 and 1, or a little beyond.
    pub(crate) fn decode(
        &mut self,
        latents: &[f32],
        (height, width): (usize, usize),
        control: &RunControl,
    ) -> Result<Planes, PipelineError> {
        let channels = self.latent_channels;
        let mut values = latents.to_vec();
        for (plane, (scale, shift)) in values.chunks_exact_mut(height * width).zip(&self.affine) {
            plane.iter_mut().for_each(|value| *value = *value * scale + shift);
        }
        let planes = Planes { channels, height, width, values };
        let (full_height, full_width) = (height * self.factor, width * self.factor);
        let decoder = &mut self.decoder;
        if full_height * full_width > self.tile_above {
            let tiling = Tiling { read: (self.tile / self.factor).max(1), made: self.tile };
            let size = (full_height, full_width);
            return tiling.run(&planes, self.picture_channels, size, |tile| decoder.run(tile, control));
        }
        decoder.run(&planes, control)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, path::Path};

    use atelier_inference::RuntimeConfig;
    use ndarray::ArrayD;
    use ndarray_npy::NpzReader;

    use super::*;

    /// diffusers' own tiles; see `golden.py` there.
    #[test]
    fn tiles_are_those_of_the_reference() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/pipelines/shared");
        let runtime = Runtime::start(&RuntimeConfig::default()).unwrap();
        let folder = ModelFolder::open(&golden).unwrap();
        let (mut vae, _) = Vae::load(&runtime, &folder, &SessionConfig::default(), 1.0).unwrap();
        vae.tile_above(16 * 16);
        let mut archive = NpzReader::new(File::open(golden.join("tiles.npz")).unwrap()).unwrap();
        let mut values = |name: &str| -> Vec<f32> {
            let array: ArrayD<f32> = archive.by_name(name).unwrap();
            array.into_iter().collect()
        };
        let apart = |a: &[f32], b: &[f32]| {
            assert_eq!(a.len(), b.len());
            a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        let control = RunControl::new();
        let decoded = vae.decode(&values("latents"), (21, 13), &control).unwrap();
        assert_eq!((decoded.channels, decoded.height, decoded.width), (3, 42, 26));
        assert!(apart(&decoded.values, &values("decoded")) < 1e-4);
        let picture = Planes { channels: 3, height: 42, width: 26, values: values("picture") };
        assert!(apart(&vae.encode(&picture, &control).unwrap(), &values("encoded")) < 1e-4);
        vae.tile_above(usize::MAX);
        let whole = vae.decode(&values("latents"), (21, 13), &control).unwrap();
        assert!(apart(&whole.values, &decoded.values) > 1e-3, "tiles were used before");
    }
}
