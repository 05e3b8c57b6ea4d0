//! The text service: chat, generation, tokens and embeddings from ONNX language models.
