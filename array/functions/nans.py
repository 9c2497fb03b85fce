"""Arrays with gaps: functions that leave out what is nan, or put numbers in its place."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions import reducing, scanning
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.functions.elementwise import (
    isinf,
    isnan,
    logical_and,
    logical_not,
    signbit,
    square,
    where,
)
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operators import pointwise

# Integers have no nan, so all of these do with them what the function without ``nan`` in its name does.


def nan_to_num(
    x: ArrayLike,
    copy: bool = True,
    nan: float = 0.0,
    posinf: float | None = None,
    neginf: float | None = None,
) -> ndarray:
    """Each element, with a number in the place of nan and of the infinities (default: the largest and the least of the
    dtype).

    x: an array of any shape.
    copy: False writes into ``x``.
    nan, posinf, neginf: the numbers.

    Returns its shape and dtype.

    >>> from blockfuse import np
    >>> np.nan_to_num(np.array([1, np.nan]))
    array([1., 0.])
    """
    given = asarray(x)
    filled = (
        _without_infinities(where(isnan(given), nan, given), posinf, neginf) if _has_nan(given) else given
    )
    if not copy:
        given[...] = filled
        return given
    return array(given) if filled is given else asarray(filled, given.dtype)


def _without_infinities(x: ndarray, posinf: float | None, neginf: float | None) -> ndarray:
    limits = numpy.finfo(x.dtype)
    highest = float(limits.max) if posinf is None else posinf
    lowest = float(limits.min) if neginf is None else neginf
    capped = where(logical_and(isinf(x), logical_not(signbit(x))), highest, x)
    return asarray(where(logical_and(isinf(x), signbit(x)), lowest, capped))


def _has_nan(x: ndarray) -> bool:
    return x.dtype.kind == "f"


def isposinf(x: ArrayLike) -> ndarray:
    """Whether each element is positive infinity.

    Returns the shape of ``x``, bool.

    >>> from blockfuse import np
    >>> np.isposinf(np.array([1, np.inf, -np.inf]))
    array([False,  True, False])
    """
    values = asarray(x)
    return logical_and(isinf(values), logical_not(signbit(values)))


def isneginf(x: ArrayLike) -> ndarray:
    """Whether each element is negative infinity.

    Returns the shape of ``x``, bool.

    >>> from blockfuse import np
    >>> np.isneginf(np.array([1, np.inf, -np.inf]))
    array([False, False,  True])
    """
    values = asarray(x)
    return logical_and(isinf(values), signbit(values))


# -- sums ----------------------------------------------------------------------------------------------------


def _filled(a: ArrayLike, value: float) -> ndarray:
    """The elements, with ``value`` in the place of nan."""
    x = asarray(a)
    return asarray(where(isnan(x), value, x)) if _has_nan(x) else x


def _numbers(a: ArrayLike, axis: Any, keepdims: bool) -> ndarray:
    """How many elements are not nan, int64."""
    return reducing.sum(logical_not(isnan(a)), axis, keepdims=keepdims)


def nansum(a: ArrayLike, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray:
    """The sum of the elements that are not nan; 0 where there is none.

    a: an array of any shape.
    axis: an int, a tuple, or None for all axes.
    keepdims: whether these stay, with size 1.
    dtype: of the result.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give int64 (unsigned: uint64).

    >>> from blockfuse import np
    >>> np.nansum(np.array([1, np.nan, 2]))
    array(3.)
    """
    return reducing.sum(_filled(a, 0), axis, dtype, keepdims)


def nanprod(a: ArrayLike, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray:
    """The product of the elements that are not nan; 1 where there is none.

    axis, keepdims, dtype: as of ``nansum``.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give int64 (unsigned: uint64).

    >>> from blockfuse import np
    >>> np.nanprod(np.array([2, np.nan, 3]))
    array(6.)
    """
    return reducing.prod(_filled(a, 1), axis, dtype, keepdims)


def nanmean(a: ArrayLike, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray:
    """The mean of the elements that are not nan; nan where there is none.

    axis, keepdims, dtype: as of ``nansum``.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.nanmean(np.array([[1, np.nan], [3, 5]]), axis=1)
    array([1., 4.])
    """
    x = asarray(a, dtype)
    if not _has_nan(x):
        return reducing.mean(x, axis, keepdims=keepdims)
    total = reducing.sum(_filled(x, 0), axis, keepdims=keepdims)
    return asarray(total / _numbers(x, axis, keepdims), x.dtype)


def nanvar(
    a: ArrayLike, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> ndarray:
    """The mean squared distance of the elements that are not nan from their mean; nan where ``ddof`` leaves none.

    axis, keepdims, dtype: as of ``nansum``.
    ddof: what the count is lessened by before the division.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.nanvar(np.array([1, np.nan, 5]))
    array(4.)
    """
    x = asarray(a, dtype)
    if not _has_nan(x):
        return reducing.var(x, axis, ddof=ddof, keepdims=keepdims)
    distances = square(x - nanmean(x, axis, keepdims=True))
    free = _numbers(x, axis, keepdims) - ddof
    present = where(isnan(x), 0, distances)  # infinities have no distance, which is nan, too
    spread = reducing.sum(present, axis, keepdims=keepdims) / where(free > 0, free, 1)
    return asarray(where(free > 0, spread, numpy.nan), x.dtype)


def nanstd(
    a: ArrayLike, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> ndarray:
    """The square root of ``nanvar``, whose arguments it takes.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.nanstd(np.array([1, np.nan, 5]))
    array(2.)
    """
    root: ndarray = pointwise.sqrt(nanvar(a, axis, dtype, ddof, keepdims))
    return root


# -- extremes ------------------------------------------------------------------------------------------------


def nanmax(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The largest element that is not nan; nan where there is none.

    axis, keepdims: as of ``nansum``.

    Returns the shape of ``a`` without the axes, in its dtype. Raises ValueError over no elements.

    >>> from blockfuse import np
    >>> np.nanmax(np.array([[1, np.nan], [3, 5]]), axis=0)
    array([3., 5.])
    """
    found = reducing.max(_filled(a, -numpy.inf), axis, keepdims)
    return _nan_if_nothing(found, a, axis, keepdims)


