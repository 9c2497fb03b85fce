"""Elements folded along axes: sums, means, extremes, scans."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, axes_tuple, checked_dtype, one_axis
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import absolute, isnan, where
from blockfuse.array.functions.shaping import ravel, reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.interpreter import current
from blockfuse.ir.lowering import Reduction
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import movement, pointwise, reductions, sorting

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


def sum(a: ArrayLike, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray:
    """The sum of elements; int64 for integers and bools."""
    return _reduced(reductions.sum_, a, axis, keepdims, dtype)


def prod(a: ArrayLike, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray:
    """The product of elements; int64 for integers and bools."""
    return _reduced(reductions.prod, a, axis, keepdims, dtype)


def mean(a: ArrayLike, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> ndarray:
    """The mean of elements; float64 for integers and bools."""
    return _reduced(reductions.mean, a, axis, keepdims, dtype)


def var(
    a: ArrayLike, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> ndarray:
    """The mean squared distance from the mean; the sum of squares is divided by the count less ``ddof``."""
    _check_float(dtype)
    return _reduced(reductions.var, a, axis, keepdims, dtype, ddof=ddof)


def std(
    a: ArrayLike, axis: Any = None, dtype: Any = None, ddof: float = 0, keepdims: bool = False
) -> ndarray:
    """The square root of ``var``."""
    _check_float(dtype)
    return _reduced(reductions.std, a, axis, keepdims, dtype, ddof=ddof)


def _check_float(dtype: Any) -> None:
    if dtype is not None and checked_dtype(dtype).kind != "f":
        raise TypeError(f"squares are added up in floats, not in {dtype}")


def max(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The largest element; nan where there is one. Raises ValueError over no elements."""
    return _reduced(reductions.max_, a, axis, keepdims)


