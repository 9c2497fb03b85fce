"""Arrays joined and cut apart along an axis: concatenate, stack, split, roll."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, one_axis
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.elementwise import alike
from blockfuse.array.functions.shaping import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    axes_in_order,
    broadcast_to,
    expand_dims,
    moveaxis,
    ravel,
    reshape,
)
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.operators import movement
from blockfuse.ir.types import Extent


@size_agnostic
def concatenate(seq: Sequence[ArrayLike], axis: int | None = 0) -> ndarray:
    """Arrays joined along an axis.

    seq: one array or more, of shapes that agree but along ``axis``.
    axis: None flattens all.

    Returns the shape with the sum of the sizes along the axis, in the dtype that all promote to. Raises ShapeError
    where other axes differ, ValueError without an array.

    >>> from blockfuse import np
    >>> np.concatenate([np.ones(2), np.zeros(1)])
    array([1., 1., 0.])
    """
    parts = [ravel(x) if axis is None else asarray(x) for x in seq]
    if not parts:
        raise ValueError("concatenate needs at least one array")
    along = one_axis(axis or 0, parts[0].ndim)
    rests = {x.shape[:along] + x.shape[along + 1 :] for x in parts}
    if len(rests) > 1 or len({x.ndim for x in parts}) > 1:
        shapes = ", ".join(str(x.shape) for x in parts)
        raise ShapeError(f"shapes {shapes} cannot be joined along axis {along}: all other axes must agree")
    return movement.concatenate(*parts, axis=along)


concat = concatenate


@size_agnostic
def stack(arrays: Sequence[ArrayLike], axis: int = 0) -> ndarray:
    """Arrays along a new axis.

    arrays: n arrays of one shape.
    axis: the place of the new one in the result.

    Returns that shape with n at ``axis``, in the dtype that all promote to. Raises ShapeError where shapes differ.

    >>> from blockfuse import np
    >>> np.stack([np.ones(2), np.zeros(2)])
    array([[1., 1.],
           [0., 0.]])
    """
    parts = [asarray(x) for x in arrays]
    if len({x.shape for x in parts}) > 1:
        raise ShapeError(
            f"arrays of different shapes cannot be stacked: {', '.join(str(x.shape) for x in parts)}"
        )
    return concatenate([expand_dims(x, axis) for x in parts], axis)


def vstack(arrays: Sequence[ArrayLike]) -> ndarray:
    """Arrays below each other; vectors are rows.

    arrays: of shapes (n, *rest), or (m,), which is (1, m).

    Returns (sum of n, *rest), in the dtype that all promote to. Raises ShapeError where other axes differ.

    >>> from blockfuse import np
    >>> np.vstack([np.array([1, 2]), np.array([[3, 4], [5, 6]])])
    array([[1., 2.],
           [3., 4.],
           [5., 6.]])
    """
    return concatenate([atleast_2d(x) for x in arrays], 0)


row_stack = vstack


def hstack(arrays: Sequence[ArrayLike]) -> ndarray:
    """Arrays beside each other: along the second axis, vectors along their only one.

    arrays: of shapes that agree but along this axis.

    Returns the shape with the sum of the sizes along it, in the dtype that all promote to. Raises ShapeError where
    other axes differ.

    >>> from blockfuse import np
    >>> np.hstack([np.array([[1], [2]]), np.array([[3, 4], [5, 6]])])
    array([[1., 3., 4.],
           [2., 5., 6.]])
    """
    parts = [atleast_1d(x) for x in arrays]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1)


def dstack(arrays: Sequence[ArrayLike]) -> ndarray:
    """Arrays along the third axis; a matrix (n, m) is (n, m, 1), a vector (m,) is (1, m, 1).

    arrays: a sequence of them; at least one.

    Returns the shape with the sum of the sizes along it, in the dtype that all promote to. Raises ShapeError where
    other axes differ.

    >>> from blockfuse import np
    >>> np.dstack([np.array([1, 2]), np.array([3, 4])])
    array([[[1., 3.],
            [2., 4.]]])
    """
    return concatenate([atleast_3d(x) for x in arrays], 2)


def column_stack(arrays: Sequence[ArrayLike]) -> ndarray:
    """Arrays beside each other; vectors are columns.

    arrays: of shapes (n, m), or (n,), which is (n, 1).

    Returns (n, sum of m), in the dtype that all promote to. Raises ShapeError where other axes differ.

    >>> from blockfuse import np
    >>> np.column_stack([np.array([1, 2]), np.array([3, 4])])
    array([[1., 3.],
           [2., 4.]])
    """
    parts = [asarray(x) for x in arrays]
    return concatenate([reshape(x, (x.size, 1)) if x.ndim < 2 else x for x in parts], 1)


def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> ndarray:
    """``values`` after ``arr``.

    arr, values: arrays of shapes that agree but along ``axis``.
    axis: None flattens both.

    Returns a vector, or the shape with both sizes along the axis, in the dtype that both promote to. Raises ShapeError
    where other axes differ.

    >>> from blockfuse import np
    >>> np.append(np.array([1, 2]), 3)
    array([1., 2., 3.])
    """
    return concatenate(alike(arr, values), axis)


def insert(arr: ArrayLike, obj: Any, values: ArrayLike, axis: int | None = None) -> ndarray:
    """``values``, in the dtype of ``arr``, before places along an axis.

    arr: an array of any shape.
    obj: an int, ints or a slice.
    values: of a shape that broadcasts to what is inserted.
    axis: None flattens.

    Returns the shape of ``arr`` with as many places more along the axis, in its dtype. Raises IndexError for a place
    beyond the axis.

    >>> from blockfuse import np
    >>> np.insert(np.array([1, 2, 3]), 1, np.array([7]))
    array([1., 7., 2., 3.])
    >>> np.insert(np.array([[1, 2], [3, 4]]), 2, 9, axis=1)
    array([[1., 2., 9.],
           [3., 4., 9.]])
    """
    if isinstance(obj, ndarray):
        raise TypeError("where places are values of an array, they must be known first")
    x, axis = (ravel(arr), 0) if axis is None else (asarray(arr), axis)
    along, places = one_axis(axis, x.ndim), _places_to_insert(obj, x.shape[axis])
    new = _to_insert(asarray(values, x.dtype), x, along, places)
    order = numpy.insert(
        numpy.arange(x.shape[along]), places, x.shape[along] + numpy.arange(new.shape[along])
    )
    joined = concatenate((x, new), along)
    return joined[(*(slice(None),) * along, ndarray(order.astype("int64")))]


def _places_to_insert(obj: Any, size: int) -> numpy.ndarray:
    places = numpy.arange(*obj.indices(size)) if isinstance(obj, slice) else numpy.asarray(obj)
    if places.dtype == bool:
        places = numpy.flatnonzero(places)
    return places if places.size else places.astype("int64")


def _to_insert(values: ndarray, x: ndarray, axis: int, places: numpy.ndarray) -> ndarray:
    """The values in the shape of ``x``, but along ``axis``; for one place, as many there as are given."""
    if places.size == 1:
        values = reshape(values, (1,) * (x.ndim - values.ndim) + values.shape)
        if not places.ndim:
            values = moveaxis(values, 0, axis)
        count = values.shape[axis]
    else:
        count = places.size
    return broadcast_to(values, (*x.shape[:axis], count, *x.shape[axis + 1 :]))


def block(arrays: Any) -> ndarray:
    """Nested lists of arrays as one array: the innermost lists joined along the last axis, and so on outwards.

    arrays: lists that are nested equally deep, of arrays whose other axes agree.

    Returns an array of at least as many axes as lists are deep, in the dtype that all promote to. Raises ValueError for
    lists of several depths, or empty ones.

    >>> from blockfuse import np
    >>> np.block([[np.ones((1, 2)), np.zeros((1, 1))], [np.full((1, 3), 5)]])
    array([[1., 1., 0.],
           [5., 5., 5.]])
    """
    depth = _depth(arrays)
    ndim = max(depth, *(x.ndim for x in _leaves(arrays)), 0)
    return _joined(arrays, ndim, ndim - depth)


def _depth(arrays: Any) -> int:
    if not isinstance(arrays, list):
        return 0
    depths = {_depth(x) for x in arrays}
    if len(depths) != 1:
        raise ValueError("block takes lists that are nested equally deep, and not empty")
    return depths.pop() + 1


def _leaves(arrays: Any) -> list[ndarray]:
    return [leaf for x in arrays for leaf in _leaves(x)] if isinstance(arrays, list) else [asarray(arrays)]


def _joined(arrays: Any, ndim: int, axis: int) -> ndarray:
    if isinstance(arrays, list):
        return concatenate([_joined(x, ndim, axis + 1) for x in arrays], axis)
    x = asarray(arrays)
    return reshape(x, (1,) * (ndim - x.ndim) + x.shape)


@size_agnostic
def split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    """An array cut into parts along an axis.

    ary: an array of one axis or more.
    indices_or_sections: an int for so many equal parts, or the places before which to cut.

    Returns a list of arrays in the dtype of ``ary``, whose shapes differ along the axis. Raises ShapeError where an int
    does not divide the size.

    >>> from blockfuse import np
    >>> np.split(np.arange(4), 2)
    [array([0., 1.]), array([2., 3.])]
    """
    x = asarray(ary)
    sections = indices_or_sections
    if isinstance(sections, int) and x.shape[axis] % sections:
        raise ShapeError(
            f"{x.shape[axis]} elements along axis {axis} do not split into {sections} equal parts"
        )
    return array_split(x, sections, axis)


@size_agnostic
def array_split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    """As ``split``; where an int does not divide the size, the first parts have one element more.

    Returns a list of arrays in the dtype of ``ary``, whose shapes differ along the axis. Raises ValueError for fewer
    than one part.

    >>> from blockfuse import np
    >>> np.array_split(np.arange(3), 2)
    [array([0., 1.]), array([2.])]
    """
    x = asarray(ary)
    along = one_axis(axis, x.ndim)
    cuts = _cuts(indices_or_sections, x.shape[along])
    return [part_of(x, along, start, max(start, stop)) for start, stop in pairwise(cuts)]


def _cuts(sections: Any, size: int) -> list[int]:
    if isinstance(sections, int | numpy.integer):
        if sections < 1:
            raise ValueError(f"an array splits into 1 or more parts, not {sections}")
        sections = int(sections)
        each, extra = divmod(size, sections)
        return [0] + [each * n + min(n, extra) for n in range(1, sections + 1)]
    inner = [min(i, size) if i >= 0 else max(0, i + size) for i in map(operator.index, sections)]
    return [0, *inner, size]


def hsplit(ary: ArrayLike, indices_or_sections: Any) -> list[ndarray]:
    """``split`` along the second axis, of vectors along their only one: parts beside each other.

    Returns a list of arrays in the dtype of ``ary``, whose shapes differ along the axis.

    >>> from blockfuse import np
    >>> np.hsplit(np.array([[1, 2], [3, 4]]), 2)
    [array([[1.],
           [3.]]), array([[2.],
           [4.]])]
    """
    return split(ary, indices_or_sections, 1 if asarray(ary).ndim > 1 else 0)


def vsplit(ary: ArrayLike, indices_or_sections: Any) -> list[ndarray]:
    """``split`` along the first axis: parts below each other.

    Returns a list of arrays in the dtype of ``ary``, whose shapes differ along the axis.

    >>> from blockfuse import np
    >>> np.vsplit(np.array([[1, 2], [3, 4]]), 2)
    [array([[1., 2.]]), array([[3., 4.]])]
    """
    return split(ary, indices_or_sections, 0)


def dsplit(ary: ArrayLike, indices_or_sections: Any) -> list[ndarray]:
    """``split`` along the third axis.

    Returns a list of arrays in the dtype of ``ary``, whose shapes differ along the axis.

    >>> from blockfuse import np
    >>> np.dsplit(np.array([[[1, 2, 3]]]), [1])
    [array([[[1.]]]), array([[[2., 3.]]])]
    """
    return split(ary, indices_or_sections, 2)


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[ndarray, ...]:
    """The arrays that lie along an axis, without it; ``stack`` undoes it.

    x: an array of one axis or more, of size n.

    Returns a tuple of n arrays of the other axes, in the dtype of ``x``.

    >>> from blockfuse import np
    >>> np.unstack(np.array([[1, 2], [3, 4]]), axis=1)
    (array([1., 3.]), array([2., 4.]))
    """
    whole = asarray(x)
    lead = (slice(None),) * one_axis(axis, whole.ndim)
    return tuple(whole[(*lead, n)] for n in range(whole.shape[axis]))


def roll(a: ArrayLike, shift: Any, axis: Any = None) -> ndarray:
    """The elements moved on by ``shift`` places, those that leave at the end coming in at the start.

    a: an array of any shape.
    shift: an int, or one for each of several axes.
    axis: None moves in the flattened array.

    Returns the shape and dtype of ``a``.

    >>> from blockfuse import np
    >>> np.roll(np.arange(4), 1)
    array([3., 0., 1., 2.])
    """
    x = asarray(a)
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    axes = axes_in_order(axis, x.ndim)
    shifts = list(shift) if isinstance(shift, tuple | list) else [shift] * len(axes)
    for by, along in zip(shifts, axes, strict=True):
        cut = -by % max(x.shape[along], 1)
        x = concatenate([part_of(x, along, cut, x.shape[along]), part_of(x, along, 0, cut)], along)
    return x


@size_agnostic
def part_of(x: ndarray, axis: int, start: int, stop: int) -> ndarray:
    """Elements ``start`` to ``stop`` along one axis."""
    index = tuple(
        ("slice", start, stop, 1) if a == axis else ("slice", 0, Extent(n), 1) for a, n in enumerate(x.shape)
    )
    return movement.get_item(x, index=index)
