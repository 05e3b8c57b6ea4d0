"""A small builder for ONNX graphs: nodes and constants by name, written deterministically."""

import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Operators that ONNX Runtime adds to the standard set: quantised products, attention over a shared cache.
CONTRIB = "com.microsoft"

# The oldest set that has every standard operator used here, and the file format that goes with it.
OPSET = 21
IR_VERSION = 10

# Constants smaller than this stay in model.onnx, so that shapes and scalars can be read without the data file.
EXTERNAL_THRESHOLD_BYTES = 1024


class Graph:
    """A graph under construction; each node is named by its first output."""

    def __init__(self, name, opset=OPSET, ir_version=IR_VERSION):
        self.name = name
        self._opset, self._ir_version = opset, ir_version
        self._nodes = []
        self._constants = {}
        self._inputs = []
        self._outputs = []

    def input(self, name, element_type, shape):
        self._inputs.append(helper.make_tensor_value_info(name, element_type, shape))
        return name

    def output(self, name, element_type, shape):
        self._outputs.append(helper.make_tensor_value_info(name, element_type, shape))
        return name

    def constant(self, name, value, dtype=None):
        """Adds a constant; a name that is there already must hold the same value and is used again."""
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype)).reshape(np.shape(value))
        known = self._constants.get(name)
        if known is None:
            self._constants[name] = array
        elif known.dtype != array.dtype or not np.array_equal(known, array):
            raise ValueError(f"constant {name!r} is defined twice with different values")
        return name

    def node(self, operator, inputs, output, domain="", extra_outputs=(), **attributes):
        """Adds a node and returns the name of its first output."""
        outputs = [output, *extra_outputs]
        self._nodes.append(
            helper.make_node(operator, list(inputs), outputs, name=f"{output}/{operator}", domain=domain, **attributes)
        )
        return output

    def folded_convolution(self, hidden, name, weight, norm, stride, groups):
        """A convolution [out, in, kernel, kernel] with its batch norm (scale, shift, mean) folded in, padded as TensorFlow's "same":
        every strided map has an even side, so the padding is what the kernel overhangs the stride by, and an odd pixel of it lies
        at the far edges."""
        scale, shift, mean = norm
        kernel = weight.shape[-1]
        overhang = kernel - stride
        near, far = overhang // 2, overhang - overhang // 2
        inputs = [
            hidden,
            self.constant(f"{name}.weight", weight * scale[:, None, None, None], np.float32),
            self.constant(f"{name}.bias", shift - mean * scale, np.float32),
        ]
        shape = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [near, near, far, far]}
        return self.node("Conv", inputs, name, group=groups, **shape)

    def save(self, folder, metadata, external_data=True):
        """Writes model.onnx and, with `external_data`, model.onnx.data beside it."""
        initialisers = [numpy_helper.from_array(array, name) for name, array in self._constants.items()]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, initialisers)
        opsets = [helper.make_opsetid("", self._opset), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=self._ir_version, producer_name="atelier")
        helper.set_model_props(model, {key: str(value) for key, value in metadata.items()})
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "model.onnx")
        for stale in (path, path + ".data"):
            if os.path.exists(stale):
                os.remove(stale)
        if external_data:
            onnx.save(
                model,
                path,
                save_as_external_data=True,
                all_tensors_to_one_file=True,
                location="model.onnx.data",
                size_threshold=EXTERNAL_THRESHOLD_BYTES,
            )
        else:
            onnx.save(model, path)


__all__ = ["CONTRIB", "Graph", "TensorProto"]
