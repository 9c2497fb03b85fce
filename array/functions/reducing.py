"""Elements folded along axes: sums, means, extremes, their places."""

from __future__ import annotations

import math
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, axes_tuple, checked_dtype, one_axis
from blockfuse.array.functions.creation import asarray, full_like
from blockfuse.array.functions.masking import initial_of, mask, masked, nothing_but
from blockfuse.array.functions.shaping import reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.interpreter import current
from blockfuse.ir.lowering import Reduction
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import movement, pointwise, reductions

# Every function here takes ``axis`` (None: all axes; an int; a tuple) and ``keepdims`` (folded axes stay,
# with size 1).


def _reduced(
    operator: Operator, a: ArrayLike, axis: Any, keepdims: bool, dtype: Any = None, **attrs: Any
) -> ndarray:
    x = a if type(a) is ndarray else asarray(a)
    if type(keepdims) is not bool and not isinstance(keepdims, int | numpy.bool_ | None):
        raise TypeError(
            f"keepdims={keepdims!r:.40} is neither True nor False; write out=, axis= and dtype= by name"
        )
    if dtype is not None:
        name = str(checked_dtype(dtype))
        narrow = _reduced(operator, pointwise.cast(x, dtype=name), axis, keepdims, **attrs)
        return asarray(narrow, name)
    if isinstance(operator.lowering, Reduction):
        axis = _axis_of_a_number(axis, x)
    attrs["axis"], attrs["keepdims"] = axes_tuple(axis, x.ndim), bool(keepdims)
    return current().apply(operator, (x,), attrs)


def _axis_of_a_number(axis: Any, x: ndarray) -> Any:
    """``axis``, or ``None`` where NumPy lets a number have an axis: in folds, but not in a mean."""
    return None if not x.ndim and axis in (0, -1) else axis


# ``where``: a condition; elements for which it does not hold take no part. ``initial``: a number that is folded first.


def sum(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    keepdims: bool = False,
    *,
    initial: float | None = None,
    where: ArrayLike = True,
) -> ndarray:
    """The sum of elements.

    a: an array of any shape.
    axis: an int, a tuple, or None for all axes.
    keepdims: whether these stay, with size 1.
    initial: a number that is added.
    where: bools that broadcast against ``a``; other elements count as 0.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give int64 (unsigned: uint64), or
    ``dtype``.

    >>> from blockfuse import np
    >>> np.sum(np.array([[1, 2], [3, 4]]), axis=0)
    array([4., 6.])
    >>> np.sum(np.array([1, 2], dtype="int32")).dtype
    dtype('int64')
    """
    total = _reduced(reductions.sum_, a if where is True else masked(a, where, 0), axis, keepdims, dtype)
    return total if initial is None else asarray(total + initial_of(initial, total.dtype))


def prod(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    keepdims: bool = False,
    *,
    initial: float | None = None,
    where: ArrayLike = True,
) -> ndarray:
    """The product of elements.

    axis, keepdims: as of ``sum``.
    initial: a number that it is multiplied by.
    where: bools; other elements count as 1.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give int64 (unsigned: uint64), or
    ``dtype``.

    >>> from blockfuse import np
    >>> np.prod(np.array([[1, 2], [3, 4]]), axis=0)
    array([3., 8.])
    """
    total = _reduced(reductions.prod, a if where is True else masked(a, where, 1), axis, keepdims, dtype)
    return total if initial is None else asarray(total * initial_of(initial, total.dtype))


def mean(
    a: ArrayLike, axis: Any = None, dtype: Any = None, keepdims: bool = False, *, where: ArrayLike = True
) -> ndarray:
    """The mean of elements.

    axis, keepdims: as of ``sum``.
    where: bools; other elements do not count.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64, or ``dtype``.

    >>> from blockfuse import np
    >>> np.mean(np.array([[1, 2], [3, 4]]), axis=1, keepdims=True)
    array([[1.5],
           [3.5]])
    """
    if where is True:
        return _reduced(reductions.mean, a, axis, keepdims, dtype)
    x = asarray(a) if dtype is None else asarray(a, dtype)
    x = asarray(x, _AVERAGED.get(x.dtype.name, x.dtype))
    count = sum(mask(x, where), axis, keepdims=keepdims)
    found = sum(masked(x, where, 0), axis, keepdims=keepdims) / count
    return asarray(found, dtype or reductions.mean_dtype(asarray(a).dtype))


_AVERAGED = {"float16": "float32"}  # dtype -> the one that sums of it are taken in


