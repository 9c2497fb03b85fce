"""What rules ask of values: what Python knows of them, and in which dtype they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy

from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import DTypeError
from blockfuse.ir.types import DTYPES

Value = Any

# TensorProto.DataType -> dtype
ELEMENT_TYPES = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}


def dtype_of(element_type: int) -> numpy.dtype:
    """The dtype with the number ``element_type`` in the standard."""
    if element_type not in ELEMENT_TYPES:
        raise DTypeError(
            f"element type {element_type} of ONNX is not supported; there are {', '.join(DTYPES)}"
        )
    return numpy.dtype(ELEMENT_TYPES[element_type])


def ints(value: Value) -> tuple[int, ...]:
    """The integers in ``value``; of an array that is no constant, they are an escape."""
    if isinstance(value, int):
        return (value,)
    if isinstance(value, tuple | list):
        return tuple(value)
    return tuple(value.reshape(-1).astype("int64").tolist())


def floats(value: Value) -> tuple[float, ...]:
    """The numbers in ``value``, as ``ints`` does."""
    return tuple(value) if isinstance(value, tuple | list) else tuple(value.reshape(-1).tolist())


def number(value: Value) -> Any:
    """The only element of ``value``."""
    return value.reshape(-1).tolist()[0] if hasattr(value, "reshape") else value


def shaped(sizes: Iterable[int]) -> numpy.ndarray:
    """Sizes as a value of a graph."""
    return numpy.array(tuple(sizes), "int64")


@size_agnostic
def sizes_from(x: Value, axis: int) -> tuple[int, ...]:
    """The sizes of the axes from ``axis`` on, which is not the first: no program for one batch size alone needs them."""
    assert axis > 0
    return tuple(x.shape[axis:])


def size_of(x: Value, axis: int) -> int:
    """The size of one axis."""
    place = axis % x.ndim
    return sizes_from(x, place)[0] if place else int(x.shape[0])


def along(values: Value, axis: int, ndim: int) -> Value:
    """One value for each place of ``axis``, so that it broadcasts against ``ndim`` axes."""
    return values.reshape(tuple(-1 if n == axis % ndim else 1 for n in range(ndim)))


def is_known(value: Value) -> bool:
    """Whether Python knows ``value`` before the call."""
    return isinstance(value, numpy.ndarray | numpy.generic)
