"""Reads the tensors of a file that torch.save wrote, without torch and without running what its pickle says.

A checkpoint is a pickle, and an ordinary unpickler calls whatever function the file names. This one knows the few names
that tensors are made of and refuses every other. Both layouts are read: the zip archive of torch 1.6 and later, and
the row of pickles before it.
"""

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

# First object of the old layout, and the version of it that there is.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class Refused(ValueError):
    """The file is no plain checkpoint of tensors."""


@dataclass(frozen=True)
class Storage:
    """A flat array that tensors are views of."""

    key: str
    dtype: np.dtype
    elements: int


@dataclass(frozen=True)
class View:
    """A tensor before its storage is read: sizes and steps in elements."""

    storage: Storage
    offset: int
    shape: tuple
    strides: tuple

    def array(self, flat):
        """A copy of the tensor. Steps are the file's word, so they must stay within the storage."""
        if self.offset < 0 or len(self.shape) != len(self.strides) or min((*self.shape, *self.strides), default=0) < 0:
            raise Refused(f"a tensor of shape {self.shape} has steps {self.strides} from {self.offset}")
        if not math.prod(self.shape):
            return np.empty(self.shape, self.storage.dtype)
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides))
        if last >= len(flat):
            raise Refused(f"a tensor reaches element {last} of a storage that has {len(flat)}")
        steps = [step * flat.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False).copy()


def _tensor(storage, offset, shape, strides, *_):
    if not isinstance(storage, Storage):
        raise Refused("a tensor without a storage")
    return View(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))


def _parameter(view, *_):
    return view


class _Unpickler(pickle.Unpickler):
    """Makes `View`s, dictionaries, lists, numbers and strings; nothing else."""

    KNOWN = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._utils", "_rebuild_parameter"): _parameter,
    }

    def find_class(self, module, name):
        known = self.KNOWN.get((module, name))
        if known is not None:
            return known
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise Refused(f"the pickle names {module}.{name}, which no tensor needs")

    def persistent_load(self, pid):
        # The word "storage", its type, its key, the device it was on, its length; the old layout adds a sixth, a view.
        kind, dtype, key, _, elements, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(part is not None for part in view):
            raise Refused(f"an object of kind {kind!r} beside the pickle")
        return Storage(str(key), dtype, int(elements))


def read_tensors(path):
    """Name to array, in the file's order, for a checkpoint that is one dictionary of tensors."""
    with open(path, "rb") as file:
        views, stored = _read_zip(file) if zipfile.is_zipfile(file) else _read_pickles(file)
    return {str(name): view.array(_flat(stored, view.storage)) for name, view in views.items()}


def _views(unpickler):
    views = unpickler.load()
    if not isinstance(views, dict) or not all(isinstance(view, View) for view in views.values()):
        raise Refused("the file holds something other than one dictionary of tensors")
    return views


def _flat(stored, storage):
    data = stored.get(storage.key, b"")
    if len(data) != storage.elements * storage.dtype.itemsize:
        raise Refused(f"storage {storage.key} has {len(data)} bytes for {storage.elements} elements")
    return np.frombuffer(data, storage.dtype)


def _read_zip(file):
    archive = zipfile.ZipFile(file)
    names = {name.partition("/")[2]: name for name in archive.namelist()}
    if "data.pkl" not in names:
        raise Refused("an archive without data.pkl")
    if "byteorder" in names and archive.read(names["byteorder"]) != b"little":
        raise Refused("a file of a big-endian machine")
    views = _views(_Unpickler(io.BytesIO(archive.read(names["data.pkl"]))))
    folder = "data/"
    return views, {name[len(folder) :]: archive.read(names[name]) for name in names if name.startswith(folder)}


def _read_pickles(file):
    file.seek(0)
    # One unpickler each, as each has a memory of its own.
    if _Unpickler(file).load() != MAGIC or _Unpickler(file).load() != PROTOCOL:
        raise Refused("no file of torch.save")
    machine = _Unpickler(file).load()
    if not isinstance(machine, dict) or not machine.get("little_endian"):
        raise Refused("a file of a big-endian machine")
    views = _views(_Unpickler(file))
    sizes = {view.storage.key: view.storage.dtype.itemsize for view in views.values()}
    stored = {}
    for key in _Unpickler(file).load():
        if key not in sizes:
            raise Refused(f"no tensor uses storage {key!r}")
        (elements,) = struct.unpack("<q", file.read(8))
        if elements < 0:
            raise Refused(f"storage {key} has {elements} elements")
        stored[key] = file.read(elements * sizes[key])
    return views, stored
