"""Weights in blocks of 32: what GGUF files and ONNX Runtime's MatMulNBits have in common."""

from dataclasses import dataclass

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
