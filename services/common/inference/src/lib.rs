//! Model runs: the only crate that knows ONNX Runtime.
