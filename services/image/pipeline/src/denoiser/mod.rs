//! One run of a UNet, a transformer or a ControlNet over several rows.

mod control_net;
mod role;

use std::collections::VecDeque;

use atelier_inference::{
    ElementType, InferenceError, Model, ModelFolder, RunControl, Runtime, SessionConfig, Tensor,
};

pub(crate) use self::control_net::{ControlNets, Residual, ResidualShapes};
pub(crate) use self::role::Role;
use crate::{PipelineError, prompt::Encoded, values};

/// Batches whose inputs are kept from step to step.
const KEPT: usize = 4;

/// What tells one row of a batch from all others, for as long as its job lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowId {
    pub(crate) job: u64,
    /// Which text: with guidance 0 is what is not wanted, 1 what is.
    pub(crate) branch: usize,
    pub(crate) picture: usize,
}

/// What a run reads for one row.
pub(crate) struct Row<'a> {
    pub(crate) id: RowId,
    /// Latents of the picture, scaled.
    pub(crate) latents: &'a [f32],
    /// Channels beside the latents that stay the same: mask and masked picture.
    pub(crate) beside: &'a [f32],
    pub(crate) timestep: f32,
    pub(crate) text: &'a Encoded,
    pub(crate) time_ids: &'a [f32],
    pub(crate) guidance: &'a [f32],
    pub(crate) style: f32,
    /// The picture that a ControlNet follows.
    pub(crate) control: &'a [f32],
}

struct Input {
    name: String,
    role: Role,
    element: ElementType,
    dimensions: Vec<Option<usize>>,
}

impl Input {
    /// The input has a dimension for the rows of a batch.
    fn has_rows(&self) -> bool {
        !self.dimensions.is_empty() && (self.role != Role::Timestep || self.dimensions[0] != Some(1))
    }
}

/// Inputs of a batch, of which latents and time change from step to step.
struct Prepared {
    rows: Vec<RowId>,
    size: (usize, usize),
    tensors: Vec<Tensor>,
}

/// A graph that says what is noise in latents, or a ControlNet.
pub(crate) struct Denoiser {
    model: Model,
    inputs: Vec<Input>,
    outputs: Vec<String>,
    prepared: VecDeque<Prepared>,
    channels: usize,
}

impl Denoiser {
    /// `channels`: what the configuration says of the latents with all that is beside them.
    pub(crate) fn load(
        (runtime, session): (&Runtime, &SessionConfig),
        folder: &ModelFolder,
        part: &str,
        channels: usize,
    ) -> Result<Self, PipelineError> {
        let file = format!("{part}/model.onnx");
        let problem = |problem: String| PipelineError::folder(folder.id(), format!("{file}: {problem}"));
        let model = Model::load_file(runtime, folder, &file, session)?;
        let mut inputs: Vec<Input> = Vec::new();
        for port in model.inputs() {
            let place = inputs.iter().filter(|input| matches!(input.role, Role::Down(_))).count();
            let role = Role::of(&port.name, place)
                .ok_or_else(|| problem(format!("it reads {:?}, which is not known", port.name)))?;
            inputs.push(Input {
                name: port.name.clone(),
                role,
                element: port.element_type,
                dimensions: port.dimensions.clone(),
            });
        }
        let Some(sample) = inputs.iter().find(|input| input.role == Role::Sample) else {
            return Err(problem("it reads no latents".to_owned()));
        };
        let channels = sample.dimensions.get(1).copied().flatten().unwrap_or(channels);
        let outputs = model.outputs().iter().map(|port| port.name.clone()).collect();
        Ok(Self { model, inputs, outputs, prepared: VecDeque::new(), channels })
    }

    fn input(&self, role: Role) -> Option<&Input> {
        self.inputs.iter().find(|input| input.role == role)
    }

    pub(crate) fn reads(&self, role: Role) -> bool {
        self.input(role).is_some()
    }

    /// Channels of its input.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Rows of each run, where the graph does not leave that open.
    pub(crate) fn fixed_rows(&self) -> Option<usize> {
        self.input(Role::Sample).and_then(|input| input.dimensions.first().copied().flatten())
    }

    /// Height and width of the latents, where the graph does not leave them open.
    pub(crate) fn fixed_size(&self) -> Option<(usize, usize)> {
        let dimensions = &self.input(Role::Sample)?.dimensions;
        Some((dimensions.get(2).copied().flatten()?, dimensions.get(3).copied().flatten()?))
    }

    /// All rows of a run have the same time.
    pub(crate) fn is_in_step(&self) -> bool {
        self.input(Role::Timestep).is_some_and(|input| !input.has_rows())
    }

    /// Length of an input's last dimension, where the graph does not leave it open.
    pub(crate) fn width(&self, role: Role) -> Option<usize> {
        self.input(role)?.dimensions.last().copied().flatten()
    }

    /// How many inputs ControlNets feed on the way down.
    pub(crate) fn down_inputs(&self) -> usize {
        self.inputs.iter().filter(|input| matches!(input.role, Role::Down(_))).count()
    }

