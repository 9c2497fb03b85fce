"""The type of a value: a shape and a dtype, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy

# The dtypes of the language. Everything else is refused where it enters, with a message that lists these.
# The wider unsigned ones are here because NumPy's promotion leads to them (the sum of uint8 is uint64).
DTYPES: tuple[str, ...] = (
    *("float32", "float64", "float16"),
    *("int8", "int16", "int32", "int64"),
    *("uint8", "uint16", "uint32", "uint64"),
    "bool",
)


_NAMES = {numpy.dtype(name).num: name for name in DTYPES}


def name_of(dtype: numpy.dtype) -> str:
    """``str(dtype)``, which NumPy takes several microseconds to write."""
    return (_NAMES.get(dtype.num) if dtype.isnative else None) or str(dtype)


class Extent(int):
    """The size of an axis, standing in an attribute for the whole axis, however large it is."""


@dataclass(frozen=True)
class TensorType:
    """Shape and dtype of one value; prints as ``float32[2, 20]``."""

    shape: tuple[int, ...]
    dtype: numpy.dtype

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def type_of(array: numpy.ndarray) -> TensorType:
    return TensorType(array.shape, array.dtype)


def tensor(shape: tuple[int, ...], dtype: numpy.typing.DTypeLike) -> TensorType:
    """A type from anything that NumPy reads as a dtype."""
    return TensorType(tuple(int(n) for n in shape), numpy.dtype(dtype))
