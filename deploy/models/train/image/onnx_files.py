"""Writes networks as ONNX with weights stored in half precision.

A Cast in front of each brings it back to float32, and ONNX Runtime folds those when it loads a model: half the bytes
on disk, the same arithmetic.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

OPSET = 17
# Smaller ones, and vectors (norms, biases, frequencies), stay as they are.
SMALLEST = 64


def store_halves(model: onnx.ModelProto) -> None:
    casts = []
    for tensor in list(model.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) < 2 or np.prod(tensor.dims) < SMALLEST:
            continue
        name = f"{tensor.name}.half"
        model.graph.initializer.append(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), name))
        model.graph.initializer.remove(tensor)
        casts.append(helper.make_node("Cast", [name], [tensor.name], name=f"{name}/Cast", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)


def session(path: Path) -> onnxruntime.InferenceSession:
    """A graph on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def write(network: nn.Module, path: Path, inputs: dict[str, torch.Tensor], outputs: list[str], axes: dict | None = None) -> None:
    """Exports `network`, whose arguments are `inputs` in order, and compares what ONNX Runtime makes of it.

    The first axis of everything is the batch; `axes` names more of them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    network = network.eval()
    dynamic = {name: {0: "batch"} for name in (*inputs, *outputs)}
    for name, more in (axes or {}).items():
        dynamic[name] |= more
    torch.onnx.export(
        network,
        tuple(inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=outputs,
        dynamic_axes=dynamic,
        opset_version=OPSET,
        dynamo=False,
    )
    model = onnx.load(path)
    store_halves(model)
    model.producer_name, model.producer_version = "atelier", ""
    onnx.checker.check_model(model)
    onnx.save(model, path)

    made = session(path).run(outputs, {name: value.numpy() for name, value in inputs.items()})
    with torch.no_grad():
        expected = network(*inputs.values())
    expected = expected if isinstance(expected, tuple) else (expected,)
    furthest = max(float(np.abs(one - other.numpy()).max()) for one, other in zip(made, expected))
    largest = max(float(other.abs().max()) for other in expected)
    print(f"{path.parent.name}/{path.name}: {path.stat().st_size / 1e6:.2f} MB, off by {furthest:.1e} of {largest:.1f}")
