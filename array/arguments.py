"""Arguments of array functions brought to one form: axes, dtypes, shapes."""

from __future__ import annotations

import operator
from math import prod
from typing import Any

import numpy

from blockfuse.ir.errors import DTypeError, ShapeError
from blockfuse.ir.types import DTYPES, name_of

ArrayLike = Any  # an ndarray, a NumPy array, a number, or nested lists of numbers


def checked_dtype(dtype: Any) -> numpy.dtype:
    """``dtype`` as NumPy's own object for it, which native code compares, if the language has it."""
    try:
        found = numpy.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"{dtype!r} is not a dtype; use one of {', '.join(DTYPES)}") from error
    name = name_of(found if found.isnative else found.newbyteorder("="))
    if name not in DTYPES:
        raise DTypeError(f"dtype {found} is not supported; use one of {', '.join(DTYPES)}")
    return numpy.dtype(name)


def one_axis(axis: Any, ndim: int) -> int:
    """An axis counted from the front."""
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        raise numpy.exceptions.AxisError(index, ndim)
    return index % ndim


def axes_tuple(axis: Any, ndim: int) -> tuple[int, ...]:
    """``None`` (all), an int or a sequence as a sorted tuple of axes counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and 0 <= axis < ndim:
        return (axis,)
    axes = [one_axis(a, ndim) for a in (axis if isinstance(axis, tuple | list) else (axis,))]
    if len(set(axes)) != len(axes):
        raise ValueError(f"an axis is named twice in {axis}")
    return tuple(sorted(axes))


def shape_tuple(shape: Any) -> tuple[int, ...]:
    """An int or a sequence of ints as a shape."""
    if getattr(shape, "ndim", 0) == 1:  # an array of sizes
        shape = shape.tolist()
    return tuple(operator.index(n) for n in (shape if isinstance(shape, tuple | list) else (shape,)))


def full_shape(shape: Any, size: int) -> tuple[int, ...]:
    """A requested shape with its one ``-1`` filled in."""
    wanted = shape_tuple(shape)
    known = prod(n for n in wanted if n != -1)
    open_size = size // known if known else -1  # beside an axis of size 0, every size would do
    filled = tuple(open_size if n == -1 else n for n in wanted)
    if wanted.count(-1) > 1 or min(filled, default=0) < 0 or prod(filled) != size:
        raise ShapeError(f"{size} elements cannot be reshaped to {wanted}")
    return filled
