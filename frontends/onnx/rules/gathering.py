"""Rules of operators that pick elements by indices, or put them there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array import np
from blockfuse.frontends.onnx.rules.table import Static, Value, rule
from blockfuse.frontends.onnx.rules.values import along, is_known, number
from blockfuse.ir.errors import UsageError


@rule("Gather")
def gather(data: Value, indices: Value, axis: int = 0) -> Value:
    """Rows of an axis; negative indices count from behind."""
    return numpy.take(data, indices, axis=axis)


@rule("GatherElements")
def gather_elements(data: Value, indices: Value, axis: int = 0) -> Value:
    """One index for each element of the result."""
    return data[_spread(indices, axis)]


def _spread(indices: Value, axis: int) -> tuple[Value, ...]:
    """The place of each element of ``indices``, with its value along ``axis``."""
    axis %= indices.ndim
    grid = [along(numpy.arange(n), a, indices.ndim) for a, n in enumerate(indices.shape)]
    return (*grid[:axis], indices, *grid[axis + 1 :])


@rule("GatherND")
def gather_nd(data: Value, indices: Value, batch_dims: int = 0) -> Value:
    """Tuples of indices along the last axis."""
    return data[_tuples(indices, batch_dims)]


def _tuples(indices: Value, batch_dims: int = 0) -> tuple[Value, ...]:
    outer = indices.ndim - 1
    batch = [along(numpy.arange(indices.shape[a]), a, outer) for a in range(batch_dims)]
    return (*batch, *(indices[..., n] for n in range(indices.shape[-1])))


# -- putting -------------------------------------------------------------------------------------------------------

# reduction of the standard -> how NumPy puts elements, one after the other where several meet
_PUT: dict[str, Callable[..., Any]] = {
    "add": numpy.add.at,
    "mul": numpy.multiply.at,
    "max": numpy.maximum.at,
    "min": numpy.minimum.at,
}


@rule("ScatterElements")
@rule("Scatter")
def scatter_elements(
    data: Value, indices: Value, updates: Value, axis: int = 0, reduction: str = "none"
) -> Value:
    """``data`` with elements put at places: one index for each."""
    return _scattered(data, _spread(indices, axis), updates, reduction)


@rule("ScatterND")
def scatter_nd(data: Value, indices: Value, updates: Value, reduction: str = "none") -> Value:
    """``data`` with parts put at places: tuples of indices."""
    return _scattered(data, _tuples(indices), updates, reduction)


def _scattered(data: Value, places: tuple[Value, ...], updates: Value, reduction: str) -> Value:
    """Where indices are known, the write is recorded; else it is NumPy's, an escape."""
    if reduction not in ("none", *_PUT):
        raise UsageError(f"a scatter with the reduction {reduction!r}")
    result: Value
    if all(map(is_known, (data, *places, updates))):
        result = numpy.array(data)
    elif reduction == "none":
        result = np.array(data)
    else:
        result = numpy.array(data)
        places, updates = tuple(numpy.asarray(p) for p in places), numpy.asarray(updates)
    if reduction == "none":
        result[places] = updates
        return result
    _PUT[reduction](result, places, updates)
    return result


@rule("TensorScatter")
def tensor_scatter(
    past: Value, update: Value, write_indices: Static = None, axis: int = -2, mode: str = "linear"
) -> Value:
    """A cache with new entries of each sequence, from an index on."""
    axis %= past.ndim
    count, size = update.shape[axis], past.shape[axis]
    starts = numpy.zeros(past.shape[0], "int64") if write_indices is None else write_indices
    places = numpy.expand_dims(starts, 1) + numpy.arange(count)
    places = numpy.remainder(places, size) if mode == "circular" else places
    wide = places.reshape((past.shape[0], *(1,) * (axis - 1), count, *(1,) * (past.ndim - axis - 1)))
    return scatter_elements(past, numpy.broadcast_to(wide, update.shape), update, axis)


# -- results whose size depends on values: escapes -----------------------------------------------------------------


@rule("NonZero")
def non_zero(x: Value) -> Value:
    """The places of all that is not zero, one column each."""
    found = numpy.nonzero(numpy.asarray(x))
    return numpy.array(found, "int64").reshape((x.ndim, -1))


@rule("Compress")
def compress(data: Value, condition: Static, axis: int | None = None) -> Value:
    """Where a condition holds."""
    return numpy.compress(numpy.asarray(condition), numpy.asarray(data), axis=axis)


@rule("Unique", several=True)
def unique(x: Value, axis: int | None = None, sorted: int = 1) -> tuple[Value, Value, Value, Value]:
    """Different elements, where each is first, which one each element is, and how often each occurs."""
    found = numpy.unique(
        numpy.asarray(x), return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    values, first, inverse, counts = found
    inverse = inverse.reshape(-1)
    if not sorted:
        order = numpy.argsort(first)
        values = numpy.take(values, order, axis=axis or 0)
        inverse, first, counts = numpy.argsort(order)[inverse], first[order], counts[order]
    return values, first.astype("int64"), inverse.astype("int64"), counts.astype("int64")


@rule("NonMaxSuppression")
def non_max_suppression(
    boxes: Value,
    scores: Value,
    max_output_boxes_per_class: Static = None,
    iou_threshold: Static = None,
    score_threshold: Static = None,
    center_point_box: int = 0,
) -> Value:
    """The best boxes of each class that do not overlap with better ones: rows of (batch, class, box)."""
    most = 0 if max_output_boxes_per_class is None else int(number(max_output_boxes_per_class))
    overlap = 0.0 if iou_threshold is None else number(iou_threshold)
    least = None if score_threshold is None else number(score_threshold)
    corners, marks = _corners(numpy.asarray(boxes), center_point_box), numpy.asarray(scores)
    kept = [
        (batch, kind, box)
        for batch in range(marks.shape[0])
        for kind in range(marks.shape[1])
        for box in _best(corners[batch], marks[batch, kind], most, overlap, least)
    ]
    return numpy.array(kept, "int64").reshape((-1, 3))


def _corners(boxes: numpy.ndarray, centered: int) -> numpy.ndarray:
    """Boxes as (low, low, high, high)."""
    if centered:
        middle, half = boxes[..., :2], boxes[..., 2:] / 2
        return numpy.concatenate([middle - half, middle + half], axis=-1)
    a, b = boxes[..., :2], boxes[..., 2:]
    return numpy.concatenate([numpy.minimum(a, b), numpy.maximum(a, b)], axis=-1)


def _best(
    boxes: numpy.ndarray, scores: numpy.ndarray, most: int, overlap: float, least: float | None
) -> list[int]:
    kept: list[int] = []
    for box in numpy.argsort(-scores, kind="stable").tolist():
        if len(kept) >= most:
            break
        if least is not None and scores[box] <= least:
            continue
        if all(_shared(boxes[box], boxes[other]) <= overlap for other in kept):
            kept.append(box)
    return kept


def _shared(a: numpy.ndarray, b: numpy.ndarray) -> float:
    """The area that two boxes share, of the area that they cover."""
    sides = numpy.maximum(numpy.minimum(a[2:], b[2:]) - numpy.maximum(a[:2], b[:2]), 0)
    both = sides.prod()
    covered = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both
    return float(both / covered) if covered > 0 else 0.0
