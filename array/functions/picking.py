"""Elements picked, marked or masked by where they stand along an axis."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, checked_dtype, one_axis
from blockfuse.array.functions.coordinates import positions
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.selecting import argsort, as_index, take_along_axis, within
from blockfuse.array.functions.shaping import expand_dims, flip, reshape, squeeze
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import indexing, pointwise


def one_hot(
    data: ArrayLike, depth: int, on_value: float = 1.0, off_value: float = 0.0, dtype: Any = "float32"
) -> ndarray:
    """``on_value`` at the place that each integer names along a new last axis, ``off_value`` elsewhere.

    data: integers of any shape.

    Returns (*shape of data, depth), float32 unless ``dtype`` says otherwise.

    >>> from blockfuse import np, npx
    >>> npx.one_hot(np.array([2, 0]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    name = str(checked_dtype(dtype))
    return indexing.one_hot(
        asarray(data), depth=int(depth), on_value=on_value, off_value=off_value, dtype=name
    )


@size_agnostic
def pick(
    data: ArrayLike, index: ArrayLike, axis: int = -1, mode: str = "clip", keepdims: bool = False
) -> ndarray:
    """One element along an axis for each place of the others.

    data: an array of one axis or more.
    index: integers of its shape without ``axis``, or with size 1 there.
    mode: 'clip' or 'wrap', for places beyond the axis.
    keepdims: whether it stays, with size 1.

    Returns the shape of ``data`` without the axis, in its dtype. Raises ValueError for other modes.

    >>> from blockfuse import np, npx
    >>> npx.pick(np.array([[1, 2, 3], [4, 5, 6]]), np.array([2, 0]))
    array([3., 4.])
    """
    x = asarray(data)
    along = one_axis(axis, x.ndim)
    indices = within(as_index(index), x.shape[along], mode)
    if indices.ndim < x.ndim:
        indices = expand_dims(indices, along)
    picked = take_along_axis(x, indices, along)
    return picked if keepdims else squeeze(picked, along)


def topk(
    data: ArrayLike,
    axis: int | None = -1,
    k: int = 1,
    ret_typ: str = "indices",
    is_ascend: bool = False,
    dtype: Any = "float32",
) -> Any:
    """The largest (or smallest) elements along an axis, in order; equal ones by place.

    data: an array of any shape.
    axis: None flattens.
    k: how many, all for 0.
    is_ascend: whether the smallest.
    ret_typ: 'indices', 'value', 'both' (values, indices) or 'mask' (1 where an element is among them).

    Returns the shape of ``data`` with k along the axis: indices in ``dtype``, values in that of ``data``. A mask is
    like ``data``. Raises UsageError for other types.

    >>> from blockfuse import np, npx
    >>> npx.topk(np.array([3, 9, 5]), k=2, ret_typ="value")
    array([9., 5.])
    """
    x = asarray(data)
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    along = one_axis(axis, x.ndim)
    count = k if 0 < k < x.shape[along] else x.shape[along]
    first = argsort(x, along, descending=not is_ascend)[(*(slice(None),) * along, slice(0, count))]
    indices = first.astype(dtype)
    if ret_typ == "indices":
        return indices
    if ret_typ == "mask":
        return _hits(first, x, along)
    values = take_along_axis(x, first, along)
    if ret_typ not in ("value", "both"):
        raise UsageError(f"ret_typ={ret_typ!r}; use 'indices', 'value', 'both' or 'mask'")
    return values if ret_typ == "value" else [values, indices]


def _hits(indices: ndarray, x: ndarray, axis: int) -> ndarray:
    """1 at ``places`` along ``axis``, 0 elsewhere."""
    each = positions(x.shape[axis], x.ndim - axis)
    hit = pointwise.equal(expand_dims(indices, axis), each)
    return hit.any(axis=axis + 1).astype(x.dtype)


@size_agnostic
def sequence_mask(
    data: ArrayLike,
    sequence_length: ArrayLike | None = None,
    use_sequence_length: bool = False,
    value: float = 0.0,
    axis: int = 0,
) -> ndarray:
    """``value`` behind the end of each sequence.

    data: (times, batch, ...), or (batch, times, ...) with ``axis=1``.
    sequence_length: (batch,); without it, or without ``use_sequence_length``, nothing changes.

    Returns its shape and dtype. Raises ShapeError for other lengths, UsageError for other axes.

    >>> from blockfuse import np, npx
    >>> npx.sequence_mask(np.array([[1, 2], [3, 4], [5, 6]]), np.array([3, 2]), use_sequence_length=True)
    array([[1., 2.],
           [3., 4.],
           [5., 0.]])
    """
    x = asarray(data)
    if not use_sequence_length or sequence_length is None:
        return x
    kept = times_within(_lengths(x, sequence_length, axis, "sequence_mask"), x.shape[axis], axis)
    behind = value if x.dtype.kind == "f" else ndarray(numpy.asarray(value).astype(x.dtype))
    return where_kept(kept, x, behind)


@size_agnostic
def times_within(lengths: ndarray, times: int, axis: int) -> ndarray:
    """Whether a time, along ``axis``, lies within each sequence, along the other one of the two first axes."""
    found: ndarray = pointwise.less(positions(times, 1 - axis), _beside_times(lengths, axis))
    return found


@size_agnostic
def _beside_times(lengths: ndarray, axis: int) -> ndarray:
    return reshape(lengths, (1, lengths.size) if axis == 0 else (lengths.size, 1))


@size_agnostic
def where_kept(kept: Any, x: Any, otherwise: Any) -> Any:
    """``x`` for the items that ``kept`` (one truth each) says, ``otherwise`` for the rest."""
    return pointwise.where(reshape(kept, (*kept.shape, *(1,) * (x.ndim - kept.ndim))), x, otherwise)


@size_agnostic
def sequence_last(
    data: ArrayLike,
    sequence_length: ArrayLike | None = None,
    use_sequence_length: bool = False,
    axis: int = 0,
) -> ndarray:
    """The last element of each sequence.

    data: (times, batch, ...), or (batch, times, ...) with ``axis=1``.
    sequence_length: (batch,), used with ``use_sequence_length``.

    Returns (batch, ...) in the dtype of ``data``. Raises IndexError where a length is beyond the times, ShapeError for
    other lengths, UsageError for other axes.

    >>> from blockfuse import np, npx
    >>> npx.sequence_last(np.array([[1, 2], [3, 4], [5, 6]]), np.array([3, 2]), use_sequence_length=True)
    array([5., 4.])
    """
    x = asarray(data)
    if not use_sequence_length or sequence_length is None:
        _check_sequences(x, axis, "sequence_last")
        return x[(*(slice(None),) * axis, -1)]
    last = as_index(_lengths(x, sequence_length, axis, "sequence_last")) - 1
    batch = positions(x.shape[1 - axis], 0)
    return x[(last, batch) if axis == 0 else (batch, last)]


@size_agnostic
def sequence_reverse(
    data: ArrayLike,
    sequence_length: ArrayLike | None = None,
    use_sequence_length: bool = False,
    axis: int = 0,
) -> ndarray:
    """Each sequence with its times in reverse, what is behind its end left there.

    data: (times, batch, ...), or (batch, times, ...) with ``axis=1``.
    sequence_length: (batch,), used with ``use_sequence_length``.

    Returns its shape and dtype. Raises ShapeError for other lengths, UsageError for other axes.

    >>> from blockfuse import np, npx
    >>> npx.sequence_reverse(np.array([[1, 2], [3, 4], [5, 6]]), np.array([3, 2]), use_sequence_length=True)
    array([[5., 4.],
           [3., 2.],
           [1., 6.]])
    """
    x = asarray(data)
    if not use_sequence_length or sequence_length is None:
        _check_sequences(x, axis, "sequence_reverse")
        return flip(x, axis)
    lengths = _beside_times(as_index(_lengths(x, sequence_length, axis, "sequence_reverse")), axis)
    time, batch = positions(x.shape[axis], 1 - axis), positions(x.shape[1 - axis], axis)
    places = pointwise.where(pointwise.less(time, lengths), lengths - 1 - time, time)
    return x[(places, batch) if axis == 0 else (batch, places)]


@size_agnostic
def _lengths(x: ndarray, given: ArrayLike, axis: int, name: str) -> ndarray:
    _check_sequences(x, axis, name)
    lengths = asarray(given)
    if lengths.size != x.shape[1 - axis]:
        raise ShapeError(
            f"{name} needs one length for each of {x.shape[1 - axis]} sequences of shape {x.shape}; found {lengths.shape}"
        )
    return lengths


@size_agnostic
def _check_sequences(x: ndarray, axis: int, name: str) -> None:
    if axis not in (0, 1):
        raise UsageError(f"{name}: sequences run along axis 0 or 1, not {axis}")
    if x.ndim < 2:
        raise ShapeError(f"{name} needs an axis of times and one of the batch; found shape {x.shape}")
