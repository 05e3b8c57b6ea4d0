"""Weights in blocks of 32: what GGUF files and ONNX Runtime's MatMulNBits have in common."""

from dataclasses import dataclass

import gguf
import numpy as np

# Values of one row that share a scale, in GGUF's formats and as MatMulNBits is told here.
BLOCK_SIZE = 32

# MatMulNBits, 8 bits, without a zero-point input: the stored byte is the value plus this.
ZERO_POINT = 128


@dataclass
class Int8Blocks:
    """A matrix [rows, columns] in 8 bits: value = (stored - 128) * scale of its block."""

    stored: np.ndarray  # uint8 [rows, blocks, 32]
    scales: np.ndarray  # float32 [rows, blocks]

    @staticmethod
    def of(matrix):
        """Rounds each block to 8 bits, symmetric about zero."""
        rows, columns = matrix.shape
        if columns % BLOCK_SIZE:
            raise ValueError(f"{columns} columns are not a multiple of {BLOCK_SIZE}")
        blocks = matrix.reshape(rows, columns // BLOCK_SIZE, BLOCK_SIZE)
        scales = np.abs(blocks).max(axis=-1) / 127
        scales[scales == 0] = 1e-8  # a block of zeros: any scale will do, but not one that divides by zero
        stored = np.clip(np.rint(blocks / scales[..., None]), -127, 127) + ZERO_POINT
        return Int8Blocks(stored.astype(np.uint8), scales.astype(np.float32))

    @staticmethod
    def joined(parts):
        """Matrices with the same columns, one under the other."""
        return Int8Blocks(
            np.concatenate([part.stored for part in parts]), np.concatenate([part.scales for part in parts])
        )


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
        columns, rows = (int(size) for size in self._tensors[name].shape)
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
        return self._tensors[name]

    def _ordered(self, name, rows):
        order = self._row_order(name)
        return rows if order is None else rows[order]
