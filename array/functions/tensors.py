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
    """The vector product of three-dimensional vectors along ``axis``."""
    return products.cross(x1, x2, axis=axis)


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> ndarray:
    """The ``offset``-th diagonals of matrices."""
    return coordinates.diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: Any = None) -> ndarray:
    """The sums of the ``offset``-th diagonals of matrices.

    >>> from blockfuse import np
    >>> np.linalg.trace(np.array([[1, 2], [3, 4]]))
    array(5.)
    """
    return products.trace(x, offset, -2, -1, dtype)


def outer(x1: ArrayLike, x2: ArrayLike, /) -> ndarray:
    """Each element of a vector times each of another."""
    first, second = asarray(x1), asarray(x2)
    if first.ndim != 1 or second.ndim != 1:
        raise ShapeError(f"outer takes two vectors, not arrays of shapes {first.shape} and {second.shape}")
    return products.outer(first, second)


def multi_dot(arrays: Sequence[ArrayLike]) -> ndarray:
    """The product of two matrices or more, one after the other; the first and the last may be vectors.

    >>> from blockfuse import np
    >>> np.linalg.multi_dot([np.ones((1, 2)), np.ones((2, 3)), np.ones((3, 1))])
    array([[6.]])
    """
    if len(arrays) < 2:
        raise ValueError(f"multi_dot takes two arrays or more, not {len(arrays)}")
    return reduce(products.dot, map(asarray, arrays))


def tensorinv(a: ArrayLike, ind: int = 2) -> ndarray:
    """The inverse of ``a`` as a map from its axes behind ``ind`` to those before. Raises ShapeError where sizes differ."""
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
    """The ``x`` with ``tensordot(a, x, x.ndim) = b``; ``axes`` of ``a`` are moved behind the others before."""
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
