"""Where a view lies in the memory that owns it, and gradients of the one and the other."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy

from blockfuse.array.memory import Region
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import GradientError
from blockfuse.ir.operators import indexing, movement, pointwise

_PICKED = (("array", 0),)  # the pattern of one index over the first axis


@dataclass(frozen=True)
class Part:
    """Some elements of a whole."""

    whole: tuple[int, ...]  # the shape of all
    shape: tuple[int, ...]
    index: movement.Index | None  # what a user would have written, axes of size 1 aside
    positions: numpy.ndarray | None  # otherwise: where they stand, counted in C order

    def of(self, owner: numpy.ndarray) -> ndarray:
        """The part itself."""
        if self.index is not None:
            return ndarray(owner[movement.numpy_index(self.index)].reshape(self.shape))
        return ndarray(owner.reshape(-1)[self.positions])

    def pick(self, g: Any) -> Any:
        """The gradient of the part from that of the whole."""
        if self.index is not None:
            return _shaped(movement.get_item(g, index=self.index), self.shape)
        flat = _shaped(g, (prod(self.whole),))
        return indexing.take_at(flat, ndarray(self.positions), pattern=_PICKED)  # type: ignore[arg-type]

    def drop(self, g: Any) -> Any:
        """The gradient of the whole, without the part."""
        if self.index is not None:
            inner = movement.index_shape(self.whole, self.index)
            return movement.set_item(g, movement.filled(0, inner, g.dtype), index=self.index)
        assert self.positions is not None
        others = numpy.ones(prod(self.whole), bool)
        others[self.positions.ravel()] = False
        return pointwise.where(ndarray(others.reshape(self.whole)), g, 0)

    def spread(self, g: Any) -> Any:
        """The gradient of a whole of which only the part is used."""
        if self.index is not None:
            inner = movement.index_shape(self.whole, self.index)
            nothing = movement.filled(0, self.whole, g.dtype)
            return movement.set_item(nothing, _shaped(g, inner), index=self.index)
        assert self.positions is not None
        nothing = movement.filled(0, (prod(self.whole),), g.dtype)
        return _shaped(
            indexing.add_at(nothing, g, ndarray(self.positions), pattern=_PICKED), self.whole
        )  # elements may stand at several places of a broadcast view


def _shaped(x: Any, shape: tuple[int, ...]) -> Any:
    return x if x.shape == shape else movement.reshape(x, shape=shape)


def part_of(region: Region, dtype: numpy.dtype, owner: numpy.ndarray) -> Part:
    """Where ``region``, elements of ``dtype``, lies in its owner."""
    if dtype != owner.dtype:
        raise GradientError(
            f"an array of {dtype} in memory of {owner.dtype}, which autograd.record() saw written, has no gradient"
        )
    first = region.address - owner.__array_interface__["data"][0]
    if 0 in region.shape:
        return Part(owner.shape, region.shape, None, numpy.zeros(region.shape, numpy.int64))
    index = _basic(region, first, owner)
    return Part(owner.shape, region.shape, index, None if index else _positions(region, first, owner))


def _basic(region: Region, first: int, owner: numpy.ndarray) -> movement.Index | None:
    """The index of ints and slices that gives the region, if there is one."""
    if not owner.ndim or not owner.flags.c_contiguous:
        return None
    if prod(region.shape) == owner.size and region.strides == _row_major(region.shape, owner.itemsize):
        return tuple(("slice", 0, size, 1) for size in owner.shape)
    axes = [axis for axis in zip(region.shape, region.strides, strict=True) if axis[0] > 1]
    starts = numpy.unravel_index(first // owner.itemsize, owner.shape)
    index: list[Any] = []
    for start, size, stride in zip(map(int, starts), owner.shape, owner.strides, strict=True):
        step, rest = divmod(axes[0][1], stride) if axes and stride else (0, 1)
        last = start + step * (axes[0][0] - 1) if axes else 0
        if rest == 0 and step and 0 <= last < size:
            index.append(("slice", start, last + (1 if step > 0 else -1), step))
            axes.pop(0)
        else:
            index.append(start)
    return None if axes else tuple(index)


def _row_major(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _positions(region: Region, first: int, owner: numpy.ndarray) -> numpy.ndarray:
    offsets = numpy.full(region.shape, first, numpy.int64)
    for axis, (size, stride) in enumerate(zip(region.shape, region.strides, strict=True)):
        steps = numpy.arange(size) * stride
        offsets += steps.reshape(size, *(1,) * (len(region.shape) - axis - 1))
    if owner.flags.c_contiguous:
        return offsets // owner.itemsize
    counts = numpy.zeros_like(offsets)
    weights = [prod(owner.shape[axis + 1 :]) for axis in range(owner.ndim)]
    for axis in sorted(range(owner.ndim), key=lambda a: -owner.strides[a]):
        if owner.shape[axis] > 1:
            if owner.strides[axis] <= 0:
                raise GradientError(
                    "memory that is not laid out in one piece was written to inside of autograd.record()"
                )
            counts += offsets // owner.strides[axis] * weights[axis]
            offsets = offsets % owner.strides[axis]
    return counts
