//! The one ONNX Runtime environment of the process.

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use ort::environment::Environment;
use serde::{Deserialize, Serialize};

use crate::{InferenceError, home};

/// Which library to load and how many threads it may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuntimeConfig {
    /// ONNX Runtime's shared library; absent: `$ORT_DYLIB_PATH`, else
    /// `<home>/runtime/onnxruntime-1.32.0/libonnxruntime.so.1.32.0`.
    pub library: Option<PathBuf>,
    /// Threads of each session's pool; 0: as many as the process may use (a container's quota counts).
    pub intra_op_threads: usize,
}

impl RuntimeConfig {
    fn library(&self) -> PathBuf {
        let from_environment = || env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
        self.library.clone().or_else(|| from_environment().map(PathBuf::from)).unwrap_or_else(|| {
            home().join("runtime").join("onnxruntime-1.32.0").join("libonnxruntime.so.1.32.0")
        })
    }

    fn threads(&self) -> usize {
        match self.intra_op_threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

/// A started ONNX Runtime; clones are the same one.
#[derive(Clone)]
pub struct Runtime {
    environment: Environment,
    library: Arc<Path>,
    intra_op_threads: usize,
}

// ONNX Runtime allows one environment per process, and `ort` can't make a second one after the first is gone.
static STARTED: Mutex<Option<Runtime>> = Mutex::new(None);

impl Runtime {
    /// Loads the library and starts the environment. A second start in one process returns the first one, whatever
    /// its configuration.
    ///
    /// # Errors
    /// [`InferenceError::RuntimeUnavailable`] when the library is missing, of another version, or refuses to start.
    pub fn start(config: &RuntimeConfig) -> Result<Self, InferenceError> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = started.as_ref() {
            return Ok(runtime.clone());
        }
        let runtime = Self::load(config)?;
        tracing::info!(
            library = %runtime.library.display(),
            intra_op_threads = runtime.intra_op_threads,
            "onnx runtime started"
        );
        Ok(started.insert(runtime).clone())
    }

    fn load(config: &RuntimeConfig) -> Result<Self, InferenceError> {
        let library = config.library();
        let unavailable = |cause: String| InferenceError::RuntimeUnavailable {
            library: library.clone(),
            cause: cause.into(),
        };
        if !library.is_file() {
            return Err(unavailable("no such file".to_owned()));
        }
        let intra_op_threads = config.threads();
        let builder = ort::init_from(&library).map_err(|error| unavailable(error.to_string()))?;
        let environment = builder
            .with_name("atelier")
            .with_telemetry(false)
            .build()
            .map_err(|error| unavailable(error.to_string()))?;
        Ok(Self { environment, library: library.into(), intra_op_threads })
    }

    /// Threads of a session's pool unless the session says otherwise, the calling thread included.
    #[must_use]
    pub fn intra_op_threads(&self) -> usize {
        self.intra_op_threads
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("library", &self.library)
            .field("intra_op_threads", &self.intra_op_threads)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_named() {
        let config =
            RuntimeConfig { library: Some("/nowhere/libonnxruntime.so".into()), ..Default::default() };
        let error = Runtime::load(&config).unwrap_err();
        assert!(error.to_string().contains("/nowhere/libonnxruntime.so"), "{error}");
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<RuntimeConfig>(r#"{"threads": 2}"#).is_err());
        let config: RuntimeConfig = serde_json::from_str(r#"{"intra_op_threads": 2}"#).unwrap();
        assert_eq!(config.threads(), 2);
    }
}
