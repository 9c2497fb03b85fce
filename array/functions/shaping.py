"""The same elements in another shape or order: reshape, transpose, flip, broadcast."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

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
    """The elements in another shape; one size may be -1. Raises ShapeError.

    order: 'C', or 'F' for the first axis running fastest. 'A' and 'K' are 'C': where elements lie in memory is no part of
    an array, and compiled code may place them otherwise. copy: True makes one always.

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
    """The elements along one axis."""
    return reshape(a, (-1,), order)


def expand_dims(a: ArrayLike, axis: Any) -> ndarray:
    """``a`` with an axis of size 1 at the place(s) ``axis`` of the result.

    >>> from blockfuse import np
    >>> np.expand_dims(np.ones(3), 0).shape
    (1, 3)
    """
    x = asarray(a)
    count = len(axis) if isinstance(axis, tuple | list) else 1
    return movement.expand_dims(x, axis=axes_tuple(axis, x.ndim + count))


@size_agnostic
def squeeze(a: ArrayLike, axis: Any = None) -> ndarray:
    """``a`` without the named axes, which must have size 1 (default: all that have)."""
    x = asarray(a)
    ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
    axes = ones if axis is None else axes_tuple(axis, x.ndim)
    if not set(axes) <= set(ones):
        raise ShapeError(f"axis {axis} of shape {x.shape} has not size 1 and cannot be squeezed")
    return movement.squeeze(x, axis=axes)


def atleast_1d(*arys: ArrayLike) -> Any:
    """The array, or the list of arrays, with at least one axis."""
    return _each(arys, lambda x: reshape(x, (1,)) if x.ndim == 0 else x)


def atleast_2d(*arys: ArrayLike) -> Any:
    """The array, or the list of arrays, with at least two axes: a vector becomes a row."""
    return _each(arys, lambda x: reshape(x, (1, x.size)) if x.ndim < 2 else x)


def atleast_3d(*arys: ArrayLike) -> Any:
    """The array, or the list of arrays, with at least three axes."""
    return _each(
        arys, lambda x: expand_dims(x, 2) if x.ndim == 2 else reshape(x, (1, x.size, 1)) if x.ndim < 2 else x
    )


def _each(arys: tuple[ArrayLike, ...], change: Callable[[ndarray], ndarray]) -> Any:
    changed = [change(asarray(x)) for x in arys]
    return changed[0] if len(changed) == 1 else changed


# -- order of axes and elements ------------------------------------------------------------------------------


def transpose(a: ArrayLike, axes: Any = None) -> ndarray:
    """The axes in the given order (default: reversed).

    >>> from blockfuse import np
    >>> np.transpose(np.ones((2, 3, 4))).shape
    (4, 3, 2)
    """
    x = asarray(a)
    order = tuple(range(x.ndim))[::-1] if axes is None else tuple(one_axis(axis, x.ndim) for axis in axes)
    if sorted(order) != list(range(x.ndim)):
        raise ValueError(f"axes {axes} do not name each of the {x.ndim} axes once")
    return movement.transpose(x, axes=order)


permute_dims = transpose


def swapaxes(a: ArrayLike, axis1: int, axis2: int) -> ndarray:
    """``a`` with two axes exchanged."""
    x = asarray(a)
    order = list(range(x.ndim))
    first, second = one_axis(axis1, x.ndim), one_axis(axis2, x.ndim)
    order[first], order[second] = second, first
    return movement.transpose(x, axes=tuple(order))


def matrix_transpose(x: ArrayLike) -> ndarray:
    """``x`` with its last two axes exchanged."""
    matrices = asarray(x)
    if matrices.ndim < 2:
        raise ValueError(f"a matrix has two axes or more, not the {matrices.ndim} of shape {matrices.shape}")
    return swapaxes(matrices, -1, -2)


def moveaxis(a: ArrayLike, source: Any, destination: Any) -> ndarray:
    """``a`` with the source axes moved to other places, the rest in their order."""
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
    """The elements in reverse order along the named axes (default: all).

    >>> from blockfuse import np
    >>> np.flip(np.array([1, 2, 3]))
    array([3., 2., 1.])
    """
    x = asarray(m)
    return movement.flip(x, axis=axes_tuple(axis, x.ndim))


def flipud(m: ArrayLike) -> ndarray:
    """The rows in reverse order."""
    return flip(m, 0)


def fliplr(m: ArrayLike) -> ndarray:
    """The columns in reverse order."""
    return flip(m, 1)


def rot90(m: ArrayLike, k: int = 1, axes: Any = (0, 1)) -> ndarray:
    """``m`` turned by ``k`` quarters of a circle in the plane of two axes, from the first towards the second."""
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
    """``a`` with one axis moved to stand before the axis ``start``."""
    x = asarray(a)
    source, before = one_axis(axis, x.ndim), one_axis(start, x.ndim + 1)
    return moveaxis(x, source, before - 1 if source < before else before)


# -- broadcasting -------------------------------------------------------------------------------------------


@size_agnostic
def broadcast_to(array: ArrayLike, shape: Any) -> ndarray:
    """``array`` seen in a larger shape, read-only. Raises ShapeError where it does not fit.

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
    """The arrays in their common shape."""
    arrays = [asarray(x) for x in args]
    shape = broadcast_shapes(*(x.shape for x in arrays))
    return tuple(broadcast_to(x, shape) for x in arrays)


def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that arrays of these shapes have together. Raises ShapeError where they do not fit."""
    return pointwise.broadcast_shapes(*map(shape_tuple, shapes))
