"""Which elements take part in a fold (``where=``), and what is folded before them (``initial=``)."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray, full
from blockfuse.array.functions.shaping import broadcast_to
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operators import pointwise, reductions

# What is said here in no form that follows from shapes and dtypes alone is NumPy's to compute: a TypeError hands it on.


def masked(a: ArrayLike, where: ArrayLike, otherwise: float) -> ndarray:
    """The elements where a condition holds, elsewhere ``otherwise``, which alters no fold."""
    x, taking_part = asarray(a), mask(a, where)
    if x.dtype == bool:
        otherwise = bool(otherwise)
    return asarray(pointwise.where(taking_part, x, otherwise))


def mask(a: ArrayLike, where: ArrayLike) -> ndarray:
    """A condition for each element of ``a``. Raises ShapeError where it does not broadcast to its shape."""
    condition = asarray(where)
    if condition.dtype != bool:
        raise TypeError(f"where= takes an array of bools, not of {condition.dtype}")
    return broadcast_to(condition, asarray(a).shape)


def initial_of(initial: Any, dtype: numpy.dtype) -> Any:
    """A number to begin with that the dtype of the result holds."""
    kinds = {"f": (int, float), "i": (int,), "u": (int,)}.get(dtype.kind, ())
    if type(initial) not in kinds or (dtype.kind in "iu" and not _holds(dtype, initial)):
        raise TypeError(f"initial={initial!r:.40} is no number of {dtype}")
    return initial


def _holds(dtype: numpy.dtype, value: int) -> bool:
    limits = numpy.iinfo(dtype)
    return bool(limits.min <= value <= limits.max)


def nothing_but(initial: Any, x: ndarray, axes: tuple[int, ...], keepdims: bool) -> ndarray:
    """The extreme of no elements beside an initial number."""
    return full(reductions.reduced_shape(x.shape, axes, keepdims), initial_of(initial, x.dtype), x.dtype)
