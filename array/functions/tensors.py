"""``np.linalg``'s forms of products, and of inverses of tensors: matrices are the last two axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions import coordinates, products
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.shaping import moveaxis, ravel, reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.operators import linear_algebra


def cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> ndarray:
    """The vector product of three-dimensional vectors along an axis.

    x1, x2: arrays with 3 elements along ``axis``, the others broadcast.

    Returns the common shape, in the dtype that both promote to. Raises ShapeError for other than 3 elements.

    >>> from blockfuse import np
    >>> np.linalg.cross(np.array([1, 0, 0]), np.array([0, 1, 0]))
    array([0., 0., 1.])
    """
    return products.cross(x1, x2, axis=axis)


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> ndarray:
    """The ``offset``-th diagonals of matrices.

    x: (..., n, m).

    Returns (..., k) for the k elements of a diagonal, in the dtype of ``x``. Raises ShapeError for fewer than two axes.

    >>> from blockfuse import np
    >>> np.linalg.diagonal(np.array([[1, 2], [3, 4]]))
    array([1., 4.])
    """
    return coordinates.diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: Any = None) -> ndarray:
    """The sums of the ``offset``-th diagonals of matrices.

    x: (..., n, m).

    Returns (...); floats keep their dtype, others give int64 (unsigned: uint64), or ``dtype``. Raises ShapeError for
    fewer than two axes.

    >>> from blockfuse import np
    >>> np.linalg.trace(np.array([[1, 2], [3, 4]]))
    array(5.)
    """
    return products.trace(x, offset, -2, -1, dtype)


def outer(x1: ArrayLike, x2: ArrayLike, /) -> ndarray:
    """Each element of a vector times each of another.

    x1, x2: (n,) and (m,).

    Returns (n, m) in the dtype that both promote to. Raises ShapeError for other than vectors.

    >>> from blockfuse import np
    >>> np.linalg.outer(np.array([1, 2]), np.array([1, 10]))
    array([[ 1., 10.],
           [ 2., 20.]])
    """
    first, second = asarray(x1), asarray(x2)
    if first.ndim != 1 or second.ndim != 1:
        raise ShapeError(f"outer takes two vectors, not arrays of shapes {first.shape} and {second.shape}")
    return products.outer(first, second)


def multi_dot(arrays: Sequence[ArrayLike]) -> ndarray:
    """The product of two matrices or more, one after the other; the first and the last may be vectors.

    arrays: (n, k), (k, l), ..., (p, m).

    Returns (n, m) without the axis of a vector, in the dtype that all promote to. Raises ValueError for one array,
    ShapeError where shapes do not fit.

    >>> from blockfuse import np
    >>> np.linalg.multi_dot([np.ones((1, 2)), np.ones((2, 3)), np.ones((3, 1))])
    array([[6.]])
    """
    if len(arrays) < 2:
        raise ValueError(f"multi_dot takes two arrays or more, not {len(arrays)}")
    return reduce(products.dot, map(asarray, arrays))


def tensorinv(a: ArrayLike, ind: int = 2) -> ndarray:
    """The inverse of ``a`` as a map from its axes behind ``ind`` to those before.

    a: (*front, *back), with ``ind`` axes in front, both of one number of elements.

    Returns (*back, *front); float32 and float64 stay, others give float64, float16 raises TypeError. Raises ShapeError
    where sizes differ, ``numpy.linalg.LinAlgError`` where there is no inverse.

    >>> from blockfuse import np
    >>> np.linalg.tensorinv(np.eye(4).reshape(2, 2, 4) * 2).shape
    (4, 2, 2)
    """
    x = asarray(a)
    if ind <= 0:
        raise ValueError(f"ind={ind}: one axis or more stands before the others")
    front, back = x.shape[:ind], x.shape[ind:]
    size = math.prod(back)
    if math.prod(front) != size:
        raise ShapeError(
            f"tensorinv of shape {x.shape}: the axes {front} and {back} have different numbers of elements"
        )
    return reshape(linear_algebra.inverse(reshape(x, (size, size))), (*back, *front))


def tensorsolve(a: ArrayLike, b: ArrayLike, axes: Any = None) -> ndarray:
    """The ``x`` with ``tensordot(a, x, x.ndim) = b``.

    a: (*shape of b, *rest), both of one number of elements.
    axes: those of ``a`` that are moved behind the others before.

    Returns (*rest); float32 and float64 stay, others give float64, float16 raises TypeError. Raises ShapeError where
    sizes differ, ``numpy.linalg.LinAlgError`` where there is no solution.

    >>> from blockfuse import np
    >>> np.linalg.tensorsolve(np.eye(4).reshape(2, 2, 4) * 2, np.array([[2, 4], [6, 8]]))
    array([1., 2., 3., 4.])
    """
    x, y = asarray(a), asarray(b)
    if axes is not None:
        x = moveaxis(x, tuple(axes), tuple(range(x.ndim - len(axes), x.ndim)))
    unknown = x.shape[y.ndim :]
    size = math.prod(unknown)
    if x.size != size * size or y.size != size:
        raise ShapeError(
            f"tensorsolve of shapes {x.shape} and {y.shape}: no square system of {size} unknowns"
        )
    right = reshape(ravel(y), (size, 1))
    return reshape(linear_algebra.solve(reshape(x, (size, size)), right), unknown)
