"""Reading and writing a part of an array whose place is computed, written with operators that have kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy

from blockfuse.ir.builder import node_of
from blockfuse.ir.errors import TraceError
from blockfuse.ir.graph import Node, literal
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators.indexing import put_at, take_at
from blockfuse.ir.operators.movement import broadcast_to, get_item, index_shape, reshape, set_item
from blockfuse.ir.operators.pointwise import add, cast, equal, logical_and, where

Emit = Callable[[Node], Node]  # takes a new node among the others
Starts = Mapping[int, Node]  # place in an index -> where that entry begins now: an int64 without axes
Index = tuple[Any, ...]


def taken(table: Node, place: Node, emit: Emit, axis: int = 0) -> Node:
    """``table`` at a place along an axis, which goes where the place has no axes."""
    pattern = (*(("slice", None, None, None),) * axis, ("array", 0))
    return emit(node_of(take_at, (table, place), {"pattern": pattern}, None))


def picked(node: Node, x: Node, starts: Starts, emit: Emit) -> Node:
    """What a get_item gives of ``x`` with some entries of its index at other places."""
    index = node.attrs["index"]
    made = _Made(node, emit)
    part = made(get_item, x, index=_opened(index, x.shape, starts))
    axis, axes = 0, {}
    for place, entry in enumerate(index):
        if place in starts:
            axes[place] = axis
        axis += place in starts or entry is None or isinstance(entry, tuple)
    numbers = [place for place in axes if not isinstance(index[place], tuple)]
    if numbers:
        part = made(
            take_at, part, *(starts[p] for p in numbers), pattern=_pattern([axes[p] for p in numbers])
        )
    for place in (p for p in axes if p not in numbers):
        gone = sum(axes[number] < axes[place] for number in numbers)
        part = taken(part, made.walk(starts[place], index[place]), emit, axes[place] - gone)
    return part


def _pattern(axes: list[int]) -> tuple[Any, ...]:
    """One array for each of the axes, all others whole."""
    whole = ("slice", None, None, None)
    return tuple(("array", axes.index(n)) if n in axes else whole for n in range(max(axes) + 1))


def written(node: Node, x: Node, value: Node, starts: Starts, emit: Emit) -> Node:
    """What a set_item makes of ``x`` with some entries of its index at other places: elements where they lie, or the old
    ones. Raises TraceError where that cannot be said element by element.
    """
    index = node.attrs["index"]
    made = _Made(node, emit)
    if None in index or any(_length(index[place]) != 1 for place in starts):
        raise TraceError("a part of several elements is written where an index computes")
    opened = _opened(index, x.shape, starts)
    part = made(get_item, x, index=opened)
    fitting = made.fitted(value, index, part, starts)
    hit = made.mask(opened, part.shape, starts)
    changed = made(where, hit, fitting, part)
    return changed if part is x else made(set_item, x, changed, index=opened)


def put(node: Node, x: Node, value: Node, starts: Starts, emit: Emit) -> Node:
    """The same as ``written``, as one operator that touches nothing but the part; every start must lie within its axis.

    Raises TraceError where that cannot be said so.
    """
    index = node.attrs["index"]
    slices = [entry for entry in index if isinstance(entry, tuple)]
    if None in index or any(step < 1 for *_, step in slices):
        raise TraceError("a part is written backwards, or with axes that x has not")
    if any(_length(index[place]) != 1 for place in starts):
        raise TraceError("a part of several elements is written where an index computes")
    made, arrays = _Made(node, emit), [starts[place] for place in sorted(starts)]
    pattern = tuple(
        ("array", sorted(starts).index(place)) if place in starts else entry
        for place, entry in enumerate(index)
    )
    kept = tuple(e for place, e in enumerate(index) if place not in starts)
    value = made.broadcast(value, index, x)
    return made(put_at, x, made(reshape, value, shape=index_shape((), kept)), *arrays, pattern=pattern)


class _Made:
    """Makes nodes that come from one recorded node."""

    def __init__(self, node: Node, emit: Emit) -> None:
        self.source, self.emit = node.source, emit

    def __call__(self, operator: Operator, *operands: Node, **attrs: Any) -> Node:
        if operator is get_item and _is_whole(attrs["index"], operands[0].shape):
            return operands[0]
        if operator in (reshape, broadcast_to) and attrs["shape"] == operands[0].shape:
            return operands[0]
        return self.emit(node_of(operator, operands, attrs, self.source))

    def walk(self, start: Node, entry: tuple[Any, ...]) -> Node:
        """The places of a slice that begins at ``start``."""
        begin, length = self(reshape, start, shape=(1,)), _length(entry)
        return begin if length == 1 else self(add, begin, literal(numpy.arange(length) * entry[3], "int64"))

    def fitted(self, value: Node, index: Index, part: Node, starts: Starts) -> Node:
        """A value that is written, in the dtype and with the axes of the part in which it is written."""
        sizes = iter(index_shape((), index))
        axes = [
            p in starts and not isinstance(e, tuple) for p, e in enumerate(index) if _has_axis(p, e, starts)
        ]
        whole = self.broadcast(value, index, part)
        return self(reshape, whole, shape=tuple(1 if added else next(sizes) for added in axes))

    def broadcast(self, value: Node, index: Index, like: Node) -> Node:
        """A value that is written at an index, in the dtype of what it is written to and the shape of that part."""
        shape = index_shape((), index)
        if value.type.ndim > len(shape):
            value = self(reshape, value, shape=value.shape[value.type.ndim - len(shape) :])
        if value.dtype != like.dtype:
            value = self(cast, value, dtype=str(like.dtype))
        return self(broadcast_to, value, shape=shape)

    def mask(self, opened: Index, shape: tuple[int, ...], starts: Starts) -> Node:
        """Which elements of the part are written."""
        axis, hit = 0, None
        for place, entry in enumerate(opened):
            if place in starts:
                line = tuple(n if a == axis else 1 for a, n in enumerate(shape))
                along = literal(numpy.arange(shape[axis]).reshape(line), "int64")
                same = self(equal, along, starts[place])
                hit = same if hit is None else self(logical_and, hit, same)
            axis += isinstance(entry, tuple)
        assert hit is not None
        return hit


def _has_axis(place: int, entry: Any, starts: Starts) -> bool:
    return place in starts or isinstance(entry, tuple)


def _opened(index: Index, shape: tuple[int, ...], starts: Starts) -> Index:
    """The index with whole axes where places are computed."""
    sizes = iter(shape)
    entries = []
    for place, entry in enumerate(index):
        size = 0 if entry is None else next(sizes)
        entries.append(("slice", 0, size, 1) if place in starts else entry)
    return tuple(entries)


def _is_whole(index: Index, shape: tuple[int, ...]) -> bool:
    return index == tuple(("slice", 0, size, 1) for size in shape)


def _length(entry: Any) -> int:
    return len(range(*entry[1:])) if isinstance(entry, tuple) else 1
