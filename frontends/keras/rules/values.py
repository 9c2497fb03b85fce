"""What rules ask of sizes, axes and arguments."""

from __future__ import annotations

from typing import Any

from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.keras.followed_tensor import FollowedTensor
from blockfuse.frontends.keras.rules.table import Array, NoRule


def shape_of(x: Array) -> tuple[int, ...]:
    """The shape, of which Python need not know that it was asked for: rules depend on sizes as operators do."""
    return (x._pending or x._data).shape


def each(value: Any, count: int) -> tuple[int, ...]:
    """A number for each of ``count`` axes."""
    return tuple(value) if isinstance(value, list | tuple) else (value,) * count


def ints(values: Any) -> tuple[int, ...]:
    """Sizes or axes; raises NoRule where one of them is a tensor."""
    given = values if isinstance(values, list | tuple) else (values,)
    if not all(isinstance(n, int) for n in given):
        raise NoRule("a size that is a tensor")
    return tuple(given)


def option(value: Any) -> Any:
    """An option of an operation that may be a tensor."""
    return value.array if isinstance(value, FollowedTensor) else value


def axes_of(axis: Any) -> Any:
    """Axes as NumPy takes them: None, a number, or a tuple."""
    return axis if axis is None or isinstance(axis, int) else tuple(axis)


def as_float(x: Array, kind: str = "float32") -> Array:
    """``x`` where its elements are floats, else in the dtype in which Keras computes functions of floats."""
    return x.astype(kind) if isinstance(x, ndarray) and x.dtype.kind != "f" else x