    /// Runs it; what it says of each row, one after the other. `residuals` are what ControlNets say to it.
    pub(crate) fn run(
        &mut self,
        rows: &[Row<'_>],
        size: (usize, usize),
        residuals: &[Residual],
        control: &RunControl,
    ) -> Result<Vec<f32>, PipelineError> {
        let output = self.outputs.first().cloned().unwrap_or_default();
        let mut outputs = self.run_for(rows, size, residuals, &[output.as_str()], control)?;
        Ok(values::floats(outputs.swap_remove(0))?)
    }

    fn run_for(
        &mut self,
        rows: &[Row<'_>],
        size: (usize, usize),
        residuals: &[Residual],
        outputs: &[&str],
        control: &RunControl,
    ) -> Result<Vec<Tensor>, PipelineError> {
        let mut prepared = self.prepare(rows, size)?;
        for (tensor, input) in prepared.tensors.iter_mut().zip(&self.inputs) {
            match input.role {
                Role::Sample => {
                    let row_length = self.channels * size.0 * size.1;
                    for (n, row) in rows.iter().enumerate() {
                        values::write(tensor, n * row_length, row.latents)?;
                    }
                }
                Role::Timestep => {
                    for (n, row) in
                        rows.iter().enumerate().take(if input.has_rows() { rows.len() } else { 1 })
                    {
                        values::write(tensor, n, &[row.timestep])?;
                    }
                }
                role @ (Role::Down(_) | Role::Middle) => {
                    if let Some((_, values, [channels, height, width])) =
                        residuals.iter().find(|(other, ..)| *other == role)
                    {
                        let batch = values.len() / (channels * height * width).max(1);
                        *tensor =
                            values::tensor(input.element, &[batch, *channels, *height, *width], values)?;
                    }
                }
                _ => {}
            }
        }
        let names = self.inputs.iter().map(|input| input.name.as_str());
        let feeds: Vec<(&str, Tensor)> = names.zip(prepared.tensors).collect();
        let result = self.model.run(&feeds, outputs, control);
        prepared.tensors = feeds.into_iter().map(|(_, tensor)| tensor).collect();
        self.prepared.push_front(prepared);
        self.prepared.truncate(KEPT);
        Ok(result?)
    }

    /// The inputs of these rows as the last step left them, or new ones.
    fn prepare(&mut self, rows: &[Row<'_>], size: (usize, usize)) -> Result<Prepared, PipelineError> {
        let fits = |prepared: &Prepared| {
            prepared.size == size && prepared.rows.iter().eq(rows.iter().map(|row| &row.id))
        };
        if let Some(at) = self.prepared.iter().position(fits)
            && let Some(prepared) = self.prepared.remove(at)
        {
            return Ok(prepared);
        }
        let tensors =
            self.inputs.iter().map(|input| self.input_tensor(input, rows, size)).collect::<Result<_, _>>()?;
        Ok(Prepared { rows: rows.iter().map(|row| row.id).collect(), size, tensors })
    }

    fn input_tensor(
        &self,
        input: &Input,
        rows: &[Row<'_>],
        (height, width): (usize, usize),
    ) -> Result<Tensor, InferenceError> {
        let batch = rows.len().max(self.fixed_rows().unwrap_or(0));
        let tokens = rows.first().map_or(0, |row| row.text.tokens);
        let of = |shape: &[usize], part: &dyn Fn(&Row<'_>) -> Vec<f32>| {
            let mut tensor = values::zeros(input.element, shape)?;
            let row_length = shape[1..].iter().product::<usize>();
            for (n, row) in rows.iter().enumerate() {
                let part = part(row);
                if part.len() != row_length {
                    let problem = format!("{} numbers for {} of shape {shape:?}", part.len(), input.name);
                    return Err(InferenceError::InvalidRun(problem));
                }
                values::write(&mut tensor, n * row_length, &part)?;
            }
            Ok(tensor)
        };
        let each = |part: &dyn Fn(&Row<'_>) -> Vec<f32>| {
            let length = rows.first().map_or(0, |row| part(row).len());
            of(&[batch, length], part)
        };
        match input.role {
            Role::Sample => {
                let mut tensor = values::zeros(input.element, &[batch, self.channels, height, width])?;
                let row_length = self.channels * height * width;
                for (n, row) in rows.iter().enumerate() {
                    if row.latents.len() + row.beside.len() != row_length {
                        let problem = format!("latents of {}+{}", row.latents.len(), row.beside.len());
                        return Err(InferenceError::InvalidRun(problem));
                    }
                    values::write(&mut tensor, n * row_length + row.latents.len(), row.beside)?;
                }
                Ok(tensor)
            }
            Role::Timestep => match (input.dimensions.is_empty(), input.has_rows()) {
                (true, _) => values::zeros(input.element, &[]),
                (false, true) => values::zeros(input.element, &[batch]),
                (false, false) => values::zeros(input.element, &[1]),
            },
            Role::HiddenStates => {
                let width = rows.first().map_or(0, |row| row.text.hidden.len() / tokens.max(1));
                of(&[batch, tokens, width], &|row| row.text.hidden.clone())
            }
            Role::Mask => of(&[batch, tokens], &|row| row.text.mask.clone()),
            Role::Pooled => each(&|row| row.text.pooled.clone()),
            Role::TimeIds => each(&|row| row.time_ids.to_vec()),
            Role::GuidanceEmbedding => each(&|row| row.guidance.to_vec()),
            Role::Style => of(&[batch], &|row| vec![row.style]),
            // Pixels of a ControlNet's picture: as many times the latents' side as its length says.
            Role::ControlPicture => {
                let length = rows.first().map_or(0, |row| row.control.len());
                let factor = ((length / (3 * height * width).max(1)) as f64).sqrt().round() as usize;
                of(&[batch, 3, height * factor, width * factor], &|row| row.control.to_vec())
            }
            Role::ControlScale => {
                let shape: &[usize] = if input.dimensions.is_empty() { &[] } else { &[1] };
                values::tensor(input.element, shape, &[1.0])
            }
            // Replaced before each run.
            Role::Down(_) | Role::Middle => values::zeros(input.element, &[batch, 0, 0, 0]),
        }
    }
}
