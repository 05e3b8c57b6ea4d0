#!/usr/bin/env python3
"""Turns the MobileNetV2 of the npm package nsfwjs into a model folder: model.onnx.

usage: nsfwjs_to_onnx.py nsfwjs.tgz FOLDER

Input `pixels`, float32 [batch, 224, 224, 3], red-green-blue, 0 to 1. Output `probabilities`, float32 [batch, 5], of
drawing, hentai, neutral, porn and sexy.

The package holds the weights as JavaScript for bundlers: a list of tensors, each rounded to 8 bits with a scale of its own,
and their bytes in base64. Nothing of it is run.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, with three dense layers on top.
"""

import argparse
import base64
import re
import tarfile
from dataclasses import dataclass

import numpy as np

from javascript import Refused, value_after
from onnx_graph import Graph, TensorProto

# The oldest set with everything used here, for runtimes older than ours.
OPSET, IR_VERSION = 17, 8

MODEL = "package/dist/models/mobilenet_v2/"
TENSORS_FILE, BYTES_FILE = MODEL + "model.min.js", MODEL + "group1-shard1of1.min.js"
# The list of tensors has 100 KB, their bytes 3.5 MB.
MAX_FILE_BYTES = 16 << 20
TENSORS_MARK = "weightsManifest:"
BYTES = re.compile(r'exports="([A-Za-z0-9+/]+={0,2})"')

SIDE, CLASSES = 224, 5
# Added to the variance, as in training.
NORM_EPSILON = 1e-3
LARGEST_ACTIVATION = 6
# The map that is left at the end, in pixels.
LAST_SIDE = 7
DENSE = ["dense_1", "dense_2", "dense_3"]


@dataclass(frozen=True)
class Stage:
    """Blocks alike but for the first, which changes the stride and the channels."""

    blocks: int
    stride: int
    channels: int


STEM_CHANNELS, EXPANSION = 32, 6
STAGES = [
    Stage(1, 1, 16),
    Stage(2, 2, 24),
    Stage(3, 2, 32),
    Stage(4, 2, 64),
    Stage(3, 1, 96),
    Stage(3, 2, 160),
    Stage(1, 1, 320),
]


def read_tensors(path):
    """The tensors by name, in float32."""
    with tarfile.open(path, "r:gz") as archive:
        listed = value_after(read_text(archive, TENSORS_FILE), TENSORS_MARK)
        found = BYTES.search(read_text(archive, BYTES_FILE))
    if found is None:
        raise Refused(f"{BYTES_FILE} holds no base64")
    data = base64.b64decode(found[1], validate=True)
    tensors, place = {}, 0
    for entry in [entry for group in listed for entry in group["weights"]]:
        scaling = entry["quantization"]
        if (entry["dtype"], scaling["dtype"]) != ("float32", "uint8"):
            raise Refused(f"{entry['name']}: a tensor is float32 rounded to uint8")
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if not 0 <= count <= len(data) - place:
            raise Refused(f"{entry['name']} reaches beyond the bytes")
        steps = np.frombuffer(data, np.uint8, count, place).astype(np.float32)
        # In float32, as its own engine computes it.
        values = steps * np.float32(scaling["scale"]) + np.float32(scaling["min"])
        tensors[entry["name"]] = values.reshape(entry["shape"])
        place += count
    if place != len(data):
        raise Refused(f"{len(data) - place} bytes belong to no tensor")
    return tensors


def read_text(archive, name):
    member = archive.getmember(name)
    if not member.isreg() or member.size > MAX_FILE_BYTES:
        raise Refused(f"{name} is no file of at most {MAX_FILE_BYTES} bytes")
    return archive.extractfile(member).read().decode("ascii")


