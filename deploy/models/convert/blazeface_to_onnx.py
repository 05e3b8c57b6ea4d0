#!/usr/bin/env python3
"""Turns the full-range face detector of the npm package @mediapipe/face_detection into a model folder: model.onnx.

usage: blazeface_to_onnx.py face_detection.tgz FOLDER

Input `pixels`, float32 [batch, 192, 192, 3], red-green-blue, -1 to 1. Output `faces`, float32 [batch, 2304, 5], for each cell
of a grid of 48 x 48, row by row: the logit that a face is there, and its box as (x, y) of the middle less that of the cell's
own middle, width and height, all in pixels of the input. The six points of a face (eyes, ears, nose, mouth) that the original
gives besides are left out: nothing here needs to know more than where a face is.

Weights are stored with 16 bits and are widened to 32. Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on
Mobile GPUs", 2019.
"""

import argparse
import tarfile

import numpy as np

from onnx_graph import Graph, TensorProto
from tflite_file import Refused, read_model

# The oldest set with everything used here, for runtimes older than ours.
OPSET, IR_VERSION = 17, 8

FILE = "package/face_detection_full_range.tflite"
MAX_FILE_BYTES = 16 << 20

SIDE, CELLS = 192, 48 * 48
# Of a cell's 16 numbers those before the points.
BOX = 4
# Of schema.fbs: Padding.
SAME, VALID = 0, 1


def read_file(path):
    with tarfile.open(path, "r:gz") as archive:
        member = archive.getmember(FILE)
        if not member.isreg() or member.size > MAX_FILE_BYTES:
            raise Refused(f"{FILE} is no file of at most {MAX_FILE_BYTES} bytes")
        return archive.extractfile(member).read()


