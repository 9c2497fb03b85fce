"""Functions of Gluon that NumPy has under other names or needs not: likeness, casts, switches that switch nothing."""

from __future__ import annotations

from typing import Any

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.defaults import is_numpys, set_numpys
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.functions.selecting import argwhere
from blockfuse.array.functions.shaping import broadcast_to, reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import UsageError
from blockfuse.ir.operators import filling
from blockfuse.ir.operators.windows import added


def set_np(shape: bool = True, array: bool = True, dtype: bool = False) -> None:
    """Choose the default dtype; all else follows NumPy always. For the whole process, before hybridized calls.

    shape, array: True, as there is nothing else.
    dtype: True for NumPy's dtypes where an array is made of numbers without one: float64, and int64 of ``np.arange`` over
        whole numbers. Parameters of nets stay float32: ``net.cast("float64")``.

    Raises UsageError for False as ``shape`` or ``array``, and where the dtype would change after a call was recorded.

    >>> from blockfuse import npx
    >>> npx.set_np()
    """
    if not (shape and array):
        raise UsageError(f"set_np(shape={shape}, array={array}): arrays follow NumPy always; write set_np()")
    set_numpys(bool(dtype))


def reset_np() -> None:
    """Have float32 as the default dtype again (``npx.set_np``); raises UsageError where a call was recorded meanwhile.

    >>> from blockfuse import npx
    >>> npx.reset_np()
    """
    set_numpys(False)


def is_np_default_dtype() -> bool:
    """Whether arrays made without a dtype have NumPy's (``npx.set_np``).

    >>> from blockfuse import npx
    >>> npx.is_np_default_dtype()
    False
    """
    return is_numpys()


def is_np_array() -> bool:
    """Whether arrays follow NumPy: always.

    >>> from blockfuse import npx
    >>> npx.is_np_array()
    True
    """
    return True


def waitall() -> None:
    """Do nothing: operators have run when they return.

    >>> from blockfuse import npx
    >>> npx.waitall()
    """


def nonzero(data: ArrayLike) -> ndarray:
    """The places of elements that are not zero, one a row (``np.nonzero``: one array an axis).

    data: an array of n axes.

    Returns (elements, n), int64. Its size depends on values: an escape, without a gradient.

    >>> from blockfuse import np, npx
    >>> npx.nonzero(np.array([[0, 1], [2, 0]]))
    array([[0, 1],
           [1, 0]])
    """
    return argwhere(data)


def arange_like(data: ArrayLike, start: float = 0.0, step: float = 1.0, axis: int | None = None) -> ndarray:
    """``start``, ``start + step``, ... in the shape of ``data``, or as many as its ``axis`` is long.

    data: an array of any shape, whose values do not matter.

    Returns that shape, or a vector; the dtype of ``data`` where that is a float, else float32.

    >>> from blockfuse import np, npx
    >>> npx.arange_like(np.ones((2, 3)), axis=1)
    array([0., 1., 2.])
    """
    x = asarray(data)
    count = x.size if axis is None else x.shape[axis]
    dtype = str(x.dtype) if x.dtype.kind == "f" else "float32"
    line = filling.arange(start=0, stop=count, step=1, dtype=dtype) * step + start
    return reshape(line, x.shape) if axis is None else line


def broadcast_like(lhs: ArrayLike, rhs: ArrayLike) -> ndarray:
    """``lhs`` broadcast to the shape of ``rhs``.

    Returns the shape of ``rhs`` in the dtype of ``lhs``, read-only. Raises ShapeError where it does not fit.

    >>> from blockfuse import np, npx
    >>> npx.broadcast_like(np.array([[1, 2]]), np.ones((2, 2)))
    array([[1., 2.],
           [1., 2.]])
    """
    return broadcast_to(lhs, asarray(rhs).shape)


def from_numpy(data: Any, zero_copy: bool = True) -> ndarray:
    """The values of a NumPy array, in its memory, or in memory of their own without ``zero_copy``.

    data: an array of NumPy's, of any shape.

    Returns its shape and dtype. Raises DTypeError for a dtype that arrays do not have.

    >>> import numpy
    >>> from blockfuse import npx
    >>> theirs = numpy.zeros(2)
    >>> ours = npx.from_numpy(theirs)
    >>> theirs[0] = 7
    >>> ours
    array([7., 0.])
    """
    return asarray(data) if zero_copy else array(data)


def add_n(*args: ArrayLike) -> ndarray:
    """The sum of arrays.

    args: one array or more, of shapes that broadcast.

    Returns their common shape, in the dtype that all promote to. Raises UsageError without any.

    >>> from blockfuse import np, npx
    >>> npx.add_n(np.array([1, 2]), np.array([10, 20]), np.array([100, 200]))
    array([111., 222.])
    """
    if not args:
        raise UsageError("add_n needs one array or more")
    total: ndarray = added((asarray(args[0]), *args[1:]))
    return total


def gather_nd(data: ArrayLike, indices: ArrayLike) -> ndarray:
    """``data[indices[0], indices[1], ...]``: the first axis of ``indices`` runs over axes of ``data``.

    data: an array of any shape.
    indices: integers, (axes, *places).

    Returns (*places, *other axes) in the dtype of ``data``. Raises IndexError for places beyond an axis.

    >>> from blockfuse import np, npx
    >>> npx.gather_nd(np.array([[1, 2], [3, 4]]), np.array([[0, 1], [1, 0]], dtype="int64"))
    array([2., 3.])
    """
    places = asarray(indices)
    return asarray(data)[tuple(places[n] for n in range(places.shape[0]))]


def cast(data: ArrayLike, dtype: Any) -> ndarray:
    """The values in another dtype.

    Returns the shape of ``data`` in ``dtype``. Raises DTypeError for a dtype that arrays do not have.

    >>> from blockfuse import np, npx
    >>> npx.cast(np.array([1.5, -1.5]), "int32")
    array([ 1, -1], dtype=int32)
    """
    return array(data, dtype)


def stop_gradient(data: ArrayLike) -> ndarray:
    """The same elements; gradients end here.

    Returns the shape and dtype of ``data``.

    >>> from blockfuse import autograd, np, npx
    >>> x = np.array([1, 2])
    >>> x.attach_grad()
    >>> with autograd.record():
    ...     y = x * npx.stop_gradient(x)
    >>> y.backward()
    >>> x.grad
    array([1., 2.])
    """
    return asarray(data).detach()
