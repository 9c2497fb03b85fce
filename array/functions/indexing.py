"""``x[index]``: every index that NumPy takes, split into what is known before values are and what is not."""

from __future__ import annotations

import operator
from typing import Any

import numpy

from blockfuse.array import stamps
from blockfuse.array.eager import data_of
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir import interpreter
from blockfuse.ir.gathers import Pattern
from blockfuse.ir.operators import indexing, movement
from blockfuse.ir.types import Extent

Item = Any


@size_agnostic
def get(x: ndarray, index: Any) -> ndarray:
    """``x[index]``: a view for basic indices, a copy for arrays of ints or bools, as in NumPy."""
    items = index if isinstance(index, tuple) else (index,)
    if all(is_basic(i) for i in items):
        return movement.get_item(x, index=basic_index(x.shape, items))
    return _advanced(x, items)


def is_basic(item: Item) -> bool:
    return item is None or item is Ellipsis or isinstance(item, slice) or (_is_integer(item))


def _is_integer(item: Item) -> bool:
    return isinstance(item, int | numpy.integer) and not isinstance(item, bool)


def basic_index(shape: tuple[int, ...], items: tuple[Item, ...]) -> movement.Index:
    """Ints, slices, ``None`` and ``...`` in the form that ``movement.get_item`` takes."""
    used = sum(1 for i in items if i is not None and i is not Ellipsis)
    if used > len(shape):
        raise IndexError(f"too many indices for an array with {len(shape)} axes: {used} were given")
    if sum(1 for i in items if i is Ellipsis) > 1:
        raise IndexError("an index can only have one ellipsis ('...')")
    whole = (slice(None),) * (len(shape) - used)
    position = next((n for n, i in enumerate(items) if i is Ellipsis), len(items))
    spelled = (*items[:position], *whole, *items[position + 1 :])
    result: list[Any] = []
    axis = 0
    for item in spelled:
        if item is None:
            result.append(None)
            continue
        result.append(
            _slice_of(item, shape[axis]) if isinstance(item, slice) else _index_in(item, axis, shape[axis])
        )
        axis += 1
    return tuple(result)


def _slice_of(item: slice, size: int) -> tuple[str, int, int, int]:
    start, stop, step = item.indices(size)
    if start < 0:  # backwards from before the first element
        return "slice", 0, 0, 1
    whole = item.start is None and item.stop is None and step == 1
    return "slice", start, Extent(stop) if whole else stop, step


def _index_in(item: Any, axis: int, size: int) -> int:
    index = operator.index(item)
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of bounds for axis {axis} with size {size}")
    return index % size


def _advanced(x: ndarray, items: tuple[Item, ...]) -> ndarray:
    pattern, arrays = indices_of(items)
    for mask in (
        a for a in arrays if a.dtype == bool
    ):  # the shape of the result depends on the mask's values
        interpreter.current().escape("a boolean mask", mask)
    return indexing.take_at(x, *arrays, pattern=pattern)


def indices_of(items: tuple[Item, ...]) -> tuple[Pattern, tuple[ndarray, ...]]:
    """An index with arrays: these become operands, the rest a pattern with ``("array", n)`` for them."""
    operands: list[Any] = []
    pattern: list[Any] = []
    for item in items:
        if is_basic(item):
            pattern.append(_plain(item))
            continue
        values = item if isinstance(item, ndarray) else ndarray(_index_array(item))
        if values.dtype.kind == "f":  # Gluon's indices are often float32
            values = indexing.as_integers(values)
        pattern.append(("array", len(operands)))
        operands.append(values)
    return tuple(pattern), tuple(operands)


def _plain(item: Item) -> Any:
    """A slice or an integer in Python's own integers: a pattern is a constant of a graph."""
    if isinstance(item, slice):
        bounds = (item.start, item.stop, item.step)
        return "slice", *(None if bound is None else operator.index(bound) for bound in bounds)
    return operator.index(item) if _is_integer(item) else item


def _index_array(item: Item) -> numpy.ndarray:
    if isinstance(item, float | str):
        raise IndexError(f"an array is indexed by integers, slices, ..., None and arrays, not by {item!r}")
    data = numpy.asarray(data_of(item) if not isinstance(item, list) else item)
    if isinstance(item, numpy.ndarray):
        stamps.expose(data)
    return data.astype(numpy.int64) if data.size == 0 else data
