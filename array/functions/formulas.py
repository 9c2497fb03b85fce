"""Functions that are formulas of others: steps, parts of numbers, polynomials, areas. They compile and have gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, one_axis
from blockfuse.array.functions import reducing
from blockfuse.array.functions.coordinates import diag
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import (
    absolute,
    alike,
    floor_divide,
    negative,
    remainder,
    signbit,
    sin,
    trunc,
    where,
)
from blockfuse.array.functions.scanning import diff
from blockfuse.array.functions.shaping import ravel, reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operators.pointwise import floating

# -- of each element -----------------------------------------------------------------------------------------


def heaviside(x1: ArrayLike, x2: ArrayLike) -> ndarray:
    """0 below 0, 1 above, ``x2`` at 0; nan stays.

    x1, x2: arrays of shapes that broadcast.

    Returns their common shape, in the float dtype that both promote to.

    >>> from blockfuse import np
    >>> np.heaviside(np.array([-1, 0, 1]), 0.5)
    array([0. , 0.5, 1. ])
    """
    x, at_zero = _floats(x1, x2)
    step = where(x == 0, at_zero, where(x > 0, 1.0, where(x < 0, 0.0, x)))
    return asarray(step, x.dtype)


def copysign(x1: ArrayLike, x2: ArrayLike) -> ndarray:
    """The size of each element of ``x1`` with the sign of ``x2``.

    x1, x2: arrays of shapes that broadcast.

    Returns their common shape, in the float dtype that both promote to.

    >>> from blockfuse import np
    >>> np.copysign(np.array([1, -2]), np.array([-0.0, 3]))
    array([-1.,  2.])
    """
    x, sign = _floats(x1, x2)
    size = absolute(x)
    return asarray(where(signbit(sign), negative(size), size))


def _floats(x1: ArrayLike, x2: ArrayLike) -> tuple[ndarray, ndarray]:
    """Two arrays in the float dtype that they have together."""
    x, y = alike(x1, x2)
    dtype = numpy.copysign.resolve_dtypes((x.dtype, y.dtype, None))[-1]
    return asarray(x, dtype), asarray(y, dtype)


def sinc(x: ArrayLike) -> ndarray:
    """``sin(pi * x) / (pi * x)``, 1 at 0.

    x: an array of any shape.

    Returns its shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.sinc(np.array([0, 0.5, 1.5])).round(4)
    array([ 1.    ,  0.6366, -0.2122])
    """
    values = asarray(x)
    angle = asarray(values, floating(values.dtype)[0]) * math.pi
    at_zero = angle == 0
    return asarray(where(at_zero, 1.0, sin(angle) / where(at_zero, 1.0, angle)))


def modf(x: ArrayLike) -> tuple[ndarray, ndarray]:
    """What is behind the point and what is before it, both with the sign of the element.

    x: an array of any shape.

    Returns two arrays of its shape; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.modf(np.array([1.5, -2.25]))
    (array([ 0.5 , -0.25]), array([ 1., -2.]))
    """
    values = asarray(x)
    dtype = numpy.trunc.resolve_dtypes((values.dtype, None))[-1]
    values = (
        values if values.dtype.kind == "f" else asarray(values, "float64" if dtype.kind != "f" else dtype)
    )
    whole = trunc(values)
    part = where(absolute(values) == numpy.inf, 0.0, values - whole)
    return copysign(part, values), whole


def divmod(x1: ArrayLike, x2: ArrayLike) -> tuple[ndarray, ndarray]:
    """``floor_divide`` and ``remainder``.

    x1, x2: arrays of shapes that broadcast.

    Returns two arrays of their common shape, in the dtype that both promote to, but int8 for bool.

    >>> from blockfuse import np
    >>> np.divmod(np.array([7, -7]), 4)
    (array([ 1., -2.]), array([3., 1.]))
    """
    return floor_divide(x1, x2), remainder(x1, x2)


def select(condlist: Sequence[ArrayLike], choicelist: Sequence[ArrayLike], default: ArrayLike = 0) -> ndarray:
    """Of each place the element of the first choice whose condition holds, or the default.

    condlist, choicelist: as many arrays, one at least, of shapes that broadcast.
    default: a number, or an array.

    Returns the common shape, in the dtype that the choices promote to. Raises ValueError where there are not as many
    choices as conditions.

    >>> from blockfuse import np
    >>> x = np.arange(4)
    >>> np.select([x < 1, x > 2], [x, x * 10], 5)
    array([ 0.,  5.,  5., 30.])
    """
    if len(condlist) != len(choicelist) or not condlist:
        raise ValueError(
            f"select takes as many choices as conditions, one at least; found {len(choicelist)} and {len(condlist)}"
        )
    result: Any = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = where(condition, choice, result)
    return asarray(result)


# -- of several ----------------------------------------------------------------------------------------------


def polyval(p: ArrayLike, x: ArrayLike) -> ndarray:
    """The polynomial with the coefficients ``p``, the highest power first, at ``x`` (Horner's rule).

    p: (n,).
    x: an array of any shape.

    Returns the shape of ``x``, in the dtype that both promote to.

    >>> from blockfuse import np
    >>> np.polyval([1, 0, -1], np.array([2, 3]))
    array([3., 8.])
    """
    coefficients, (_, at) = asarray(p), alike(p, x)
    if coefficients.ndim != 1:
        raise ValueError(f"polyval takes coefficients along one axis, not of shape {coefficients.shape}")
    value = at * 0
    for n in range(coefficients.shape[0]):
        value = value * at + coefficients[n]
    return value


def diagflat(v: ArrayLike, k: int = 0) -> ndarray:
    """The matrix with the flattened ``v`` as its ``k``-th diagonal.

    v: an array of n elements.

    Returns (n + abs(k), n + abs(k)) in the dtype of ``v``.

    >>> from blockfuse import np
    >>> np.diagflat(np.array([1, 2]), k=1)
    array([[0., 1., 0.],
           [0., 0., 2.],
           [0., 0., 0.]])
    """
    return diag(ravel(v), k)


def trapezoid(y: ArrayLike, x: ArrayLike | None = None, dx: float = 1.0, axis: int = -1) -> ndarray:
    """The area under the line through the points ``y`` along an axis.

    y: an array of one axis or more.
    x: where the points are, along that axis, or for each one.
    dx: how far apart they are where ``x`` is not given.

    Returns the shape of ``y`` without the axis; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.trapezoid(np.array([1, 2, 4]), x=np.array([0, 1, 3]))
    array(7.5)
    """
    values = asarray(y)
    along = one_axis(axis, values.ndim)
    lead = (slice(None),) * along
    pairs = values[(*lead, slice(1, None))] + values[(*lead, slice(None, -1))]
    return reducing.sum(pairs * _widths(x, dx, values, along) / 2.0, along)


def _widths(x: ArrayLike | None, dx: float, values: ndarray, axis: int) -> Any:
    if x is None:
        return dx
    places = asarray(x)
    if places.ndim != 1:
        return diff(places, axis=axis)
    widths = diff(places)
    return reshape(widths, (widths.shape[0], *(1,) * (values.ndim - axis - 1)))


def vecdot(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> ndarray:
    """The sum along an axis, counted from behind, of the products of elements.

    x1, x2: arrays of one axis or more, of shapes that broadcast.

    Returns their common shape without the axis, in the dtype that both promote to.

    >>> from blockfuse import np
    >>> np.vecdot(np.array([[1, 2], [3, 4]]), np.array([1, 10]))
    array([21., 43.])
    """
    x, y = alike(x1, x2)
    along = one_axis(axis, min(x.ndim, y.ndim)) - min(x.ndim, y.ndim)
    product = x * y
    return asarray(reducing.sum(product, along), product.dtype)
