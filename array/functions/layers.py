"""What layers compute, as functions of their parameters: dense, dropout, embedding."""

from __future__ import annotations

from math import prod
from typing import Any

from blockfuse.array import modes
from blockfuse.array.arguments import ArrayLike, axes_tuple
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.products import matmul
from blockfuse.array.functions.selecting import as_index
from blockfuse.array.functions.shaping import swapaxes
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError
from blockfuse.ir.interpreter import current
from blockfuse.ir.operators import contractions, drawing, indexing, movement


@size_agnostic
def fully_connected(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    num_hidden: int | None = None,
    no_bias: bool | None = None,
    flatten: bool = True,
) -> ndarray:
    """``x @ weight.T + bias``.

    x: (batch, ...).
    weight: (units, in).
    bias: (units,).
    flatten: all axes of ``x`` behind the first are features; otherwise only the last one is.
    num_hidden: the units; checked.
    no_bias: True leaves ``bias`` out.

    Returns (batch, units), or (..., units) without flatten, in the dtype that all promote to. Raises ShapeError where
    the number of features is not the weight's.

    >>> from blockfuse import np, npx
    >>> npx.fully_connected(np.ones((1, 3)), np.ones((2, 3)), np.array([0, 10]))
    array([[ 3., 13.]])
    """
    data = x if type(x) is ndarray else asarray(x)
    matrix = weight if type(weight) is ndarray else asarray(weight)
    shape = data.shape
    if flatten and len(shape) != 2:
        data = batch_flatten(data)
        shape = data.shape
    if not shape or shape[-1] != matrix.shape[-1] or num_hidden not in (None, matrix.shape[0]):
        _refuse(asarray(x), matrix, num_hidden, flatten)
    if bias is None or no_bias:
        return current().apply(contractions.dense, (data, matrix), {})
    added = bias if type(bias) is ndarray else asarray(bias)
    if added.shape != matrix.shape[:1]:
        raise ShapeError(
            f"the bias has shape {added.shape}, but the weight of shape {matrix.shape} needs {matrix.shape[:1]}"
        )
    return current().apply(contractions.dense, (data, matrix, added), {})


def _refuse(x: ndarray, weight: ndarray, num_hidden: int | None, flatten: bool) -> None:
    if num_hidden not in (None, weight.shape[0]):
        raise ShapeError(
            f"num_hidden={num_hidden}, but the weight of shape {weight.shape} has {weight.shape[0]} units"
        )
    found = prod(x.shape[1:]) if flatten else x.shape[-1:]
    raise ShapeError(
        f"fully_connected expects {weight.shape[-1]} features, as its weight of shape {weight.shape} has; "
        f"found {found} in the input of shape {x.shape}" + (" (flattened)" if flatten and x.ndim != 2 else "")
    )


@size_agnostic
def batch_flatten(data: ArrayLike) -> ndarray:
    """All axes behind the first as one.

    data: (batch, ...).

    Returns (batch, size of the others) in the dtype of ``data``.

    >>> from blockfuse import np, npx
    >>> npx.batch_flatten(np.ones((2, 3, 4))).shape
    (2, 12)
    """
    x = asarray(data)
    batch = x.shape[0] if x.ndim else 1
    return movement.reshape(x, shape=(batch, prod(x.shape[1:])))


def dropout(data: ArrayLike, p: float = 0.5, mode: str = "training", axes: Any = ()) -> ndarray:
    """Each element 0 with probability ``p``, else divided by ``1 - p``; identity outside of training (Srivastava et al.
    2014).

    data: an array of any shape.
    mode: 'training', or 'always' to drop in prediction too.
    axes: along these, all elements share one fate.

    Returns the shape of ``data``, in its dtype where that is a float, else in what it promotes to with float32. Raises
    UsageError for other probabilities and modes.

    >>> from blockfuse import autograd, np, npx
    >>> npx.dropout(np.ones(3), p=0.5)
    array([1., 1., 1.])
    >>> with autograd.train_mode():
    ...     sorted(set(npx.dropout(np.ones(100), p=0.5).tolist()))
    [0.0, 2.0]
    """
    if not 0 <= p <= 1:
        raise UsageError(f"dropout needs a probability from 0 to 1, not {p}")
    if mode not in ("training", "always"):
        raise UsageError(f"mode={mode!r}; use 'training' or 'always'")
    x = asarray(data)
    if p == 0 or not (mode == "always" or modes.is_training()):
        return x
    shared = axes_tuple(axes, x.ndim)
    shape = tuple(1 if a in shared else n for a, n in enumerate(x.shape))
    dtype = str(x.dtype) if x.dtype.kind == "f" else "float32"
    return x * drawing.dropout_mask(shape=shape, p=float(p), dtype=dtype)


def embedding(
    data: ArrayLike, weight: ArrayLike, input_dim: int | None = None, output_dim: int | None = None
) -> ndarray:
    """The rows of ``weight`` that ``data`` names.

    data: integers of any shape; floats are cut.
    weight: (rows, size).
    input_dim, output_dim: these two; checked.

    Returns (*shape of data, size) in the dtype of ``weight``. Raises IndexError beyond its last row, ShapeError for a
    weight of other sizes.

    >>> from blockfuse import np, npx
    >>> npx.embedding(np.array([2, 0]), np.array([[1, 2], [3, 4], [5, 6]]))
    array([[5., 6.],
           [1., 2.]])
    """
    rows = asarray(weight)
    if rows.ndim != 2:
        raise ShapeError(f"embedding needs a weight of shape (rows, size); found {rows.shape}")
    for asked, found in zip((input_dim, output_dim), rows.shape, strict=True):
        if asked not in (None, found):
            raise ShapeError(
                f"embedding of {input_dim} rows of {output_dim}, but the weight has shape {rows.shape}"
            )
    return indexing.take_at(rows, as_index(data), pattern=(("array", 0),))


@size_agnostic
def batch_dot(a: ArrayLike, b: ArrayLike, transpose_a: bool = False, transpose_b: bool = False) -> ndarray:
    """The products of two stacks of matrices, each of them transposed first if asked for.

    a, b: (..., n, k) and (..., k, m), or (..., k, n) and (..., m, k) where they are to be transposed.
    transpose_a, transpose_b: whether they are.

    Returns (..., n, m) in the dtype that both promote to. Raises ShapeError where the sizes k differ.

    >>> from blockfuse import np, npx
    >>> npx.batch_dot(np.ones((4, 2, 3)), np.ones((4, 5, 3)), transpose_b=True).shape
    (4, 2, 5)
    """
    x, y = asarray(a), asarray(b)
    left = swapaxes(x, -1, -2) if transpose_a else x
    right = swapaxes(y, -1, -2) if transpose_b else y
    if left.shape[-1] != right.shape[-2]:
        raise ShapeError(
            f"batch_dot of shapes {left.shape} and {right.shape}: {left.shape[-1]} is not {right.shape[-2]}"
        )
    return matmul(left, right)
