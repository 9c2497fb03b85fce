"""``npx``'s ways to say a shape: by codes, by another array, by ends of slices."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from typing import Any

from blockfuse.array.arguments import ArrayLike, axes_tuple, one_axis, shape_tuple
from blockfuse.array.functions import shaping
from blockfuse.array.functions.creation import asarray
from blockfuse.array.functions.joining import split
from blockfuse.array.ndarray import ndarray
from blockfuse.array.sizes import size_agnostic
from blockfuse.ir.errors import ShapeError, UsageError

_INFER, _COPY, _DROP, _REST, _MERGE, _SPLIT = -1, -2, -3, -4, -5, -6

Code = tuple[int, tuple[int, ...]]  # a size or a code, and the two sizes that a split has behind it


@size_agnostic
def reshape(a: ArrayLike, newshape: Any, reverse: bool = False, order: str = "C") -> ndarray:
    """The elements in another shape, said by sizes and codes, which take the sizes of ``a`` one after the other.

    -1: what is left (once). -2: the size as it is. -3: leave out a size, which is 1. -4: all other sizes as they are.
    -5: the product of two sizes. -6: two sizes, which follow, of one; one of them may be -1. reverse: go from the last
    size to the first.

    newshape: the sizes and codes, a number or a sequence. order: as of ``np.reshape``.

    Returns that shape in the dtype of ``a``. Raises ShapeError where sizes do not fit, UsageError where codes make no
    sense.

    >>> from blockfuse import np, npx
    >>> npx.reshape(np.zeros((8, 3, 4)), (-6, 2, -1, -5)).shape
    (2, 4, 12)
    """
    x = asarray(a)
    old, codes = list(x.shape), list(_codes(shape_tuple(newshape)))
    step = -1 if reverse else 1
    wanted = _sizes(old[::step], codes[::step], step, shape_tuple(newshape))
    return shaping.reshape(x, tuple(wanted[::step]), order)


def _codes(spelled: tuple[int, ...]) -> Iterator[Code]:
    given = iter(spelled)
    for code in given:
        if code < _SPLIT:
            raise UsageError(f"a shape has sizes, and codes from -1 to -6; found {code} in {spelled}")
        if code != _SPLIT:
            yield code, ()
            continue
        sizes = tuple(size for _, size in zip(range(2), given, strict=False))
        if len(sizes) < 2 or min(sizes) < _INFER:
            raise UsageError(
                f"-6 has two sizes behind it, one of which may be -1; found {sizes} in {spelled}"
            )
        yield code, sizes


@size_agnostic
def _sizes(old: list[int], codes: Sequence[Code], step: int, spelled: tuple[int, ...]) -> list[int]:
    """The new sizes, in the order in which they are found."""
    left, found = iter(old), []

    def following() -> int:
        size = next(left, None)
        if size is None:
            raise ShapeError(f"{spelled} asks for more axes than the shape {tuple(old[::step])} has")
        return size

    for code, sizes in codes:
        if code == _COPY:
            found.append(following())
        elif code == _DROP:
            if (size := following()) != 1:
                raise ShapeError(
                    f"-3 in {spelled} leaves out a size of 1; the one of {tuple(old[::step])} is {size}"
                )
        elif code == _REST:
            found += left
        elif code == _MERGE:
            found.append(following() * following())
        elif code == _SPLIT:
            found += _split(following(), sizes, spelled)[::step]
        else:
            next(left, None)
            found.append(code)
    return found


def _split(size: int, parts: tuple[int, ...], spelled: tuple[int, ...]) -> list[int]:
    known = [n for n in parts if n != _INFER]
    if len(known) == 1 and known[0] and size % known[0] == 0:
        known = [size // known[0] if n == _INFER else n for n in parts]
    if len(known) < 2 or known[0] * known[1] != size:
        raise ShapeError(f"-6 in {spelled} cannot split {size} into {parts}")
    return known


@size_agnostic
def reshape_like(
    lhs: ArrayLike,
    rhs: ArrayLike,
    lhs_begin: int | None = None,
    lhs_end: int | None = None,
    rhs_begin: int | None = None,
    rhs_end: int | None = None,
) -> ndarray:
    """``lhs`` in the shape of ``rhs``; with ends, only its axes from ``lhs_begin`` to ``lhs_end`` become such of ``rhs``.

    rhs_begin, rhs_end: the same of ``rhs``; negative ends count from the end.

    Returns that shape in the dtype of ``lhs``. Raises ShapeError for another number of elements.

    >>> from blockfuse import np, npx
    >>> npx.reshape_like(np.arange(6), np.ones((2, 3))).shape
    (2, 3)
    """
    x, like = asarray(lhs), asarray(rhs)
    replaced = builtins.slice(lhs_begin, lhs_end).indices(x.ndim)
    if replaced[0] > replaced[1]:
        raise ShapeError(f"reshape_like: axes {lhs_begin} to {lhs_end} of shape {x.shape} are in no order")
    sizes = like.shape[rhs_begin:rhs_end]
    return shaping.reshape(x, (*x.shape[: replaced[0]], *sizes, *x.shape[replaced[1] :]))


def slice(data: ArrayLike, begin: Any, end: Any, step: Any = None) -> ndarray:
    """``data[begin:end:step]`` with one number, or None, for each of the first axes.

    Returns those elements in the dtype of ``data``. Raises UsageError where there are not as many ends as beginnings.

    >>> from blockfuse import np, npx
    >>> npx.slice(np.arange(6).reshape(2, 3), (0, 1), (2, 3))
    array([[1., 2.],
           [4., 5.]])
    """
    begins, ends = _ends(begin), _ends(end)
    steps = _ends(step) if step is not None else (None,) * len(begins)
    if not len(begins) == len(ends) == len(steps):
        raise UsageError(f"slice needs as many ends as beginnings: begin={begin}, end={end}, step={step}")
    return asarray(data)[tuple(map(builtins.slice, begins, ends, steps))]


def _ends(given: Any) -> tuple[Any, ...]:
    return tuple(given) if isinstance(given, list | tuple) else (given,)


@size_agnostic
def slice_axis(data: ArrayLike, axis: int, begin: int | None, end: int | None) -> ndarray:
    """The elements from ``begin`` to ``end`` along one axis.

    Returns the shape of ``data`` but for that axis, in its dtype.

    >>> from blockfuse import np, npx
    >>> npx.slice_axis(np.arange(6).reshape(2, 3), 1, 0, 2)
    array([[0., 1.],
           [3., 4.]])
    """
    x = asarray(data)
    whole = builtins.slice(None)
    return x[(*(whole,) * one_axis(axis, x.ndim), builtins.slice(begin, end))]


@size_agnostic
def slice_like(data: ArrayLike, shape_like: ArrayLike, axes: Any = None) -> ndarray:
    """The first elements of ``data``, as many as ``shape_like`` has along each axis, or along ``axes``.

    Returns the shape of ``shape_like``, along other axes that of ``data``, in its dtype. Raises ShapeError where
    ``data`` has fewer.

    >>> from blockfuse import np, npx
    >>> npx.slice_like(np.arange(6).reshape(2, 3), np.ones((2, 2)))
    array([[0., 1.],
           [3., 4.]])
    """
    x, like = asarray(data), asarray(shape_like)
    if axes is None and x.ndim != like.ndim:
        raise ShapeError(
            f"slice_like of shapes {x.shape} and {like.shape}: name the axes, or give as many of both"
        )
    chosen = axes_tuple(axes if axes != () else None, min(x.ndim, like.ndim))
    if any(like.shape[axis] > x.shape[axis] for axis in chosen):
        raise ShapeError(
            f"slice_like cannot take a part of shape {like.shape} from an array of shape {x.shape}"
        )
    ends = tuple(like.shape[axis] if axis in chosen else None for axis in range(x.ndim))
    return x[tuple(map(builtins.slice, ends))]


@size_agnostic
def slice_channel(
    data: ArrayLike, num_outputs: int, axis: int = 1, squeeze_axis: bool = False
) -> list[ndarray]:
    """Equal parts along an axis.

    squeeze_axis: whether parts of size 1 lose the axis.

    Returns a list of ``num_outputs`` arrays in the dtype of ``data``, whose sizes along the axis are equal. Raises
    ShapeError where there are no equal parts.

    >>> from blockfuse import np, npx
    >>> npx.slice_channel(np.arange(4).reshape(1, 4), 2)
    [array([[0., 1.]]), array([[2., 3.]])]
    """
    parts = split(data, num_outputs, axis)
    return [shaping.squeeze(part, axis) for part in parts] if squeeze_axis else parts
