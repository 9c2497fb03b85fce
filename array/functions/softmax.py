"""Softmax along an axis, whole or masked, and its logarithm; the logarithm of a sum of exponentials."""

from __future__ import annotations

from typing import Any

from blockfuse.array.arguments import ArrayLike, axes_tuple, one_axis
from blockfuse.array.functions.coordinates import positions
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.shaping import expand_dims
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.interpreter import current
from blockfuse.ir.operators import masked, neural, pointwise


@size_agnostic
def softmax(
    data: ArrayLike, axis: int = -1, length: ArrayLike | None = None, temperature: float | None = None
) -> ndarray:
    """Shares that sum to 1 along ``axis``.

    length: how many elements of each row along the last axis count; the others get 0.
    """
    x = _cooled(data, temperature)
    along = one_axis(axis, x.ndim)
    if length is not None:
        counts = expand_dims(asarray(length), along)
        return masked_softmax(x, pointwise.less(positions(x.shape[along], x.ndim - along - 1), counts), along)
    return current().apply(neural.softmax, (x,), {"axis": along})


def log_softmax(data: ArrayLike, axis: int = -1, temperature: float | None = None) -> ndarray:
    """The logarithm of ``softmax``, without overflow."""
    x = _cooled(data, temperature)
    return neural.log_softmax(x, axis=one_axis(axis, x.ndim))


def masked_softmax(
    data: ArrayLike, mask: ArrayLike, axis: int = -1, temperature: float | None = None
) -> ndarray:
    """``softmax`` over the elements where ``mask`` is true; the others get 0."""
    x, kept = _cooled(data, temperature), asarray(mask, bool)
    return masked.masked_softmax(x, kept, axis=one_axis(axis, x.ndim))


def masked_log_softmax(
    data: ArrayLike, mask: ArrayLike, axis: int = -1, temperature: float | None = None
) -> ndarray:
    """``log_softmax`` over the elements where ``mask`` is true; the others get -inf."""
    x, kept = _cooled(data, temperature), asarray(mask, bool)
    return masked.masked_log_softmax(x, kept, axis=one_axis(axis, x.ndim))


def _cooled(data: ArrayLike, temperature: float | None) -> ndarray:
    x = asarray(data)
    return x if temperature is None else x / temperature


def logsumexp(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """``log(sum(exp(a)))`` without overflow."""
    x = asarray(a)
    return masked.logsumexp(x, axis=axes_tuple(axis, x.ndim), keepdims=bool(keepdims))
