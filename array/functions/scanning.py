"""Each element and those before it along an axis: running sums and products, differences."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, one_axis
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import alike
from blockfuse.array.functions.joining import concatenate
from blockfuse.array.functions.shaping import broadcast_to, ravel
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import sorting


def _scanned(operator: Operator, a: ArrayLike, axis: int | None, dtype: Any) -> ndarray:
    x = asarray(a) if dtype is None else asarray(a, dtype)
    if axis is None:
        x, axis = ravel(x), 0
    result: ndarray = operator(x, axis=one_axis(axis, x.ndim))
    return result if dtype is None else asarray(result, dtype)


def cumsum(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> ndarray:
    """The sums of all elements up to each one along an axis.

    axis: None goes through the flattened array.

    Returns the shape of ``a``, or a vector; floats keep their dtype, others give int64 (unsigned: uint64), or
    ``dtype``.

    >>> from blockfuse import np
    >>> np.cumsum(np.array([1, 2, 3]))
    array([1., 3., 6.])
    """
    return _scanned(sorting.cumsum, a, axis, dtype)


def cumprod(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> ndarray:
    """The products of all elements up to each one along an axis.

    axis: None goes through the flattened array.

    Returns the shape of ``a``, or a vector; floats keep their dtype, others give int64 (unsigned: uint64), or
    ``dtype``.

    >>> from blockfuse import np
    >>> np.cumprod(np.array([1, 2, 3]))
    array([1., 2., 6.])
    """
    return _scanned(sorting.cumprod, a, axis, dtype)


def cumulative_sum(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> ndarray:
    """As ``cumsum``, of one axis or with ``axis``.

    include_initial: whether a 0 stands before the first.

    Returns the shape of ``x``, with one more along the axis if so; floats keep their dtype, others give int64
    (unsigned: uint64), or ``dtype``. Raises ValueError for several axes of which none is named.

    >>> from blockfuse import np
    >>> np.cumulative_sum(np.array([1, 2, 3]), include_initial=True)
    array([0., 1., 3., 6.])
    """
    return _from_the_first(sorting.cumsum, x, axis, dtype, 0 if include_initial else None)


def cumulative_prod(
    x: ArrayLike, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> ndarray:
    """As ``cumprod``, of one axis or with ``axis``.

    include_initial: whether a 1 stands before the first.

    Returns the shape of ``x``, with one more along the axis if so; floats keep their dtype, others give int64
    (unsigned: uint64), or ``dtype``. Raises ValueError for several axes of which none is named.

    >>> from blockfuse import np
    >>> np.cumulative_prod(np.array([1, 2, 3]), include_initial=True)
    array([1., 1., 2., 6.])
    """
    return _from_the_first(sorting.cumprod, x, axis, dtype, 1 if include_initial else None)


def _from_the_first(
    operator: Operator, x: ArrayLike, axis: int | None, dtype: Any, first: int | None
) -> ndarray:
    values = asarray(x)
    if axis is None and values.ndim != 1:
        raise ValueError(f"shape {values.shape} has not one axis: name the axis to go along")
    along = 0 if axis is None else one_axis(axis, values.ndim)
    scanned = _scanned(operator, values, along, dtype)
    return scanned if first is None else concatenate((_slice_of(scanned, along, first), scanned), along)


def _slice_of(x: ndarray, axis: int, value: ArrayLike) -> ndarray:
    """One value, or an array, as what could stand beside ``x`` along an axis."""
    given = alike(x, value)[1]
    if given.ndim:
        return given
    return broadcast_to(given, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))


def diff(
    a: ArrayLike,
    n: int = 1,
    axis: int = -1,
    prepend: ArrayLike | None = None,
    append: ArrayLike | None = None,
) -> ndarray:
    """Each element less the one before, ``n`` times over.

    a: one axis or more.
    prepend, append: what stands before the first and behind the last element along ``axis``; a number, or an array.

    Returns ``n`` elements less along the axis, in the dtype of ``a``; of bools, whether neighbours differ. Raises
    ValueError for a negative ``n``.

    >>> from blockfuse import np
    >>> np.diff(np.array([1, 4, 9]))
    array([3., 5.])
    """
    x = asarray(a)
    if n < 0:
        raise ValueError(f"differences are taken 0 times or more, not {n}")
    along = one_axis(axis, x.ndim)
    if prepend is not None:
        x = concatenate((_slice_of(x, along, prepend), x), along)
    if append is not None:
        x = concatenate((x, _slice_of(x, along, append)), along)
    lead = (slice(None),) * along
    for _ in range(n):
        after, before = x[(*lead, slice(1, None))], x[(*lead, slice(None, -1))]
        x = after != before if x.dtype == bool else after - before
    return x


def ediff1d(ary: ArrayLike, to_end: ArrayLike | None = None, to_begin: ArrayLike | None = None) -> ndarray:
    """The differences of neighbours in the flattened array, between what is given for the two ends.

    ary: n elements.
    to_begin, to_end: numbers or arrays, of b and e elements.

    Returns (b + n - 1 + e,) in the dtype of ``ary``. Raises TypeError for ends that cannot be cast to it.

    >>> from blockfuse import np
    >>> np.ediff1d(np.array([1, 4, 9]), to_begin=0)
    array([0., 3., 5.])
    """
    x = ravel(ary)
    between = diff(x)
    first = () if to_begin is None else (_beside(x, to_begin),)
    last = () if to_end is None else (_beside(x, to_end),)
    return concatenate((*first, between, *last))


def _beside(x: ndarray, given: ArrayLike) -> ndarray:
    """What is given in the dtype of ``x``, which NumPy demands."""
    values = ravel(alike(x, given)[1])
    if not numpy.can_cast(values.dtype, x.dtype, "same_kind"):
        raise TypeError(f"values of {values.dtype} cannot stand beside differences of {x.dtype}")
    return asarray(values, x.dtype)
