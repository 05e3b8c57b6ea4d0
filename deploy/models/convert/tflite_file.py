"""Reads a TensorFlow Lite model: its tensors, constants and operators. Nothing of it is run.

The file is a FlatBuffer (google.github.io/flatbuffers, "FlatBuffer internals"): tables whose fields are found through a table
of offsets, with numbers at the places that the schema gives them (tensorflow/lite/schema/schema.fbs, version 3).
"""

import struct
from dataclasses import dataclass

import numpy as np

IDENTIFIER = b"TFL3"
# Of schema.fbs: TensorType, and the operators that the networks we convert are made of.
TYPES = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 2: np.dtype("<i4")}
OPERATORS = {
    0: "ADD",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    17: "MAX_POOL_2D",
    19: "RELU",
    22: "RESHAPE",
    23: "RESIZE_BILINEAR",
    34: "PAD",
}
# A model of a hundred layers has some hundreds of each.
MAX_ENTRIES = 1 << 16


class Refused(Exception):
    """The bytes are no model that can be read."""


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple
    # The values where it is a constant.
    value: np.ndarray | None


@dataclass(frozen=True)
class Operator:
    kind: str
    # Indices of tensors.
    inputs: list
    outputs: list
    # The table of its options, `None` where it has none.
    options: "Table | None"


@dataclass(frozen=True)
class Model:
    tensors: list
    operators: list
    # Indices of tensors.
    inputs: list
    outputs: list


class Table:
    """A table of a FlatBuffer; fields are named by their number in the schema."""

    def __init__(self, data, place):
        self._data, self._place = data, place
        self._fields = place - number(data, "<i", place)
        self._size = number(data, "<H", self._fields)

    def number(self, field, format, default=0):
        """A number of a struct's format."""
        place = self._at(field)
        return default if place is None else number(self._data, format, place)

    def table(self, field):
        place = self._at(field)
        return None if place is None else Table(self._data, follow(self._data, place))

    def tables(self, field):
        start, count = self._vector(field)
        return [Table(self._data, follow(self._data, start + 4 * n)) for n in range(count)]

    def numbers(self, field):
        """A vector of 32-bit numbers."""
        start, count = self._vector(field)
        return [number(self._data, "<i", start + 4 * n) for n in range(count)]

    def bytes(self, field):
        start, count = self._vector(field, most=len(self._data))
        if start + count > len(self._data):
            raise Refused("bytes beyond the end")
        return self._data[start : start + count]

    def _vector(self, field, most=MAX_ENTRIES):
        """Where a vector starts, and how many entries it has."""
        place = self._at(field)
        if place is None:
            return 0, 0
        start = follow(self._data, place)
        count = number(self._data, "<I", start)
        if count > most:
            raise Refused(f"a vector of {count} entries")
        return start + 4, count

    def _at(self, field):
        entry = 4 + 2 * field
        offset = number(self._data, "<H", self._fields + entry) if entry < self._size else 0
        return self._place + offset if offset else None


def number(data, format, place):
    if not 0 <= place <= len(data) - struct.calcsize(format):
        raise Refused("a place beyond the end")
    return struct.unpack_from(format, data, place)[0]


def follow(data, place):
    return place + number(data, "<I", place)


def read_model(data):
    """The model whose file has these bytes; it must have one graph."""
    if data[4:8] != IDENTIFIER:
        raise Refused("no TensorFlow Lite model")
    model = Table(data, follow(data, 0))
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise Refused(f"{len(graphs)} graphs")
    # A newer file has the number in a field of 32 bits beside the one of 8.
    codes = [max(code.number(0, "<b"), code.number(3, "<i")) for code in model.tables(1)]
    buffers = [buffer.bytes(0) for buffer in model.tables(4)]
    (graph,) = graphs
    tensors = [read_tensor(table, buffers) for table in graph.tables(0)]
    operators = [read_operator(table, codes, len(tensors)) for table in graph.tables(3)]
    inputs, outputs = (checked(graph.numbers(field), len(tensors)) for field in (1, 2))
    return Model(tensors, operators, inputs, outputs)


def read_tensor(table, buffers):
    name = table.bytes(3).decode("ascii", "replace")
    shape, buffer = tuple(table.numbers(0)), table.number(2, "<I")
    kind = TYPES.get(table.number(1, "<b"))
    if kind is None or min(shape, default=1) < 1 or buffer >= len(buffers):
        raise Refused(f"tensor {name!r} is not of a known type and shape")
    data = buffers[buffer]
    if not data:
        return Tensor(name, shape, None)
    if len(data) != np.prod(shape, dtype=np.int64) * kind.itemsize:
        raise Refused(f"tensor {name!r} has {len(data)} bytes")
    return Tensor(name, shape, np.frombuffer(data, kind).reshape(shape))


def read_operator(table, codes, tensors):
    index = table.number(0, "<I")
    kind = OPERATORS.get(codes[index]) if index < len(codes) else None
    if kind is None:
        raise Refused("an operator that is not known here")
    inputs, outputs = (checked(table.numbers(field), tensors) for field in (1, 2))
    return Operator(kind, inputs, outputs, table.table(4))


def checked(indices, tensors):
    if not all(0 <= index < tensors for index in indices):
        raise Refused("a tensor that is not there")
    return indices
