"""Arrays by the coordinates of their elements: diagonals, triangles, grids, positions along an axis."""

from __future__ import annotations

import operator
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, checked_dtype, one_axis, shape_tuple
from blockfuse.array.defaults import default_float
from blockfuse.array.devices import Device, check_device
from blockfuse.array.functions.creation import array, asarray, full, zeros
from blockfuse.array.functions.shaping import moveaxis
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.operators import filling, movement, pointwise
from blockfuse.ir.types import Extent


def eye(
    N: int,
    M: int | None = None,
    k: int = 0,
    dtype: Any = None,
    *,
    ctx: Device | None = None,
    device: Device | None = None,
) -> ndarray:
    """A matrix with ones on its ``k``-th diagonal, and zeros elsewhere.

    N, M: how many rows and columns; ``M`` is ``N`` by default.
    k: 1 is the diagonal above the main one, -1 that below.
    ctx, device: there is one device.

    Returns (N, M), float32 unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.eye(2)
    array([[1., 0.],
           [0., 1.]])
    """
    check_device(ctx, device)
    name = default_float() if dtype is None else str(checked_dtype(dtype))
    rows, columns = operator.index(N), operator.index(N if M is None else M)
    return filling.eye(rows=rows, columns=columns, k=operator.index(k), dtype=name)


def identity(
    n: int, dtype: Any = None, *, ctx: Device | None = None, device: Device | None = None
) -> ndarray:
    """The square matrix with ones on its diagonal.

    ctx, device: there is one device.

    Returns (n, n), float32 unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.identity(2)
    array([[1., 0.],
           [0., 1.]])
    """
    return eye(n, dtype=dtype, ctx=ctx, device=device)


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> ndarray:
    """Ones on and below the ``k``-th diagonal, zeros above.

    Returns (N, M), (N, N) by default, float32 unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> np.tri(2, 3)
    array([[1., 0., 0.],
           [1., 1., 0.]])
    """
    name = default_float() if dtype is None else str(checked_dtype(dtype))
    return pointwise.cast(filling.on_or_below(N, N if M is None else M, k), dtype=name)


def tril(m: ArrayLike, k: int = 0) -> ndarray:
    """``m`` with zeros above the ``k``-th diagonal of its last two axes.

    m: (..., rows, columns).

    Returns its shape and dtype.

    >>> from blockfuse import np
    >>> np.tril(np.ones((2, 2)))
    array([[1., 0.],
           [1., 1.]])
    """
    x = asarray(m)
    rows, columns = x.shape[-2:]
    return pointwise.where(filling.on_or_below(rows, columns, k), x, _zero(x))


def triu(m: ArrayLike, k: int = 0) -> ndarray:
    """``m`` with zeros below the ``k``-th diagonal of its last two axes.

    m: (..., rows, columns).

    Returns its shape and dtype.

    >>> from blockfuse import np
    >>> np.triu(np.ones((2, 2)))
    array([[1., 1.],
           [0., 1.]])
    """
    x = asarray(m)
    rows, columns = x.shape[-2:]
    return pointwise.where(filling.on_or_below(rows, columns, k - 1), _zero(x), x)


def _zero(like: ndarray) -> ndarray:
    return full((), 0, like.dtype)


def diag(v: ArrayLike, k: int = 0) -> ndarray:
    """The ``k``-th diagonal of a matrix, or the matrix that has a vector as its ``k``-th diagonal.

    v: (rows, columns), or (n,).

    Returns a vector, or (n + abs(k), n + abs(k)), in the dtype of ``v``.

    >>> from blockfuse import np
    >>> np.diag(np.array([[1, 2], [3, 4]]), k=1)
    array([2.])
    >>> np.diag(np.array([1, 2]))
    array([[1., 0.],
           [0., 2.]])
    """
    x = asarray(v)
    return _matrix_of(x, k) if x.ndim == 1 else diagonal(x, k)


def _matrix_of(x: ndarray, k: int) -> ndarray:
    size = x.shape[0] + abs(k)
    pieces = (zeros(k, x.dtype), x) if k > 0 else (x, zeros(-k, x.dtype))
    on_diagonal = filling.eye(rows=size, columns=size, k=k, dtype="bool")
    return pointwise.where(on_diagonal, movement.concatenate(*pieces, axis=0), _zero(x))