def var(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
    where: ArrayLike = True,
) -> ndarray:
    """The mean squared distance from the mean; the sum of squares is divided by the count less ``ddof``.

    axis, keepdims: as of ``sum``.
    where: bools; other elements do not count.
    correction: the array API's word for ``ddof``.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64, or ``dtype``. Raises
    ValueError where both words are given.

    >>> from blockfuse import np
    >>> np.var(np.array([1, 5]))
    array(4.)
    >>> np.var(np.array([1, 5]), ddof=1)
    array(8.)
    """
    free = _freedom(ddof, correction)
    _check_float(dtype)
    if where is True:
        return _reduced(reductions.var, a, axis, keepdims, dtype, ddof=free)
    x = asarray(a) if dtype is None else asarray(a, dtype)
    wide = asarray(x, _AVERAGED.get(x.dtype.name, reductions.mean_dtype(x.dtype)))
    distances = masked(pointwise.square(wide - mean(wide, axis, keepdims=True, where=where)), where, 0)
    count = sum(mask(x, where), axis, keepdims=keepdims) - free
    spread = sum(distances, axis, keepdims=keepdims) / pointwise.maximum(count, 0)
    return asarray(spread, reductions.mean_dtype(x.dtype))


def std(
    a: ArrayLike,
    axis: Any = None,
    dtype: Any = None,
    ddof: float = 0,
    keepdims: bool = False,
    *,
    correction: float | None = None,
    where: ArrayLike = True,
) -> ndarray:
    """The square root of ``var``, whose arguments it takes.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64, or ``dtype``.

    >>> from blockfuse import np
    >>> np.std(np.array([[1, 5], [2, 2]]), axis=1)
    array([2., 0.])
    """
    free = _freedom(ddof, correction)
    _check_float(dtype)
    if where is True:
        return _reduced(reductions.std, a, axis, keepdims, dtype, ddof=free)
    return _root(var(a, axis, dtype, free, keepdims, where=where))


def _freedom(ddof: float, correction: float | None) -> float:
    if correction is not None and ddof:
        raise ValueError("ddof= and correction= say the same; give one of them")
    return ddof if correction is None else correction


def _check_float(dtype: Any) -> None:
    if dtype is not None and checked_dtype(dtype).kind != "f":
        raise TypeError(f"squares are added up in floats, not in {dtype}")


def max(
    a: ArrayLike,
    axis: Any = None,
    keepdims: bool = False,
    *,
    initial: float | None = None,
    where: ArrayLike = True,
) -> ndarray:
    """The largest element; nan where there is one.

    axis, keepdims: as of ``sum``.
    initial: a number that counts, too.
    where: bools; other elements do not count.

    Returns the shape of ``a`` without the axes, in its dtype. Raises ValueError over no elements without an
    ``initial``.

    >>> from blockfuse import np
    >>> np.max(np.array([[1, 5], [3, 4]]), axis=1)
    array([5., 4.])
    """
    if initial is None and where is True:
        return _reduced(reductions.max_, a, axis, keepdims)
    return _extreme(reductions.max_, pointwise.maximum, a, axis, keepdims, initial, where)


def min(
    a: ArrayLike,
    axis: Any = None,
    keepdims: bool = False,
    *,
    initial: float | None = None,
    where: ArrayLike = True,
) -> ndarray:
    """The smallest element; nan where there is one.

    axis, keepdims: as of ``sum``.
    initial: a number that counts, too.
    where: bools; other elements do not count.

    Returns the shape of ``a`` without the axes, in its dtype. Raises ValueError over no elements without an
    ``initial``.

    >>> from blockfuse import np
    >>> np.min(np.array([[1, 5], [3, 4]]), axis=1)
    array([1., 3.])
    """
    if initial is None and where is True:
        return _reduced(reductions.min_, a, axis, keepdims)
    return _extreme(reductions.min_, pointwise.minimum, a, axis, keepdims, initial, where)


def _extreme(
    operator: Operator,
    join: Operator,
    a: ArrayLike,
    axis: Any,
    keepdims: bool,
    initial: Any,
    where: ArrayLike,
) -> ndarray:
    if initial is None:
        raise ValueError("an extreme of elements that where= may leave none of needs an initial=")
    x = asarray(a)
    first, axes = initial_of(initial, x.dtype), axes_tuple(_axis_of_a_number(axis, x), x.ndim)
    if not math.prod(x.shape[n] for n in axes):
        return nothing_but(first, x, axes, keepdims)
    found = _reduced(operator, x if where is True else masked(x, where, first), axis, keepdims)
    joined: ndarray = join(found, first)
    return joined


amax, amin = max, min


