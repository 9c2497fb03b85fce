"""The same elements in another shape or order: reshape, transpose, flip, broadcast."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from numpy import integer

from blockfuse.array.arguments import ArrayLike, axes_tuple, full_shape, one_axis, shape_tuple
from blockfuse.array.functions.creation import asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.operators import movement, pointwise

# -- shape ---------------------------------------------------------------------------------------------------


@size_agnostic
def reshape(
    a: ArrayLike, shape: Any = None, order: str = "C", *, newshape: Any = None, copy: bool | None = None
) -> ndarray:
    """The elements in another shape.

    a: an array of any shape.
    shape: an int, or a tuple, in which one size may be -1: what is left. ``newshape`` is another word for it.
    order: 'C', or 'F' for the first axis running fastest. 'A' and 'K' are 'C': where elements lie in memory is no part
    of an array, and compiled code may place them otherwise.
    copy: True makes one always.

    Returns that shape in the dtype of ``a``. Raises ShapeError for another number of elements.

    >>> from blockfuse import np
    >>> np.reshape(np.arange(4), (2, -1))
    array([[0., 1.],
           [2., 3.]])
    """
    x = asarray(a, copy=True if copy else None)
    wanted = full_shape(newshape if shape is None else shape, x.size)
    if order == "F":
        return transpose(movement.reshape(transpose(x), shape=wanted[::-1]))
    if order not in ("C", "A", "K"):
        raise ValueError(f"order={order!r}; use 'C', 'F', 'A' or 'K'")
    return movement.reshape(x, shape=wanted)


def ravel(a: ArrayLike, order: str = "C") -> ndarray:
    """The elements along one axis.

    a: an array of any shape.
    order: as of ``reshape``.

    Returns (size,) in the dtype of ``a``.

    >>> from blockfuse import np
    >>> np.ravel(np.array([[1, 2], [3, 4]]))
    array([1., 2., 3., 4.])
    """
    return reshape(a, (-1,), order)


def expand_dims(a: ArrayLike, axis: Any) -> ndarray:
    """``a`` with more axes of size 1.

    a: an array of any shape.
    axis: their place, or places, in the result.

    Returns the shape with them, in the dtype of ``a``.

    >>> from blockfuse import np
    >>> np.expand_dims(np.ones(3), 0).shape
    (1, 3)
    """
    x = asarray(a)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    return movement.expand_dims(x, axis=axes_tuple(axis, x.ndim + count))


@size_agnostic
def squeeze(a: ArrayLike, axis: Any = None) -> ndarray:
    """``a`` without axes of size 1.

    a: an array of any shape.
    axis: which ones; None: all that have this size.

    Returns the shape without them, in the dtype of ``a``. Raises ShapeError for an axis of another size.

    >>> from blockfuse import np
    >>> np.squeeze(np.ones((1, 3, 1))).shape
    (3,)
    >>> np.squeeze(np.ones((1, 3, 1)), axis=2).shape
    (1, 3)
    """
    x = asarray(a)
    ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
    axes = ones if axis is None else axes_tuple(axis, x.ndim)
    if not set(axes) <= set(ones):
        raise ShapeError(f"axis {axis} of shape {x.shape} has not size 1 and cannot be squeezed")
    return movement.squeeze(x, axis=axes)


def atleast_1d(*arys: ArrayLike) -> Any:
    """Arrays with at least one axis.

    Returns the array, or the list of arrays: of shape (1,) for a number, otherwise as they are; dtypes stay.

    >>> from blockfuse import np
    >>> np.atleast_1d(np.array(5))
    array([5.])
    """
    return _each(arys, lambda x: reshape(x, (1,)) if x.ndim == 0 else x)


def atleast_2d(*arys: ArrayLike) -> Any:
    """Arrays with at least two axes: a vector becomes a row.

    Returns the array, or the list of arrays: of shape (1, n) for (n,), otherwise as they are; dtypes stay.

    >>> from blockfuse import np
    >>> np.atleast_2d(np.array([1, 2]))
    array([[1., 2.]])
    """
    return _each(arys, lambda x: reshape(x, (1, x.size)) if x.ndim < 2 else x)


def atleast_3d(*arys: ArrayLike) -> Any:
    """Arrays with at least three axes.

    Returns the array, or the list of arrays: of shape (1, n, 1) for (n,), (n, m, 1) for (n, m), otherwise as they are;
    dtypes stay.

    >>> from blockfuse import np
    >>> np.atleast_3d(np.array([1, 2])).shape
    (1, 2, 1)
    """
    return _each(
        arys, lambda x: expand_dims(x, 2) if x.ndim == 2 else reshape(x, (1, x.size, 1)) if x.ndim < 2 else x
    )


def _each(arys: tuple[ArrayLike, ...], change: Callable[[ndarray], ndarray]) -> Any:
    changed = [change(asarray(x)) for x in arys]
    return changed[0] if len(changed) == 1 else changed


# -- order of axes and elements ------------------------------------------------------------------------------


def transpose(a: ArrayLike, axes: Any = None) -> ndarray:
    """The axes in another order.

    a: an array of any shape.
    axes: one number for each axis of the result, which axis of ``a`` it is, or one number; None reverses all.

    Returns the sizes in that order, in the dtype of ``a``. Raises ValueError where they do not name each axis once.

    >>> from blockfuse import np
    >>> np.transpose(np.ones((2, 3, 4))).shape
    (4, 3, 2)
    """
    x = asarray(a)
    given = (axes,) if isinstance(axes, int | integer) else axes
    order = tuple(range(x.ndim))[::-1] if given is None else tuple(one_axis(axis, x.ndim) for axis in given)
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"axes {axes} do not name each of the {x.ndim} axes once")
    return movement.transpose(x, axes=order)


permute_dims = transpose


def swapaxes(a: ArrayLike, axis1: int, axis2: int) -> ndarray:
    """``a`` with two axes exchanged.

    a: an array of any shape.
    axis1, axis2: negative ones count from the end.

    Returns the shape with their sizes exchanged, in the dtype of ``a``.

    >>> from blockfuse import np
    >>> np.swapaxes(np.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = asarray(a)
    order = list(range(x.ndim))
    first, second = one_axis(axis1, x.ndim), one_axis(axis2, x.ndim)
    order[first], order[second] = second, first
    return movement.transpose(x, axes=tuple(order))


def matrix_transpose(x: ArrayLike) -> ndarray:
    """Matrices with rows and columns exchanged.

    x: (..., n, m).

    Returns (..., m, n) in the dtype of ``x``. Raises ValueError for fewer than two axes.

    >>> from blockfuse import np
    >>> np.matrix_transpose(np.array([[1, 2], [3, 4]]))
    array([[1., 3.],
           [2., 4.]])
    """
    matrices = asarray(x)
    if matrices.ndim < 2:
        raise ValueError(f"a matrix has two axes or more, not the {matrices.ndim} of shape {matrices.shape}")
    return swapaxes(matrices, -1, -2)


def moveaxis(a: ArrayLike, source: Any, destination: Any) -> ndarray:
    """``a`` with axes moved to other places, the rest in their order.

    a: an array of any shape.
    source, destination: an int each, or as many ints.

    Returns the shape in that order, in the dtype of ``a``. Raises ValueError for different numbers of axes.

    >>> from blockfuse import np
    >>> np.moveaxis(np.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = asarray(a)
    sources, destinations = axes_in_order(source, x.ndim), axes_in_order(destination, x.ndim)
    if len(sources) != len(destinations):
        raise ValueError(f"source {source} and destination {destination} name different numbers of axes")
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for target, axis in sorted(zip(destinations, sources, strict=True)):
        order.insert(target, axis)
    return transpose(x, order)


def axes_in_order(axis: Any, ndim: int) -> list[int]:
    return [one_axis(a, ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,))]


def flip(m: ArrayLike, axis: Any = None) -> ndarray:
    """The elements in reverse order along axes.

    m: an array of any shape.
    axis: an int, a tuple, or None for all axes.

    Returns its shape and dtype.

    >>> from blockfuse import np
    >>> np.flip(np.array([1, 2, 3]))
    array([3., 2., 1.])
    """
    x = asarray(m)
    return movement.flip(x, axis=axes_tuple(axis, x.ndim))


def flipud(m: ArrayLike) -> ndarray:
    """The rows in reverse order.

    m: an array of one axis or more.

    Returns its shape and dtype.

    >>> from blockfuse import np
    >>> np.flipud(np.array([[1, 2], [3, 4]]))
    array([[3., 4.],
           [1., 2.]])
    """
    return flip(m, 0)


def fliplr(m: ArrayLike) -> ndarray:
    """The columns in reverse order.

    m: an array of two axes or more.

    Returns its shape and dtype.

    >>> from blockfuse import np
    >>> np.fliplr(np.array([[1, 2], [3, 4]]))
    array([[2., 1.],
           [4., 3.]])
    """
    return flip(m, 1)


def rot90(m: ArrayLike, k: int = 1, axes: Any = (0, 1)) -> ndarray:
    """``m`` turned by quarters of a circle in the plane of two axes, from the first towards the second.

    m: an array of two axes or more.
    k: how many quarters.

    Returns the shape of ``m``, its two sizes exchanged where ``k`` is odd, in its dtype. Raises ValueError where the
    axes are not two.

    >>> from blockfuse import np
    >>> np.rot90(np.array([[1, 2], [3, 4]]))
    array([[2., 4.],
           [1., 3.]])
    """
    x = asarray(m)
    planes = axes_in_order(tuple(axes), x.ndim)
    if len(set(planes)) != 2 or len(planes) != 2:
        raise ValueError(f"rot90 turns a plane of two different axes, not {axes}")
    turns = operator.index(k) % 4
    if turns in (0, 2):
        return flip(x, planes) if turns else x[...]
    swapped = swapaxes(x, *planes)
    return flip(swapped, planes[0] if turns == 1 else planes[1])


def rollaxis(a: ArrayLike, axis: int, start: int = 0) -> ndarray:
    """``a`` with one axis moved to stand before the axis ``start``; ``moveaxis`` says the same more clearly.

    a: an array of any shape.

    Returns the shape in that order, in the dtype of ``a``.

    >>> from blockfuse import np
    >>> np.rollaxis(np.ones((2, 3, 4)), 2).shape
    (4, 2, 3)
    """
    x = asarray(a)
    source, before = one_axis(axis, x.ndim), one_axis(start, x.ndim + 1)
    return moveaxis(x, source, before - 1 if source < before else before)


# -- broadcasting -------------------------------------------------------------------------------------------


@size_agnostic
def broadcast_to(array: ArrayLike, shape: Any) -> ndarray:
    """``array`` seen in a larger shape, read-only.

    array: of sizes that are 1 or those of the end of ``shape``.

    Returns ``shape`` in the dtype of ``array``. Raises ShapeError where it does not fit.

    >>> from blockfuse import np
    >>> np.broadcast_to(np.array([1, 2]), (2, 2))
    array([[1., 2.],
           [1., 2.]])
    """
    x, wanted = asarray(array), shape_tuple(shape)
    lead = len(wanted) - x.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(x.shape, wanted[lead:], strict=True)):
        raise ShapeError(f"shape {x.shape} cannot be broadcast to {wanted}")
    return movement.broadcast_to(x, shape=wanted)


def broadcast_arrays(*args: ArrayLike) -> tuple[ndarray, ...]:
    """Arrays in their common shape, read-only.

    args: n arrays of shapes that broadcast.

    Returns a tuple of n arrays of that shape, each in its dtype. Raises ShapeError where shapes do not fit.

    >>> from blockfuse import np
    >>> np.broadcast_arrays(np.array([1, 2]), np.array([[3], [4]]))[1]
    array([[3., 3.],
           [4., 4.]])
    """
    arrays = [asarray(x) for x in args]
    shape = broadcast_shapes(*(x.shape for x in arrays))
    return tuple(broadcast_to(x, shape) for x in arrays)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that arrays of these shapes have together.

    shapes: tuples, or ints.

    Returns a tuple of ints. Raises ShapeError where shapes do not fit.

    >>> from blockfuse import np
    >>> np.broadcast_shapes((2, 1), (3,))
    (2, 3)
    """
    return pointwise.broadcast_shapes(*map(shape_tuple, shapes))