def nanmin(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The smallest element that is not nan; nan where there is none.

    axis, keepdims: as of ``nansum``.

    Returns the shape of ``a`` without the axes, in its dtype. Raises ValueError over no elements.

    >>> from blockfuse import np
    >>> np.nanmin(np.array([[1, np.nan], [3, 5]]), axis=0)
    array([1., 5.])
    """
    found = reducing.min(_filled(a, numpy.inf), axis, keepdims)
    return _nan_if_nothing(found, a, axis, keepdims)


def _nan_if_nothing(found: ndarray, a: ArrayLike, axis: Any, keepdims: bool) -> ndarray:
    x = asarray(a)
    if not _has_nan(x):
        return found
    return asarray(where(reducing.all(isnan(x), axis, keepdims), numpy.nan, found))


# -- scans ---------------------------------------------------------------------------------------------------


def nancumsum(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> ndarray:
    """The sums of all elements up to each one along an axis, with 0 for nan.

    axis: None goes through the flattened array.
    dtype: of the result.

    Returns the shape of ``a``, or a vector; floats keep their dtype, others give int64 (unsigned: uint64).

    >>> from blockfuse import np
    >>> np.nancumsum(np.array([1, np.nan, 2]))
    array([1., 1., 3.])
    """
    return scanning.cumsum(_filled(a, 0), axis, dtype)


def nancumprod(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> ndarray:
    """The products of all elements up to each one along an axis, with 1 for nan.

    axis: None goes through the flattened array.
    dtype: of the result.

    Returns the shape of ``a``, or a vector; floats keep their dtype, others give int64 (unsigned: uint64).

    >>> from blockfuse import np
    >>> np.nancumprod(np.array([2, np.nan, 3]))
    array([2., 2., 6.])
    """
    return scanning.cumprod(_filled(a, 1), axis, dtype)
