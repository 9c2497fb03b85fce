"""The same elements in another shape or place: reshape, transpose, join, split, repeat, pad."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, axes_tuple, full_shape, one_axis, shape_tuple
from blockfuse.array.functions.creation import array, asarray, full
from blockfuse.array.functions.elementwise import alike
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.operators import movement, pointwise
from blockfuse.ir.types import Extent

# -- shape ---------------------------------------------------------------------------------------------------


@size_agnostic
def reshape(a: ArrayLike, shape: Any = None, order: str = "C", *, newshape: Any = None) -> ndarray:
    """The elements in another shape; one size may be -1. Raises ShapeError.

    order: 'C', or 'F' for the first axis running fastest. 'A' and 'K' are 'C': where elements lie in memory is no part of
    an array, and compiled code may place them otherwise.
    """
    x = asarray(a)
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
    """``a`` with an axis of size 1 at the place(s) ``axis`` of the result."""
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
    """The axes in the given order (default: reversed)."""
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
    sources, places = _axes_in_order(source, x.ndim), _axes_in_order(destination, x.ndim)
    if len(sources) != len(places):
        raise ValueError(f"source {source} and destination {destination} name different numbers of axes")
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for place, axis in sorted(zip(places, sources, strict=True)):
        order.insert(place, axis)
    return transpose(x, order)


def _axes_in_order(axis: Any, ndim: int) -> list[int]:
    return [one_axis(a, ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,))]


def flip(m: ArrayLike, axis: Any = None) -> ndarray:
    """The elements in reverse order along the named axes (default: all)."""
    x = asarray(m)
    return movement.flip(x, axis=axes_tuple(axis, x.ndim))


def flipud(m: ArrayLike) -> ndarray:
    """The rows in reverse order."""
    return flip(m, 0)


def fliplr(m: ArrayLike) -> ndarray:
    """The columns in reverse order."""
    return flip(m, 1)


def roll(a: ArrayLike, shift: Any, axis: Any = None) -> ndarray:
    """The elements moved on by ``shift`` places, those that leave at the end coming in at the start."""
    x = asarray(a)
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), x.shape)
    axes = _axes_in_order(axis, x.ndim)
    shifts = list(shift) if isinstance(shift, tuple | list) else [shift] * len(axes)
    for by, place in zip(shifts, axes, strict=True):
        cut = -by % max(x.shape[place], 1)
        x = concatenate([_part(x, place, cut, x.shape[place]), _part(x, place, 0, cut)], place)
    return x


@size_agnostic
def _part(x: ndarray, axis: int, start: int, stop: int) -> ndarray:
    """Elements ``start`` to ``stop`` along one axis."""
    index = tuple(
        ("slice", start, stop, 1) if a == axis else ("slice", 0, Extent(n), 1) for a, n in enumerate(x.shape)
    )
    return movement.get_item(x, index=index)


# -- joining -------------------------------------------------------------------------------------------------


@size_agnostic
def concatenate(seq: Sequence[ArrayLike], axis: int | None = 0) -> ndarray:
    """The arrays joined along ``axis`` (``None``: flattened). Raises ShapeError where other axes differ."""
    parts = [ravel(x) if axis is None else asarray(x) for x in seq]
    if not parts:
        raise ValueError("concatenate needs at least one array")
    place = one_axis(axis or 0, parts[0].ndim)
    rests = {x.shape[:place] + x.shape[place + 1 :] for x in parts}
    if len(rests) > 1 or len({x.ndim for x in parts}) > 1:
        shapes = ", ".join(str(x.shape) for x in parts)
        raise ShapeError(f"shapes {shapes} cannot be joined along axis {place}: all other axes must agree")
    return movement.concatenate(*parts, axis=place)


concat = concatenate


@size_agnostic
def stack(arrays: Sequence[ArrayLike], axis: int = 0) -> ndarray:
    """The arrays, all of one shape, along a new axis."""
    parts = [asarray(x) for x in arrays]
    if len({x.shape for x in parts}) > 1:
        raise ShapeError(
            f"arrays of different shapes cannot be stacked: {', '.join(str(x.shape) for x in parts)}"
        )
    return concatenate([expand_dims(x, axis) for x in parts], axis)


def vstack(arrays: Sequence[ArrayLike]) -> ndarray:
    """The arrays below each other; vectors are rows."""
    return concatenate([atleast_2d(x) for x in arrays], 0)


row_stack = vstack


def hstack(arrays: Sequence[ArrayLike]) -> ndarray:
    """The arrays beside each other: along the second axis, vectors along their only one."""
    parts = [atleast_1d(x) for x in arrays]
    return concatenate(parts, 0 if parts and parts[0].ndim == 1 else 1)


def dstack(arrays: Sequence[ArrayLike]) -> ndarray:
    """The arrays along the third axis."""
    return concatenate([atleast_3d(x) for x in arrays], 2)


def column_stack(arrays: Sequence[ArrayLike]) -> ndarray:
    """The arrays beside each other; vectors are columns."""
    parts = [asarray(x) for x in arrays]
    return concatenate([reshape(x, (x.size, 1)) if x.ndim < 2 else x for x in parts], 1)


def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> ndarray:
    """``values`` after ``arr`` (flattened without ``axis``)."""
    return concatenate(alike(arr, values), axis)


# -- splitting -----------------------------------------------------------------------------------------------


@size_agnostic
def split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    """Equal parts (an int), or the parts between the given places, along ``axis``."""
    x = asarray(ary)
    sections = indices_or_sections
    if isinstance(sections, int) and x.shape[axis] % sections:
        raise ShapeError(
            f"{x.shape[axis]} elements along axis {axis} do not split into {sections} equal parts"
        )
    return array_split(x, sections, axis)


@size_agnostic
def array_split(ary: ArrayLike, indices_or_sections: Any, axis: int = 0) -> list[ndarray]:
    """As ``split``; where an int does not divide the size, the first parts have one element more."""
    x = asarray(ary)
    place = one_axis(axis, x.ndim)
    cuts = _cuts(indices_or_sections, x.shape[place])
    return [_part(x, place, start, max(start, stop)) for start, stop in pairwise(cuts)]


def _cuts(sections: Any, size: int) -> list[int]:
    if isinstance(sections, int):
        if sections < 1:
            raise ValueError(f"an array splits into 1 or more parts, not {sections}")
        each, extra = divmod(size, sections)
        return [0] + [each * n + min(n, extra) for n in range(1, sections + 1)]
    inner = [min(i, size) if i >= 0 else max(0, i + size) for i in map(operator.index, sections)]
    return [0, *inner, size]


def hsplit(ary: ArrayLike, indices_or_sections: Any) -> list[ndarray]:
    """Parts beside each other."""
    return split(ary, indices_or_sections, 1 if asarray(ary).ndim > 1 else 0)


def vsplit(ary: ArrayLike, indices_or_sections: Any) -> list[ndarray]:
    """Parts below each other."""
    return split(ary, indices_or_sections, 0)


# -- broadcasting and repeating ------------------------------------------------------------------------------


@size_agnostic
def broadcast_to(array: ArrayLike, shape: Any) -> ndarray:
    """``array`` seen in a larger shape, read-only. Raises ShapeError where it does not fit."""
    x, wanted = asarray(array), shape_tuple(shape)
    lead = len(wanted) - x.ndim
    if lead < 0 or any(n not in (1, m) for n, m in zip(x.shape, wanted[lead:], strict=True)):
        raise ShapeError(f"shape {x.shape} cannot be broadcast to {wanted}")
    return movement.broadcast_to(x, shape=wanted)


def broadcast_arrays(*args: ArrayLike) -> list[ndarray]:
    """The arrays in their common shape."""
    arrays = [asarray(x) for x in args]
    shape = numpy.broadcast_shapes(*(x.shape for x in arrays))
    return [broadcast_to(x, shape) for x in arrays]


def tile(A: ArrayLike, reps: Any) -> ndarray:
    """``A`` laid out ``reps`` times along each axis."""
    x, times = asarray(A), shape_tuple(reps)
    times = (1,) * (x.ndim - len(times)) + times
    shape = (1,) * (len(times) - x.ndim) + x.shape
    apart = tuple(n for size in shape for n in (1, size))
    wide = tuple(n for pair in zip(times, shape, strict=True) for n in pair)
    tiled = tuple(t * n for t, n in zip(times, shape, strict=True))
    return _own(reshape(broadcast_to(reshape(x, apart), wide), tiled)) if x.size else full(tiled, 0, x.dtype)


@size_agnostic
def repeat(a: ArrayLike, repeats: Any, axis: int | None = None) -> ndarray:
    """Each element ``repeats`` times along ``axis`` (default: of the flattened array)."""
    x = asarray(a)
    if axis is None:
        return repeat(ravel(x), repeats, 0)
    place = one_axis(axis, x.ndim)
    if not isinstance(repeats, int):
        return _repeat_each(x, repeats, place)
    apart = (*x.shape[: place + 1], 1, *x.shape[place + 1 :])
    wide = (*x.shape[: place + 1], repeats, *x.shape[place + 1 :])
    together = (*x.shape[:place], x.shape[place] * repeats, *x.shape[place + 1 :])
    return _own(reshape(broadcast_to(reshape(x, apart), wide), together))


def _own(x: ndarray) -> ndarray:
    """A copy: a broadcast value can be a view that nobody may write to."""
    copy: ndarray = pointwise.cast(x, dtype=str(x.dtype))
    return copy


def _repeat_each(x: ndarray, repeats: Any, axis: int) -> ndarray:
    """A number of repeats for each place."""
    counts = repeats._leave("numbers of repeats") if isinstance(repeats, ndarray) else repeats
    places = numpy.repeat(numpy.arange(x.shape[axis]), counts)
    return x[(*(slice(None),) * axis, ndarray(places))]


# -- padding -------------------------------------------------------------------------------------------------


def pad(array: ArrayLike, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> ndarray:
    """``array`` with a border: of one value ('constant'), of the outermost elements ('edge'), or mirrored
    ('reflect'
    leaves the outermost elements out, 'symmetric' repeats them), or of the other end ('wrap').

    pad_width: a number, ``(before, after)``, or one such pair for each axis.
    """
    x = asarray(array)
    widths, values = _pairs(pad_width, x.ndim), _pairs(constant_values, x.ndim)
    if mode != "constant" and mode not in _BORDERS:
        raise ValueError(f"pad mode {mode!r} is not supported; use constant, {', '.join(_BORDERS)}")
    for axis, ((before, after), fill) in enumerate(zip(widths, values, strict=True)):
        if before < 0 or after < 0:
            raise ValueError(f"pad_width {pad_width} has a negative number")
        if mode == "constant":
            sides = _constant(x, axis, before, fill[0]), _constant(x, axis, after, fill[1])
        else:
            sides = _BORDERS[mode](x, axis, before, after)
        pieces = [side for side, width in ((sides[0], before), (x, 1), (sides[1], after)) if width]
        x = concatenate(pieces, axis) if len(pieces) > 1 else x
    return x if x is not array else _copied(x)


def _copied(x: ndarray) -> ndarray:
    return array(x)


def _pairs(given: Any, ndim: int) -> list[tuple[Any, Any]]:
    if isinstance(given, dict):  # axis -> width
        named = {one_axis(axis, ndim): width for axis, width in given.items()}
        return [_pairs(named.get(axis, 0), 1)[0] for axis in range(ndim)]
    rows = numpy.broadcast_to(numpy.asarray(given), (ndim, 2))
    return [(row[0].item(), row[1].item()) for row in rows]


def _constant(x: ndarray, axis: int, width: int, value: float) -> ndarray:
    return full((*x.shape[:axis], width, *x.shape[axis + 1 :]), value, x.dtype)


Borders = tuple[ndarray, ndarray]


def _edge(x: ndarray, axis: int, before: int, after: int) -> Borders:
    n = x.shape[axis]
    return repeat(_part(x, axis, 0, 1), before, axis), repeat(_part(x, axis, n - 1, n), after, axis)


def _mirrored(x: ndarray, axis: int, before: int, after: int, skip: int) -> Borders:
    n = x.shape[axis]
    if max(before, after) > max(n - skip, 0):
        raise ShapeError(
            f"axis {axis} of size {n} is too small for a mirrored border of {max(before, after)}"
        )
    return flip(_part(x, axis, skip, before + skip), axis), flip(
        _part(x, axis, n - skip - after, n - skip), axis
    )


def _wrapped(x: ndarray, axis: int, before: int, after: int) -> Borders:
    n = x.shape[axis]
    if max(before, after) > n:
        raise ShapeError(f"axis {axis} of size {n} is too small for a wrapped border of {max(before, after)}")
    return _part(x, axis, n - before, n), _part(x, axis, 0, after)


_BORDERS: dict[str, Callable[[ndarray, int, int, int], Borders]] = {
    "edge": _edge,
    "reflect": lambda x, axis, before, after: _mirrored(x, axis, before, after, 1),
    "symmetric": lambda x, axis, before, after: _mirrored(x, axis, before, after, 0),
    "wrap": _wrapped,
}
