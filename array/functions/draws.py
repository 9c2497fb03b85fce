"""What the distributions of ``np.random`` share: parameters checked, sizes found, results in their dtype."""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike, checked_dtype, shape_tuple
from blockfuse.array.defaults import default_float
from blockfuse.array.functions.creation import array, asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import drawing


def checked(value: ArrayLike, rule: str, name: str) -> Any:
    """A parameter, if it is one: a number is looked at here, an array by an operator."""
    if isinstance(value, int | float):
        drawing.check(float(value), rule, name)
        return value
    return drawing.checked(asarray(value), rule=rule, name=name)


def drawn_from(
    row: Operator, size: Any, dtype: Any, *parameters: ArrayLike, operands: tuple[Any, ...] = (), **attrs: Any
) -> ndarray:
    """A draw of the given size, or of the shape that the parameters have together."""
    if size is None:
        shapes = (() if isinstance(p, int | float) else asarray(p).shape for p in parameters)
        shape = numpy.broadcast_shapes(*shapes)
    else:
        shape = shape_tuple(size)
        given = [asarray(p).shape for p in parameters if not isinstance(p, int | float)]
        if given and numpy.broadcast_shapes(shape, *given) != shape:
            raise ValueError(f"size {shape} does not hold draws for parameters of shapes {given}")
    values = (array(x) if isinstance(x, int | float) else asarray(x) for x in operands)
    return row(*values, shape=shape, dtype=dtype_name(dtype), **attrs)


def shifted_and_scaled(row: Operator, loc: ArrayLike, scale: ArrayLike, size: Any, dtype: Any) -> ndarray:
    scale = checked(scale, "not be negative", "scale")
    drawn = drawn_from(row, size, dtype, loc, scale)
    return drawn if equal_numbers(loc, 0, scale, 1) else typed(drawn * scale + loc, drawn)


def equal_numbers(*pairs: Any) -> bool:
    """Whether each parameter is the number after it."""
    return all(isinstance(x, int | float) and x == y for x, y in zip(pairs[::2], pairs[1::2], strict=True))


def typed(result: ndarray, drawn: ndarray) -> ndarray:
    """The result in the dtype that was asked for, whatever the parameters' dtypes made of it."""
    return asarray(result, drawn.dtype)


def dtype_name(dtype: Any) -> str:
    return default_float() if dtype is None else str(checked_dtype(dtype))
