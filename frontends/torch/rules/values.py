"""What rules ask of dtypes, axes and arguments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy
import torch

from blockfuse.array import np
from blockfuse.array.ndarray import ndarray
from blockfuse.frontends.torch.rules.table import Array, NoRule, Value
from blockfuse.ir.types import DTYPES

_DTYPES = {getattr(torch, name): numpy.dtype(name) for name in DTYPES}
_TORCH = {dtype: kind for kind, dtype in _DTYPES.items()}


def dtype_of(kind: torch.dtype) -> numpy.dtype:
    """NumPy's dtype for torch's; raises NoRule where arrays of ours have none."""
    found = _DTYPES.get(kind)
    if found is None:
        raise NoRule(f"dtype {kind}")
    return found


def cast(x: Array, kind: torch.dtype) -> Array:
    """``x`` in another dtype."""
    dtype = dtype_of(kind)
    return x if x.dtype == dtype else x.astype(dtype)


def common(*values: Value) -> tuple[Any, ...]:
    """Operands in the dtype in which torch computes with them; numbers stay numbers."""
    kind = _promoted(*(_shadow(value) for value in values))
    return tuple(cast(v, kind) if isinstance(v, ndarray) else v for v in values)


def _shadow(value: Value) -> Any:
    """All that promotion asks of an operand."""
    if isinstance(value, ndarray):
        return _TORCH[value.dtype], bool(value._data.ndim)
    if type(value) not in (bool, int, float):
        raise NoRule(f"an operand of type {type(value).__name__}")
    return type(value)


@lru_cache
def _promoted(*shadows: Any) -> torch.dtype:
    operands = [
        shadow(1) if isinstance(shadow, type) else torch.empty((0,) if shadow[1] else (), dtype=shadow[0])
        for shadow in shadows
    ]
    with torch._C.DisableTorchFunction():
        kind = torch.result_type(operands[0], operands[1]) if len(operands) > 1 else operands[0].dtype
        for more in operands[2:]:
            kind = torch.promote_types(kind, torch.result_type(more, more))
    return kind


def axes_of(dim: Any, ndim: int) -> tuple[int, ...] | None:
    """Axes from the first on, or None for all of them, which an empty list means, too."""
    if dim is None or (isinstance(dim, Sequence) and not dim):
        return None
    given = dim if isinstance(dim, Sequence) else (dim,)
    return tuple(axis_of(axis, ndim) for axis in given)


def axis_of(dim: int, ndim: int) -> int:
    """An axis from the first on; a tensor without axes has one that may be named."""
    return dim % max(ndim, 1)


def ints(values: Sequence[Any]) -> tuple[int, ...]:
    """Sizes or axes that were given one by one, or as one sequence."""
    given = values[0] if len(values) == 1 and isinstance(values[0], Sequence) else values
    if not all(isinstance(n, int) for n in given):
        raise NoRule("a size that is a tensor")
    return tuple(int(n) for n in given)


def each(value: Any, count: int) -> tuple[int, ...]:
    """A number for each of ``count`` axes."""
    given = tuple(value) if isinstance(value, Sequence) else (value,)
    return given * count if len(given) == 1 else given


def shape_of(x: Array) -> tuple[int, ...]:
    """The shape, of which Python need not know that it was asked for: rules depend on sizes as operators do."""
    return (x._pending or x._data).shape


def full(like: torch.Tensor, value: float) -> Array:
    """An array of one number, in the shape and dtype of torch's result."""
    return np.full(tuple(like.shape), value, dtype_of(like.dtype))


def refuse_if(condition: Any, what: str) -> None:
    """Leave the call to torch."""
    if condition:
        raise NoRule(what)


_BEYOND = {"int64": 1 << 62, "int32": (1 << 31) - 1, "int16": (1 << 15) - 1, "int8": 127, "uint8": 255}


def places(index: Array) -> Array:
    """Indices where torch takes none from the end: negative ones are beyond any axis, and so raise as torch does."""
    beyond = _BEYOND.get(index.dtype.name)
    refuse_if(beyond is None, "an index that is no integer")
    return (
        index if index.dtype.name == "uint8" else np.where(index < 0, np.full((), beyond, index.dtype), index)
    )


def required(x: Array, holds: Array) -> Array:
    """``x``; where a flag is not set the program fails, and torch runs the call, which raises an error of its own."""
    flag = np.where(np.all(holds), np.zeros((), "int64"), np.full((), _BEYOND["int64"], "int64"))
    return np.take(x[None], flag, axis=0)


def index_of(given: Any) -> Any:
    """An index of torch's as one of ours; raises NoRule where they mean different things."""
    items = given if isinstance(given, tuple) else (given,)
    if isinstance(given, list) or any(isinstance(item, list) for item in items):
        raise NoRule("an index that is a list")
    for item in items:
        if isinstance(item, slice):
            if any(isinstance(part, ndarray) for part in (item.start, item.stop, item.step)):
                raise NoRule("a slice whose ends are tensors")
        elif isinstance(item, ndarray) and item.dtype.name in ("bool", "uint8"):
            raise NoRule("an index of flags")
        elif isinstance(item, ndarray) and item.dtype.kind not in "iu":
            raise NoRule("an index that is no integer")
        elif isinstance(item, bool):
            raise NoRule("an index that is a flag")
    return tuple(items)
