"""What ``x[index] = value`` makes of ``x`` where arrays are in the index, as operators: for graphs, and for gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import nonzero
from blockfuse.array.functions.indexing import indices_of, is_basic
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.gathers import Pattern
from blockfuse.ir.operators import indexing, movement, pointwise


@dataclass(frozen=True)
class Masked:
    """The elements where a mask holds."""

    mask: ndarray  # with an axis for each of the array

    def write(self, x: Any, value: Any) -> Any:
        """``x`` with these elements replaced."""
        return pointwise.where(self.mask, value, x)

    def pick(self, g: Any) -> Any:
        """Of the gradient of what was written into, the part of the value."""
        return pointwise.where(self.mask, g, 0)


@dataclass(frozen=True)
class Picked:
    """The elements at places that arrays of integers hold, of which several may be one."""

    pattern: Pattern
    arrays: tuple[ndarray, ...]

    def write(self, x: Any, value: Any) -> Any:
        """As of ``Masked``; of several values for one element the last stays."""
        return indexing.put_at(x, value, *self.arrays, pattern=self.pattern)

    def pick(self, g: Any) -> Any:
        """As of ``Masked``; what did not stay has no gradient."""
        return indexing.put_at.gradient(g, None, g, None, *self.arrays, pattern=self.pattern)[1]  # type: ignore[misc]


Written = Masked | Picked


@size_agnostic
def written_at(x: ndarray, index: Any, value: Any) -> Written:
    """Which elements ``x[index] = value`` replaces. A mask for which ``value`` has one element each is an escape."""
    items = index if isinstance(index, tuple) else (index,)
    items = tuple(i if is_basic(i) else _array(i) for i in items)
    if len(items) == 1 and _is_mask(items[0]):
        (mask,) = items
        beside = x.ndim - mask.ndim
        if len(_without_leading_ones(() if _is_number(value) else numpy.shape(value))) <= beside:
            return Masked(movement.expand_dims(mask, axis=tuple(range(mask.ndim, x.ndim))))
    spelled = [i for item in items for i in (nonzero(item) if _is_mask(item) else (item,))]
    pattern, arrays = indices_of(tuple(spelled))
    return Picked(pattern, arrays)


def _is_mask(item: Any) -> bool:
    return isinstance(item, ndarray) and item.dtype == bool


def _array(item: Any) -> ndarray:
    (array,) = indices_of((item,))[1]
    return array


@size_agnostic
def as_written(value: Any, dtype: numpy.dtype) -> Any:
    """What NumPy writes of ``value`` into an array of ``dtype``, which may have too many leading axes of size 1."""
    if type(value) is not int and _is_number(value):
        return pointwise.cast(value, dtype=str(dtype))
    made = value if isinstance(value, ndarray) else asarray(value, dtype)
    shape = _without_leading_ones(made.shape)
    converted = made if made.dtype == dtype else pointwise.cast(made, dtype=str(dtype))
    return converted if shape == made.shape else movement.reshape(converted, shape=shape)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    ones = next((n for n, size in enumerate(shape) if size != 1), len(shape))
    return shape[ones:]