class FaceGraph:
    """The same operators in ONNX, with channels before rows."""

    def __init__(self, model):
        self._tensors, self._model = model.tensors, model
        self._graph = Graph("blazeface-full-range", opset=OPSET, ir_version=IR_VERSION)
        # Constants, and names of what nodes give, by the tensor's index.
        self._values = {n: tensor.value for n, tensor in enumerate(model.tensors) if tensor.value is not None}
        self._names = {}

    def save(self, folder):
        self._graph.save(folder, {}, external_data=False)

    def build(self):
        graph, model = self._graph, self._model
        shapes = [[self._tensors[n].shape for n in ends] for ends in (model.inputs, model.outputs)]
        if shapes[0] != [(1, SIDE, SIDE, 3)] or sorted(shapes[1]) != [(1, CELLS, 1), (1, CELLS, 16)]:
            raise Refused("not the network of full range")
        graph.input("pixels", TensorProto.FLOAT, ["batch", SIDE, SIDE, 3])
        graph.output("faces", TensorProto.FLOAT, ["batch", CELLS, 1 + BOX])
        self._names[model.inputs[0]] = graph.node("Transpose", ["pixels"], "planes", perm=[0, 3, 1, 2])
        for operator in model.operators:
            self._translate(operator)
        boxes, logits = sorted(model.outputs, key=lambda n: self._tensors[n].shape, reverse=True)
        ends = [graph.constant(f"box.{name}", [value], np.int64) for name, value in (("from", 0), ("to", BOX), ("axis", 2))]
        box = graph.node("Slice", [self._names[boxes], *ends], "box")
        graph.node("Concat", [self._names[logits], box], "faces", axis=2)

    def _translate(self, operator):
        (output,) = operator.outputs
        if operator.kind == "DEQUANTIZE":
            (stored,) = operator.inputs
            self._values[output] = self._value(stored).astype(np.float32)
            return
        inputs, name, options = operator.inputs, f"{operator.kind.lower()}.{output}", operator.options
        match operator.kind:
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                node = self._convolution(operator, output, name)
            case "MAX_POOL_2D":
                kernel, strides = [[options.number(field, "<i") for field in fields] for fields in ((4, 3), (2, 1))]
                shape = self._shape(inputs[0], output, kernel, strides, options.number(0, "<b"))
                refuse_activation(options, 5)
                node = self._graph.node("MaxPool", [self._name(inputs[0])], name, **shape)
            case "ADD":
                refuse_activation(options, 0)
                node = self._graph.node("Add", [self._name(n) for n in inputs], name)
            case "RELU":
                node = self._graph.node("Relu", [self._name(inputs[0])], name)
            case "PAD":
                # Zeros, told as before and after of batch, rows, columns and channels.
                order = self._value(inputs[1])[[0, 3, 1, 2]]
                pads = self._graph.constant(f"{name}.pads", order.T.reshape(-1), np.int64)
                node = self._graph.node("Pad", [self._name(inputs[0]), pads], name)
            case "RESIZE_BILINEAR":
                if options.number(2, "<b") or not options.number(3, "<b"):
                    raise Refused("only pixels' middles can be what is resized between")
                sizes = np.array(self._tensors[output].shape)[1:3] / np.array(self._tensors[inputs[0]].shape)[1:3]
                scales = self._graph.constant(f"{name}.scales", [1, 1, *sizes], np.float32)
                how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
                node = self._graph.node("Resize", [self._name(inputs[0]), "", scales], name, **how)
            case "RESHAPE":
                _, cells, numbers = self._tensors[output].shape
                rows = self._graph.node("Transpose", [self._name(inputs[0])], f"{name}.rows", perm=[0, 2, 3, 1])
                shape = self._graph.constant(f"{name}.shape", [-1, cells, numbers], np.int64)
                node = self._graph.node("Reshape", [rows, shape], name)
        self._names[output] = node

    def _convolution(self, operator, output, name):
        options, (hidden, weight, bias) = operator.options, operator.inputs
        deep = operator.kind == "DEPTHWISE_CONV_2D"
        # Kernels are stored as [outputs, rows, columns, inputs], those for single channels as [1, rows, columns, channels].
        kernel = self._value(weight).transpose((3, 0, 1, 2) if deep else (0, 3, 1, 2))
        refuse_activation(options, 4 if deep else 3)
        dilations = [options.number(field, "<i", 1) for field in ((6, 5) if deep else (5, 4))]
        if dilations != [1, 1] or deep and options.number(3, "<i") != 1:
            raise Refused(f"{name} is spread out or multiplies channels")
        strides = [options.number(2, "<i"), options.number(1, "<i")]
        shape = self._shape(hidden, output, list(kernel.shape[2:]), strides, options.number(0, "<b"))
        inputs = [
            self._name(hidden),
            self._graph.constant(f"{name}.weight", kernel, np.float32),
            self._graph.constant(f"{name}.bias", self._value(bias), np.float32),
        ]
        return self._graph.node("Conv", inputs, name, group=len(kernel) if deep else 1, **shape)

    def _shape(self, hidden, output, kernel, strides, padding):
        """Kernel, strides and padding: what a kernel overhangs is padded half at either edge, more of it at the far one."""
        if padding not in (SAME, VALID) or min(*kernel, *strides) < 1:
            raise Refused("a kernel that fits nowhere")
        sides = zip(self._tensors[hidden].shape[1:3], self._tensors[output].shape[1:3], kernel, strides)
        over = [max((after - 1) * stride + size - before, 0) for before, after, size, stride in sides]
        near = [side // 2 for side in over]
        pads = near + [side - half for side, half in zip(over, near)] if padding == SAME else [0] * 4
        return {"kernel_shape": kernel, "strides": strides, "pads": pads}

    def _name(self, tensor):
        if tensor not in self._names:
            raise Refused(f"{self._tensors[tensor].name!r} is used before it is there")
        return self._names[tensor]

    def _value(self, tensor):
        if tensor not in self._values:
            raise Refused(f"{self._tensors[tensor].name!r} is no constant")
        return self._values[tensor]


def refuse_activation(options, field):
    if options.number(field, "<b"):
        raise Refused("an activation within another operator")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("folder")
    arguments = parser.parse_args()

    network = FaceGraph(read_model(read_file(arguments.source)))
    network.build()
    network.save(arguments.folder)


if __name__ == "__main__":
    main()
