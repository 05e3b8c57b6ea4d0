//! Real models for the tests of this crate.

use atelier_inference::{ModelFolder, ModelStore, Runtime, RuntimeConfig};

/// The runtime of this test process.
pub(crate) fn runtime() -> Runtime {
    Runtime::start(&RuntimeConfig::default()).unwrap_or_else(|error| panic!("{error}\n{HINT}"))
}

/// A model of the default store.
pub(crate) fn model(id: &str) -> ModelFolder {
    ModelStore::default().open(id).unwrap_or_else(|error| panic!("{error}\n{HINT}"))
}

const HINT: &str =
    "these tests use real models: run `cargo xtask models pull --all` (ATELIER_HOME says where they are)";
