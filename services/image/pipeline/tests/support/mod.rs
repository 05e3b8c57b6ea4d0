//! Tiny models with random weights, as the parity check reads them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use atelier_inference::{ModelFolder, ModelStore, Runtime, RuntimeConfig, SessionConfig};
use atelier_pipeline::{Conditioning, Noise, Pipeline, PipelineError, Request};

const HINT: &str =
    "these tests need ONNX Runtime: run `cargo xtask models pull` (ATELIER_HOME says where it is)";

/// The runtime of this test process.
fn runtime() -> Runtime {
    Runtime::start(&RuntimeConfig::default()).unwrap_or_else(|error| panic!("{error}\n{HINT}"))
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/golden/pipelines")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A model's folder, changed before it is loaded.
pub(crate) fn load_with(name: &str, change: impl FnOnce(&Path)) -> Result<Pipeline, PipelineError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    copy(&golden().join("shared"), &path);
    copy(&golden().join(name), &path);
    change(&path);
    let model = ModelFolder::open(&path).unwrap();
    Pipeline::load(&runtime(), &ModelStore::new(golden()), &model, &SessionConfig::default())
}

pub(crate) fn load(name: &str) -> Pipeline {
    load_with(name, |_| {}).unwrap()
}

/// A request of a few steps.
pub(crate) fn request(prompt: &str, seed: u64) -> Request {
    Request {
        prompt: Conditioning::prompt(prompt),
        noise: Noise::Seed(seed),
        steps: Some(4),
        ..Request::default()
    }
}
