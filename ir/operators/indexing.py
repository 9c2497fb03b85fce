"""Operators that pick elements by the values of integer arrays."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.ir.lowering import Host
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.filling import arange
from blockfuse.ir.operators.movement import filled, reshape
from blockfuse.ir.operators.pointwise import FLAT, cast

Pattern = tuple[Any, ...]


def _numpy_pattern(pattern: Pattern, arrays: tuple[numpy.ndarray, ...]) -> tuple[Any, ...]:
    def item(entry: Any) -> Any:
        if isinstance(entry, tuple):
            return arrays[entry[1]] if entry[0] == "array" else slice(*entry[1:])
        return entry

    return tuple(item(entry) for entry in pattern)


def _take_at(x: numpy.ndarray, *arrays: numpy.ndarray, pattern: Pattern) -> numpy.ndarray:
    return x[_numpy_pattern(pattern, arrays)]


def _add_at(
    x: numpy.ndarray, value: numpy.ndarray, *arrays: numpy.ndarray, pattern: Pattern
) -> numpy.ndarray:
    result = numpy.array(x)
    numpy.add.at(result, _numpy_pattern(pattern, arrays), value)
    return result


def _take_at_gradient(g: Any, out: Any, x: Any, *arrays: Any, pattern: Pattern) -> tuple[Any, ...]:
    zeros = filled(0, x.shape, x.dtype)
    return (add_at(zeros, g, *arrays, pattern=pattern), *(None for _ in arrays))


def _add_at_gradient(g: Any, out: Any, x: Any, value: Any, *arrays: Any, pattern: Pattern) -> tuple[Any, ...]:
    return (g, take_at(g, *arrays, pattern=pattern), *(None for _ in arrays))


_ROWS: Pattern = (("array", 0),)
_PAIRS: Pattern = (("slice", None, None, None), ("array", 0), ("array", 1))

# x[pattern], integer arrays in the places marked ("array", n); otherwise ints, ("slice", start, stop, step),
# None, Ellipsis.
take_at = row(
    "take_at",
    _take_at,
    Host("picks by index"),
    gradient=_take_at_gradient,
    examples=(
        Example(((4, 3), (2, 5)), {"pattern": _ROWS}, high=4, integers=(1,)),
        Example(((2, 4, 4), (3,), (3,)), {"pattern": _PAIRS}, high=4, integers=(1, 2)),
    ),
)
# A copy of x with value added at x[pattern], repeated places adding up: the gradient of take_at.
add_at = row(
    "add_at",
    _add_at,
    Host("adds by index"),
    type_rule=lambda x, value, *arrays, pattern: x,
    gradient=_add_at_gradient,
    examples=(Example(((4, 3), (2, 3), (2,)), {"pattern": _ROWS}, high=4, integers=(2,)),),
)


def as_integers(x: Any) -> Any:
    """Float indices, as Gluon programs use them, as int64."""
    return cast(x, dtype="int64")


def along_axis(x: Any, indices: Any, axis: int) -> Any:
    """For each element of ``indices``, the element of ``x`` at that place along ``axis``, as NumPy."""
    grids = [_places(n, a, x.ndim) for a, n in enumerate(x.shape)]
    grids[axis] = indices
    return take_at(x, *grids, pattern=tuple(("array", a) for a in range(x.ndim)))


def _places(size: int, axis: int, ndim: int) -> Any:
    """0, 1, ... along one of ``ndim`` axes."""
    line = arange(start=0, stop=size, step=1, dtype="int64")
    return reshape(line, shape=tuple(size if a == axis else 1 for a in range(ndim)))


def _one_hot(x: numpy.ndarray, depth: int, on_value: float, off_value: float, dtype: str) -> numpy.ndarray:
    hit = numpy.asarray(x).astype("int64")[..., None] == numpy.arange(depth)
    return numpy.where(hit, numpy.asarray(on_value, dtype), numpy.asarray(off_value, dtype))


one_hot = row(
    "one_hot",
    _one_hot,
    Host("picks by index"),
    gradient=FLAT,
    examples=(
        Example(
            ((2, 3),),
            {"depth": 4, "on_value": 1.0, "off_value": 0.0, "dtype": "float32"},
            high=4,
            integers=(0,),
        ),
    ),
)
