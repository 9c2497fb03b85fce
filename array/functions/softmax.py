"""Softmax along an axis, whole or masked, and its logarithm; the logarithm of a sum of exponentials."""

from __future__ import annotations

from typing import Any

from blockfuse.array.arguments import ArrayLike, axes_tuple, one_axis
from blockfuse.array.functions.coordinates import positions
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.shaping import expand_dims
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.interpreter import current
from blockfuse.ir.operators import masked, neural, pointwise


@size_agnostic
def softmax(
    data: ArrayLike,
    axis: int = -1,
    length: ArrayLike | None = None,
    temperature: float | None = None,
    use_length: bool | None = None,
    dtype: Any = None,
) -> ndarray:
    """Shares that sum to 1 along an axis: ``exp(data) / sum(exp(data))`` without overflow.

    data: an array of one axis or more.
    temperature: what it is divided by.
    length: how many elements along the axis count, one number for each place of the other axes; the others get 0.
    use_length: whether ``length`` is used; as a rule where there is one.

    Returns the shape of ``data``; floats keep their dtype, others give float64, unless ``dtype`` says otherwise. Raises
    ShapeError for lengths of another shape.

    >>> from blockfuse import np, npx
    >>> npx.softmax(np.array([[0, 0], [0, 1000]]))
    array([[0.5, 0.5],
           [0. , 1. ]])
    """
    x = _cooled(data, temperature)
    along = one_axis(axis, x.ndim)
    if _uses(length, use_length):
        shares = masked_softmax(x, _within(x, length, along), along)
    else:
        shares = current().apply(neural.softmax, (x,), {"axis": along})
    return shares if dtype is None else shares.astype(dtype)


@size_agnostic
def log_softmax(
    data: ArrayLike,
    axis: int = -1,
    length: ArrayLike | None = None,
    temperature: float | None = None,
    use_length: bool | None = None,
    dtype: Any = None,
) -> ndarray:
    """The logarithm of ``softmax``, whose arguments it takes, without overflow; -inf where an element does not count.

    Returns the shape of ``data``; floats keep their dtype, others give float64, unless ``dtype`` says otherwise.

    >>> from blockfuse import np, npx
    >>> npx.log_softmax(np.array([0, 1000]))
    array([-1000.,     0.])
    """
    x = _cooled(data, temperature)
    along = one_axis(axis, x.ndim)
    if _uses(length, use_length):
        logs = masked_log_softmax(x, _within(x, length, along), along)
    else:
        logs = neural.log_softmax(x, axis=along)
    return logs if dtype is None else logs.astype(dtype)


def _uses(length: ArrayLike | None, use_length: bool | None) -> bool:
    if use_length and length is None:
        raise UsageError("use_length=True asks for the elements that count: give length=")
    return length is not None and use_length is not False


@size_agnostic
def _within(x: ndarray, length: ArrayLike, axis: int) -> ndarray:
    """Whether each element along the axis counts. Raises ShapeError."""
    counts, wanted = asarray(length), x.shape[:axis] + x.shape[axis + 1 :]
    if counts.shape != wanted:
        raise ShapeError(
            f"length needs one number for each place of the other axes, shape {wanted}; found {counts.shape}"
        )
    found: ndarray = pointwise.less(positions(x.shape[axis], x.ndim - axis - 1), expand_dims(counts, axis))
    return found


def masked_softmax(
    data: ArrayLike, mask: ArrayLike, axis: int = -1, temperature: float | None = None
) -> ndarray:
    """``softmax`` over the elements where ``mask`` is true; the others get 0.

    data, mask: arrays of shapes that broadcast.
    temperature: what ``data`` is divided by.

    Returns their common shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np, npx
    >>> npx.masked_softmax(np.array([5, 5, 5]), np.array([True, False, True]))
    array([0.5, 0. , 0.5])
    """
    x, kept = _cooled(data, temperature), asarray(mask, bool)
    return masked.masked_softmax(x, kept, axis=one_axis(axis, x.ndim))


def masked_log_softmax(
    data: ArrayLike, mask: ArrayLike, axis: int = -1, temperature: float | None = None
) -> ndarray:
    """``log_softmax`` over the elements where ``mask`` is true; the others get -inf.

    data, mask: arrays of shapes that broadcast.
    temperature: what ``data`` is divided by.
    axis: along which the elements of a distribution lie.

    Returns their common shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np, npx
    >>> npx.masked_log_softmax(np.array([5, 5, 5]), np.array([True, False, True])).round(3)
    array([-0.693,   -inf, -0.693])
    """
    x, kept = _cooled(data, temperature), asarray(mask, bool)
    return masked.masked_log_softmax(x, kept, axis=one_axis(axis, x.ndim))


def _cooled(data: ArrayLike, temperature: float | None) -> ndarray:
    x = asarray(data)
    return x if temperature is None else x / temperature


def logsumexp(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """``log(sum(exp(a)))`` without overflow.

    a: an array of any shape.
    axis: an int, a tuple, or None for all axes.
    keepdims: whether these stay, with size 1.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64.

    >>> from blockfuse import np, npx
    >>> npx.logsumexp(np.array([1000, 1000]))
    array(1000.6932)
    """
    x = asarray(a)
    return masked.logsumexp(x, axis=axes_tuple(axis, x.ndim), keepdims=bool(keepdims))
