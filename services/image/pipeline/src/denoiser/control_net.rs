//! ControlNets (Zhang et al., 2023): what a picture of edges, depth or a pose says to the layers of a UNet.

use atelier_inference::{ModelFolder, RunControl, Runtime, SessionConfig};

use super::{Denoiser, Role, Row};
use crate::{PipelineError, ports, values};

/// What an input of the UNet gets: its values, row by row, and the shape of a row.
pub(crate) type Residual = (Role, Vec<f32>, [usize; 3]);

/// Shapes of the residuals that a UNet reads, from its configuration: the first layer, then each block's layers, and
/// between blocks the one that halves the sides.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ResidualShapes {
    /// Channels of each block.
    pub(crate) blocks: Vec<usize>,
    /// Layers of each block.
    pub(crate) layers: Vec<usize>,
}

impl ResidualShapes {
    /// Shapes on the way down, then the one in the middle.
    fn at(&self, (mut height, mut width): (usize, usize)) -> Vec<[usize; 3]> {
        let mut shapes: Vec<_> =
            self.blocks.first().map(|&channels| [channels, height, width]).into_iter().collect();
        for (n, &channels) in self.blocks.iter().enumerate() {
            let layers = self.layers.get(n).or(self.layers.last()).copied().unwrap_or(2);
            shapes.extend(std::iter::repeat_n([channels, height, width], layers));
            if n + 1 < self.blocks.len() {
                (height, width) = (height.div_ceil(2), width.div_ceil(2));
                shapes.push([channels, height, width]);
            }
        }
        shapes.extend(self.blocks.last().map(|&channels| [channels, height, width]));
        shapes
    }
}

/// The ControlNets of a folder, in their order.
pub(crate) struct ControlNets {
    nets: Vec<Net>,
    /// The UNet's inputs that they feed: on the way down, then in the middle.
    targets: Vec<Role>,
    shapes: ResidualShapes,
}

struct Net {
    denoiser: Denoiser,
    /// Its outputs, in the order of the targets.
    outputs: Vec<String>,
}

impl ControlNets {
    /// Loads `controlnet/`, or `controlnet_0/` and so on, where the UNet reads what they say.
    pub(crate) fn load(
        (runtime, session): (&Runtime, &SessionConfig),
        folder: &ModelFolder,
        unet: &Denoiser,
        shapes: ResidualShapes,
    ) -> Result<Self, PipelineError> {
        let mut targets: Vec<usize> = unet
            .inputs
            .iter()
            .filter_map(|input| if let Role::Down(n) = input.role { Some(n) } else { None })
            .collect();
        targets.sort_unstable();
        let mut targets: Vec<Role> = targets.into_iter().map(Role::Down).collect();
        if unet.reads(Role::Middle) {
            targets.push(Role::Middle);
        }
        let exists = |part: &String| folder.has(&format!("{part}/model.onnx"));
        let numbered = (0..).map(|n| format!("controlnet_{n}")).take_while(exists);
        let parts: Vec<String> =
            ["controlnet".to_owned()].into_iter().filter(exists).chain(numbered).collect();
        let problem = |problem: String| PipelineError::folder(folder.id(), problem);
        if targets.is_empty() && !parts.is_empty() {
            return Err(problem(
                "unet/model.onnx: it does not read what the ControlNets of the folder say".to_owned(),
            ));
        }
        let mut nets = Vec::new();
        for part in parts {
            let denoiser = Denoiser::load((runtime, session), folder, &part, unet.channels)?;
            let is_middle = |name: &str| name.contains("mid");
            let down = denoiser.model.outputs().iter().filter(|port| !is_middle(&port.name));
            let mut outputs = ports::numbered(down);
            outputs.extend(denoiser.outputs.iter().find(|name| is_middle(name)).cloned());
            if outputs.len() != targets.len() || !denoiser.reads(Role::ControlPicture) {
                let counts = format!("{} outputs for {} inputs of the UNet", outputs.len(), targets.len());
                return Err(problem(format!("{part}/model.onnx: {counts}")));
            }
            nets.push(Net { denoiser, outputs });
        }
        let known = shapes.at((64, 64)).len();
        if !targets.is_empty() && known != targets.len() {
            let counts = format!("{known} layers, where model.onnx reads residuals of {}", targets.len());
            return Err(problem(format!("unet/config.json: {counts}")));
        }
        Ok(Self { nets, targets, shapes })
    }

    pub(crate) fn len(&self) -> usize {
        self.nets.len()
    }

    /// What the UNet reads where no ControlNet says anything.
    pub(crate) fn silence(&self, batch: usize, size: (usize, usize)) -> Vec<Residual> {
        let shapes = if self.targets.is_empty() { Vec::new() } else { self.shapes.at(size) };
        let zeros = |shape: [usize; 3]| vec![0.0; batch * shape.iter().product::<usize>()];
        self.targets.iter().zip(shapes).map(|(role, shape)| (*role, zeros(shape), shape)).collect()
    }

    /// Adds what a ControlNet says of these rows, each multiplied by its scale.
    pub(crate) fn add(
        &mut self,
        net: usize,
        rows: &[Row<'_>],
        (size, scales): ((usize, usize), &[f32]),
        residuals: &mut [Residual],
        control: &RunControl,
    ) -> Result<(), PipelineError> {
        let Some(Net { denoiser, outputs }) = self.nets.get_mut(net) else { return Ok(()) };
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let said = denoiser.run_for(rows, size, &[], &outputs, control)?;
        for ((_, sum, shape), said) in residuals.iter_mut().zip(said) {
            let said = values::floats(said)?;
            let row_length = shape.iter().product::<usize>().max(1);
            let pairs = sum.chunks_exact_mut(row_length).zip(said.chunks_exact(row_length)).zip(scales);
            for ((sum, said), scale) in pairs {
                sum.iter_mut().zip(said).for_each(|(sum, said)| *sum += scale * said);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_stable_diffusion() {
        let shapes = ResidualShapes { blocks: vec![320, 640, 1280, 1280], layers: vec![2] }.at((64, 64));
        assert_eq!(shapes.len(), 13);
        assert_eq!(shapes[..5], [[320, 64, 64], [320, 64, 64], [320, 64, 64], [320, 32, 32], [640, 32, 32]]);
        assert_eq!(shapes[10..], [[1280, 8, 8], [1280, 8, 8], [1280, 8, 8]]);
    }
}
