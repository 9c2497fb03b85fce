"""How large vectors and matrices are."""

from __future__ import annotations

import math
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, axes_tuple, one_axis
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import absolute, sqrt
from blockfuse.array.functions.reducing import max, min, sum
from blockfuse.array.functions.shaping import moveaxis, ravel, reshape
from blockfuse.array.ndarray import ndarray


def norm(x: ArrayLike, ord: Any = None, axis: Any = None, keepdims: bool = False) -> ndarray:
    """The norm of vectors (an int axis) or matrices (two axes); by default of the whole array as one vector.

    x: an array of any shape.
    ord: for vectors None (2), 0, 1, 2, inf, -inf or another number; for matrices None ('fro'), 'fro', 1, -1, inf, -inf.
    axis: an int, two, or None.
    keepdims: whether these stay, with size 1.

    Returns the shape of ``x`` without the axes; floats keep their dtype, others give float64.

    Source: ``numpy.linalg.norm``; ``np.linalg.norm`` leaves other norms of matrices to NumPy: no gradient, no compilation.

    >>> from blockfuse import np, npx
    >>> npx.norm(np.array([[3, 4], [6, 8]]), axis=1)
    array([ 5., 10.])
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
        return sqrt(sum(x * x, axis, keepdims=keepdims))
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


def _matrix_norm(x: ndarray, ord: Any, axes: tuple[int, ...], keepdims: bool) -> ndarray:
    if ord in (None, "fro"):
        return sqrt(sum(x * x, axes, keepdims=keepdims))
    if ord not in (1, -1, numpy.inf, -numpy.inf):
        raise ValueError(
            f"ord={ord!r} is no norm of matrices that is supported; use None, 'fro', 1, -1, inf or -inf"
        )
    summed, left = axes if ord in (1, -1) else axes[::-1]
    totals = sum(absolute(x), summed, keepdims=True)
    extreme = (max if ord > 0 else min)(totals, left, True)
    return extreme if keepdims else reshape(extreme, tuple(n for i, n in enumerate(x.shape) if i not in axes))


def vector_norm(x: ArrayLike, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> ndarray:
    """The norm of vectors that lie along one or several axes, or of all elements as one vector (``axis=None``).

    x: an array of any shape.
    ord: 0, 1, 2, inf, -inf or another number.
    keepdims: whether the axes stay, with size 1.

    Returns the shape of ``x`` without the axes; floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.linalg.vector_norm(np.array([[3, 4], [6, 8]]), axis=1)
    array([ 5., 10.])
    """
    values = asarray(x)
    axes = axes_tuple(axis, values.ndim)
    flat = moveaxis(values, axes, tuple(range(len(axes))))
    found = norm(reshape(flat, (math.prod(flat.shape[: len(axes)]), *flat.shape[len(axes) :])), ord, 0)
    kept = tuple(1 if n in axes else size for n, size in enumerate(values.shape))
    return reshape(found, kept) if keepdims else found


def matrix_norm(x: ArrayLike, /, *, keepdims: bool = False, ord: Any = "fro") -> ndarray:
    """The norm of the matrices of the last two axes.

    x: (..., n, m).
    ord: 'fro', 1, -1, inf or -inf.
    keepdims: whether both axes stay, with size 1.

    Returns (...); floats keep their dtype, others give float64.

    >>> from blockfuse import np
    >>> np.linalg.matrix_norm(np.array([[3, 4], [0, 12]]))
    array(13.)
    """
    return norm(x, ord, (-2, -1), keepdims)
