"""The heads as services run them: one hidden layer over an embedding, and their graph."""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, checker, helper, numpy_helper


@dataclass
class Heads:
    """logits = relu(x @ inner + inner_bias) @ outer + bias, for an embedding x of the encoder."""

    inner: np.ndarray
    inner_bias: np.ndarray
    outer: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, state: dict) -> "Heads":
        """From train.py's trained values; the embeddings' centre and spread are folded into the first product."""
        centre, spread, inner, inner_bias, outer, bias = (
            state[name].double().numpy() for name in ("centre", "spread", "inner.weight", "inner.bias", "outer.weight", "outer.bias")
        )
        stretched = inner.T / spread
        return cls(stretched, inner_bias - centre @ stretched, outer.T, bias)

    def calibrated(self, slope: np.ndarray, shift: np.ndarray) -> "Heads":
        """Heads whose logits are `slope * logits + shift`, category by category."""
        return Heads(self.inner, self.inner_bias, self.outer * slope, self.bias * slope + shift)


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
