"""Elements by their rank: quantiles, percentiles, the median; and values between points (``interp``)."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, axes_tuple
from blockfuse.array.functions import reducing
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import clip, isnan, logical_and, where
from blockfuse.array.functions.selecting import searchsorted
from blockfuse.array.functions.shaping import expand_dims, moveaxis, reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.operators import sorting

# NOTE [quantiles that are known]
# Which ranks a quantile lies between follows from the number of elements and from ``q``, which is a number or a list of
# numbers. So sorting is all that a program does, and gradients go to the elements of these ranks. Where ``q`` is an array,
# its values must be known first: NumPy computes then.

# methods that pick an element, and never a value between two
_PICKING = frozenset(("inverted_cdf", "closest_observation", "lower", "higher", "nearest"))


def quantile(
    a: ArrayLike,
    q: Any,
    axis: Any = None,
    *,
    method: Any = "linear",
    keepdims: bool = False,
    interpolation: str | None = None,
) -> ndarray:
    """The value below which a share ``q`` (0 to 1) of the elements lies; nan where there is one.

    a: an array of any shape.
    q: a number, or a list of numbers.
    axis: an int, a tuple, or None for all axes.
    method: NumPy's names of ways to go between two elements; ``interpolation`` is Gluon's word for it.
    keepdims: whether the axes stay, with size 1.

    Returns the shape of ``a`` without the axes, behind one axis of ``q`` where that is a list; floats keep their dtype,
    others give float64, unless ``method`` picks an element. Raises ShapeError over no elements, TypeError for bools.

    >>> from blockfuse import np
    >>> np.quantile(np.array([0, 1, 2, 3, 4]), 0.25)
    array(1.)
    """
    x, shares = asarray(a), _shares(q)
    method = method if interpolation is None else interpolation
    axes = axes_tuple(axis, x.ndim)
    places = numpy.quantile(numpy.arange(_count(x, axes), dtype="float64"), shares, method=method)
    rising, last = _rising(x, axes)
    picks = method in _PICKING or (method == "linear" and shares.dtype.kind == "i")
    found = _picked(rising, places) if picks else _between(rising, places)
    if x.dtype.kind == "f":
        found = asarray(where(isnan(last), numpy.nan, found))
    return expand_dims(found, tuple(axis + places.ndim for axis in axes)) if keepdims else found


def percentile(
    a: ArrayLike,
    q: Any,
    axis: Any = None,
    *,
    method: Any = "linear",
    keepdims: bool = False,
    interpolation: str | None = None,
) -> ndarray:
    """As ``quantile``, whose arguments it takes, with shares ``q`` of 100.

    Returns the shape of ``a`` without the axes, behind one axis of ``q`` where that is a list; floats keep their dtype,
    others give float64, unless ``method`` picks an element. Raises ShapeError over no elements, TypeError for bools.

    >>> from blockfuse import np
    >>> np.percentile(np.array([0, 1, 2, 3, 4]), [25, 50])
    array([1., 2.])
    """
    shares = _shares(q) / 100
    return quantile(a, shares, axis, method=method, keepdims=keepdims, interpolation=interpolation)


def median(a: ArrayLike, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The middle element, or the mean of the two in the middle; nan where there is one, and of no elements.

    a: an array of any shape.
    axis: an int, a tuple, or None for all axes.
    keepdims: whether these stay, with size 1.

    Returns the shape of ``a`` without the axes; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.median(np.array([[7, 1, 3], [4, 2, 9]]), axis=1)
    array([3., 4.])
    """
    x = asarray(a)
    axes = axes_tuple(axis, x.ndim)
    size = _count(x, axes)
    rising, last = _rising(x, axes)
    middle = reducing.mean(rising[(size - 1) // 2 : size // 2 + 1], 0)
    if x.dtype.kind == "f":
        middle = asarray(where(isnan(last), numpy.nan, middle))
    return expand_dims(middle, axes) if keepdims else middle


def _shares(q: Any) -> numpy.ndarray:
    if isinstance(q, ndarray):
        raise TypeError("quantiles that an array holds are not known before it is computed")
    return numpy.asarray(q)


def _count(x: ndarray, axes: tuple[int, ...]) -> int:
    count = int(numpy.prod([x.shape[axis] for axis in axes], dtype=int))
    if not count:
        raise ShapeError(f"there is no quantile of no elements: axes {axes} of shape {x.shape}")
    return count


def _rising(x: ndarray, axes: tuple[int, ...]) -> tuple[ndarray, ndarray]:
    """The elements along ``axes`` in rising order along a first axis, and the last of them: sorting puts nan there."""
    front = moveaxis(x, axes, tuple(range(len(axes))))
    front = reshape(front, (_count(x, axes), *front.shape[len(axes) :]))
    rising: ndarray = sorting.sort(front, axis=0)
    return rising, rising[-1]


def _picked(rising: ndarray, places: numpy.ndarray) -> ndarray:
    return rising[places.astype("int64")]


def _between(rising: ndarray, places: numpy.ndarray) -> ndarray:
    """NumPy's interpolation: from the nearer of the two ends."""
    top = rising.shape[0] - 1
    below = numpy.where(places >= top, top, numpy.floor(places)).astype("int64")
    share = _as_operand(places - numpy.floor(places), rising)
    low, high = rising[below], rising[numpy.minimum(below + 1, top)]
    rise = high - low
    return asarray(where(share >= 0.5, high - rise * (1 - share), low + rise * share))


def _as_operand(shares: numpy.ndarray, rising: ndarray) -> ndarray:
    """Shares that broadcast against elements, and do not widen their dtype."""
    dtype = rising.dtype if rising.dtype.kind == "f" else numpy.dtype("float64")
    return ndarray(numpy.array(shares, dtype).reshape(shares.shape + (1,) * (rising.ndim - 1)))


def interp(
    x: ArrayLike,
    xp: ArrayLike,
    fp: ArrayLike,
    left: ArrayLike | None = None,
    right: ArrayLike | None = None,
) -> ndarray:
    """The values at ``x`` of the line through the points ``(xp, fp)``.

    x: an array of any shape.
    xp, fp: (n,) both; ``xp`` rises.
    left, right: the values before the first and after the last point (default: those of the points).

    Returns the shape of ``x``, float64. Raises UsageError where there are not as many ``xp`` as ``fp``.

    >>> from blockfuse import np
    >>> np.interp(np.array([0.5, 5]), np.array([0, 1]), np.array([0, 10]))
    array([ 5., 10.])
    """
    at, xs, ys = (asarray(v, "float64") for v in (x, xp, fp))
    if xs.ndim != 1 or xs.shape != ys.shape or not xs.size:
        raise UsageError(
            f"interp needs as many xp as fp, on one axis; found shapes {xs.shape} and {ys.shape}"
        )
    first, last = (ys[0] if left is None else left), (ys[-1] if right is None else right)
    inside = where(isnan(at), at, ys[0]) if xs.size == 1 else _on_line(at, xs, ys)
    return asarray(where(at < xs[0], first, where(at > xs[-1], last, inside)), "float64")


def _on_line(at: ndarray, xs: ndarray, ys: ndarray) -> Any:
    """The point itself where ``at`` is one; else from the point on the left, or on the right where that has no answer."""
    before = clip(searchsorted(xs, at, "right") - 1, 0, xs.size - 2)
    x0, y0, x1, y1 = xs[before], ys[before], xs[before + 1], ys[before + 1]
    slope = (y1 - y0) / where(x1 == x0, 1.0, x1 - x0)
    line = slope * (at - x0) + y0
    line = where(isnan(line), slope * (at - x1) + y1, line)
    line = where(logical_and(isnan(line), y0 == y1), y0, line)
    on_points = where(at == x1, y1, where(at == x0, y0, line))
    return where(isnan(at), at, on_points)