def ptp(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The largest element less the smallest.

    axis, keepdims: as of ``sum``.

    Returns the shape of ``a`` without the axes, in its dtype. Raises ValueError over no elements, TypeError for bools.

    >>> from blockfuse import np
    >>> np.ptp(np.array([[1, 5], [3, 4]]), axis=1)
    array([4., 1.])
    """
    return max(a, axis, keepdims) - min(a, axis, keepdims)


def any(a: ArrayLike, axis: Any = None, keepdims: bool = False, *, where: ArrayLike = True) -> ndarray:
    """Whether an element is true, which all but 0 are.

    axis, keepdims: as of ``sum``.
    where: bools; other elements do not count.

    Returns the shape of ``a`` without the axes, bool: False over no elements.

    >>> from blockfuse import np
    >>> np.any(np.array([0, 1]) > 0)
    array(True)
    """
    return _reduced(reductions.any_, a if where is True else masked(a, where, 0), axis, keepdims)


def all(a: ArrayLike, axis: Any = None, keepdims: bool = False, *, where: ArrayLike = True) -> ndarray:
    """Whether all elements are true, which all but 0 are.

    axis, keepdims: as of ``sum``.
    where: bools; other elements do not count.

    Returns the shape of ``a`` without the axes, bool: True over no elements.

    >>> from blockfuse import np
    >>> np.all(np.array([[1, 0], [2, 3]]), axis=1)
    array([False,  True])
    """
    return _reduced(reductions.all_, a if where is True else masked(a, where, 1), axis, keepdims)


def count_nonzero(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """How many elements are not zero.

    axis, keepdims: as of ``sum``.

    Returns the shape of ``a`` without the axes, int64.

    >>> from blockfuse import np
    >>> np.count_nonzero(np.array([[1, 0], [2, 3]]), axis=1)
    array([1, 2])
    """
    return _reduced(reductions.count_nonzero, a, axis, keepdims)


def argmax(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> ndarray:
    """The place of the first largest element, or of the first nan.

    axis: along which; None: in the flattened array.
    keepdims: whether it stays, with size 1.

    Returns the shape of ``a`` without the axis, int64. Raises ValueError over no elements.

    >>> from blockfuse import np
    >>> np.argmax(np.array([[1, 5], [3, 4]]), axis=1)
    array([1, 1])
    """
    return _index_of(reductions.argmax, a, axis, keepdims)


def argmin(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> ndarray:
    """The place of the first smallest element, or of the first nan.

    axis: along which; None: in the flattened array.
    keepdims: whether it stays, with size 1.

    Returns the shape of ``a`` without the axis, int64. Raises ValueError over no elements.

    >>> from blockfuse import np
    >>> np.argmin(np.array([[1, 5], [3, 4]]), axis=1)
    array([0, 0])
    """
    return _index_of(reductions.argmin, a, axis, keepdims)


def _index_of(operator: Operator, a: ArrayLike, axis: int | None, keepdims: bool) -> ndarray:
    x = asarray(a)
    axis = _axis_of_a_number(axis, x)
    attrs: dict[str, Any] = {"axis": None if axis is None else one_axis(axis, x.ndim)}
    if keepdims:
        attrs["keepdims"] = True
    return operator(x, **attrs)


def average(
    a: ArrayLike,
    axis: Any = None,
    weights: ArrayLike | None = None,
    returned: bool = False,
    *,
    keepdims: bool = False,
) -> Any:
    """The weighted mean.

    axis, keepdims: as of ``sum``.
    weights: a vector along ``axis``, or an array of the shape of ``a``.
    returned: also the sum of the weights.

    Returns the shape of ``a`` without the axes, or a pair of such arrays; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.average(np.array([1, 5]), weights=np.array([3, 1]))
    array(2.)
    """
    x = asarray(a)
    if weights is None:
        found = mean(x, axis, keepdims=keepdims)
        count = math.prod(x.shape[n] for n in axes_tuple(axis, x.ndim))
        return (found, full_like(found, count)) if returned else found
    shares = asarray(weights)
    if shares.shape != x.shape:
        along = one_axis(axis, x.ndim)
        shares = reshape(shares, tuple(n if i == along else 1 for i, n in enumerate(x.shape)))
    dtype = _averaging_dtype(x.dtype, shares.dtype)
    whole = sum(movement.broadcast_to(shares, shape=x.shape), axis, dtype, keepdims)
    found = sum(asarray(x, dtype) * asarray(shares, dtype), axis, keepdims=keepdims) / whole
    return (found, whole) if returned else found


def _averaging_dtype(values: numpy.dtype, shares: numpy.dtype) -> numpy.dtype:
    """In which NumPy multiplies and adds up: products of bytes would wrap."""
    common = numpy.result_type(values, shares)
    return common if values.kind == "f" else numpy.result_type(common, numpy.float64)


def _root(x: ndarray) -> ndarray:
    root: ndarray = pointwise.sqrt(x)
    return root