def diagonal(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> ndarray:
    """The elements of matrices whose column is ``offset`` more than their row, along a last axis.

    a: two axes or more.
    axis1, axis2: the axes of rows and of columns.

    Returns the other axes and one of the diagonal, in the dtype of ``a``. Raises ShapeError for fewer than two axes,
    ValueError where both are one.

    >>> from blockfuse import np
    >>> np.diagonal(np.array([[1, 2], [3, 4]]))
    array([1., 4.])
    """
    x = asarray(a)
    if x.ndim < 2:
        raise ShapeError(f"diagonal needs a matrix or a stack of them, not an array of shape {x.shape}")
    plane = one_axis(axis1, x.ndim), one_axis(axis2, x.ndim)
    if plane[0] == plane[1]:
        raise ValueError(f"axis1={axis1} and axis2={axis2} are the same axis of shape {x.shape}")
    flat = _flat_matrices(moveaxis(x, plane, (-2, -1)))
    whole = (("slice", 0, Extent(n), 1) for n in flat.shape[:-1])
    along = _along_diagonal(x.shape[plane[0]], x.shape[plane[1]], operator.index(offset))
    return movement.get_item(flat, index=(*whole, along))


def _flat_matrices(x: ndarray) -> ndarray:
    return movement.reshape(x, shape=(*x.shape[:-2], x.shape[-2] * x.shape[-1]))


def _along_diagonal(rows: int, columns: int, offset: int) -> tuple[str, int, int, int]:
    """The ``offset``-th diagonal in the elements of a matrix, one row after the other."""
    count = max(0, min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns))
    start, step = offset if offset >= 0 else -offset * columns, columns + 1
    return ("slice", start, start + (count - 1) * step + 1, step) if count else ("slice", 0, 0, 1)


def indices(dimensions: Any, dtype: Any = None, sparse: bool = False) -> Any:
    """The places of a grid's elements along each axis.

    dimensions: the n sizes of the grid.
    sparse: give n arrays that broadcast against each other.

    Returns (n, *dimensions), or a tuple of n arrays where sparse, int64 unless ``dtype`` says otherwise.

    >>> from blockfuse import np
    >>> rows, columns = np.indices((2, 2))
    >>> rows
    array([[0, 0],
           [1, 1]])
    """
    sizes, name = shape_tuple(dimensions), str(checked_dtype("int64" if dtype is None else dtype))
    lines = [filling.arange(start=0, stop=n, step=1, dtype=name) for n in sizes]
    spread = tuple(_along(line, axis, len(sizes)) for axis, line in enumerate(lines))
    if sparse:
        return spread
    if not sizes:
        return zeros((0,), name)
    return movement.concatenate(*(movement.broadcast_to(x, shape=(1, *sizes)) for x in spread), axis=0)


def meshgrid(*xi: ArrayLike, indexing: str = "xy", sparse: bool = False) -> tuple[ndarray, ...]:
    """Coordinate arrays of the grid that vectors span.

    xi: n vectors.
    indexing: 'ij', or 'xy', which swaps the first two axes.
    sparse: each has its own axis only, and size 1 along the others.

    Returns a tuple of n arrays of n axes, each in the dtype of its vector. Raises ValueError for other words.

    >>> from blockfuse import np
    >>> np.meshgrid(np.arange(2), np.arange(2))
    (array([[0., 1.],
           [0., 1.]]), array([[0., 0.],
           [1., 1.]]))
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"indexing={indexing!r}; use 'xy' or 'ij'")
    vectors = [asarray(x) for x in xi]
    order = list(range(len(vectors)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    shape = tuple(vectors[axis].size for axis in order)
    spread = [_along(x, order.index(n), len(order)) for n, x in enumerate(vectors)]
    return tuple(array(x if sparse else movement.broadcast_to(x, shape=shape)) for x in spread)


def _along(x: ndarray, axis: int, ndim: int) -> Any:
    return movement.reshape(x, shape=tuple(x.size if a == axis else 1 for a in range(ndim)))


def positions(size: int, axes_after: int) -> ndarray:
    """0, 1, ... along an axis with ``axes_after`` more axes behind it."""
    line = filling.arange(start=0, stop=size, step=1, dtype="int64")
    return movement.reshape(line, shape=(size,) + (1,) * axes_after)


# -- places of triangles and diagonals -----------------------------------------------------------------------


def tril_indices(n: int, k: int = 0, m: int | None = None) -> tuple[ndarray, ndarray]:
    """The places of the elements on and below the ``k``-th diagonal of a matrix (n, m).

    Returns their rows and their columns, vectors of int64. ``m`` is ``n`` by default.

    >>> from blockfuse import np
    >>> rows, columns = np.tril_indices(2)
    >>> np.array([[1, 2], [3, 4]])[rows, columns]
    array([1., 3., 4.])
    """
    return _places(numpy.tril_indices(n, k, m))


def triu_indices(n: int, k: int = 0, m: int | None = None) -> tuple[ndarray, ndarray]:
    """The places of the elements on and above the ``k``-th diagonal of a matrix (n, m).

    Returns their rows and their columns, vectors of int64. ``m`` is ``n`` by default.

    >>> from blockfuse import np
    >>> rows, columns = np.triu_indices(2)
    >>> np.array([[1, 2], [3, 4]])[rows, columns]
    array([1., 2., 4.])
    """
    return _places(numpy.triu_indices(n, k, m))


def diag_indices(n: int, ndim: int = 2) -> tuple[ndarray, ...]:
    """The places of the elements of a cube whose places along all axes are equal.

    Returns ``ndim`` vectors (n,), int64.

    >>> from blockfuse import np
    >>> np.array([[1, 2], [3, 4]])[np.diag_indices(2)]
    array([1., 4.])
    """
    return (filling.arange(start=0, stop=operator.index(n), step=1, dtype="int64"),) * ndim


def _places(found: tuple[numpy.ndarray, numpy.ndarray]) -> tuple[ndarray, ndarray]:
    return ndarray(found[0]), ndarray(found[1])
