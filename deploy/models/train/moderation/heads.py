"""The heads themselves: a logistic part and a small shared hidden layer, their training, and their ONNX graph."""

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from labels import balanced


@dataclass(frozen=True)
class Settings:
    """Hyperparameters; chosen by the out-of-fold figures that evaluate.py prints."""

    inverse_penalty: float = 10.0
    hidden: int = 48
    networks: int = 4
    epochs: int = 24
    batch: int = 256
    rate: float = 2e-3
    decay: float = 2e-2
    dropout: float = 0.3
    # How much of a logit comes from the logistic part.
    linear_share: float = 0.3


@dataclass
class Heads:
    """logits = x @ direct + relu(x @ inner + inner_bias) @ outer + bias, for an embedding x of the encoder."""

    direct: np.ndarray
    inner: np.ndarray
    inner_bias: np.ndarray
    outer: np.ndarray
    bias: np.ndarray

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        hidden = np.maximum(embeddings @ self.inner + self.inner_bias, 0)
        return embeddings @ self.direct + hidden @ self.outer + self.bias

    def calibrated(self, slope: np.ndarray, shift: np.ndarray) -> "Heads":
        """Heads whose logits are `slope * logits + shift`, category by category."""
        return Heads(self.direct * slope, self.inner, self.inner_bias, self.outer * slope, self.bias * slope + shift)


def fit(embeddings: np.ndarray, labels: np.ndarray, weights: np.ndarray, settings: Settings, seed: int) -> Heads:
    """Trains both parts and adds their logits, each brought to unit spread, in the settings' shares.

    E5's embeddings lie in a narrow cone: without taking off the centre and stretching what remains, training crawls.
    Both steps are folded into the weights that are returned.
    """
    centre = embeddings.mean(0)
    spread = float((embeddings - centre).std())
    inputs = (embeddings - centre) / spread
    weights = balanced(labels, weights)
    direct, direct_bias = logistic(inputs, labels, weights, settings)
    nets = [network(inputs, labels, weights, settings, seed + at) for at in range(settings.networks)]
    inner = np.concatenate([net[0] for net in nets], axis=1)
    inner_bias = np.concatenate([net[1] for net in nets])
    outer = np.concatenate([net[2] for net in nets]) / len(nets)
    outer_bias = np.mean([net[3] for net in nets], axis=0)

    from_direct = inputs @ direct + direct_bias
    from_hidden = np.maximum(inputs @ inner + inner_bias, 0) @ outer + outer_bias
    share, rest = settings.linear_share / from_direct.std(0), (1 - settings.linear_share) / from_hidden.std(0)
    direct, outer = direct * share, outer * rest
    bias = direct_bias * share + outer_bias * rest
    return Heads(
        direct=direct / spread,
        inner=inner / spread,
        inner_bias=inner_bias - centre @ inner / spread,
        outer=outer,
        bias=bias - centre @ direct / spread,
    )


def logistic(inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """One regularised logistic regression for each category, on the rows where it is known."""
    columns, biases = [], []
    # `C` is given for unit-length embeddings; inputs are longer by the square root of their dimensions.
    penalty = settings.inverse_penalty / inputs.shape[1]
    for column in range(labels.shape[1]):
        known = weights[:, column] > 0
        model = LogisticRegression(C=penalty, max_iter=1000)
        model.fit(inputs[known], labels[known, column], sample_weight=weights[known, column])
        columns.append(model.coef_[0])
        biases.append(model.intercept_[0])
    return np.stack(columns, axis=1), np.array(biases)


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
            for p, g, m, v in zip(parameters, gradients(parameters, inputs[part], labels[part], weights[part], settings.dropout, random), first, second):
                m += 0.1 * (g - m)
                v += 0.001 * (g * g - v)
                p -= rate * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + (settings.decay * p if p.ndim == 2 else 0))
    return parameters


def gradients(parameters: list[np.ndarray], x: np.ndarray, y: np.ndarray, w: np.ndarray, dropout: float, random: np.random.Generator) -> list[np.ndarray]:
    inner, inner_bias, outer, bias = parameters
    before = x @ inner + inner_bias
    kept = (random.random(before.shape, np.float32) >= dropout) / np.float32(1 - dropout)
    hidden = np.maximum(before, 0) * kept
    scores = 1 / (1 + np.exp(-np.clip(hidden @ outer + bias, -30, 30)))
    slope = w * (scores - y) / len(x)
    back = (slope @ outer.T) * kept * (before > 0)
    return [x.T @ back, back.sum(0), hidden.T @ slope, slope.sum(0)]


def to_onnx(heads: Heads):
    """The graph: `embedding` f32 [batch, 384] -> `scores` f32 [batch, categories] between 0 and 1."""
    width, kinds = heads.direct.shape
    tensors = {
        "direct": heads.direct,
        "inner": heads.inner,
        "inner_bias": heads.inner_bias,
        "outer": heads.outer,
        "bias": heads.bias,
    }
    nodes = [
        helper.make_node("Gemm", ["embedding", "inner", "inner_bias"], ["before"]),
        helper.make_node("Relu", ["before"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "outer", "bias"], ["from_hidden"]),
        helper.make_node("Gemm", ["embedding", "direct", "from_hidden"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "text-moderation-heads",
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", kinds])],
        [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="atelier")
    checker.check_model(model, full_check=True)
    return model
