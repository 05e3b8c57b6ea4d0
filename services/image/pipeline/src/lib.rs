//! Diffusion pipelines over ONNX model folders.
