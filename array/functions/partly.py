"""Functions of elements that are computed in some places alone: ``where=`` of NumPy's ufuncs.

NOTE [places that do not count]
All elements are computed, and those of other places forgotten. There, operands are replaced by a number of which every
such function has a value and a slope: neither a warning nor a gradient of nan comes from a place that does not count.
"""

from __future__ import annotations

from typing import Any

import numpy

from blockfuse.array.arguments import ArrayLike
from blockfuse.array.functions.creation import asarray
from blockfuse.array.ndarray import ndarray
from blockfuse.ir.errors import DTypeError
from blockfuse.ir.operator import Operator
from blockfuse.ir.operators import pointwise

_HARMLESS = 0.5  # of floats, but for operators that are named
_OTHERWISE = {pointwise.arccosh: 2.0}


def computed(operator: Operator, operands: tuple[Any, ...], where: ArrayLike, out: ndarray | None) -> ndarray:
    """``operator`` where the condition holds; elsewhere what ``out`` has there, or 0 where there is none.

    where: bools, broadcast against the operands. Raises TypeError for another dtype, or where ``out`` cannot take the
    result's.
    """
    mask = asarray(where)
    if mask.dtype != bool:
        raise TypeError(f"where= takes an array of bools, not of {mask.dtype}")
    result = operator(*(_harmless(operator, operand, mask) for operand in operands))
    if out is None:
        nothing: ndarray = pointwise.where(mask, result, asarray(0, result.dtype))
        return nothing
    if type(out) is not ndarray:
        raise TypeError(f"out= takes an array of blockfuse.np, not {type(out).__name__}")
    if not numpy.can_cast(result.dtype, out.dtype, "same_kind"):
        raise DTypeError(f"a result of {result.dtype} cannot be written into an array of {out.dtype}")
    shape = numpy.broadcast_shapes(mask.shape, result.shape)
    if numpy.broadcast_shapes(shape, out.shape) != out.shape:
        raise ValueError(f"a result of shape {shape} cannot be written into an array of shape {out.shape}")
    out[...] = pointwise.where(mask, asarray(result, out.dtype), out)
    return out


def _harmless(operator: Operator, operand: Any, mask: ndarray) -> Any:
    """The operand, with numbers in its place where nothing is to be computed: NOTE [places that do not count]."""
    if isinstance(operand, int | float):
        return operand
    array = asarray(operand)
    number = _OTHERWISE.get(operator, _HARMLESS) if array.dtype.kind == "f" else 1
    return pointwise.where(mask, array, asarray(number, array.dtype))