class MobileNetGraph:
    """The network in inference form."""

    def __init__(self, tensors):
        self._tensors = dict(tensors)
        self._graph = Graph("nsfwjs-mobilenet", opset=OPSET, ir_version=IR_VERSION)

    def save(self, folder):
        self._graph.save(folder, {}, external_data=False)

    def build(self):
        graph = self._graph
        graph.input("pixels", TensorProto.FLOAT, ["batch", SIDE, SIDE, 3])
        graph.output("probabilities", TensorProto.FLOAT, ["batch", CLASSES])
        for name, value in (("smallest", 0), ("largest", LARGEST_ACTIVATION)):
            graph.constant(name, value, np.float32)
        hidden = graph.node("Transpose", ["pixels"], "planes", perm=[0, 3, 1, 2])
        hidden = self._convolution(hidden, "Conv1", "bn_Conv1", stride=2)
        channels, index = STEM_CHANNELS, 0
        for stage in STAGES:
            for place in range(stage.blocks):
                hidden = self._block(index, hidden, channels, stage.channels, stage.stride if place == 0 else 1)
                channels, index = stage.channels, index + 1
        hidden = self._convolution(hidden, "Conv_1", "Conv_1_bn")
        self._head(hidden)
        if self._tensors:
            raise ValueError(f"weights of another network: nothing uses {', '.join(self._tensors)}")

    def _block(self, index, hidden, inputs, channels, stride):
        """Wider, filtered channel by channel, narrower again; added to what came in where the shape allows."""
        name = f"block_{index}" if index else "expanded_conv"
        inner, width = hidden, inputs
        if index:
            width = inputs * EXPANSION
            inner = self._convolution(inner, f"{name}_expand", f"{name}_expand_BN")
        inner = self._convolution(inner, f"{name}_depthwise", f"{name}_depthwise_BN", stride=stride, groups=width)
        inner = self._convolution(inner, f"{name}_project", f"{name}_project_BN", activated=False)
        if stride == 1 and inputs == channels:
            return self._graph.node("Add", [inner, hidden], f"{name}.sum")
        return inner

    def _convolution(self, hidden, name, norm, stride=1, groups=1, activated=True):
        """A convolution with its batch norm folded in."""
        if groups == 1:
            weight = self._take(f"{name}/kernel").transpose(3, 2, 0, 1)
        else:
            weight = self._take(f"{name}/depthwise_kernel").transpose(2, 3, 0, 1)
        scale, shift = self._take(f"{norm}/gamma"), self._take(f"{norm}/beta")
        # Rounding to 8 bits may leave a variance below 0.
        mean, variance = self._take(f"{norm}/moving_mean"), np.maximum(self._take(f"{norm}/moving_variance"), 0)
        norm = (scale / np.sqrt(variance + NORM_EPSILON), shift, mean)
        output = self._graph.folded_convolution(hidden, name, weight, norm, stride, groups)
        if not activated:
            return output
        return self._graph.node("Clip", [output, "smallest", "largest"], f"{name}.activated")

    def _head(self, hidden):
        graph = self._graph
        pooled = graph.node("AveragePool", [hidden], "pool", kernel_shape=[LAST_SIDE] * 2)
        hidden = graph.node("Flatten", [pooled], "pooled", axis=1)
        for name in DENSE:
            weight = graph.constant(f"{name}.weight", self._take(f"{name}/kernel"), np.float32)
            bias = graph.constant(f"{name}.bias", self._take(f"{name}/bias"), np.float32)
            hidden = graph.node("Gemm", [hidden, weight, bias], name)
            if name != DENSE[-1]:
                hidden = graph.node("Relu", [hidden], f"{name}.activated")
        graph.node("Softmax", [hidden], "probabilities", axis=-1)

    def _take(self, name):
        # Folding multiplies: in float64, so that only the result is rounded.
        return self._tensors.pop(name).astype(np.float64)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("folder")
    arguments = parser.parse_args()

    network = MobileNetGraph(read_tensors(arguments.source))
    network.build()
    network.save(arguments.folder)


if __name__ == "__main__":
    main()
