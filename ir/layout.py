"""Where the elements of a value lie in a buffer: offset, shape and strides, counted in elements.

Movement operators (transpose, slice, broadcast, ...) move no data when the layout of their result can be
written down: the schedule then reads the producer's buffer through the new layout.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod


@dataclass(frozen=True)
class Layout:
    """Element ``index`` lies at ``offset + sum(index * strides)``."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie one after the other from the first of the buffer, in C order."""
        return self.offset == 0 and self.dense

    @property
    def dense(self) -> bool:
        """Whether the elements lie one after the other, in C order."""
        want = row_major(self.shape).strides
        return all(
            n == 1 or s == w for n, s, w in zip(self.shape, self.strides, want, strict=True)
        ) or not prod(self.shape)


def row_major(shape: tuple[int, ...]) -> Layout:
    """The layout of a freshly made array."""
    strides: list[int] = []
    step = 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return Layout(shape, tuple(reversed(strides)))


def index_at(offset: int, shape: tuple[int, ...]) -> list[int]:
    """The index of an element of an array of this shape in C order."""
    index = []
    for step in row_major(shape).strides:
        place, offset = divmod(offset, step)
        index.append(place)
    return index


def beside(part: Layout, shape: tuple[int, ...]) -> list[Layout] | None:
    """The rest of an array of this shape in C order, where ``part`` is a box in it: boxes that do not overlap.

    None where it is no box. They are seen as the whole array is, and each begins at its own offset.
    """
    whole = row_major(shape)
    if len(part.shape) != len(shape) or not prod(part.shape):
        return None
    if any(n > 1 and s != w for n, s, w in zip(part.shape, part.strides, whole.strides, strict=True)):
        return None
    starts, found = index_at(part.offset, shape), []
    for axis, (start, size) in enumerate(zip(starts, part.shape, strict=True)):
        for first, end in ((0, start), (start + size, shape[axis])):
            box = (*part.shape[:axis], end - first, *shape[axis + 1 :])
            places = (*starts[:axis], first, *(0 for _ in shape[axis + 1 :]))
            offset = sum(n * step for n, step in zip(places, whole.strides, strict=True))
            if prod(box):
                found.append(Layout(box, whole.strides, offset))
    return found


def broadcast(layout: Layout, shape: tuple[int, ...]) -> Layout:
    """``layout`` seen with NumPy's broadcasting as ``shape``."""
    lead = len(shape) - len(layout.shape)
    strides = (0,) * lead + tuple(
        s if n == m else 0 for n, s, m in zip(layout.shape, layout.strides, shape[lead:], strict=True)
    )
    return replace(layout, shape=shape, strides=strides)


def transpose(layout: Layout, axes: tuple[int, ...]) -> Layout:
    return replace(
        layout, shape=tuple(layout.shape[a] for a in axes), strides=tuple(layout.strides[a] for a in axes)
    )


def reshape(layout: Layout, shape: tuple[int, ...]) -> Layout | None:
    """``layout`` seen as ``shape`` in C order, or None where only a copy can do that."""
    if layout.dense:
        return replace(row_major(shape), offset=layout.offset)
    merged = merge([layout.shape], [layout.strides])
    old_shape, (old_strides,) = merged
    strides: list[int] = []
    rest = list(zip(old_shape, old_strides, strict=True))[::-1]
    left, step = rest.pop(0)  # there is one: what has at most one element is dense
    for n in reversed(shape):
        if n == 1:
            strides.append(0)
            continue
        if left == 1 and rest:
            left, step = rest.pop(0)
        if left % n:
            return None
        strides.append(step)
        left, step = left // n, step * n
    return Layout(shape, tuple(reversed(strides)), layout.offset)


def merge(
    shapes: list[tuple[int, ...]], strides: list[tuple[int, ...]]
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """One shape with as few axes as possible that walks all the given (equal) shapes with their strides.

    Axes of size 1 go; two neighbours become one where every operand steps through them evenly.
    """
    shape = shapes[0]
    kept: list[int] = []
    sizes: list[int] = []
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        if kept and all(s[kept[-1]] == s[axis] * n for s in strides):
            kept[-1] = axis
            sizes[-1] *= n
        else:
            kept.append(axis)
            sizes.append(n)
    return tuple(sizes), [tuple(s[a] for a in kept) for s in strides]
