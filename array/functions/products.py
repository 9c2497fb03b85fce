"""Products of vectors and matrices."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, one_axis
from blockfuse.array.functions.coordinates import diagonal
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import alike, binary_of
from blockfuse.array.functions.reducing import sum
from blockfuse.array.functions.shaping import moveaxis, ravel, reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.operators import contractions
from blockfuse.ir.operators.einsum import einsum as einsum_row
from blockfuse.ir.types import TensorType

matmul = binary_of(
    contractions.matmul,
    """The product of matrices, ``x @ y``: sums over the last axis of ``x`` and the last but one of ``y``.

    x, y: (..., n, k) and (..., k, m), whose first axes broadcast; a vector (k,) is a row as ``x``, a column as ``y``.
    out: an array that takes the result, which is a new one otherwise.

    Returns (..., n, m), without the axis of a vector, in the dtype that the operands promote to. Raises ValueError
    where shapes do not fit.

    >>> from blockfuse import np
    >>> np.matmul(np.array([[1, 2], [3, 4]]), np.array([1, 10]))
    array([21., 43.])
    >>> np.matmul(np.ones((5, 2, 3)), np.ones((3, 4))).shape
    (5, 2, 4)
    """,
)
matmul.__module__ = __name__  # where it is described


def dot(a: ArrayLike, b: ArrayLike) -> ndarray:
    """The product over the last axis of ``a`` and the last but one of ``b``; a number multiplies.

    a, b: (..., n), and (..., n, m) or (n,).

    Returns the other axes of ``a``, then those of ``b``, in the dtype that both promote to. Raises ShapeError where the
    two axes differ.

    >>> from blockfuse import np
    >>> np.dot(np.array([[1, 2], [3, 4]]), np.array([1, 10]))
    array([21., 43.])
    """
    x, y = alike(a, b)
    _check_inner(x, y, "dot")
    if x.ndim and 1 <= y.ndim <= 2:
        return matmul(x, y)
    return contractions.dot(x, y)


@size_agnostic
def _check_inner(x: ndarray, y: ndarray, name: str) -> None:
    inner = y.shape[-2 if y.ndim > 1 else -1] if x.ndim and y.ndim else None
    if inner is not None and x.shape[-1] != inner:
        raise ShapeError(
            f"{name} of shapes {x.shape} and {y.shape}: "
            f"the last axis of the first ({x.shape[-1]}) must equal {inner}"
        )


def vdot(a: ArrayLike, b: ArrayLike) -> ndarray:
    """The product of the two flattened arrays.

    a, b: arrays of as many elements.

    Returns a number, of shape (), in the dtype that both promote to. Raises ShapeError where sizes differ.

    >>> from blockfuse import np
    >>> np.vdot(np.array([[1, 2], [3, 4]]), np.array([[1, 0], [0, 10]]))
    array(41.)
    """
    x, y = alike(a, b)
    return dot(ravel(x), ravel(y))


def inner(a: ArrayLike, b: ArrayLike) -> ndarray:
    """The product over the last axes.

    a, b: (..., n) both, or a number and an array.

    Returns the other axes of ``a``, then those of ``b``, in the dtype that both promote to. Raises ShapeError where the
    last axes differ.

    >>> from blockfuse import np
    >>> np.inner(np.array([[1, 2], [3, 4]]), np.array([1, 10]))
    array([21., 43.])
    """
    x, y = alike(a, b)
    return x * y if not x.ndim or not y.ndim else tensordot(x, y, (-1, -1))


def outer(a: ArrayLike, b: ArrayLike) -> ndarray:
    """Each element of the flattened ``a`` times each of the flattened ``b``.

    a, b: arrays of n and m elements.

    Returns (n, m) in the dtype that both promote to.

    >>> from blockfuse import np
    >>> np.outer(np.array([1, 2]), np.array([1, 10]))
    array([[ 1., 10.],
           [ 2., 20.]])
    """
    return contractions.outer(*alike(a, b))


def tensordot(a: ArrayLike, b: ArrayLike, axes: Any = 2) -> ndarray:
    """The product summed over pairs of axes.

    a, b: arrays.
    axes: how many, of the last of ``a`` with the first of ``b``, or a pair of lists of axes of both.

    Returns the other axes of ``a``, then those of ``b``, in the dtype that both promote to. Raises ShapeError where
    sizes of a pair differ.

    >>> from blockfuse import np
    >>> np.tensordot(np.ones((2, 3, 4)), np.ones((3, 4, 5)), axes=2).shape
    (2, 5)
    >>> np.tensordot(np.array([[1, 2], [3, 4]]), np.array([1, 10]), axes=([0], [0]))
    array([31., 42.])
    """
    x, y = alike(a, b)
    if isinstance(axes, int | numpy.integer):
        count = operator.index(axes)
        left, right = tuple(range(x.ndim - count, x.ndim)), tuple(range(count))
    else:
        left, right = _paired(axes[0], x.ndim), _paired(axes[1], y.ndim)
    if [x.shape[i] for i in left] != [y.shape[i] for i in right]:
        raise ShapeError(f"tensordot of shapes {x.shape} and {y.shape}: the sizes along axes {axes} differ")
    return contractions.tensordot(x, y, axes=(left, right))


def _paired(axes: Any, ndim: int) -> tuple[int, ...]:
    return tuple(one_axis(a, ndim) for a in (axes if isinstance(axes, tuple | list) else (axes,)))


@size_agnostic
def einsum(subscripts: Any, *operands: Any, optimize: Any = True) -> ndarray:  # noqa: ARG001 - NumPy's wish
    """A sum of products, one letter for each axis: ``einsum('ij,jk->ik', a, b)``; '...' is any axes.

    subscripts: the letters of each operand, and of the result behind '->'; every operand has one for each axis.

    Or with a list of numbers behind each array: ``einsum(a, [0, 1], b, [1, 2], [0, 2])``. ``optimize`` changes nothing:
    the order of products is chosen for their sizes.

    Returns the axes behind '->', without it those that are named once, by letter; in the dtype that the operands
    promote to. Raises ShapeError where letters and sizes do not agree, ValueError for another number of operands.

    >>> from blockfuse import np
    >>> np.einsum("ij,ij->i", np.ones((2, 3)), np.ones((2, 3)))
    array([3., 3.])
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _lettered((subscripts, *operands))
    arrays = [asarray(x) for x in operands]
    explicit = _explicit(subscripts, arrays)
    einsum_row.result_type(*(TensorType(x.shape, x.dtype) for x in arrays), subscripts=explicit)
    return einsum_row(*arrays, subscripts=explicit)


