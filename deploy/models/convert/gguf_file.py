"""Reads a GGUF language model: which decoder it is, its sizes and tensors. What is not known to be read right is refused."""

from dataclasses import dataclass

import gguf
import numpy as np

from decoder_graph import Dimensions
from quantise import BLOCK_SIZE, ZERO_POINT, Int8Blocks


class Refused(ValueError):
    """The file is none that can be converted; the message names the key or tensor."""


@dataclass(frozen=True)
class Architecture:
    """What sets one family of decoders apart from the graph they share."""

    # llama.cpp stores query and key rows so that rotary pairs are neighbours; the graph wants them half a head apart.
    interleaved_rotary_rows: bool = False
    # Tensors that each block has besides those of every decoder.
    beside: tuple[str, ...] = ()


ARCHITECTURES = {
    "llama": Architecture(interleaved_rotary_rows=True),
    "qwen2": Architecture(beside=("attn_q.bias", "attn_k.bias", "attn_v.bias")),
    "qwen3": Architecture(beside=("attn_q_norm.weight", "attn_k_norm.weight")),
}

# GroupQueryAttention takes heads of a multiple of this.
HEAD_SIZE_STEP = 16

# Keys that are read, without the architecture's name in front.
READ = {
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.layer_norm_rms_epsilon",
    "rope.freq_base",
}

# Keys of things that the graph does without, and the value that says so. Any other key is one of a model whose
# answers would be wrong.
WITHOUT_EFFECT = {
    "attention.causal": True,
    "attention.sliding_window": 0,
    "expert_count": 0,
    "expert_used_count": 0,
    "pooling_type": 0,
    "rope.scaling.type": "none",
}

# What some of the others mean, for whoever is refused.
MEANINGS = {
    "attention.sliding_window": "attention to a window of the text",
    "expert_count": "a mixture of experts",
    "expert_used_count": "a mixture of experts",
    "pooling_type": "a model that embeds",
    "rope.scaling": "stretched rotary positions",
}


class GgufFile:
    """A GGUF file's metadata and tensors."""

    def __init__(self, path):
        self._reader = gguf.GGUFReader(path)
        self.name = self.value("general.architecture")
        if self.name not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise Refused(f"general.architecture = {self.name!r} is not supported: expected {known}")
        self.architecture = ARCHITECTURES[self.name]
        if self.value("split.count") not in (None, 0, 1):
            raise Refused("split.count: the model is in several files; merge them first")
        self.dimensions = self._dimensions()
        self._check_tensors()
        self._check_metadata()

    def value(self, key):
        field = self._reader.fields.get(key)
        return None if field is None else field.contents()

    def tensors(self):
        return Tensors(self._reader, self._row_order)

    def _dimensions(self):
        heads, hidden_size = self._size("attention.head_count"), self._size("embedding_length")
        epsilon = self.value(f"{self.name}.attention.layer_norm_rms_epsilon")
        if epsilon is None:
            raise Refused(f"the file lacks {self.name}.attention.layer_norm_rms_epsilon")
        head_size = self._size("attention.key_length", hidden_size // heads)
        if head_size % HEAD_SIZE_STEP:
            raise Refused(f"heads of {head_size} values are not supported: expected a multiple of {HEAD_SIZE_STEP}")
        return Dimensions(
            layers=self._size("block_count"),
            hidden_size=hidden_size,
            heads=heads,
            kv_heads=self._size("attention.head_count_kv", heads),
            head_size=head_size,
            feed_forward_size=self._size("feed_forward_length"),
            context_length=self._size("context_length"),
            rope_base=self.value(f"{self.name}.rope.freq_base") or 10000.0,
            norm_epsilon=epsilon,
        )

    def _size(self, key, default=None):
        key = f"{self.name}.{key}"
        found = self.value(key)
        if found is None and default is None:
            raise Refused(f"the file lacks {key}")
        size = default if found is None else found
        if not isinstance(size, int) or size < 1:
            raise Refused(f"{key} = {size!r} is not supported: expected one size for all blocks")
        return size

    def _check_metadata(self):
        head_size = self.dimensions.head_size
        expected = WITHOUT_EFFECT | {"attention.value_length": head_size, "rope.dimension_count": head_size}
        expected["vocab_size"], _ = self.tensors().shape("token_embd.weight")
        for key in self._reader.fields:
            short = key.removeprefix(f"{self.name}.")
            if short == key or short in READ:
                continue
            value = self.value(key)
            if short in expected and value == expected[short]:
                continue
            meaning = next((f" ({text})" for start, text in MEANINGS.items() if short.startswith(start)), "")
            wanted = f": expected {expected[short]!r}" if short in expected else ""
            raise Refused(f"{key} = {value!r} is not supported{meaning}{wanted}")

    def _check_tensors(self):
        found = self.tensors()
        beside = [f"blk.{layer}.{name}" for layer in range(self.dimensions.layers) for name in self.architecture.beside]
        for name in ("token_embd.weight", *beside):
            if name not in found:
                raise Refused(f"the file lacks the tensor {name}")

    def _row_order(self, tensor):
        part = tensor.split(".")[-2]
        heads = {"attn_q": self.dimensions.heads, "attn_k": self.dimensions.kv_heads}.get(part)
        if heads is None or not self.architecture.interleaved_rotary_rows:
            return None
        half = self.dimensions.head_size // 2
        return np.arange(heads * half * 2).reshape(heads, half, 2).swapaxes(1, 2).reshape(-1)


class Tensors:
    """A GGUF file's tensors as matrices [out, in], with rows in the order the ONNX graph wants."""

    def __init__(self, reader, row_order):
        """`row_order(name)` gives the rows' new order, or None to leave them."""
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._row_order = row_order
        self._used = set()

    def __contains__(self, name):
        return name in self._tensors

    def shape(self, name):
        """(out, in) of a matrix; GGUF writes the fastest-changing dimension first."""
        columns, rows = (int(size) for size in self._find(name).shape)
        return rows, columns

    def float32(self, name):
        """The tensor with its stored blocks multiplied out."""
        tensor = self._take(name)
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        return self._ordered(name, values.reshape([int(size) for size in tensor.shape[::-1]]))

    def int8(self, name):
        """The matrix in 8 bits: exactly as stored where the file has Q8_0, rounded from its values otherwise."""
        tensor = self._take(name)
        if tensor.tensor_type != gguf.GGMLQuantizationType.Q8_0:
            return Int8Blocks.of(self.float32(name))
        rows, _ = self.shape(name)
        # A Q8_0 block: its scale as float16, then 32 signed bytes.
        blocks = np.asarray(tensor.data).view(np.uint8).reshape(rows, -1, 2 + BLOCK_SIZE)
        blocks = self._ordered(name, blocks)
        scales = blocks[..., :2].copy().view(np.float16)[..., 0].astype(np.float32)
        # Flipping the top bit of a signed byte adds 128 to it.
        return Int8Blocks(blocks[..., 2:] ^ np.uint8(ZERO_POINT), scales)

    def unused(self):
        """Names of tensors that nobody asked for: a graph that leaves any out is not the file's model."""
        return sorted(self._tensors.keys() - self._used)

    def _take(self, name):
        self._used.add(name)
        return self._find(name)

    def _find(self, name):
        if name not in self._tensors:
            raise Refused(f"the file lacks the tensor {name}")
        return self._tensors[name]

    def _ordered(self, name, rows):
        order = self._row_order(name)
        return rows if order is None else rows[order]
