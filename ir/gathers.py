"""Which elements a pattern of index arrays picks, as layouts: the places that are known, and the axes that indices walk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from blockfuse.ir.layout import Layout, broadcast

# Integer arrays in the places marked ("array", n); ("along", n, ndim), never beside an ellipsis, counts along axis n of the
# ``ndim`` that the arrays have together; otherwise ints, ("slice", start, stop, step), None, Ellipsis.
Pattern = tuple[Any, ...]


@dataclass(frozen=True)
class IndexedAxis:
    """An axis of ``size`` that an index array walks in steps of ``stride``; index: the array, in the shape of the result."""

    index: Layout
    size: int
    stride: int


@dataclass(frozen=True)
class Gathered:
    """base: the elements for indices that are all 0, in the shape of the result. axes: by number of the index array."""

    base: Layout
    axes: tuple[IndexedAxis, ...]


def gathered(pattern: Pattern, table: Layout, indices: Sequence[Layout]) -> Gathered:
    """``table[pattern]``, as NumPy has it: an int beside arrays is an array too, and axes of arrays that stand apart from
    each other come first. All ints lie within their axes.
    """
    entries = list(_with_axes(pattern, table))
    common = _common_shape(entries, indices)
    first = next(n for n, (entry, _, _) in enumerate(entries) if _is_advanced(entry))
    before = [_taken(*e) for e in entries[:first]]
    behind = [_taken(*e) for e in entries[first:] if not _is_advanced(e[0])]
    if not _stand_together(pattern):
        before, behind = [], before + behind
    shape = (*(n for n, _ in before), *common, *(n for n, _ in behind))
    along = [sum(_step_along(n, *entry) for entry in entries) for n in range(len(common))]
    offset = table.offset + sum(_offset(*e) for e in entries)
    base = Layout(shape, (*(s for _, s in before), *along, *(s for _, s in behind)), offset)
    walked = {entry[1]: (size, stride) for entry, size, stride in entries if _kind(entry) == "array"}
    axes = []
    for number, index in enumerate(indices):
        strides = ((0,) * len(before), broadcast(index, common).strides, (0,) * len(behind))
        axes.append(IndexedAxis(Layout(shape, sum(strides, ()), index.offset), *walked[number]))
    return Gathered(base, tuple(axes))


_Entry = tuple[Any, int, int]  # of a pattern, with the size and the stride of its axis


def _with_axes(pattern: Pattern, table: Layout) -> Iterator[_Entry]:
    """Every entry but an ellipsis, which stands for whole axes."""
    axes = zip(table.shape, table.strides, strict=True)
    rest = len(table.shape) - sum(1 for entry in pattern if entry is not None and entry is not Ellipsis)
    open_end = () if Ellipsis in pattern else (Ellipsis,)
    for entry in (*pattern, *open_end):
        if entry is None:
            yield None, 1, 0
        elif entry is Ellipsis:
            yield from ((("slice", None, None, None), *next(axes)) for _ in range(rest))
        else:
            yield entry, *next(axes)


def _kind(entry: Any) -> str:
    """'array', 'along', 'slice', or nothing for anything else."""
    return entry[0] if isinstance(entry, tuple) else ""


def _is_advanced(entry: Any) -> bool:
    return isinstance(entry, int) or _kind(entry) in ("array", "along")


def _stand_together(pattern: Pattern) -> bool:
    """Whether nothing is between the arrays, not even an ellipsis that stands for no axis."""
    positions = [n for n, entry in enumerate(pattern) if _is_advanced(entry)]
    return positions[-1] - positions[0] == len(positions) - 1


def _step_along(axis: int, entry: Any, size: int, stride: int) -> int:
    """How far a step along an axis of the arrays goes in an entry that counts along it; an axis of size 1 is broadcast."""
    return stride if _kind(entry) == "along" and entry[1] == axis and size > 1 else 0


def _taken(entry: Any, size: int, stride: int) -> tuple[int, int]:
    """Size and stride of the axis that a slice or None gives."""
    if entry is None:
        return size, stride
    start, stop, step = slice(*entry[1:]).indices(size)
    return len(range(start, stop, step)), step * stride


def _offset(entry: Any, size: int, stride: int) -> int:
    """How far from the start of its axis an int or a slice begins."""
    if isinstance(entry, int):
        return entry % size * stride
    if _kind(entry) != "slice":
        return 0
    taken = range(size)[slice(*entry[1:])]
    return taken[0] * stride if taken else 0


def _common_shape(entries: Sequence[_Entry], indices: Sequence[Layout]) -> tuple[int, ...]:
    """The shape that all index arrays are broadcast to."""
    counted = [
        tuple(size if n == entry[1] else 1 for n in range(entry[2]))
        for entry, size, _ in entries
        if _kind(entry) == "along"
    ]
    return numpy.broadcast_shapes(*(i.shape for i in indices), *counted)