def min(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The smallest element; nan where there is one. Raises ValueError over no elements."""
    return _reduced(reductions.min_, a, axis, keepdims)


amax, amin = max, min


def ptp(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The largest element less the smallest."""
    return max(a, axis, keepdims) - min(a, axis, keepdims)


def any(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """Whether an element is true."""
    return _reduced(reductions.any_, a, axis, keepdims)


def all(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """Whether all elements are true."""
    return _reduced(reductions.all_, a, axis, keepdims)


def count_nonzero(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """How many elements are not zero."""
    return _reduced(reductions.count_nonzero, a, axis, keepdims)


def argmax(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> ndarray:
    """The place of the first largest element along ``axis`` (``None``: in the flattened array), int64."""
    return _index_of(reductions.argmax, a, axis, keepdims)


def argmin(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> ndarray:
    """The place of the first smallest element along ``axis`` (``None``: in the flattened array), int64."""
    return _index_of(reductions.argmin, a, axis, keepdims)


def _index_of(operator: Operator, a: ArrayLike, axis: int | None, keepdims: bool) -> ndarray:
    x = asarray(a)
    axis = _axis_of_a_number(axis, x)
    attrs: dict[str, Any] = {"axis": None if axis is None else one_axis(axis, x.ndim)}
    if keepdims:
        attrs["keepdims"] = True
    return operator(x, **attrs)


def average(
    a: ArrayLike, axis: Any = None, weights: ArrayLike | None = None, keepdims: bool = False
) -> ndarray:
    """The weighted mean; weights are a vector along ``axis`` or shaped as ``a``."""
    x = asarray(a)
    if weights is None:
        return mean(x, axis, keepdims=keepdims)
    shares = asarray(weights)
    if shares.shape != x.shape:
        along = one_axis(axis, x.ndim)
        shares = reshape(shares, tuple(n if i == along else 1 for i, n in enumerate(x.shape)))
    dtype = _averaging_dtype(x.dtype, shares.dtype)
    whole = sum(movement.broadcast_to(shares, shape=x.shape), axis, dtype, keepdims)
    return sum(asarray(x, dtype) * asarray(shares, dtype), axis, keepdims=keepdims) / whole


def _averaging_dtype(values: numpy.dtype, shares: numpy.dtype) -> numpy.dtype:
    """In which NumPy multiplies and adds up: products of bytes would wrap."""
    common = numpy.result_type(values, shares)
    return common if values.kind == "f" else numpy.result_type(common, numpy.float64)


def median(a: ArrayLike, axis: int | None = None, keepdims: bool = False) -> ndarray:
    """The middle element, or the mean of the two in the middle; nan where there is one."""
    x = asarray(a)
    if axis is None:
        middle = median(ravel(x), 0)
        return reshape(middle, (1,) * x.ndim) if keepdims else middle
    along = one_axis(axis, x.ndim)
    size = x.shape[along]
    lead = (slice(None),) * along
    rising: ndarray = sorting.sort(x, axis=along)
    middle = mean(rising[(*lead, slice((size - 1) // 2, size // 2 + 1))], along, keepdims=keepdims)
    if x.dtype.kind != "f":
        return middle
    last = rising[(*lead, slice(size - 1, size))]  # sorting puts nan there
    return asarray(where(isnan(sum(last, along, keepdims=keepdims)), numpy.nan, middle))


# -- scans ---------------------------------------------------------------------------------------------------


def _scanned(operator: Operator, a: ArrayLike, axis: int | None, dtype: Any) -> ndarray:
    x = asarray(a) if dtype is None else asarray(a, dtype)
    if axis is None:
        x, axis = ravel(x), 0
    result: ndarray = operator(x, axis=one_axis(axis, x.ndim))
    return result if dtype is None else asarray(result, dtype)


def cumsum(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> ndarray:
    """The sums of all elements up to each one along ``axis`` (``None``: of the flattened array)."""
    return _scanned(sorting.cumsum, a, axis, dtype)


def cumprod(a: ArrayLike, axis: int | None = None, dtype: Any = None) -> ndarray:
    """The products of all elements up to each one along ``axis`` (``None``: of the flattened array)."""
    return _scanned(sorting.cumprod, a, axis, dtype)


def diff(a: ArrayLike, n: int = 1, axis: int = -1) -> ndarray:
    """Each element less the one before, ``n`` times over."""
    x = asarray(a)
    lead = (slice(None),) * one_axis(axis, x.ndim)
    for _ in range(n):
        after, before = x[(*lead, slice(1, None))], x[(*lead, slice(None, -1))]
        x = after != before if x.dtype == bool else after - before
    return x


def ediff1d(ary: ArrayLike) -> ndarray:
    """The differences of neighbours in the flattened array."""
    return diff(ravel(ary))


# -- norms ---------------------------------------------------------------------------------------------------


def norm(x: ArrayLike, ord: Any = None, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The norm of vectors (an int axis) or matrices (two axes); by default of the whole array as one vector.

    ord: for vectors None, 0, 1, 2, inf, -inf or another number; for matrices None, 'fro', 1, -1, inf, -inf.
    """
    values = asarray(x)
    if values.dtype.kind != "f":
        values = asarray(values, "float64")
    if axis is None and (ord is None or values.ndim == 1 or (ord in (2, "fro") and values.ndim != 2)):
        flat = _vector_norm(ravel(values), ord, 0, False)
        return reshape(flat, (1,) * values.ndim) if keepdims else flat
    axes = axes_tuple(axis, values.ndim)
    if len(axes) == 1:
        return _vector_norm(values, ord, axes[0], keepdims)
    if len(axes) != 2:
        raise ValueError(f"a norm is taken over one or two axes, not over {axis}")
    return _matrix_norm(values, ord, tuple(one_axis(a, values.ndim) for a in axis or (0, 1)), keepdims)


def _vector_norm(x: ndarray, ord: Any, axis: int, keepdims: bool) -> ndarray:
    if ord in (None, 2):
        return _root(sum(x * x, axis, keepdims=keepdims))
    if ord == numpy.inf:
        return max(absolute(x), axis, keepdims)
    if ord == -numpy.inf:
        return min(absolute(x), axis, keepdims)
    if ord == 0:
        return sum(x != 0, axis, x.dtype, keepdims)
    if ord == 1:
        return sum(absolute(x), axis, keepdims=keepdims)
    if not isinstance(ord, int | float):
        raise ValueError(f"ord={ord!r} is no norm of vectors; use None, 0, 1, 2, inf, -inf or another number")
    return sum(absolute(x) ** ord, axis, keepdims=keepdims) ** (1 / ord)


def _root(x: ndarray) -> ndarray:
    return pointwise.sqrt(x)


def _matrix_norm(x: ndarray, ord: Any, axes: tuple[int, ...], keepdims: bool) -> ndarray:
    if ord in (None, "fro"):
        return _root(sum(x * x, axes, keepdims=keepdims))
    if ord not in (1, -1, numpy.inf, -numpy.inf):
        raise ValueError(
            f"ord={ord!r} is no norm of matrices that is supported; use None, 'fro', 1, -1, inf or -inf"
        )
    summed, left = axes if ord in (1, -1) else axes[::-1]
    totals = sum(absolute(x), summed, keepdims=True)
    extreme = (max if ord > 0 else min)(totals, left, True)
    return extreme if keepdims else reshape(extreme, tuple(n for i, n in enumerate(x.shape) if i not in axes))
