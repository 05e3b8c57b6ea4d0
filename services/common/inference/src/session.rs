//! One loaded model: its inputs, its outputs, and a run.

use std::{fmt, time::Duration};

use ort::{
    ep::{self, ExecutionProviderDispatch},
    session::{Session, builder::GraphOptimizationLevel},
    value::Outlet,
};
use serde::{Deserialize, Serialize};

use crate::{ElementType, InferenceError, ModelFolder, RunControl, Runtime, Tensor};

/// Hardware a model runs on. One that can't be had is an error: a model never falls back to the CPU silently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum ExecutionProvider {
    /// The processor, always available.
    Cpu,
    /// An NVIDIA GPU through CUDA; needs a GPU build of ONNX Runtime.
    Cuda {
        /// Which one, counted from 0.
        device_id: i32,
    },
    /// An NVIDIA GPU through TensorRT; needs a GPU build of ONNX Runtime.
    TensorRt {
        /// Which one, counted from 0.
        device_id: i32,
    },
    /// An Intel device through OpenVINO; needs an OpenVINO build of ONNX Runtime.
    OpenVino {
        /// `CPU`, `GPU` or `NPU`.
        device_type: String,
    },
}

impl ExecutionProvider {
    fn name(&self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda { .. } => "cuda",
            Self::TensorRt { .. } => "tensor_rt",
            Self::OpenVino { .. } => "open_vino",
        }
    }

    fn dispatch(&self) -> ExecutionProviderDispatch {
        let dispatch = match self {
            Self::Cpu => ep::CPU::default().build(),
            Self::Cuda { device_id } => ep::CUDA::default().with_device_id(*device_id).build(),
            Self::TensorRt { device_id } => ep::TensorRT::default().with_device_id(*device_id).build(),
            Self::OpenVino { device_type } => {
                ep::OpenVINO::default().with_device_type(device_type.as_str()).build()
            }
        };
        dispatch.error_on_failure()
    }
}

/// How a model's session is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionConfig {
    /// In order of preference. Operators that the first one does not have run on the next one.
    pub providers: Vec<ExecutionProvider>,
    /// Threads of the session's pool, the calling thread included; absent: as many as the runtime's configuration says.
    pub intra_op_threads: Option<usize>,
    /// How long a thread of the pool looks out for its next piece of a run before it sleeps. A run is hundreds of pieces,
    /// many of them shorter than it takes to wake a thread: with the default one stream of the default model decodes a
    /// third faster than with 0 (measured on two cores). Between runs all threads sleep.
    #[serde(with = "humantime_serde")]
    pub spin: Duration,
    /// Plan memory once for inputs whose shapes never change; wasteful for shapes that vary.
    pub memory_pattern: bool,
    /// Rearrange weights for the kernels at load. It costs a private copy of the weights; without it an 8-bit decoder
    /// shares its file's pages with other processes and decodes some 40 times slower (measured on the default model).
    pub prepacking: bool,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            providers: vec![ExecutionProvider::Cpu],
            intra_op_threads: None,
            spin: Duration::from_micros(200),
            memory_pattern: false,
            prepacking: true,
        }
    }
}

/// Makes the session of `<folder>/<file>`.
pub(crate) fn open_session(
    runtime: &Runtime,
    folder: &ModelFolder,
    file: &str,
    config: &SessionConfig,
) -> Result<Session, InferenceError> {
    let path = folder.file(file)?;
    let mut builder = Session::builder(runtime.environment())
        .map_err(|error| refused(folder, error))?
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|error| refused(folder, error))?
        .with_memory_pattern(config.memory_pattern)
        .map_err(|error| refused(folder, error))?
        .with_prepacking(config.prepacking)
        .map_err(|error| refused(folder, error))?
        .with_intra_threads(config.intra_op_threads.unwrap_or(runtime.intra_op_threads()))
        .map_err(|error| refused(folder, error))?;
    for (key, value) in spinning(config.spin) {
        builder = builder.with_config_entry(key, value).map_err(|error| refused(folder, error))?;
    }
    for provider in &config.providers {
        builder = builder.with_execution_providers([provider.dispatch()]).map_err(|error| {
            InferenceError::ProviderUnavailable { provider: provider.name(), cause: error.message().into() }
        })?;
    }
    builder.commit_from_file(&path).map_err(|error| refused(folder, error))
}