_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _lettered(given: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Arrays with lists of numbers behind them, and perhaps such a list for the result, as subscripts and arrays."""
    arrays, lists = given[: len(given) // 2 * 2 : 2], given[1::2]
    inputs = ",".join(map(_letters, lists))
    return f"{inputs}->{_letters(given[-1])}" if len(given) % 2 else inputs, arrays


def _letters(axes: Any) -> str:
    return "".join("..." if axis is Ellipsis else _LETTERS[operator.index(axis)] for axis in axes)


_SPARE = "ZYXWVUTSRQPONMLKJIHGFEDCBA"


def _explicit(subscripts: str, arrays: Sequence[ndarray]) -> str:
    """The subscripts with the result written out and a letter in the place of each axis that '...' covers."""
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(arrays):
        raise ValueError(f"einsum {subscripts!r} names {len(terms)} operands; {len(arrays)} were given")
    free = [letter for letter in _SPARE if letter not in subscripts]
    hidden = [
        x.ndim - len(t.replace("...", "")) if "..." in t else 0 for t, x in zip(terms, arrays, strict=True)
    ]
    dots = "".join(reversed(free[: max(hidden, default=0)]))
    terms = [t.replace("...", dots[len(dots) - n :]) for t, n in zip(terms, hidden, strict=True)]
    if arrow:
        return f"{','.join(terms)}->{output.replace('...', dots)}"
    letters = "".join(terms)
    once = sorted(letter for letter in set(letters) - set(dots) if letters.count(letter) == 1)
    return f"{','.join(terms)}->{dots}{''.join(once)}"


def kron(a: ArrayLike, b: ArrayLike) -> ndarray:
    """``b`` scaled by each element of ``a``, as blocks of one array.

    a, b: arrays; axes that one lacks are put in front, of size 1.

    Returns the product of sizes along each axis, in the dtype that both promote to.

    >>> from blockfuse import np
    >>> np.kron(np.array([1, 10]), np.array([[1, 2]]))
    array([[ 1.,  2., 10., 20.]])
    """
    x, y = alike(a, b)
    ndim = max(x.ndim, y.ndim)
    left, right = (1,) * (ndim - x.ndim) + x.shape, (1,) * (ndim - y.ndim) + y.shape
    wide_x = reshape(x, tuple(n for size in left for n in (size, 1)))
    wide_y = reshape(y, tuple(n for size in right for n in (1, size)))
    return reshape(wide_x * wide_y, tuple(n * m for n, m in zip(left, right, strict=True)))


def trace(a: ArrayLike, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> ndarray:
    """The sums of the ``offset``-th diagonals of the matrices of two axes.

    a: two axes or more.
    axis1, axis2: the axes of rows and of columns.

    Returns the other axes; floats keep their dtype, others give int64 (unsigned: uint64), or ``dtype``. Raises
    ShapeError for fewer than two axes.

    >>> from blockfuse import np
    >>> np.trace(np.array([[1, 2], [3, 4]]))
    array(5.)
    """
    return sum(diagonal(a, offset, axis1, axis2), -1, dtype)


def cross(
    a: ArrayLike, b: ArrayLike, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> ndarray:
    """The vector product of three-dimensional vectors along ``axisa`` and ``axisb``, into ``axisc``.

    a, b: arrays with 3 elements along these axes, the others broadcast.
    axis: all three.

    Returns the common shape, in the dtype that both promote to. Raises ShapeError for other than 3 elements.

    >>> from blockfuse import np
    >>> np.cross(np.array([1, 0, 0]), np.array([0, 1, 0]))
    array([0., 0., 1.])
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    if x.shape[-1] != 3 or y.shape[-1] != 3:
        raise ShapeError(f"cross needs vectors of 3 elements, not shapes {x.shape} and {y.shape}")
    turned, twice = [1, 2, 0], [2, 0, 1]
    return moveaxis(x[..., turned] * y[..., twice] - x[..., twice] * y[..., turned], -1, axisc)
