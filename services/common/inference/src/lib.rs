//! Model runs: the only crate that knows ONNX Runtime.
//!
//! - [`Runtime`] loads the shared library and holds the one environment of the process.
//! - [`ModelStore`] and [`ModelFolder`] find a model's files and check them before anything is loaded.
//! - [`Model`] is one loaded session; [`RunControl`] stops a run in progress.
//! - [`Batcher`] puts a bounded queue and owner threads before any [`BatchModel`].
//! - [`lobby`] is where calls wait for an engine that steps them, in a [`FairQueue`].
//! - [`Decoder`] is what a text engine steps; [`load_decoder`] loads a folder's, in whichever layout its graph is;
//!   [`OnnxDecoder`] runs the default one over slots of a shared KV cache.
//!
//! No type of `ort` leaves this crate.

pub mod batch;
mod control;
pub mod decoder;
mod error;
mod home;
pub mod lobby;
pub mod metrics;
mod queue;
pub mod raw;
mod runtime;
mod session;
mod store;
mod tensor;

pub use batch::{BatchModel, Batcher, BatcherConfig, Ticket};
pub use control::RunControl;
pub use decoder::{Decoder, DecoderConfig, Logits, OnnxDecoder, Row, load_decoder};
pub use error::InferenceError;
pub use home::home;
pub use queue::{FairQueue, LAST_PATIENCE, Next, PATIENCE, Priority};
pub use runtime::{Runtime, RuntimeConfig};
pub use session::{ExecutionProvider, Model, Port, SessionConfig};
pub use store::{FileEntry, Manifest, ModelFolder, ModelStore};
pub use tensor::{ElementType, Tensor};
