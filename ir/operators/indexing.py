"""Operators that pick elements by the values of integer arrays."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy

from blockfuse.ir.gathers import Gathered, Pattern, gathered
from blockfuse.ir.layout import Layout
from blockfuse.ir.lowering import Composite, Gather, Scatter
from blockfuse.ir.operator import Example, row
from blockfuse.ir.operators.filling import arange
from blockfuse.ir.operators.movement import expand_dims, filled, reshape
from blockfuse.ir.operators.pointwise import FLAT, cast, equal, less, where


def _numpy_pattern(
    pattern: Pattern, shape: tuple[int, ...], arrays: tuple[numpy.ndarray, ...]
) -> tuple[Any, ...]:
    def item(position: int, entry: Any) -> Any:
        if not isinstance(entry, tuple):
            return entry
        kind, *rest = entry
        if kind == "along":
            size, (axis, ndim) = shape[sum(e is not None for e in pattern[:position])], rest
            return numpy.arange(size).reshape(tuple(size if n == axis else 1 for n in range(ndim)))
        return arrays[rest[0]] if kind == "array" else slice(*rest)

    return tuple(item(position, entry) for position, entry in enumerate(pattern))


def _take_at(x: numpy.ndarray, *arrays: numpy.ndarray, pattern: Pattern) -> numpy.ndarray:
    return x[_numpy_pattern(pattern, x.shape, arrays)]


def _places(table: Layout, indices: list[Layout], pattern: Pattern) -> Gathered:
    return gathered(pattern, table, indices)


def _add_at(
    x: numpy.ndarray, value: numpy.ndarray, *arrays: numpy.ndarray, pattern: Pattern
) -> numpy.ndarray:
    result = numpy.array(x)
    numpy.add.at(result, _numpy_pattern(pattern, x.shape, arrays), value)
    return result


def _take_at_gradient(g: Any, out: Any, x: Any, *arrays: Any, pattern: Pattern) -> tuple[Any, ...]:
    if _picks_one(pattern, x, arrays):
        return _in_its_place(g, x, arrays[0], pattern.index(("array", 0))), None
    zeros = filled(0, x.shape, x.dtype)
    return (add_at(zeros, g, *arrays, pattern=pattern), *(None for _ in arrays))


def _picks_one(pattern: Pattern, x: Any, arrays: tuple[Any, ...]) -> bool:
    """Whether one element is picked along one axis, as by ``npx.pick``."""
    if len(arrays) != 1 or arrays[0].ndim != x.ndim or len(pattern) != x.ndim:
        return False
    along = [entry == ("along", axis, x.ndim) for axis, entry in enumerate(pattern)]
    return sum(along) == x.ndim - 1 and arrays[0].shape[along.index(False)] == 1


def _in_its_place(g: Any, x: Any, index: Any, axis: int) -> Any:
    """``g`` where its index stands along an axis, else 0: no scattered additions, and part of any kernel around it."""
    size = x.shape[axis]
    places = arange(start=0, stop=size, step=1, dtype="int64")
    places = reshape(places, shape=(size, *(1,) * (x.ndim - axis - 1)))
    wrapped = where(less(index, 0), index + size, index)
    return where(equal(wrapped, places), g, 0)


def _add_at_gradient(g: Any, out: Any, x: Any, value: Any, *arrays: Any, pattern: Pattern) -> tuple[Any, ...]:
    return (g, take_at(g, *arrays, pattern=pattern), *(None for _ in arrays))


_ROWS: Pattern = (("array", 0),)
_PAIRS: Pattern = (("slice", None, None, None), ("array", 0), ("array", 1))

_ALONG: Pattern = (("along", 0, 2), ("array", 0))

# x[pattern].
take_at = row(
    "take_at",
    _take_at,
    Gather(_places),
    gradient=_take_at_gradient,
    examples=(
        Example(((4, 3), (2, 5)), {"pattern": _ROWS}, high=4, integers=(1,)),
        Example(((2, 4, 4), (3,), (3,)), {"pattern": _PAIRS}, high=4, integers=(1, 2)),
        Example(((3, 4), (3, 2)), {"pattern": _ALONG}, high=4, integers=(1,)),
    ),
)
# A copy of x with value added at x[pattern], repeated places adding up: the gradient of take_at.
add_at = row(
    "add_at",
    _add_at,
    Scatter(_places),
    type_rule=lambda x, value, *arrays, pattern: x,
    gradient=_add_at_gradient,
    examples=(Example(((4, 3), (2, 3), (2,)), {"pattern": _ROWS}, high=4, integers=(2,)),),
)


def _put_at(
    x: numpy.ndarray, value: numpy.ndarray, *arrays: numpy.ndarray, pattern: Pattern
) -> numpy.ndarray:
    result = numpy.array(x)
    result[_numpy_pattern(pattern, x.shape, arrays)] = value
    return result


def _put_at_gradient(g: Any, out: Any, x: Any, value: Any, *arrays: Any, pattern: Pattern) -> tuple[Any, ...]:
    """Of several values for one place, one has stayed: it finds its own number there."""
    picked = take_at(g, *arrays, pattern=pattern)
    numbers = reshape(
        arange(start=0, stop=prod(picked.shape), step=1, dtype="int64"), shape=tuple(picked.shape)
    )
    winners = put_at(filled(-1, g.shape, numbers.dtype), numbers, *arrays, pattern=pattern)
    stays = equal(take_at(winners, *arrays, pattern=pattern), numbers)
    overwritten = put_at(g, filled(0, (), g.dtype), *arrays, pattern=pattern)
    return (overwritten, where(stays, picked, 0), *(None for _ in arrays))


# A copy of x with value, which is of its dtype, at x[pattern]: what an assignment there means without memory.
put_at = row(
    "put_at",
    _put_at,
    Scatter(_places, adds=False),
    type_rule=lambda x, value, *arrays, pattern: x,
    gradient=_put_at_gradient,
    examples=(
        Example(((4, 3), (2, 3), (2,)), {"pattern": _ROWS}, high=4, integers=(2,)),
        Example(((2, 4, 4), (3,), (3,), (3,)), {"pattern": _PAIRS}, high=4, integers=(2, 3)),
    ),
)


def as_integers(x: Any) -> Any:
    """Float indices, as Gluon programs use them, as int64."""
    return cast(x, dtype="int64")


def along_axis(x: Any, indices: Any, axis: int) -> Any:
    """For each element of ``indices``, the element of ``x`` at that place along ``axis``, as NumPy."""
    ndim = x.ndim
    pattern = tuple(("array", 0) if a == axis else ("along", a, ndim) for a in range(ndim))
    return take_at(x, indices, pattern=pattern)


def _one_hot(x: numpy.ndarray, depth: int, on_value: float, off_value: float, dtype: str) -> numpy.ndarray:
    hit = numpy.asarray(x).astype("int64")[..., None] == numpy.arange(depth)
    return numpy.where(hit, numpy.asarray(on_value, dtype), numpy.asarray(off_value, dtype))


def _expand_one_hot(x: Any, depth: int, on_value: float, off_value: float, dtype: str) -> Any:
    classes = arange(start=0, stop=depth, step=1, dtype="int64")
    hit = equal(expand_dims(as_integers(x), axis=(x.ndim,)), classes)
    return where(hit, *(filled(value, (), numpy.dtype(dtype)) for value in (on_value, off_value)))


one_hot = row(
    "one_hot",
    _one_hot,
    Composite(_expand_one_hot),
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
