"""Windows that slide along the axes between the first and the last: how many there are, how they are seen and put together.

NOTE [channels last]
Convolution and pooling take arrays of shape (batch, *places, channels) and nothing else: another layout is the same array,
transposed, which moves no data. So a window's channels are neighbours wherever we choose the memory, and vectors run
along them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy

from blockfuse.ir.errors import ShapeError
from blockfuse.ir.layout import Layout
from blockfuse.ir.operator import Example
from blockfuse.ir.operators.movement import (
    concatenate,
    expand_dims,
    filled,
    get_item,
    movement,
    numpy_index,
    reshape,
    set_item,
)

Sizes = tuple[int, ...]  # one for each axis that windows slide along
Padding = tuple[tuple[int, int], ...]  # before and behind, for each of them


def window_counts(sizes: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes, padding: Padding) -> Sizes:
    """How many windows fit along each axis; raises ShapeError where one is longer than its padded axis."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    padded = [n + before + behind for n, (before, behind) in zip(sizes, padding, strict=True)]
    if any(span > n for span, n in zip(spans, padded, strict=True)):
        raise ShapeError(
            f"windows of {_by(spans)} do not fit into {_by(padded)} elements: the input has {_by(sizes)}, "
            "the rest is padding"
        )
    return tuple((n - span) // s + 1 for n, span, s in zip(padded, spans, stride, strict=True))


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def unpadded(kernel: Sizes) -> Padding:
    """No padding along any axis."""
    return ((0, 0),) * len(kernel)


# -- windows as a view ---------------------------------------------------------------------------------------


def _slid_shape(shape: Sizes, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Sizes:
    batch, *places, channels = shape
    return (
        batch,
        *window_counts(tuple(places), kernel, stride, dilation, unpadded(kernel)),
        *kernel,
        channels,
    )


def _slid_layout(where: Layout, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Layout:
    batch, *places, channels = where.strides
    across = (p * s for p, s in zip(places, stride, strict=True))
    within = (p * d for p, d in zip(places, dilation, strict=True))
    return Layout(
        _slid_shape(where.shape, kernel, stride, dilation), (batch, *across, *within, channels), where.offset
    )


def _slid(x: numpy.ndarray, kernel: Sizes, stride: Sizes, dilation: Sizes) -> numpy.ndarray:
    shape = _slid_shape(x.shape, kernel, stride, dilation)
    strides = _slid_layout(Layout(x.shape, x.strides), kernel, stride, dilation).strides
    return numpy.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


# (batch, *places, channels) -> (batch, *windows, *kernel, channels); an element is seen in every window it belongs to.
sliding_windows = movement(
    "sliding_windows",
    _slid,
    _slid_layout,
    None,
    _slid_shape,
    (
        Example(((2, 5, 3),), {"kernel": (2,), "stride": (1,), "dilation": (2,)}),
        Example(((1, 4, 5, 2),), {"kernel": (2, 3), "stride": (2, 1), "dilation": (1, 1)}),
    ),
)

# -- taps: one element of each window ------------------------------------------------------------------------


def taps(kernel: Sizes) -> Iterator[Sizes]:
    """The places in a window, in C order."""
    return product(*map(range, kernel))


def tap_index(counts: Sizes, start: Sizes, stride: Sizes) -> tuple[Any, ...]:
    """The index of ``get_item`` for elements ``start + n * stride`` of the axes that windows slide along."""
    return tuple(
        ("slice", first, first + (n - 1) * step + 1 if n else first, step)
        for n, first, step in zip(counts, start, stride, strict=True)
    )


def at_tap(x: Any, counts: Sizes, start: Sizes, stride: Sizes) -> Any:
    """``x`` at one place of every window, written with operators."""
    return get_item(x, index=(_whole(x, 0), *tap_index(counts, start, stride), _whole(x, -1)))


def _whole(x: Any, axis: int) -> tuple[Any, ...]:
    return ("slice", 0, x.shape[axis], 1)


def numpy_tap(counts: Sizes, start: Sizes, stride: Sizes) -> tuple[Any, ...]:
    """The same as an index of NumPy."""
    return numpy_index((("slice", 0, None, 1), *tap_index(counts, start, stride)))


# -- borders -------------------------------------------------------------------------------------------------


def padded(x: Any, padding: Padding, value: float | int | bool = 0) -> Any:
    """``x`` with borders of ``value``, written with operators; a border below 0 is cut off."""
    if any(width < 0 for pair in padding for width in pair):
        places = tuple(
            ("slice", max(-before, 0), n - max(-behind, 0), 1)
            for n, (before, behind) in zip(x.shape[1:-1], padding, strict=True)
        )
        x = get_item(x, index=(_whole(x, 0), *places, _whole(x, -1)))
    widths = [(max(before, 0), max(behind, 0)) for before, behind in padding]
    if not any(map(any, widths)):
        return x
    sizes = tuple(sum(pair) + n for pair, n in zip(widths, x.shape[1:-1], strict=True))
    inside = tuple(("slice", w[0], w[0] + n, 1) for w, n in zip(widths, x.shape[1:-1], strict=True))
    border = filled(value, (x.shape[0], *sizes, x.shape[-1]), x.dtype)
    return set_item(border, x, index=(_whole(x, 0), *inside, _whole(x, -1)))


def numpy_padded(x: numpy.ndarray, padding: Padding, value: float | int | bool = 0) -> numpy.ndarray:
    """The same in NumPy, for borders from 0 on; memory keeps the order of its axes."""
    if not any(map(any, padding)):
        return x
    sizes = (sum(pair) + n for pair, n in zip(padding, x.shape[1:-1], strict=True))
    result = numpy.full_like(x, value, shape=(x.shape[0], *sizes, x.shape[-1]))
    result[numpy_inside(padding, x.shape[1:-1])] = x
    return result


def numpy_inside(padding: Padding, sizes: Sizes) -> tuple[Any, ...]:
    """The index of what borders surround."""
    return (slice(None), *(slice(w[0], w[0] + n) for w, n in zip(padding, sizes, strict=True)))


# -- what overlapping windows add up to ----------------------------------------------------------------------

# NOTE [phases]
# What windows a stride apart add to an element depends on its place modulo the stride, its *phase*: elements of one phase
# get their part from the same taps, of windows that lie side by side. So each phase is a sum of shifted views, without
# additions in memory, and the phases are interleaved.


def overlapped(
    part_of: Callable[[Sizes, Sizes], Any], size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding
) -> Any:
    """What windows add to each element, written with operators: see NOTE [phases].

    part_of: of a phase and of how many elements it has along each axis, those elements. size: the axes without padding.
    """
    whole = tuple(n + sum(pair) for n, pair in zip(size, padding, strict=True))
    counts = tuple(-(-n // s) for n, s in zip(whole, stride, strict=True))
    result = _interleaved(lambda phase: part_of(phase, counts), stride, ())
    kept = tuple(("slice", pair[0], pair[0] + n, 1) for n, pair in zip(size, padding, strict=True))
    if kept == tuple(("slice", 0, n, 1) for n in result.shape[1:-1]):
        return result
    return get_item(result, index=(_whole(result, 0), *kept, _whole(result, -1)))


def _interleaved(part_of: Callable[[Sizes], Any], stride: Sizes, phase: Sizes) -> Any:
    """The phases that begin with ``phase``, those of the last axis innermost."""
    axis = len(phase) + 1
    if axis > len(stride):
        return part_of(phase)
    parts = [_interleaved(part_of, stride, (*phase, n)) for n in range(stride[axis - 1])]
    if len(parts) == 1:
        return parts[0]
    beside = concatenate(*(expand_dims(part, axis=(axis + 1,)) for part in parts), axis=axis + 1)
    shape = parts[0].shape
    return reshape(beside, shape=(*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :]))


def phase_taps(phase: Sizes, kernel: Sizes, stride: Sizes) -> list[Sizes]:
    """The taps that add to elements of a phase."""
    return [
        tap for tap in taps(kernel) if all(t % s == p for t, s, p in zip(tap, stride, phase, strict=True))
    ]


def shifted_sum(
    value_of: Callable[[Sizes, Callable[[Any], Any]], Any],
    like: Any,
    size: Sizes,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
) -> Any:
    """What each window adds at each of its taps, summed, written with operators.

    value_of: of a tap and of a function that brings an array with one element for each window to the elements that
    windows add to: what is added. ``border`` makes such arrays. like: one of them, without its border.
    """

    def part(phase: Sizes, counts: Sizes) -> Any:
        found = phase_taps(phase, kernel, stride)
        if not found:
            return filled(0, (like.shape[0], *counts, like.shape[-1]), like.dtype)
        values = []
        for tap in found:
            start = tuple((k - 1) // s - t // s for k, s, t in zip(kernel, stride, tap, strict=True))
            values.append(value_of(tap, _seen_from(counts, start)))
        return added(values)

    return overlapped(part, size, kernel, stride, padding)


def _seen_from(counts: Sizes, start: Sizes) -> Callable[[Any], Any]:
    return lambda x: at_tap(x, counts, start, (1,) * len(counts))


def added(values: Sequence[Any]) -> Any:
    """The sum of one value or more, in their order."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def border(windows: Sizes, size: Sizes, kernel: Sizes, stride: Sizes, padding: Padding) -> Padding:
    """The padding of arrays with one element for each window in ``shifted_sum``."""
    found = []
    for count, n, k, s, pair in zip(windows, size, kernel, stride, padding, strict=True):
        before = (k - 1) // s
        found.append((before, -(-(n + sum(pair)) // s) - count))
    return tuple(found)
