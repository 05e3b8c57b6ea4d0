"""The heads themselves: small networks on the embedding, their training, and their ONNX graph."""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper

from labels import balanced


@dataclass(frozen=True)
class Settings:
    """Hyperparameters, chosen by out-of-fold AUC. A logistic part beside the networks was tried and did not help."""

    hidden: int = 64
    # Networks that differ in their seed alone; their logits are averaged.
    networks: int = 4
    epochs: int = 24
    batch: int = 256
    rate: float = 2e-3
    decay: float = 2e-2
    dropout: float = 0.3


@dataclass
class Heads:
    """logits = relu(x @ inner + inner_bias) @ outer + bias, for an embedding x of the encoder."""

    inner: np.ndarray
    inner_bias: np.ndarray
    outer: np.ndarray
    bias: np.ndarray

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        return np.maximum(embeddings @ self.inner + self.inner_bias, 0) @ self.outer + self.bias

    def calibrated(self, slope: np.ndarray, shift: np.ndarray) -> "Heads":
        """Heads whose logits are `slope * logits + shift`, category by category."""
        return Heads(self.inner, self.inner_bias, self.outer * slope, self.bias * slope + shift)


def fit(embeddings: np.ndarray, labels: np.ndarray, weights: np.ndarray, settings: Settings, seed: int) -> Heads:
    """Trains the networks and puts them side by side into one hidden layer.

    E5's embeddings lie in a narrow cone: without taking off the centre and stretching what remains, training crawls.
    Both steps are folded into the weights that are returned.
    """
    centre = embeddings.mean(0)
    spread = float((embeddings - centre).std())
    inputs = (embeddings - centre) / spread
    weights = balanced(labels, weights)
    inner, inner_bias, outer, bias = zip(*(network(inputs, labels, weights, settings, seed + at) for at in range(settings.networks)))
    stretched = np.concatenate(inner, axis=1) / spread
    return Heads(
        inner=stretched,
        inner_bias=np.concatenate(inner_bias) - centre @ stretched,
        outer=np.concatenate(outer) / settings.networks,
        bias=np.mean(bias, axis=0),
    )


def network(inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray, settings: Settings, seed: int) -> list[np.ndarray]:
    """One hidden layer shared by all categories, by AdamW on the masked cross-entropy."""
    random = np.random.default_rng(seed)
    width, kinds = inputs.shape[1], labels.shape[1]
    inputs = inputs.astype(np.float32)
    # No single rare positive may throw a whole batch.
    weights = np.minimum(weights, 100).astype(np.float32)
    parameters = [
        random.normal(0, np.sqrt(2 / width), (width, settings.hidden)).astype(np.float32),
        np.zeros(settings.hidden, np.float32),
        random.normal(0, np.sqrt(1 / settings.hidden), (settings.hidden, kinds)).astype(np.float32),
        np.zeros(kinds, np.float32),
    ]
    first, second = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
    steps = settings.epochs * -(-len(inputs) // settings.batch)
    step = 0
    for _ in range(settings.epochs):
        order = random.permutation(len(inputs))
        for start in range(0, len(order), settings.batch):
            part = order[start : start + settings.batch]
            step += 1
            rate = settings.rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            kept = (random.random((len(part), settings.hidden), np.float32) >= settings.dropout) / np.float32(1 - settings.dropout)
            slopes = gradients(parameters, inputs[part], labels[part], weights[part], kept)
            for p, g, m, v in zip(parameters, slopes, first, second):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= rate * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + (settings.decay * p if p.ndim == 2 else 0))
    return parameters


def gradients(parameters: list[np.ndarray], x: np.ndarray, y: np.ndarray, w: np.ndarray, kept: np.ndarray) -> list[np.ndarray]:
    """Gradients of the weighted cross-entropy; `kept` is the dropout mask of the hidden layer, scaled."""
    inner, inner_bias, outer, bias = parameters
    before = x @ inner + inner_bias
    hidden = np.maximum(before, 0) * kept
    scores = 1 / (1 + np.exp(-np.clip(hidden @ outer + bias, -30, 30)))
    slope = w * (scores - y) / len(x)
    back = (slope @ outer.T) * kept * (before > 0)
    return [x.T @ back, back.sum(0), hidden.T @ slope, slope.sum(0)]


def to_onnx(heads: Heads) -> ModelProto:
    """The graph: `embedding` f32 [batch, 384] -> `scores` f32 [batch, categories] between 0 and 1."""
    tensors = {"inner": heads.inner, "inner_bias": heads.inner_bias, "outer": heads.outer, "bias": heads.bias}
    nodes = [
        helper.make_node("Gemm", ["embedding", "inner", "inner_bias"], ["before"]),
        helper.make_node("Relu", ["before"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "outer", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "text-moderation-heads",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", heads.inner.shape[0]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", len(heads.bias)])],
        [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="atelier")
    checker.check_model(model, full_check=True)
    return model
