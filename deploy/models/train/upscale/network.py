"""The network, in PyTorch and as ONNX.

A few convolutions at the small picture's size, then each pixel becomes factor x factor of them (Shi et al., "Real-Time
Single Image and Video Super-Resolution", 2016). What they give is added to the pixel itself, repeated, so an untrained
network enlarges by repeating.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[2] / "convert"))
from onnx_graph import Graph, TensorProto  # noqa: E402

CHANNELS, BLOCKS = 32, 3
# Below zero the activation goes on this flat.
SLOPE = 0.1
OPSET, IR_VERSION = 17, 8


class Upscaler(nn.Module):
    """`image` [batch, 3, h, w] in 0 to 1 -> [batch, 3, factor h, factor w], not clipped."""

    def __init__(self, factor: int):
        super().__init__()
        self.factor = factor
        self.first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2)) for _ in range(BLOCKS)
        )
        self.last = nn.Conv2d(CHANNELS, 3 * factor**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    @property
    def reach(self) -> int:
        """How far away, in pixels, the picture still moves a pixel: one for each convolution."""
        return 2 + 2 * BLOCKS

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        hidden = functional.leaky_relu(self.first(image), SLOPE)
        for inner, outer in self.blocks:
            hidden = hidden + outer(functional.leaky_relu(inner(hidden), SLOPE))
        repeated = image.repeat_interleave(self.factor**2, dim=1)
        return functional.pixel_shuffle(self.last(hidden) + repeated, self.factor)


def save(network: Upscaler, folder: Path, name: str, passes: int) -> None:
    """Writes model.onnx: weights stored once as float16, arithmetic in float32, each pass clipped to 0 to 1."""
    graph = Graph(name, opset=OPSET, ir_version=IR_VERSION)
    graph.input("image", TensorProto.FLOAT, ["batch", 3, "height", "width"])
    graph.output("upscaled", TensorProto.FLOAT, ["batch", 3, "upscaled_height", "upscaled_width"])
    for key, value in network.state_dict().items():
        half = graph.constant(f"{key}.half", value.detach().numpy().astype(np.float16))
        graph.node("Cast", [half], key, to=TensorProto.FLOAT)
    image = "image"
    for index in range(passes):
        image = _pass(graph, network.factor, image, "upscaled" if index == passes - 1 else f"pass{index}")
    # Later passes see pixels that are smaller by the factor.
    reach = math.ceil(sum(network.reach / network.factor**index for index in range(passes)))
    graph.save(folder, {"factor": network.factor**passes, "reach": reach}, external_data=False)


def _pass(graph: Graph, factor: int, image: str, output: str) -> str:
    def convolution(hidden: str, layer: str) -> str:
        inputs = [hidden, f"{layer}.weight", f"{layer}.bias"]
        return graph.node("Conv", inputs, f"{output}.{layer}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def activated(hidden: str) -> str:
        return graph.node("LeakyRelu", [hidden], f"{hidden}.activated", alpha=SLOPE)

    hidden = activated(convolution(image, "first"))
    for index in range(BLOCKS):
        inner = activated(convolution(hidden, f"blocks.{index}.0"))
        outer = convolution(inner, f"blocks.{index}.1")
        hidden = graph.node("Add", [hidden, outer], f"{output}.blocks.{index}")
    channels = graph.constant("channels", np.repeat(np.arange(3), factor**2), np.int64)
    repeated = graph.node("Gather", [image, channels], f"{output}.repeated", axis=1)
    total = graph.node("Add", [convolution(hidden, "last"), repeated], f"{output}.pixels")
    large = graph.node("DepthToSpace", [total], f"{output}.large", blocksize=factor, mode="CRD")
    limits = [graph.constant(key, value, np.float32) for key, value in (("black", 0), ("white", 1))]
    return graph.node("Clip", [large, *limits], output)
