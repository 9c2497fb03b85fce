"""Elements more than once: repeat, tile, and borders by ``pad``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, one_axis, shape_tuple
from blockfuse.array.functions.creation import array, asarray, full
from blockfuse.array.functions.joining import concatenate, part_of
from blockfuse.array.functions.shaping import broadcast_to, flip, ravel, reshape
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError
from blockfuse.ir.operators import pointwise


def tile(A: ArrayLike, reps: Any) -> ndarray:
    """``A`` laid out ``reps`` times along each axis.

    A: an array of any shape.
    reps: an int for the last axis, or one for each axis; axes that one of both lacks are put in front.

    Returns the product of sizes and repetitions along each axis, in the dtype of ``A``.

    >>> from blockfuse import np
    >>> np.tile(np.array([1, 2]), 2)
    array([1., 2., 1., 2.])
    """
    x, times = asarray(A), shape_tuple(reps)
    times = (1,) * (x.ndim - len(times)) + times
    shape = (1,) * (len(times) - x.ndim) + x.shape
    apart = tuple(n for size in shape for n in (1, size))
    wide = tuple(n for pair in zip(times, shape, strict=True) for n in pair)
    tiled = tuple(t * n for t, n in zip(times, shape, strict=True))
    return _own(reshape(broadcast_to(reshape(x, apart), wide), tiled)) if x.size else full(tiled, 0, x.dtype)


@size_agnostic
def repeat(a: ArrayLike, repeats: Any, axis: int | None = None) -> ndarray:
    """Each element ``repeats`` times along an axis.

    a: an array of any shape.
    repeats: an int, or one for each place of the axis.
    axis: None flattens.

    Returns the shape of ``a`` but for the axis, in its dtype.

    >>> from blockfuse import np
    >>> np.repeat(np.array([1, 2]), 2)
    array([1., 1., 2., 2.])
    """
    x = asarray(a)
    if axis is None:
        return repeat(ravel(x), repeats, 0)
    along = one_axis(axis, x.ndim)
    if not isinstance(repeats, int):
        return _repeat_each(x, repeats, along)
    apart = (*x.shape[: along + 1], 1, *x.shape[along + 1 :])
    wide = (*x.shape[: along + 1], repeats, *x.shape[along + 1 :])
    together = (*x.shape[:along], x.shape[along] * repeats, *x.shape[along + 1 :])
    return _own(reshape(broadcast_to(reshape(x, apart), wide), together))


def _own(x: ndarray) -> ndarray:
    """A copy: a broadcast value can be a view that nobody may write to."""
    copy: ndarray = pointwise.cast(x, dtype=str(x.dtype))
    return copy


def _repeat_each(x: ndarray, repeats: Any, axis: int) -> ndarray:
    """A number of repeats for each place."""
    counts = repeats._leave("numbers of repeats") if isinstance(repeats, ndarray) else repeats
    indices = numpy.repeat(numpy.arange(x.shape[axis]), counts)
    return x[(*(slice(None),) * axis, ndarray(indices))]


@size_agnostic
def pad(array: ArrayLike, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> ndarray:
    """An array with a border.

    array: of any shape.
    pad_width: a number, ``(before, after)``, or one such pair for each axis.
    mode: 'constant' (``constant_values``), 'edge' (the outermost elements), 'reflect' (mirrored, without the outermost
    elements), 'symmetric' (with them), or 'wrap' (of the other end).

    Returns the sizes with both widths added, in the dtype of ``array``. Raises ShapeError for a border of what an axis
    without elements has, ValueError for negative widths.

    >>> from blockfuse import np
    >>> np.pad(np.array([1, 2]), 1)
    array([0., 1., 2., 0.])
    """
    x = asarray(array)
    widths, values = _pairs(pad_width, x.ndim), _pairs(constant_values, x.ndim)
    if mode != "constant" and mode not in _BORDERS:
        raise ValueError(f"pad mode {mode!r} is not supported; use constant, {', '.join(_BORDERS)}")
    for axis, ((before, after), fill) in enumerate(zip(widths, values, strict=True)):
        if before < 0 or after < 0:
            raise ValueError(f"pad_width {pad_width} has a negative number")
        if not (before or after):
            continue
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


@size_agnostic
def _constant(x: ndarray, axis: int, width: int, value: float) -> ndarray:
    return full((*x.shape[:axis], width, *x.shape[axis + 1 :]), value, x.dtype)


Borders = tuple[ndarray, ndarray]


@size_agnostic
def _edge(x: ndarray, axis: int, before: int, after: int) -> Borders:
    n = x.shape[axis]
    if not n and max(before, after):
        raise ShapeError(f"axis {axis} has no element, so it has no outermost ones for a border")
    return repeat(part_of(x, axis, 0, 1), before, axis), repeat(part_of(x, axis, n - 1, n), after, axis)


@size_agnostic
def _mirrored(x: ndarray, axis: int, before: int, after: int, skip: int) -> Borders:
    n = x.shape[axis]
    if max(before, after) > max(n - skip, 0):
        raise ShapeError(
            f"axis {axis} of size {n} is too small for a mirrored border of {max(before, after)}"
        )
    return flip(part_of(x, axis, skip, before + skip), axis), flip(
        part_of(x, axis, n - skip - after, n - skip), axis
    )


@size_agnostic
def _wrapped(x: ndarray, axis: int, before: int, after: int) -> Borders:
    n = x.shape[axis]
    if max(before, after) > n:
        raise ShapeError(f"axis {axis} of size {n} is too small for a wrapped border of {max(before, after)}")
    return part_of(x, axis, n - before, n), part_of(x, axis, 0, after)


_BORDERS: dict[str, Callable[[ndarray, int, int, int], Borders]] = {
    "edge": _edge,
    "reflect": lambda x, axis, before, after: _mirrored(x, axis, before, after, 1),
    "symmetric": lambda x, axis, before, after: _mirrored(x, axis, before, after, 0),
    "wrap": _wrapped,
}