/// The keys of `onnxruntime_session_options_config_keys.h` that bound the spinning of a pool.
fn spinning(time: Duration) -> [(&'static str, String); 3] {
    [
        ("session.intra_op.allow_spinning", u8::from(!time.is_zero()).to_string()),
        ("session.intra_op.spin_duration_us", time.as_micros().to_string()),
        ("session.force_spinning_stop", "1".to_owned()),
    ]
}

fn refused<R>(folder: &ModelFolder, error: ort::Error<R>) -> InferenceError {
    InferenceError::unsupported(folder.id(), error.message())
}

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// Type of its elements.
    pub element_type: ElementType,
    /// Its dimensions; `None` where the graph leaves one open.
    pub dimensions: Vec<Option<usize>>,
}

impl Port {
    fn of(outlet: &Outlet) -> Self {
        let shape = outlet.dtype().tensor_shape();
        Self {
            name: outlet.name().to_owned(),
            element_type: outlet.dtype().tensor_type().map_or(ElementType::Other, ElementType::of),
            dimensions: shape
                .into_iter()
                .flat_map(|shape| shape.iter())
                .map(|&d| usize::try_from(d).ok())
                .collect(),
        }
    }

    pub(crate) fn all(outlets: &[Outlet]) -> Vec<Self> {
        outlets.iter().map(Self::of).collect()
    }
}

/// A loaded model.
pub struct Model {
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Model {
    /// Loads `<folder>/model.onnx`.
    ///
    /// # Errors
    /// The file is missing or altered, ONNX Runtime refuses the graph, or an execution provider is not available.
    pub fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        config: &SessionConfig,
    ) -> Result<Self, InferenceError> {
        Self::load_file(runtime, folder, "model.onnx", config)
    }

    /// Loads another graph of the folder.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_file(
        runtime: &Runtime,
        folder: &ModelFolder,
        file: &str,
        config: &SessionConfig,
    ) -> Result<Self, InferenceError> {
        let session = open_session(runtime, folder, file, config)?;
        let (inputs, outputs) = (Port::all(session.inputs()), Port::all(session.outputs()));
        Ok(Self { session, inputs, outputs })
    }

    /// What it reads.
    #[must_use]
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What it computes.
    #[must_use]
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// What the graph's file says under this key of its own, if anything.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<String> {
        self.session.metadata().ok()?.custom(key)
    }

    /// Runs it: the named outputs, in the order asked for.
    ///
    /// # Errors
    /// [`InferenceError::Cancelled`] when `control` was cancelled before or during the run,
    /// [`InferenceError::InvalidRun`] for a name the model does not have, [`InferenceError::RunFailed`] otherwise.
    pub fn run(
        &mut self,
        inputs: &[(&str, Tensor)],
        outputs: &[&str],
        control: &RunControl,
    ) -> Result<Vec<Tensor>, InferenceError> {
        check_names("output", outputs.iter().copied(), &self.outputs)?;
        check_names("input", inputs.iter().map(|(name, _)| *name), &self.inputs)?;
        let mut feeds = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            feeds.push((*name, tensor.as_input().map_err(InferenceError::run_failed)?));
        }
        // Outputs nobody asked for are computed too (ONNX Runtime runs the whole graph anyway) but not copied.
        let results = self
            .session
            .run_with_options(feeds, control.options()?)
            .map_err(|error| control.run_error(error))?;
        let output = |name: &&str| Tensor::from_output(&results[*name]);
        outputs.iter().map(output).collect()
    }
}

fn check_names<'a>(
    kind: &str,
    mut names: impl Iterator<Item = &'a str>,
    ports: &[Port],
) -> Result<(), InferenceError> {
    match names.find(|name| ports.iter().all(|port| port.name != *name)) {
        Some(name) => Err(InferenceError::InvalidRun(format!("the model has no {kind} {name:?}"))),
        None => Ok(()),
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}
